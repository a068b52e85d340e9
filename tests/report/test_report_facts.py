"""The report's figures and its Markdown tell what a run's events say, for whole runs and for broken ones."""

import json
import math
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.core.errors import UsageError
from engine.events.kinds import Advice, Diverged, Evaluation, Sample, StageAnew, Step, Warning
from engine.report.measured import facts
from engine.report.settings_section import preset_command
from engine.run.directory import RunDirectory
from engine.stages.report import render
from tests.helpers.made_run import Story, config_of, plan_of, story_of, write_run
from tui.cli.commands.configuration import configuration
from tui.cli.parser import build_parser


@pytest.fixture
def finished(tmp_path: Path) -> RunDirectory:
    story = story_of("good", time.time(), budget__steps=60, evaluate__every_steps=20).steps(60).checkpoint().sample()
    story.end_stage("pretrain", seconds=600.0).stage("evaluate")
    story.add(Evaluation, stage="evaluate", step=60, metric="train_bpb", value=1.5, seconds=1.0)
    return write_run(tmp_path, "good", story.end_stage("evaluate").end())


def tuning_step(**changes: Any) -> dict[str, Any]:
    return {
        "stage": "sft",
        "step": 1,
        "steps": 1,
        "tokens": 512,
        "loss": 0.25,
        "learning_rate_scale": 1.0,
        "grad_norm": 1.0,
        "step_seconds": 1.0,
        "data_seconds": 0.0,
        "tokens_per_second": 512.0,
        "mfu": None,
        "peak_memory": None,
    } | changes


def test_facts_come_from_the_events(finished: RunDirectory) -> None:
    found = facts(finished)
    assert (found["outcome"], found["steps"], found["planned_steps"]) == ("done", 60, 60)
    assert found["tokens"] == 60 * finished.plan().total_batch_size  # type: ignore[union-attr]
    assert found["train_bpb"] == 1.5
    assert found["stage_seconds"]["pretrain"] == 600.0
    assert found["measured"]["hours"] == pytest.approx(1 / 6)
    assert found["measured"]["step_seconds"] == pytest.approx(found["predicted"]["step_seconds"], rel=0.1)
    assert json.loads(json.dumps(found)) == found


def test_a_resumed_run_counts_all_of_its_time(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(5).checkpoint().end_stage("pretrain", "stopped", seconds=90.0)
    story.end("stopped").start("red", resumed=True).stage("pretrain").resume_at(5).steps(5)
    story.end_stage("pretrain", seconds=30.0)
    run = write_run(tmp_path, "red", story.end())
    found = facts(run)
    assert (found["stage_seconds"]["pretrain"], found["resumes"]) == (120.0, 1)
    assert found["measured"]["hours"] == 120 / 3600
    text = render(run)
    assert "2 m 00 s, in 2 attempts" in text
    assert "Resumed once; never out of memory; never rewound; no loss spike." in text
    assert "resumed after step 5" in text


def test_what_was_judged_before_pretraining_was_repeated_is_told_apart(tmp_path: Path) -> None:
    story = story_of("anew", time.time(), budget__steps=60, evaluate__every_steps=20).steps(60).end_stage("pretrain")
    story.stage("evaluate").add(Evaluation, stage="evaluate", step=60, metric="val_bpb", value=9.0, seconds=1.0)
    story.add(Evaluation, stage="evaluate", step=60, metric="core", value=0.7, seconds=1.0, examples=100)
    story.end_stage("evaluate").add(StageAnew, stage="pretrain", path="checkpoints/pretrain.1").stage("pretrain")
    story.add(Evaluation, stage="pretrain", step=0, metric="val_bpb", value=3.0, seconds=1.0)
    story.step, story.tokens = 0, 0
    run = write_run(tmp_path, "anew", story.steps(60).end_stage("pretrain").end())
    assert facts(run)["val_bpb_start"] == 3.0
    text = render(run)
    assert re.search(r"Bits per byte on held-out text: 3\.0000 at first", run.page_file.read_text())
    assert re.search(r"\| evaluate \| done, of an earlier pretrain \|", text)
    assert re.search(r"\| pretrain \| done \|", text)
    assert "it scores" not in text  # the model that is there now was not asked


def test_what_is_not_done_is_not_compared(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(5).end_stage("pretrain", "stopped", seconds=90.0).end("stopped")
    run = write_run(tmp_path, "red", story)
    assert facts(run)["measured"]["hours"] is None
    assert re.search(r"\| pretrain \| \d+ h \d+ m \| not measured \|  \|", render(run))


def test_pretraining_is_told_of_pretraining_whatever_was_trained_after(tmp_path: Path) -> None:
    story = story_of("tuned", time.time(), budget__steps=60).steps(60).end_stage("pretrain").stage("sft")
    story.add(Step, **tuning_step())
    found = facts(write_run(tmp_path, "tuned", story.end_stage("sft").end()))
    assert found["steps"] == 60
    assert found["final_loss"] > 0.25


def test_the_text_holds_what_a_reader_looks_for(finished: RunDirectory) -> None:
    text = render(finished)
    assert finished.report_file.read_text() == text
    for expected in (
        "# good",
        "**Finished.** A language model with 252M parameters (preset balanced, depth 14)",
        "## Predicted against measured",
        "| time per step, median | 2.8 s |",
        "| `budget.steps` | `not set` | `60` |",
        "The planets of the solar| system are:",
        "![Training loss; Validation; Speed;",
        "](curves.svg)",
        "| torch | 2.13.0 |",
        "| driver | not known |",
        f"nanosolo --config {finished.config_file} --name good-again",
    ):
        assert expected in text, expected
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in table)


def test_the_picture_is_valid_and_the_same_every_time(finished: RunDirectory) -> None:
    render(finished)
    picture = (finished.path / "curves.svg").read_bytes()
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 10
    render(finished)
    assert (finished.path / "curves.svg").read_bytes() == picture


def test_a_run_before_its_first_step_has_a_report(tmp_path: Path) -> None:
    config = config_of("quickstart")
    run = write_run(tmp_path, "new", Story(plan_of(config), config, time.time()).start("new"))
    text = render(run)
    assert "to be pretrained on the documentation" in text and "Its bits per byte have not been measured." in text
    assert facts(run)["final_loss"] is None
    assert not (run.path / "curves.svg").exists()


@pytest.mark.parametrize(
    ("outcome", "message", "expected"),
    [
        ("stopped", "", "**Stopped.** A language model"),
        ("diverged", "diverged at step 8", "It diverged after"),
        ("out_of_memory", "3 GiB were asked for", "**Out of GPU memory.**"),
        ("killed", "the kernel ended it", "It was killed after"),
        ("crashed", "ValueError: odd", ": ValueError: odd."),
        ("vaporised", "", "**Vaporised.**"),
    ],
)
def test_every_end_is_told_with_its_place(tmp_path: Path, outcome: str, message: str, expected: str) -> None:
    story = story_of("red", time.time(), budget__steps=60).steps(8).end_stage("pretrain", outcome, message=message)
    text = render(write_run(tmp_path, "red", story.end(outcome, message)))
    assert expected in text
    assert "at step 8 of 60 (13 %)" in text
    assert f"| pretrain | {outcome.replace('_', ' ')} |" in text


def test_a_run_that_went_without_a_word_is_told_so(tmp_path: Path) -> None:
    text = render(write_run(tmp_path, "red", story_of("red", time.time()).steps(8)))
    assert "**Interrupted.**" in text and "ended unexpectedly" in text


def test_what_happened_on_the_way_is_counted_and_listed(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(3)
    for number in range(30):
        story.add(Warning, stage="pretrain", step=number, code="spike", message=f"loss {number}.5")
    story.add(Diverged, stage="pretrain", step=3, what="loss is nan", action="going back to step 0").resume_at(0)
    story.add(Advice, code="gpu_shared", message="1 other process", change={}, effect="")
    text = render(write_run(tmp_path, "red", story.out_of_memory()))
    assert "Not resumed; out of memory once; rewound after diverging once; loss spike 30 times." in text
    assert text.count("| spike: loss ") == 5 and "25 more of kind “spike” before the last one" in text
    assert "| spike: loss 29.5 |" in text
    assert "diverged, loss is nan: going back to step 0" in text
    assert "out of memory in backward of the loss, 36.9 GiB held of 39.4 GiB: stop" in text
    assert "gpu_shared: 1 other process" in text


def test_steps_that_are_no_numbers_do_not_stop_it(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(5).steps(3, loss=None, grad_norm=None, mfu=None, peak_memory=None)
    run = write_run(tmp_path, "red", story)
    text = render(run)
    assert not re.search(r"\bnan\b", text.partition("## Configuration")[0])
    ElementTree.parse(run.path / "curves.svg")
    assert not math.isnan(facts(run)["final_loss"])


def test_a_run_of_nothing_but_bad_steps_has_a_report(tmp_path: Path) -> None:
    nothing = {"loss": None, "step_seconds": 0.0, "data_seconds": 0.0, "tokens_per_second": 0.0, "grad_norm": None}
    run = write_run(tmp_path, "red", story_of("red", time.time()).steps(4, evaluations=False, machine=False, **nothing))
    assert "## Curves" in render(run)


def test_lost_and_damaged_parts_do_not_stop_it(finished: RunDirectory) -> None:
    finished.plan_file.unlink()
    with finished.events_file.open("ab") as file:
        file.write(b'half a line\n{"kind": "of_a_later_version", "v": 9}\n')
    text = render(finished)
    assert "plan.json is missing, damaged, or from another version" in text
    assert "2 lines of events.jsonl could not be read" in text
    assert facts(finished)["predicted"] == {}
    finished.events_file.unlink()
    assert "**Not started.**" in render(finished)
    finished.config_file.write_text("[model]\ndepth = 'x'")
    with pytest.raises(UsageError, match=r"model\.depth"):
        render(finished)


def test_a_sample_cannot_break_out_of_its_block(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(3)
    story.add(Sample, stage="pretrain", step=3, prompt="a", text="```\n# Not a heading\n````x\n| x |")
    text = render(write_run(tmp_path, "red", story))
    assert "`````text\na|```\n# Not a heading\n````x\n| x |\n`````\n" in text


def test_huge_figures_are_drawn(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(3)
    run = write_run(tmp_path, "red", story.steps(3, loss=1.7e308, grad_norm=1.7e308, tokens_per_second=1.7e308))
    render(run)
    ElementTree.parse(run.path / "curves.svg")


@pytest.mark.parametrize(
    "changes",
    [
        {"budget__steps": 60, "evaluate__prompts": ["it's", 'a "b" $HOME `c`', "ü, [x]"], "optim__matrix_lr": 1e-05},
        {"pipeline__stages": ["pretrain", "report"], "checkpoint__keep_best": True, "runtime__price_per_hour": 1.29},
    ],
)
def test_the_command_of_a_report_makes_the_same_configuration(changes: dict[str, Any]) -> None:
    import shlex

    config = config_of("balanced", **changes)
    command = preset_command(config)
    assert command is not None
    name, *words = shlex.split(command)
    assert name == "nanosolo"
    assert configuration(build_parser().parse_args(words)).config == config


def test_no_command_for_a_preset_that_is_not_known() -> None:
    assert preset_command(config_of("balanced", about__preset="gone")) is None


def test_what_the_share_of_ended_answers_means_is_said_where_it_stands(tmp_path: Path) -> None:
    story = story_of("good", time.time(), budget__steps=60).steps(60).end_stage("pretrain").stage("chat_eval")
    told = write_run(tmp_path, "without", story)
    assert "the share of written answers that end" not in render(told)
    story.add(Evaluation, stage="chat_eval", step=60, metric="chat/ends", value=0.5, seconds=0.0, examples=8)
    assert "chat/ends: the share of generated answers that end with the end token." in render(
        write_run(tmp_path, "with", story)
    )


def test_predicted_and_measured_memory_have_one_unit(tmp_path: Path) -> None:
    story = story_of("good", time.time(), budget__steps=60)
    predicted = story.plan.memory.total - story.plan.memory.overhead
    story.steps(60, peak_memory=1002 * 2**20)
    [row] = [line for line in render(write_run(tmp_path, "good", story)).splitlines() if "peak memory" in line]
    assert f"| {round(predicted / 2**20)} MiB | 1002 MiB |" in row

"""The report tells what a run's events say, for whole runs and for broken ones, with a picture that can be drawn."""

import json
import math
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_run import Story, config_of, plan_of, story_of, write_run

from engine.run.directory import RunDirectory
from engine.run.events import Evaluation, Step
from engine.run.report import facts, render


@pytest.fixture
def finished(tmp_path: Path) -> RunDirectory:
    story = story_of("good", time.time(), budget__steps=60, evaluate__every_steps=20).steps(60).checkpoint().sample()
    story.end_stage("pretrain", seconds=600.0).stage("evaluate")
    story.add(Evaluation, stage="evaluate", step=60, metric="train_bpb", value=1.5, seconds=1.0)
    return write_run(tmp_path, "good", story.end_stage("evaluate").end())


def test_facts_come_from_the_events(finished: RunDirectory) -> None:
    found = facts(finished)
    assert (found["outcome"], found["steps"], found["planned_steps"]) == ("done", 60, 60)
    assert found["tokens"] == 60 * finished.plan().total_batch_size  # type: ignore[union-attr]
    assert found["train_bpb"] == 1.5
    assert found["stage_seconds"]["pretrain"] == 600.0
    assert found["measured"]["hours"] == pytest.approx(1 / 6)
    assert found["measured"]["step_seconds"] == pytest.approx(found["predicted"]["step_seconds"], rel=0.1)
    assert json.loads(json.dumps(found)) == found


def test_pretraining_is_told_of_pretraining_whatever_was_trained_after(tmp_path: Path) -> None:
    story = story_of("tuned", time.time(), budget__steps=60).steps(60).end_stage("pretrain").stage("sft")
    story.add(
        Step,
        stage="sft",
        step=1,
        steps=1,
        tokens=512,
        loss=0.25,
        learning_rate_scale=1.0,
        grad_norm=1.0,
        step_seconds=1.0,
        data_seconds=0.0,
        tokens_per_second=512.0,
        mfu=None,
        peak_memory=None,
    )
    found = facts(write_run(tmp_path, "tuned", story.end_stage("sft").end()))
    assert found["steps"] == 60
    assert found["final_loss"] > 0.25


def test_the_text_holds_what_a_reader_looks_for(finished: RunDirectory) -> None:
    text = render(finished)
    assert finished.report_file.read_text() == text
    for expected in ("# good", "Preset balanced, depth 14: finished. 60 steps", "## Predicted against measured"):
        assert expected in text
    assert "| `budget.steps` | `None` | `60` |" in text
    assert "The planets of the solar|" in text
    assert "![loss, bits per byte and throughput](curves.svg)" in text
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
    assert "not finished yet. 0 steps" in render(run)
    assert facts(run)["final_loss"] is None
    assert not (run.path / "curves.svg").exists()


def test_steps_that_are_no_numbers_do_not_stop_it(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(5).steps(3, loss=None, grad_norm=None, mfu=None, peak_memory=None)
    run = write_run(tmp_path, "red", story)
    text = render(run)
    assert not re.search(r"\bnan\b", text.partition("## Configuration")[0])
    ElementTree.parse(run.path / "curves.svg")
    found = facts(run)
    assert not math.isnan(found["final_loss"])


def test_a_run_of_nothing_but_bad_steps_has_a_report(tmp_path: Path) -> None:
    nothing = {"loss": None, "step_seconds": 0.0, "data_seconds": 0.0, "tokens_per_second": 0.0}
    run = write_run(tmp_path, "red", story_of("red", time.time()).steps(4, evaluations=False, machine=False, **nothing))
    assert "## Loss" in render(run)


def test_lost_and_hostile_parts_do_not_stop_it(finished: RunDirectory) -> None:
    finished.plan_file.unlink()
    with finished.events_file.open("ab") as file:
        file.write(b"half a line")
    assert "## Result" in render(finished)
    assert facts(finished)["predicted"] == {}


def test_a_sample_cannot_break_out_of_its_block(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(3)
    from engine.run.events import Sample

    story.add(Sample, stage="pretrain", step=3, prompt="a", text="```\n# Not a heading\n| x |")
    text = render(write_run(tmp_path, "red", story))
    assert text.count("```") % 2 == 0
    assert "```\n# Not a heading" not in text


def test_huge_figures_are_drawn(tmp_path: Path) -> None:
    story = story_of("red", time.time()).steps(3)
    step = next(event for event in story.events if isinstance(event, Step))
    assert step.steps > 0
    run = write_run(tmp_path, "red", story.steps(3, loss=1e300, tokens_per_second=1e300))
    render(run)
    ElementTree.parse(run.path / "curves.svg")

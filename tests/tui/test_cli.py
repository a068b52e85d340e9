"""The command line as a user meets it: every command, as text and as JSON, with its exit codes."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.config.layers import from_dict, from_toml
from engine.run.directory import RunLock
from tests.helpers.command_line import PROGRAM, environment, nanosolo
from tests.helpers.made_run import story_of, write_run
from tui.cli.commands.runs import table
from tui.cli.main import COMMANDS
from tui.cli.parser import build_parser

LIGHT = ("torch", "textual", "numpy", "matplotlib", "pyarrow", "huggingface_hub", "tiktoken")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a finished run, a failed one and one that never started."""
    now = time.time()
    stages = ["data", "tokenizer", "tokenize", "pretrain"]
    story = story_of("good", now, budget__steps=30, pipeline__stages=stages).steps(30).checkpoint().sample()
    good = write_run(tmp_path, "good", story.end_stage("pretrain").end().until(now - 60))
    good.log_file.write_text("".join(f"line {number}\n" for number in range(100)))
    write_run(tmp_path, "a-much-longer-name", story_of("bad", now).steps(20).checkpoint().out_of_memory().until(now))
    new = write_run(tmp_path, "new", story_of("new", now))
    new.events_file.unlink()
    for age, name in enumerate(("good", "a-much-longer-name", "new")):
        path = tmp_path / "runs" / name / "run.toml"
        stamp = now - 1000 + 10 * age
        __import__("os").utime(path, (stamp, stamp))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["plan", "--preset", "balanced", "--gpu", "a100-40gb"],
        ["plan", "--preset", "balanced", "--gpu", "a100-40gb", "--json"],
        ["--preset", "maximum", "--export", "-"],
        ["runs"],
        ["doctor"],
    ],
)
def test_what_is_asked_before_a_launch_imports_nothing_heavy(home: Path, arguments: list[str]) -> None:
    script = (
        "import sys\nfrom tui.cli.main import main\n"
        "try: code = main(sys.argv[1:])\nexcept SystemExit as end: code = end.code\n"
        f"found = [name for name in {LIGHT} if name in sys.modules]\n"
        "sys.stderr.write(f'{code} {found}')"
    )
    done = subprocess.run(
        (sys.executable, "-c", script, *arguments), env=environment(home), capture_output=True, text=True, check=True
    )
    assert done.stderr == "0 []"
    assert done.stdout


def test_help_names_every_command(home: Path) -> None:
    text = nanosolo(home, "--help").stdout
    for command in set(COMMANDS) - {"console", "train", "configuration"}:
        assert f"\n    {command} " in text
        own = nanosolo(home, command, "--help")
        assert own.returncode == 0
        assert f"usage: nanosolo {command}" in own.stdout


def test_the_examples_of_the_help_are_valid(home: Path, tmp_path: Path) -> None:
    text = build_parser().format_help()
    shown = [line.strip().split("     ")[0].split()[1:] for line in text.splitlines() if line.startswith("  nanosolo ")]
    assert len(shown) >= 4
    for words in sorted(shown, key=lambda words: "--export" not in words):  # what one writes another reads
        asked = [str(tmp_path / "my.toml") if word == "my.toml" else word for word in words]
        if asked[0] in COMMANDS and asked[0] != "plan":
            continue  # it would start to work
        done = nanosolo(home, *(asked if asked[0] == "plan" or "--export" in asked else ["plan", *asked]))
        assert done.returncode == 0, done.stderr


def test_plan_gives_the_numbers_of_the_presets(home: Path) -> None:
    plan = json.loads(nanosolo(home, "plan", "--preset", "balanced", "--gpu", "a100-40gb", "--json").stdout)
    assert (plan["grad_accum_steps"], plan["total_batch_size"]) == (43, 264_192)
    plan = json.loads(nanosolo(home, "plan", "--preset", "reference", "--json").stdout)
    assert plan["params"]["total"] == 560_988_160


def test_plan_as_text_fits_a_terminal(home: Path) -> None:
    done = nanosolo(home, "plan", "--preset", "balanced", "--gpu", "a100-40gb")
    assert done.returncode == 0
    assert "43 micro-batches = 264,192 tokens" in done.stdout
    assert "! 262,144 tokens were asked for" in done.stdout
    assert "\nall stages " in done.stdout and "\nchat_eval " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert done.stderr == ""


def test_a_plan_of_chosen_stages_states_their_figures_alone(home: Path) -> None:
    words = ("plan", "--preset", "balanced", "--gpu", "a100-40gb", "--stages")
    text = nanosolo(home, *words, "data,tokenizer").stdout
    assert "98 shards, 9.1 GiB on disk, enough for 5,046,331,392 training tokens" in text
    assert "\nall stages   1–7 min without data\n" in text and "\ntokenizer " in text
    for word in ("15 h", "MFU", "checkpoint", "parameters", "! ", "energy"):
        assert word not in text
    plan = json.loads(nanosolo(home, *words, "data,tokenizer", "--json").stdout)
    assert plan["time"]["hours"] is None and plan["time"]["basis"] == "pretrain is not one of the stages"
    assert plan["pipeline"]["high_hours"] < 0.5
    judged = nanosolo(home, *words, "evaluate").stdout
    assert "\nparameters   252,313,600" in judged and "micro-batches" not in judged and "disk" not in judged
    assert "seconds" in nanosolo(home, *words, "report").stdout


def test_a_smoke_test_is_a_note_in_the_plan(home: Path) -> None:
    lines = nanosolo(home, "plan", "--preset", "quickstart").stdout.splitlines()
    assert not [line for line in lines if line.startswith("! ")]
    assert [line for line in lines if line.startswith("- smoke test only: 0.16 tokens per parameter, about 20 ")]


def test_an_exported_preset_means_the_same(home: Path, tmp_path: Path) -> None:
    toml = tmp_path / "m.toml"
    done = nanosolo(home, "--preset", "maximum", "--export", str(toml))
    assert done.returncode == 0
    assert f"nanosolo --config {toml}" in done.stderr
    printed = nanosolo(home, "--preset", "maximum", "--export", "-")
    assert printed.stdout == toml.read_text()
    from_dict(from_toml(printed.stdout))
    plans = [
        nanosolo(home, "plan", *words, "--json").stdout for words in (["--preset", "maximum"], ["--config", str(toml)])
    ]
    assert json.loads(plans[0]) == json.loads(plans[1])


def test_later_settings_win(home: Path) -> None:
    words = [
        "--preset",
        "balanced",
        "--set",
        "model.depth=8",
        "--set",
        "model.depth=10",
        "--price",
        "1.5",
        "--gpu",
        "h100-80gb",
    ]
    text = nanosolo(home, *words, "--export", "-").stdout
    config = from_dict(from_toml(text))
    assert (config.model.depth, config.runtime.price_per_hour, config.runtime.gpu) == (10, 1.5, "h100-80gb")


@pytest.mark.parametrize(
    "asked",
    [
        ["--preset", "balanced"],
        ["--gpu", "a100-40gb"],
        ["--preset", "conservative", "--set", "model.depth=3", "--set", "budget.tokens=100000", "--skip", "sft"],
    ],
)
def test_the_command_that_adopts_the_best_model_trains_that_model(home: Path, asked: list[str]) -> None:
    best = json.loads(nanosolo(home, "plan", "--hours", "12", *asked, "--json").stdout)["best"]
    line = nanosolo(home, "plan", "--hours", "12", *asked).stdout.splitlines()[-1]
    assert line.startswith("adopt it: nanosolo --")
    adopted = json.loads(nanosolo(home, "plan", *shlex.split(line)[3:], "--json").stdout)
    assert (adopted["depth"], adopted["tokens"]) == (best["depth"], best["tokens"])
    assert adopted["time"]["hours"] == pytest.approx(best["hours"])
    assert ("sft" in [stage["stage"] for stage in adopted["stages"]]) == ("--skip" not in asked)


def test_runs_stand_in_columns_under_a_heading(home: Path) -> None:
    head, *lines, legend = nanosolo(home, "runs").stdout.splitlines()
    assert head.split() == ["run", "age", "loss", "val", "bpb", "status"]
    assert [line.split()[0] for line in lines] == ["good", "a-much-longer-name", "new"]
    column = head.index("status")
    assert lines[0].index("finished") == lines[1].index("failed") == lines[2].index("not started yet") == column
    assert "out of GPU memory" in lines[1]
    assert legend == "loss and val bpb (bits per byte): lower is better"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_runs_are_aligned_at_any_width(home: Path, width: int) -> None:
    rows = json.loads(nanosolo(home, "runs", "--json").stdout)
    rows[1]["name"] = "a-name-" + 93 * "x"
    lines = table(rows, width)
    assert max(map(len, lines)) <= width
    head, *runs = lines[: len(rows) + 1]
    assert head.split()[0] == "run" and ("loss" in head) == (width >= 70)
    if width >= 40:
        assert {line[head.index("status") - 2 : head.index("status")] for line in runs} == {"  "}
        assert runs[0][head.index("status") :].startswith("finished")
        assert [line[head.index("age") + 2] != " " for line in runs] == [True] * 3


def test_runs_as_json(home: Path) -> None:
    rows = json.loads(nanosolo(home, "runs", "--json").stdout)
    assert [(row["name"], row["state"], row["exit_code"]) for row in rows] == [
        ("good", "finished", 0),
        ("a-much-longer-name", "failed", 3),
        ("new", "new", None),
    ]
    assert rows[0]["step"] == rows[0]["steps"] == 30


def test_the_plan_in_the_docs_is_the_one_that_is_printed(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
    done = nanosolo(tmp_path, "plan", "--preset", "balanced", "--gpu", "a100-40gb")
    assert f"```\n{done.stdout}```\n" in page


def test_no_runs_is_no_error(tmp_path: Path) -> None:
    done = nanosolo(tmp_path, "runs")
    assert (done.returncode, done.stdout.startswith("no runs in ")) == (0, True)
    assert json.loads(nanosolo(tmp_path, "runs", "--json").stdout) == []


def test_attach_tells_a_run_from_its_beginning(home: Path) -> None:
    done = nanosolo(home, "attach", "good", "--every", "10")
    assert done.returncode == 0
    lines = [line.split("  ", 1)[1] for line in done.stdout.splitlines()]
    assert lines[0] == "data: started"
    assert lines[-1] == "run done"
    steps = [line for line in lines if line.startswith("step") and "loss" in line]
    assert [line.split()[1] for line in steps] == ["1/30", "10/30", "20/30", "30/30"]
    assert len({line.index("loss") for line in steps}) == 1  # in a column


def test_attach_as_json_gives_the_events_as_they_stand(home: Path) -> None:
    done = nanosolo(home, "attach", "good", "--json")
    assert done.stdout == (home / "runs" / "good" / "events.jsonl").read_text()


def test_attach_as_json_keeps_what_this_version_does_not_know_and_leaves_damage_out(home: Path) -> None:
    file = home / "runs" / "good" / "events.jsonl"
    first, *rest = file.read_text().splitlines(keepends=True)
    strange = [
        '{"v": 9, "t": 1.50, "kind": "moon", "phase": "full"}\n',
        first.replace("{", '{"new_field": [1, {"a": null}], ', 1),
    ]
    file.write_text("".join([*strange, '{"kind": "st\n', "17\n", "\n", *rest]) + '{"half')
    done = nanosolo(home, "attach", "good", "--json")
    assert (done.returncode, done.stdout) == (0, "".join([*strange, *rest]))


def test_attach_ends_with_the_code_of_the_run(home: Path) -> None:
    assert nanosolo(home, "attach", "a-much-longer-name").returncode == 3


def test_attach_does_not_wait_for_a_run_that_never_started(home: Path) -> None:
    done = nanosolo(home, "attach", "new")
    assert done.returncode == 5
    assert "has not started yet. Resume with: nanosolo resume new" in done.stderr


def test_logs_show_the_end(home: Path) -> None:
    assert nanosolo(home, "logs", "good", "-n", "2").stdout == "line 98\nline 99\n"
    assert len(nanosolo(home, "logs", "good", "--lines", "0").stdout.splitlines()) == 100
    assert len(nanosolo(home, "logs", "good").stdout.splitlines()) == 40
    found = json.loads(nanosolo(home, "logs", "good", "--json", "-n", "1").stdout)
    assert found["lines"] == ["line 99"]
    assert nanosolo(home, "logs", "good", "-n", "1", "-f").stdout == "line 99\n"  # it has ended: nothing to wait for
    missing = nanosolo(home, "logs", "new")
    assert (missing.returncode, "has written no log yet" in missing.stderr) == (2, True)
    gone = nanosolo(home, "logs", "a-much-longer-name")
    assert (gone.returncode, "The log of run a-much-longer-name is gone" in gone.stderr) == (2, True)


def test_report_is_written_and_printed(home: Path) -> None:
    done = nanosolo(home, "report", "good")
    assert done.returncode == 0
    assert done.stdout.rstrip("\n") == (home / "runs" / "good" / "report.md").read_text().rstrip("\n")
    assert json.loads(nanosolo(home, "report", "good", "--json").stdout)["steps"] == 30


def test_doctor_names_what_it_checked(home: Path) -> None:
    done = nanosolo(home, "doctor")
    assert done.returncode == 0
    assert "no NVIDIA GPU is visible here" in done.stdout
    checks = json.loads(nanosolo(home, "doctor", "--json").stdout)
    assert {"nanosolo", "torch", "GPU", "host", "home", "clock"} <= {check["name"] for check in checks}
    assert {check["verdict"] for check in checks} <= {"ok", "note", "warning"}


def test_stop_needs_something_that_runs(home: Path) -> None:
    done = nanosolo(home, "stop", "good")
    assert (done.returncode, done.stderr) == (
        2,
        "error: run good is not running. See the state of all runs with: nanosolo runs\n",
    )


def test_a_run_is_found_by_its_path(home: Path) -> None:
    assert nanosolo(home / "elsewhere", "logs", str(home / "runs" / "good"), "-n", "1").stdout == "line 99\n"


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    command = " ".join(f"'{word}'" for word in PROGRAM) + " attach good --every 1 | head -n 1"
    done = subprocess.run(command, shell=True, env=environment(home), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("data: started\n")
    assert done.stderr == ""


def test_resume_refuses_what_is_running_and_what_is_done(home: Path) -> None:
    done = nanosolo(home, "resume", "good")
    assert (done.returncode, "run good is finished" in done.stderr) == (2, True)
    from engine.run.directory import RunDirectory

    with RunLock(RunDirectory(home / "runs" / "new")):
        done = nanosolo(home, "resume", "new")
        assert (done.returncode, "is running already" in done.stderr) == (2, True)

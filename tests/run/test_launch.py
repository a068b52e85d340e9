"""A launch is planned, probed and tried once, however it is started, and what was prepared is what starts."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.core.diagnostic import Diagnostic, checked
from engine.diagnostics import preflight as preflight_module
from engine.hardware import detect, probe_machine
from engine.launch import prepare as prepare_module
from engine.launch import start as start_module
from engine.launch.prepare import prepare
from engine.launch.relaunch import relaunch
from engine.launch.rerun import rerun_stages
from engine.launch.start import resume_run, start
from engine.run import planning
from engine.run.directory import RunDirectory, create_run
from tests.helpers.made_run import config_of
from tui.cli.commands import train  # noqa: F401  (imported before anything is patched, which it would keep)
from tui.cli.main import main


@pytest.fixture
def calls(home: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a launch plans, probes, checks and tries; no runner is started."""
    counted: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        original = getattr(module, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counting)

    count(planning, "make_plan")
    count(prepare_module, "probe_machine")
    count(probe_machine, "detect_gpu")
    count(prepare_module, "first_missing")
    count(prepare_module, "require_device")
    count(prepare_module, "preflight")

    def tried(*_: Any) -> Diagnostic:
        counted["check_device"] += 1
        return checked("torch", "ok", "torch can use the CPU")

    monkeypatch.setattr(prepare_module, "check_device", tried)
    monkeypatch.setattr(detect, "detect_gpu", pytest.fail)  # of a second probe
    monkeypatch.setattr(preflight_module, "make_plan", pytest.fail)
    monkeypatch.setattr(start_module, "start_runner", lambda run: None)
    monkeypatch.setattr(start_module, "wait_until_running", lambda run, runner: None)
    return counted


ONCE = {"make_plan": 1, "probe_machine": 1, "detect_gpu": 1, "require_device": 1, "preflight": 1, "check_device": 1}
NEW = {**ONCE, "first_missing": 1}


def made(name: str = "one") -> RunDirectory:
    config = prepare_module.with_absolute_paths(config_of("quickstart"))
    return create_run(name, config, planning.make_plan(config, detect.detect_cpu()))


def test_the_command_line_plans_probes_and_tries_once(calls: Counter[str], home: Path) -> None:
    assert main(["--preset", "quickstart", "--name", "one", "--detach", "--set", "runtime.compile=off"]) == 0
    assert (home / "runs" / "one" / "plan.json").exists()
    assert calls == NEW


@pytest.mark.parametrize(
    "again",
    [
        resume_run,
        lambda run: rerun_stages(run, ["data"]),
        lambda run: main(["resume", run.name, "--detach"]),
        lambda run: main(["--preset", "quickstart", "--name", run.name, "--resume", "--detach"]),
    ],
    ids=["resume", "stages", "nanosolo resume", "nanosolo --resume"],
)
def test_a_run_that_continues_is_planned_probed_and_tried_once(
    calls: Counter[str], again: Callable[[RunDirectory], object]
) -> None:
    run = made()
    calls.clear()
    again(run)
    assert calls == ONCE


def test_a_relaunch_makes_one_plan_where_all_stages_run(calls: Counter[str]) -> None:
    run = made()
    calls.clear()
    assert relaunch(run, {"optim.matrix_lr": 0.01}) is run or run.config().optim.matrix_lr == 0.01
    assert calls == ONCE
    assert run.config().optim.matrix_lr == 0.01


def test_what_was_prepared_is_what_starts(calls: Counter[str]) -> None:
    launch = prepare(config_of("quickstart", optim__matrix_lr=0.03))
    run = start(launch, "one")
    assert run.config() == launch.config and run.plan() == launch.plan
    assert calls == NEW


def test_a_launch_with_a_problem_is_not_tried_and_not_started(calls: Counter[str], home: Path) -> None:
    launch = prepare(config_of("quickstart", pipeline__stages=["sft"]))
    assert [check.subject for check in launch.problems] == ["stages"]
    with pytest.raises(prepare_module.UsageError, match="sft starts from the weights of pretrain"):
        start(launch, "one")
    assert "check_device" not in calls and not (home / "runs" / "one").exists()

"""Launch review: what it shows is what runs, it refuses with reasons, and Enter starts a real, detached run."""

import asyncio
import shlex
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.config.layers import from_dict, from_toml, to_toml
from engine.config.schema import RunConfig
from engine.core.diagnostic import checked
from engine.core.errors import UsageError
from engine.core.units import GIB
from engine.diagnostics.preflight import preflight
from engine.hardware.probe_machine import probe_machine
from engine.launch.control import stop_run
from engine.launch.prepare import Launch, prepare, require_startable
from engine.launch.start import start
from engine.plan.plan import make_plan
from engine.run.directory import RunDirectory, list_runs
from tests.helpers.console_home import CPU, console, use_home
from tests.helpers.snapshot import matches_snapshot, text_of
from tui.app import unlaunched_edits
from tui.cli.commands.configuration import configuration
from tui.cli.parser import build_parser
from tui.planning.choices import Here
from tui.planning.draft import Draft
from tui.screens.monitor import MonitorScreen
from tui.screens.plan.plan_screen import PlanScreen
from tui.screens.plan.review import NameField, ReviewScreen

SIZES = [(80, 24), (120, 40)]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    use_home(monkeypatch, tmp_path / "home")
    monkeypatch.setattr("tui.screens.plan.review.free_name", lambda stem: f"{stem}-20260131-1405")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def review_of(app: object) -> ReviewScreen:
    screen = app.screen  # type: ignore[attr-defined]
    assert isinstance(screen, ReviewScreen)
    return screen


async def until(condition: object, what: str) -> None:
    for _ in range(600):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come about")


def shown(app: object, name: str) -> str:
    return str(review_of(app).query_one(name, Static).content)


def made_launch(config: RunConfig) -> Launch:
    """What a machine of known size finds."""
    look = probe_machine()._replace(
        gpu=None,
        cores=2,
        memory_total=16 * GIB,
        memory_limit=16 * GIB,
        memory_available=12 * GIB,
        shared_memory=8 * GIB,
        home=Path("/home/you/nanosolo"),
        disk_free=500 * GIB,
    )
    plan = make_plan(config, CPU)
    return Launch(config, config.pipeline.stages, CPU, plan, tuple(preflight(config, plan, look)))


async def looked(app: object) -> None:
    """Wait until the machine has been looked at."""
    await until(lambda: review_of(app).checks is not None, "the checks")
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "120x40"])
async def test_snapshot(size: tuple[int, int], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.plan.review.prepare", made_launch)
    monkeypatch.setattr("engine.diagnostics.preflight.home_origin", lambda: "the default; NANOSOLO_HOME moves it")
    monkeypatch.setattr("tui.screens.plan.review.runs_home", lambda: Path("/home/you/nanosolo/runs"))
    app = console()
    async with app.run_test(size=size) as pilot:
        await pilot.press("L")
        await pilot.pause()
        await looked(app)
        await matches_snapshot(pilot, f"review_{size[0]}x{size[1]}")


async def test_the_command_shown_runs_the_configuration_that_is_written() -> None:
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("down", "down", "right", "L")
        await pilot.pause()
        line = shown(app, "#command")
        words = shlex.split(line)
        assert words[:3] == ["nanosolo", "--preset", "quickstart"] and "model.depth=6" in words
        draft = review_of(app).draft
        assert configuration(build_parser().parse_args(words[1:])).config == draft.config
        await pilot.press("t")
        assert shown(app, "#toml") + "\n" == to_toml(draft.config)
        assert from_dict(from_toml(shown(app, "#toml"))) == draft.config
        await pilot.press("t")
        assert shown(app, "#toml") == "- model.depth = 4\n+ model.depth = 6"


async def test_a_gpu_that_is_not_here_is_refused_with_the_ways_out(home: Path) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("p", "end", "enter", "L")
        await pilot.pause()
        await looked(app)
        text = text_of(app)
        assert "Cannot launch here" in text and "no NVIDIA GPU" in text and "E writes the TOML" in text
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ReviewScreen) and list_runs() == []


async def test_escape_goes_back_to_the_plan() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L")
        review_of(app)
        await pilot.press("escape")
        assert isinstance(app.screen, PlanScreen)


async def test_the_name_can_be_changed_and_a_taken_one_is_refused(home: Path) -> None:
    (home / "runs" / "mine").mkdir(parents=True)
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L", "n")
        assert isinstance(app.focused, NameField)
        app.screen.query_one(NameField).value = ""
        await pilot.press(*"mine", "enter")
        await pilot.pause()
        assert "run mine exists already" in text_of(app)
        await pilot.press("n", "2", "escape")
        await pilot.pause()
        assert "--name mine2" in shown(app, "#command") and app.focused is None


async def test_y_copies_the_command_to_a_file_as_well(home: Path) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L", "y")
        assert (home / "command.sh").read_text() == shown(app, "#command") + "\n"
        assert app.clipboard == shown(app, "#command")


async def test_capital_e_exports_from_the_review(tmp_path: Path) -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L", "E", "enter")
        await pilot.pause()
        review_of(app)
    assert tomllib.loads((tmp_path / "quickstart.toml").read_text())["about"]["preset"] == "quickstart"


async def test_the_keys_scroll_what_is_longer_than_the_screen() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L", "t")
        await pilot.pause()
        box = app.screen.query_one("#review")
        await pilot.press("j", "down", "pagedown")
        await pilot.pause()
        below = box.scroll_y
        await pilot.press("k")
        await pilot.pause()
        assert below > box.scroll_y > 0


async def test_two_keys_launch_a_detached_run_and_open_its_monitor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = Draft.from_preset("quickstart").edit({"pipeline.stages": ("data",)})
    monkeypatch.setattr("tui.screens.plan.plan_screen.first_draft", lambda here: draft)
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L", "enter")
        await until(lambda: isinstance(app.screen, MonitorScreen), "the monitor")
        run = RunDirectory(home / "runs" / "quickstart-20260131-1405")
        assert app.watched is not None and app.watched.path == run.path
        assert run.config_file.read_text() == to_toml(draft.config)
        await pilot.press("1")
        await pilot.pause()
        assert isinstance(app.screen, PlanScreen)  # the review is gone
        assert app.draft == draft and unlaunched_edits(app.draft, app.settled) == []  # there is nothing to bring back
    if run.is_running():
        stop_run(run, now=True)
    await until(lambda: not run.is_running(), "the end of the run")


async def test_what_a_start_refuses_is_refused_here_in_the_same_words(home: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "talks.jsonl")
    draft = Draft.from_preset("quickstart").edit({"sft.sources": (missing,), "data.source": "builtin"})
    with pytest.raises(UsageError, match=r"talks\.jsonl") as refused:
        start(prepare(draft.config), "one")
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(ReviewScreen(draft, Here.look()))
        await pilot.pause()
        await looked(app)
        (problem,) = review_of(app).refusals
        assert str(refused.value).startswith(f"{problem.subject}: {problem.message}.")
        assert "Cannot launch here" in text_of(app)
        await pilot.press("enter")
        assert isinstance(app.screen, ReviewScreen) and list_runs() == []
        (tmp_path / "talks.jsonl").write_text(
            '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'
        )
        await pilot.press("enter")  # tells once more, and looks again
        await until(lambda: not review_of(app).refusals, "the file")


async def test_a_slow_machine_does_not_hold_up_the_screen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slowly(config: RunConfig) -> Launch:
        gate.wait(20)
        return prepare(config)

    monkeypatch.setattr("tui.screens.plan.review.prepare", slowly)
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L")
        await pilot.pause()
        assert "checking this machine" in text_of(app)
        await pilot.press("t")
        assert "[model]" in shown(app, "#toml")
        gate.set()
        await looked(app)
        assert "Ready" in text_of(app)


async def test_what_is_known_is_shown_while_the_device_is_checked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slowly(launch: Launch, announce: Callable[[str], None]) -> Launch:
        announce("checking the device ...")
        gate.wait(20)
        problem = checked("CUDA", "error", "the GPU waits", "Start its manager")
        return launch._replace(checks=(*launch.checks, problem), device_tried=True)

    monkeypatch.setattr("tui.screens.plan.review.prepare", made_launch)
    monkeypatch.setattr("tui.screens.plan.review.try_device", slowly)
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("L")
        await pilot.pause()
        await until(lambda: "checking the device …" in text_of(app), "what takes seconds")
        assert "/home/you/nanosolo" in text_of(app)
        await pilot.press("t")
        assert "[model]" in shown(app, "#toml")  # the screen answers meanwhile
        gate.set()
        await until(lambda: review_of(app).refusals, "the device")
        assert "Cannot launch here: the GPU waits." in text_of(app)


async def test_a_stage_that_does_not_fit_is_told_with_its_way_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = Draft.from_preset("quickstart").edit(
        {"sft.device_batch_size": 4096, "sft.total_batch_size": 4096 * 256, "runtime.price_per_hour": 2.0}
    )
    monkeypatch.setattr("tui.screens.plan.review.prepare", made_launch)
    app = console()
    async with app.run_test(size=(120, 40)) as pilot:
        app.push_screen(ReviewScreen(draft, Here.look()))
        await pilot.pause()
        await looked(app)
        text = text_of(app)
        assert "stage sft does not fit" in text and "Set sft.device_batch_size = " in text
        assert "with warnings: host, plan" in text and ", costs " in text
        assert "does not fit" in shown(app, "#stages")


async def test_the_whole_toml_comes_into_sight_and_is_read_by_the_keys_of_texts() -> None:
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L")
        await pilot.pause()
        review = review_of(app).query_one("#review", VerticalScroll)
        assert "[about]" not in text_of(app)
        await pilot.press("t")
        await pilot.pause()
        assert "All of run.toml" in text_of(app) and "[about]" in text_of(app)
        seen = []
        for key in ("home", "pagedown", "pageup", "end", "g", "G", "home", "j", "k"):
            await pilot.press(key)
            await pilot.pause()
            seen.append(int(review.scroll_offset.y))
        last, page = int(review.max_scroll_y), review.size.height
        assert last > page and seen == [0, page, 0, last, 0, last, 0, 3, 0]


async def test_the_launch_that_is_shown_is_the_one_that_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Launch] = []
    started: list[Launch] = []
    tries: list[RunConfig] = []
    tries_at_start: list[int] = []

    def counted(config: RunConfig) -> Launch:
        prepared.append(made_launch(config))
        return prepared[-1]

    def tried(config: RunConfig, *_: object) -> None:
        tries.append(config)

    def no_start(launch: Launch, name: str) -> RunDirectory:
        started.append(require_startable(launch))
        tries_at_start.append(len(tries))
        raise UsageError(f"{name} is not started in this test")

    monkeypatch.setattr("tui.screens.plan.review.prepare", counted)
    monkeypatch.setattr("engine.launch.prepare.check_device", tried)
    monkeypatch.setattr("tui.screens.plan.review.start", no_start)
    app = console()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("L", "enter")  # Enter before everything is checked
        await until(lambda: started, "the start")
        assert started[0]._replace(device_tried=False) == prepared[0] and started[0].device_tried
        assert tries_at_start == [1]
        await until(lambda: len(prepared) == 2, "another look after the failure")
        assert len(started) == 1

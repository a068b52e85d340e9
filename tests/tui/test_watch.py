"""The watcher of a run: growing, torn, foreign, replaced and vanishing files, runs that end, all told and survived."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.events.kinds import RunStarted, encode
from engine.run.directory import RunDirectory
from tests.helpers.fake_runner import FakeRunner
from tests.helpers.made_run import Story, story_of, write_run
from tui.runs.watcher import News, RunWatcher, pause

PATIENCE = 20.0


class Watched:
    """A watcher and all that it told."""

    def __init__(self, run: RunDirectory) -> None:
        self.told: list[News] = []
        self.came = threading.Condition()
        self.watcher = RunWatcher(run, self._tell, seconds=0.02)
        self.watcher.start()

    def _tell(self, news: News) -> None:
        with self.came:
            self.told.append(news)
            self.came.notify_all()

    def until(self, holds: Callable[[News], bool]) -> News:
        with self.came:
            assert self.came.wait_for(lambda: any(map(holds, self.told)), PATIENCE), self.told[-3:]
            return next(news for news in self.told if holds(news))

    @property
    def steps(self) -> int:
        with self.watcher.lock:
            return len(self.watcher.history.columns("pretrain"))


@pytest.fixture
def story() -> Story:
    return story_of("red", time.time()).steps(50, machine=False).until(time.time())


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[RunDirectory], Watched]]:
    made: list[Watched] = []

    def start(run: RunDirectory) -> Watched:
        made.append(Watched(run))
        return made[-1]

    yield start
    for watched in made:
        watched.watcher.stop()


Start = Callable[[RunDirectory], Watched]


def test_it_reads_what_is_there_and_what_comes(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    watched = watch(run)
    watched.until(lambda news: watched.steps == 50)
    assert watched.watcher.config == story.config
    assert watched.watcher.plan == story.plan
    with run.events_file.open("ab") as file:
        file.write(b"".join(list(story.steps(1, machine=False).lines())[-1:]))
    watched.until(lambda news: watched.steps == 51)
    assert watched.told[-1].faults == ()


def test_a_long_run_is_told_in_parts_and_whole_in_the_end(tmp_path: Path, watch: Start) -> None:
    story = story_of("red", time.time(), budget__steps=9000).steps(9000)
    watched = watch(write_run(tmp_path, "red", story))
    watched.until(lambda news: not news.loading and watched.steps == 9000)


def test_a_long_run_is_looked_at_soon_again_once_it_is_read() -> None:
    assert pause(0.5, cost=1.2, settled=False) == 0.5
    assert pause(0.5, cost=0.001, settled=True) == 0.5
    assert pause(0.5, cost=0.02, settled=True) == pytest.approx(2.0)  # a hundredth of a core
    assert pause(0.5, cost=3.0, settled=True) == 5.0


def test_a_line_cut_in_the_middle_is_taken_when_it_is_whole(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    line = list(story.steps(1, machine=False).lines())[-1]
    with run.events_file.open("ab", buffering=0) as file:
        file.write(line[:40])
        watched = watch(run)
        watched.until(lambda news: watched.steps == 50)
        file.write(line[40:])
    watched.until(lambda news: watched.steps == 51)
    assert watched.told[-1].faults == ()


def test_garbage_and_unknown_kinds_are_counted_and_told(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    with run.events_file.open("ab") as file:
        file.write(b'\xff\xfe garbage\n{"v":9,"t":1.0,"kind":"from the future","x":[]}\n{"kind":"step"}\n')
    watched = watch(run)
    news = watched.until(lambda news: bool(news.faults))
    assert news.faults == ("3 lines of events.jsonl left out: damaged, or from a newer version",)
    assert watched.steps == 50


def test_a_clock_that_goes_backwards_is_told(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    story.now -= 3600
    with run.events_file.open("ab") as file:
        file.write(list(story.steps(1, machine=False).lines())[-1])
    news = watch(run).until(lambda news: bool(news.faults))
    assert "went backwards once" in news.faults[0]


def test_a_replaced_file_is_read_anew(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    watched = watch(run)
    watched.until(lambda news: watched.steps == 50)
    fresh = run.path / "fresh"
    fresh.write_bytes(b"".join(story_of("red", time.time()).steps(7, machine=False).lines()))
    fresh.replace(run.events_file)
    news = watched.until(lambda news: news.generation == 1 and watched.steps == 7)
    assert "replaced or cut short" in news.faults[0]


def test_a_deleted_file_and_a_deleted_run_are_told(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    watched = watch(run)
    watched.until(lambda news: watched.steps == 50)
    run.events_file.unlink()
    watched.until(lambda news: any("events.jsonl was deleted" in fault for fault in news.faults))
    shutil.rmtree(run.path)
    watched.until(lambda news: any("directory was deleted" in fault for fault in news.faults))
    assert watched.steps == 50


def test_a_damaged_configuration_is_told_and_mended(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    good = run.config_file.read_text()
    run.config_file.write_text("depth = [")
    watched = watch(run)
    watched.until(lambda news: any("not valid TOML" in fault for fault in news.faults))
    run.config_file.write_text(good)
    watched.until(lambda news: news is watched.told[-1] and not news.faults)


def test_states_follow_the_process(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    with FakeRunner(run, tmp_path, first=50) as runner:
        watched = watch(run)
        watched.until(lambda news: news.state == "running")
        watched.until(lambda news: watched.steps > 60)
        runner.kill()
        watched.until(lambda news: news.state == "failed")
    with FakeRunner(run, tmp_path, first=90) as runner:
        watched.until(lambda news: news is watched.told[-1] and news.state == "running")
        runner.process.terminate()
        watched.until(lambda news: news.state == "stopped")


def test_a_run_of_another_host(tmp_path: Path, story: Story, watch: Start) -> None:
    story.events[0] = RunStarted(name="red", version="0.1.0", host=f"not-{socket.gethostname()}", pid=1, t=story.now)
    watch(write_run(tmp_path, "red", story)).until(lambda news: news.state == "elsewhere")


def test_it_is_silent_when_nothing_happens(tmp_path: Path, story: Story, watch: Start) -> None:
    run = write_run(tmp_path, "red", story)
    watched = watch(run)
    watched.until(lambda news: watched.steps == 50)
    line = encode(RunStarted(name="red", version="0.1.0", host=socket.gethostname(), pid=1))
    told = len(watched.told)
    with run.events_file.open("ab") as file:
        file.write(line)
    watched.until(lambda news: len(watched.told) > told)
    assert len(watched.told) <= told + 2  # what is new, and once more if the state changed with it

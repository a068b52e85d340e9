"""A reader at a run reads little, and says the same as reading all of it."""

import os
import shutil
import time
from pathlib import Path

import pytest

from engine.core import formatting
from engine.events.history import read_history
from engine.events.log import EventReader
from engine.run.status import remaining_seconds, run_status
from engine.run.summary import HEAD_BYTES, TAIL_BYTES, RunSummary, SummaryReader, SummaryReaders
from tests.helpers.made_run import Story, config_of, frozen, plan_of, story_of, write_run


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each read of events."""
    sizes: list[int] = []
    whole = EventReader.read

    def counted(self: EventReader, limit: int = 64 * 2**20) -> object:
        before = self._offset
        events = whole(self, limit)
        sizes.append(self._offset - before)
        return events

    monkeypatch.setattr(EventReader, "read", counted)
    return sizes


def test_a_long_run_is_read_at_its_ends_only(home: Path, read: list[int]) -> None:
    story = story_of("long", time.time(), budget__steps=9000, evaluate__every_steps=200).steps(9000)
    run = write_run(home, "long", story.until(time.time() - 100))
    whole = read_history(run.events_file)
    assert run.events_file.stat().st_size > 4 * (HEAD_BYTES + TAIL_BYTES)
    read.clear()
    seen = SummaryReader(run).look()
    assert sum(read) <= HEAD_BYTES + TAIL_BYTES
    columns = whole.columns("pretrain")
    assert (seen.step, seen.steps, seen.loss) == (9000, 9000, columns.loss[-1])
    bpb = whole.latest("val_bpb")
    assert bpb is not None and seen.val_bpb == bpb.value
    assert seen.age == pytest.approx(time.time() - story.events[0].t, abs=5)


def test_the_last_evaluation_is_looked_for_further_back(home: Path, read: list[int]) -> None:
    story = (
        story_of("long", time.time(), budget__steps=9000, evaluate__every_steps=0).steps(6000).evaluate().steps(1500)
    )
    run = write_run(home, "long", story)
    read.clear()
    assert SummaryReader(run).look().val_bpb > 0
    assert sum(read) <= HEAD_BYTES + TAIL_BYTES  # as events


def test_of_a_finished_run_only_the_time_that_it_all_lay_within_is_known(home: Path) -> None:
    config = config_of("balanced", budget__steps=4000)
    story = Story(frozen(plan_of(config)), config, time.time() - 90_000).start("long").stage("data")
    for _ in range(600):  # the head ends before this stage does
        story.now += 1
        story.reading()
    story.end_stage("data").stage("pretrain").device().steps(4000).end_stage("pretrain")
    run = write_run(home, "long", story.stage("evaluate").end_stage("evaluate").end())
    lay = formatting.duration(story.events[-1].t - story.events[0].t)
    assert f"finished, 4,000 steps, within {lay}, " in SummaryReader(run).look().status.text
    worked = run_status("long", "finished", read_history(run.events_file), time.time()).text
    assert f"finished, 4,000 steps, in {lay}, " in worked  # as there was no pause


def test_the_second_look_reads_only_what_is_new(home: Path, read: list[int]) -> None:
    story = story_of("red", time.time(), budget__steps=4000).steps(3000)
    run = write_run(home, "red", story)
    reader = SummaryReader(run)
    reader.look()
    read.clear()
    reader.look()
    assert sum(read) == 0
    new = list(story.steps(1, machine=False).lines())[-1]
    with run.events_file.open("ab") as file:
        file.write(new)
    assert reader.look().step == 3001
    assert sum(read) == len(new)


def test_a_run_that_was_resumed_in_the_part_that_is_not_read(home: Path) -> None:
    story = story_of("red", time.time(), budget__steps=9000).steps(300).end_stage("pretrain", "stopped").end("stopped")
    story.start("red", resumed=True).stage("pretrain").resume_at(300).steps(6000)
    seen = SummaryReader(write_run(home, "red", story)).look()
    assert seen.step == 6300
    assert seen.status.state == "failed"  # nobody holds its lock and no end is written
    assert "after step 6,300" in seen.status.text


def test_damage_is_said_and_mended(home: Path) -> None:
    run = write_run(home, "red", story_of("red", time.time()).steps(5))
    reader = SummaryReader(run)
    assert reader.look().status.state == "failed"
    good = run.config_file.read_text()
    run.config_file.write_text("[model]\ndepth = 'deep'\n")
    seen = reader.look()
    assert seen.status.state == "damaged" and "model.depth" in seen.status.text
    run.config_file.write_text(good)
    assert reader.look().status.state == "failed"
    run.config_file.unlink()
    assert "cannot read run.toml" in reader.look().status.text


def test_a_file_of_garbage_is_a_damaged_run(home: Path) -> None:
    run = write_run(home, "red", story_of("red", time.time()).steps(5))
    run.events_file.write_bytes(b"\x00\xff" * 5000 + b"\n")
    assert SummaryReader(run).look().status.state == "damaged"


def test_all_runs_newest_first_and_those_without_configuration(home: Path) -> None:
    for i, name in enumerate(("a", "b")):
        run = write_run(home, name, story_of(name, time.time()).steps(2))
        os.utime(run.config_file, (1000 + i, 1000 + i))
    lost = home / "runs" / "lost"
    lost.mkdir()
    (lost / "events.jsonl").write_text("")
    (home / "runs" / "not-a-run").mkdir()
    assert [summary.run.name for summary in SummaryReaders().look()] == ["b", "a", "lost"]


def test_a_run_that_is_removed_meanwhile_is_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        write_run(home, name, story_of(name, time.time()).steps(2))
    look = SummaryReader.look

    def looked(self: SummaryReader, now: float | None = None) -> RunSummary:
        if (home / "runs" / "b").exists():
            shutil.rmtree(home / "runs" / "b")
        return look(self, now)

    monkeypatch.setattr(SummaryReader, "look", looked)
    assert {summary.run.name for summary in SummaryReaders().look()} == {"a", "c"}


def test_a_glance_tells_what_is_left_and_how_it_ended(home: Path) -> None:
    story = story_of("long", time.time(), budget__steps=9000, evaluate__every_steps=0).steps(7000)
    run = write_run(home, "long", story.until(time.time() - 1))
    seen, left = SummaryReader(run).look(), remaining_seconds(read_history(run.events_file))
    assert left is not None and seen.remaining == pytest.approx(left, rel=0.2) and seen.exit_code is None

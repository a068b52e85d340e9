"""Following as text: what is printed of events that hold strange values, and of a long past."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events.history import History
from engine.events.kinds import Advice, AnyEvent, Evaluation, Sample, StageEnded, StageStarted, Step
from tests.helpers.made_run import story_of, write_run
from tui.cli.catch_up import Abridged
from tui.cli.follow import LinePrinter, event_lines, follow


@pytest.mark.parametrize("moment", [1e300, -1e300, 1e17, -1e12])
def test_a_time_that_no_clock_shows_is_no_reason_to_fall(moment: float, capsys: pytest.CaptureFixture[str]) -> None:
    LinePrinter(History(), 10).show(Advice(t=moment, code="x", message="look here", change={}, effect=""))
    assert capsys.readouterr().out.endswith("  advice: look here\n")


def told(run_lines: str) -> list[str]:
    return [line.split("  ", 1)[1] for line in run_lines.splitlines()]


def test_a_long_past_is_told_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = story_of("long", 1_800_000_000.0, budget__steps=1000, evaluate__every_steps=100).steps(1000)
    run = write_run(tmp_path, "long", story.end_stage("pretrain").end())
    assert follow(run, every=10) == 0
    whole = told(capsys.readouterr().out)
    assert follow(run, every=10, last=20) == 0
    short = told(capsys.readouterr().out)
    steps = [line for line in short if line.startswith("step") and "tokens/s" in line]
    assert (len(steps), steps[0].split()[1], steps[-1].split()[1]) == (20, "810/1,000", "1,000/1,000")
    assert whole[-20:] == short[-20:]
    [summed] = [line for line in short if "--lines 0" in line]
    assert summed.startswith("steps 1 to 800, ") and "7 evaluations" in summed and "val_bpb" in summed
    assert [line for line in whole if "started" in line or "done" in line] == [
        line for line in short if "started" in line or "done" in line
    ]
    assert len(short) < len(whole) / 2


def test_the_last_events_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = story_of("long", 1_800_000_000.0, budget__steps=100).steps(100)
    run = write_run(tmp_path, "long", story.end_stage("pretrain").end())
    follow(run, as_json=True, last=3)
    assert capsys.readouterr().out.splitlines() == run.events_file.read_text().splitlines()[-3:]


class Seen:
    """A printer that only remembers."""

    def __init__(self) -> None:
        self.shown: list[AnyEvent] = []

    def show(self, event: AnyEvent) -> None:
        self.shown.append(event)

    def say(self, t: float, line: str) -> None:
        pass

    def close(self) -> None:
        pass


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 30))
def test_only_steps_and_what_lies_among_them_are_passed_over(steps: int, every: int, count: int) -> None:
    story = story_of("x", 1_800_000_000.0, budget__steps=40).steps(steps, machine=False).end_stage("pretrain").end()
    seen = Seen()
    short = Abridged(seen, count, every)
    for event in story.events:
        short.show(event)  # type: ignore[arg-type]
    rare = [event for event in story.events if not isinstance(event, Step | Evaluation | Sample)]
    assert [event for event in seen.shown if not isinstance(event, Step | Evaluation | Sample)] == rare
    marked = [e for e in story.events if isinstance(e, Step) and (e.step % every == 0 or e.step in (1, e.steps))]
    kept = [event for event in seen.shown if isinstance(event, Step) and event in marked]
    assert kept == marked[count:]


def test_a_score_that_took_no_time_of_its_own_has_none() -> None:
    scored = Evaluation(stage="chat_eval", step=5, metric="chat/ends", value=1.0, seconds=0.0)
    assert event_lines(scored, History()) == ["step 5  chat/ends 1.0000  (higher is better)"]


def test_a_sample_keeps_the_space_that_begins_it() -> None:
    def line(text: str) -> str:
        return event_lines(Sample(stage="pretrain", step=2612, prompt="it returns", text=text), History())[0]

    assert line("hes\n home") == "step 2,612  sample: it returns|hes home"
    assert line(" to  me ") == "step 2,612  sample: it returns| to me"


def test_the_end_of_a_stage_counts_all_of_its_attempts() -> None:
    history = History()
    events: list[AnyEvent] = []
    for begun, outcome in ((0.0, "stopped"), (1000.0, "done")):
        events.append(StageStarted(t=begun, stage="pretrain", pid=1, argv=()))
        events.append(StageEnded(t=begun + 90, stage="pretrain", outcome=outcome, seconds=90.0, exit_code=0))
    history.apply_all(events)
    assert event_lines(events[-1], history) == ["pretrain: done after 3 m 00 s, in 2 attempts"]

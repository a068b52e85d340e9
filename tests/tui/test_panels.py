"""The words of the Monitor fit the width they are given, whatever the run."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.content import Content

from engine.core.diagnostic import Diagnostic
from engine.events.history import History
from engine.run.status import RunStatus
from tests.helpers.made_run import Story, story_of
from tui.runs import panels
from tui.runs.key_numbers import brief, comparisons, learning_figures, machine_figures
from tui.runs.run_series import Feed
from tui.runs.stage_bar import pipeline_line
from tui.widgets.diagnostic_rows import advice_rows

STAGES = ["data", "tokenizer", "tokenize", "pretrain", "evaluate", "sft", "chat_eval", "report"]


def told(story: Story) -> History:
    history = History()
    history.apply_all(story.events)  # type: ignore[arg-type]
    return history


def training(**changes: Any) -> Story:
    return story_of("red", time.time(), pipeline__stages=STAGES, budget__steps=1000, **changes).steps(270)


def widths(rows: list[Content]) -> list[int]:
    return [row.cell_length for row in rows]


@pytest.mark.parametrize("width", [60, 78, 118, 198])
def test_the_pipeline_fits_and_says_how_far_it_is(width: int) -> None:
    story = training()
    for history, live, words in (
        (told(story), True, "▸ pretrain"),
        (told(story), False, "✗ pretrain"),
        (told(story.end_stage("pretrain").stage("evaluate").end_stage("evaluate").stage("sft")), True, "▸ sft"),
    ):
        line = pipeline_line(history, story.config, width, live)
        assert line.cell_length <= width, line.plain
        assert words in line.plain
    assert "27 %" in pipeline_line(told(training()), story.config, width).plain


def test_stages_are_merged_only_where_they_must_be() -> None:
    story = training()
    assert "✓ data 3 m 25 s" in pipeline_line(told(story), story.config, 198).plain
    assert pipeline_line(told(story), story.config, 78).plain.startswith("✓ 3 done  ▸ pretrain ━")
    assert pipeline_line(told(story), story.config, 50).plain.endswith("· 4 to come")
    assert pipeline_line(History(), None, 80).plain == "no stage yet"


@settings(max_examples=60, deadline=None)
@given(st.integers(46, 200), st.integers(0, 12), st.booleans())
def test_figures_fit(width: int, steps: int, readings: bool) -> None:
    story = story_of("red", time.time()).steps(steps, machine=False)
    if readings:
        story.reading(gpu={"used": 38.05, "temperature": None})
    history, feed = told(story), Feed()
    feed.update(history)
    learning, machine = learning_figures(feed, history, story.plan), machine_figures(feed, history, story.plan)
    few, compared = brief(feed, history, story.plan), comparisons(history, story.plan)
    assert len(few) == 12
    assert max(widths(panels.comparison_table(compared, width))) <= width
    assert max(widths(panels.table(learning, width))) <= width
    if width >= 76:
        assert max(widths(panels.grid(few, width, 4))) <= width
    assert max(widths(panels.table(machine, 46))) <= 46


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)


@given(words, words, words, st.integers(40, 120))
def test_advice_and_verdict_fit(message: str, fix: str, effect: str, width: int) -> None:
    finding = Diagnostic("code", message, fix, change={"batch.device_batch_size": 8}, effect=effect)
    assert len(panels.status_rows(RunStatus("failed", message, "bad"), width)) <= 2
    rows = advice_rows([finding], width, commands=True)
    assert "batch.device_batch_size=8" in "".join(row.plain for row in rows)
    assert rows[0].plain[0] == "▲"


def test_a_healthy_run_is_told_so() -> None:
    assert "The run looks healthy" in advice_rows([], 60)[0].plain
    assert panels.advice_line([], "a", 60).plain == ""

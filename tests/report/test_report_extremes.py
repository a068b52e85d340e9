"""Whatever numbers damaged or odd events hold, there is a report."""

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events.history import History
from engine.events.kinds import (
    Advice,
    Device,
    Diverged,
    Evaluation,
    OutOfMemory,
    Resumed,
    RunStarted,
    StageEnded,
    StageStarted,
    Step,
    System,
    Warning,
)
from engine.report.markdown import markdown
from engine.report.measured import facts_of
from engine.report.source import Source
from engine.stages.report import page, report_of
from tests.helpers.made_run import story_of
from tests.helpers.page_reader import PageReader

NUMBERS = st.sampled_from([0.0, -1.0, 1.0, 2.5, 1e308, -1e308, 5e-324, 1e15, -3e9])
COUNTS = st.sampled_from([0, 1, 2, 3, 10, 2**62])
MAYBE = st.none() | NUMBERS
STAGES = st.sampled_from(["pretrain", "sft", "rl", "evaluate", "chat_eval", "report", "other"])
METRICS = st.sampled_from(["val_bpb", "train_bpb", "val_loss", "reward", "pass@1", "core", "core/x", "chat/y", "odd"])
WORDS = st.sampled_from(["done", "stopped", "", "of another version"])
ANYTHING = st.none() | NUMBERS | st.text(max_size=5) | st.lists(NUMBERS, max_size=2)


def steps() -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        t=NUMBERS,
        stage=STAGES,
        step=COUNTS,
        steps=COUNTS,
        tokens=COUNTS,
        loss=MAYBE,
        learning_rate_scale=NUMBERS,
        grad_norm=MAYBE,
        step_seconds=NUMBERS,
        data_seconds=NUMBERS,
        tokens_per_second=NUMBERS,
        mfu=MAYBE,
        peak_memory=st.none() | COUNTS,
    )


EVENTS = st.one_of(
    steps(),
    steps(),
    st.builds(RunStarted, t=NUMBERS, name=WORDS, version=WORDS, host=WORDS, pid=COUNTS, resumed=st.booleans(),
              versions=st.dictionaries(st.sampled_from(["commit", "python", "driver"]), ANYTHING)),
    st.builds(StageStarted, t=NUMBERS, stage=STAGES, pid=COUNTS, argv=st.just(())),
    st.builds(StageEnded, t=NUMBERS, stage=STAGES, outcome=WORDS, seconds=NUMBERS),
    st.builds(Evaluation, t=NUMBERS, stage=STAGES, step=COUNTS, metric=METRICS, value=NUMBERS, seconds=NUMBERS,
              baseline=MAYBE, examples=st.none() | COUNTS),
    st.builds(Resumed, t=NUMBERS, stage=STAGES, step=COUNTS),
    st.builds(System, t=NUMBERS, gpu=st.none() | st.dictionaries(st.sampled_from(["used", "total"]), ANYTHING),
              host=st.dictionaries(st.sampled_from(["ram_used", "ram_total"]), ANYTHING)),
    st.builds(Advice, t=NUMBERS, code=WORDS, message=WORDS, change=st.just({}), effect=WORDS),
    st.builds(OutOfMemory, t=NUMBERS, stage=STAGES, step=COUNTS, phase=WORDS, requested=st.none() | COUNTS,
              allocated=st.none() | COUNTS, capacity=st.none() | COUNTS, action=WORDS),
    st.builds(Diverged, t=NUMBERS, stage=STAGES, step=COUNTS, what=WORDS, action=WORDS),
    st.builds(Warning, t=NUMBERS, stage=STAGES, step=COUNTS, code=WORDS, message=WORDS),
    st.builds(Device, stage=STAGES, device=WORDS, name=WORDS, torch=WORDS, compiled=st.booleans(),
              grad_accum_steps=COUNTS, device_batch_size=COUNTS),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(EVENTS, max_size=25), st.sampled_from(["finished", "failed", "running", "new"]))
def test_odd_numbers_do_not_stop_a_report(events: list, state: str) -> None:  # type: ignore[type-arg]
    told = story_of("red", 1.8e9, runtime__price_per_hour=1.29)
    history = History()
    history.apply_all(events)
    source = Source("red", "/runs/red/run.toml", told.config, told.plan, history, state, 1.8e9)
    document = report_of(source)
    PageReader(page(document))
    assert markdown(document).startswith("# red\n")
    facts_of(source)

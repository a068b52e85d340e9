"""Every stage is planned: its steps, memory and time, what is not known and why, and all of them together."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.layers import from_dict, with_changes
from engine.config.schema import RunConfig
from engine.config.train_spec import stage_config
from engine.core.units import GIB
from engine.hardware.gpu_catalog import CATALOGUE, Gpu, by_id, by_name, cpu
from engine.plan import calibration
from engine.plan.calibration import Calibration, Measured
from engine.plan.dataset_facts import CORE_QUESTIONS, conversations_in, core_questions, is_remote
from engine.plan.plan import Plan, make_plan
from engine.plan.presets import load_preset, preset_names
from engine.plan.stage_plan import StagePlan

EVERY = ("data", "tokenizer", "tokenize", "pretrain", "evaluate", "midtrain", "sft", "rl", "chat_eval", "report")
A100 = by_id("a100-40gb")


def config_of(preset: str = "balanced", **changes: Any) -> RunConfig:
    dotted = {path.replace("__", "."): value for path, value in changes.items()}
    return with_changes(from_dict(load_preset(preset)), {"pipeline.stages": EVERY, **dotted})


def stages_of(plan: Plan) -> dict[str, StagePlan]:
    return {stage.stage: stage for stage in plan.stages}


def stage_of(name: str, gpu: Gpu = A100, **changes: Any) -> StagePlan:
    return stages_of(make_plan(config_of(**changes), gpu))[name]


def warning_of(code: str, gpu: Gpu = A100, **changes: Any) -> tuple[RunConfig, dict[str, Any]]:
    """(configuration, the fix) of the warning. Fails where there is none."""
    config = config_of(**changes)
    found = next(warning for warning in make_plan(config, gpu).warnings if warning.code == code)
    assert found.change is not None and found.message and found.help
    return config, dict(found.change)


@pytest.mark.parametrize("preset", preset_names())
def test_every_stage_of_every_preset_is_planned(preset: str) -> None:
    config = from_dict(load_preset(preset))
    plan = make_plan(config, cpu(2, 16 * GIB) if config.runtime.gpu in ("cpu", "auto") else by_id(config.runtime.gpu))
    assert [stage.stage for stage in plan.stages] == [s for s in config.pipeline.stages if s != "report"]
    for stage in plan.stages:
        assert stage.time_basis and stage.memory_basis
        if stage.stage not in ("data", "tokenizer", "tokenize"):
            assert stage.peak_memory and stage.fits and stage.peak_phase, stage
            assert stage.hours is not None and stage.tokens, stage
    pretrain = stages_of(plan)["pretrain"]
    assert (pretrain.steps, pretrain.hours, pretrain.peak_memory) == (plan.steps, plan.time.hours, plan.memory.total)
    assert plan.pipeline.hours is not None and plan.time.hours is not None and plan.pipeline.hours > plan.time.hours


@settings(max_examples=60, deadline=None)
@given(
    gpu=st.sampled_from(CATALOGUE),
    depth=st.sampled_from([2, 8, 12, 20]),
    rows=st.sampled_from([1, 4, 32]),
    new=st.sampled_from([16, 256, 1024]),
    price=st.one_of(st.none(), st.floats(0, 10)),
    core=st.sampled_from(["off", "auto", "download"]),
    tasks=st.lists(st.sampled_from(["builtin", "arc-easy", "mmlu", "gsm8k", "humaneval"]), max_size=3, unique=True),
)
def test_arithmetic(
    gpu: Gpu, depth: int, rows: int, new: int, price: float | None, core: str, tasks: list[str]
) -> None:
    changes = {"rl__device_batch_size": rows, "rl__max_new_tokens": new, "evaluate__core": core}
    config = config_of(model__depth=depth, chat_eval__tasks=tuple(tasks), runtime__price_per_hour=price, **changes)
    plan = make_plan(config, gpu)
    timed = [stage for stage in plan.stages if stage.hours is not None]
    for stage in timed:
        assert stage.low_hours is not None and stage.hours is not None and stage.high_hours is not None
        assert 0 < stage.low_hours <= stage.hours <= stage.high_hours
        assert stage.cost == (None if price is None else pytest.approx(price * stage.hours))
    for stage in plan.stages:
        assert stage.fits is None or stage.fits == ((stage.peak_memory or 0) <= gpu.capacity)
    whole = plan.pipeline
    assert whole.hours == pytest.approx(sum(stage.hours or 0 for stage in timed))
    assert set(whole.uncounted) == {stage.stage for stage in plan.stages if stage.hours is None}
    assert whole.cost == (None if price is None else pytest.approx(price * (whole.hours or 0)))


def test_a_stage_with_pretrainings_batch_needs_pretrainings_memory() -> None:
    plan = make_plan(config_of(), A100)
    midtrain = stages_of(plan)["midtrain"]
    assert midtrain.peak_memory == plan.memory.total  # one trainer, one batch
    assert midtrain.total_batch_size == plan.total_batch_size
    assert midtrain.steps is not None and 1000 < midtrain.steps < 2000  # nanochat's own took some 800 of 524,288
    smaller = stage_of("midtrain", midtrain__device_batch_size=1)
    assert smaller.peak_memory is not None and smaller.peak_memory < plan.memory.total


def test_what_is_not_known_before_it_is_read_is_said() -> None:
    sft = stage_of("sft", sft__sources=("talks.jsonl",))
    assert (sft.steps, sft.tokens, sft.hours) == (None, None, None)
    assert "sft.sources" in sft.time_basis and sft.peak_memory
    known = stage_of("sft", sft__sources=("talks.jsonl",), sft__steps=50)
    assert known.steps == 50 and known.hours
    local = make_plan(config_of(data__source="local", data__paths=("text",)), A100)
    assert {"tokenizer", "tokenize"} <= set(local.pipeline.uncounted)
    assert "network" in stages_of(local)["data"].time_basis
    unknown = make_plan(config_of(), by_name("NVIDIA X1", 2**37))
    assert stages_of(unknown)["rl"].hours is None and "not in the catalogue" in stages_of(unknown)["rl"].time_basis
    assert stages_of(unknown)["rl"].fits


def test_more_work_takes_longer_and_more_at_a_time_more_memory() -> None:
    def hours(name: str, **changes: Any) -> float:
        return stage_of(name, **changes).hours or 0.0

    def peak(name: str, **changes: Any) -> int:
        return stage_of(name, **changes).peak_memory or 0

    assert hours("rl", rl__samples_per_problem=32) > 1.5 * hours("rl", rl__samples_per_problem=16)
    assert hours("rl", rl__steps=10) < hours("rl", rl__steps=100) < 11 * hours("rl", rl__steps=10)
    assert peak("rl", rl__device_batch_size=16) > peak("rl", rl__device_batch_size=8)
    assert peak("rl", rl__samples_per_problem=32) == peak("rl", rl__samples_per_problem=16)  # not all at a time
    assert peak("chat_eval", chat_eval__batch_size=512) > peak("chat_eval", chat_eval__batch_size=16)
    assert hours("chat_eval", chat_eval__max_per_task=10) < hours("chat_eval", chat_eval__max_per_task=100)
    assert hours("evaluate", evaluate__core="off") < hours("evaluate", evaluate__core_max_per_task=50)
    assert hours("evaluate", evaluate__core_max_per_task=50) < hours("evaluate", evaluate__core_max_per_task=0)
    assert stage_of("evaluate", evaluate__core="auto").time_basis.endswith("where its bundle is here")


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("sft_does_not_fit", {"sft__device_batch_size": 512, "sft__total_batch_size": 1_572_864}),
        ("midtrain_does_not_fit", {"midtrain__device_batch_size": 128}),
        ("rl_does_not_fit", {"rl__device_batch_size": 512, "rl__samples_per_problem": 512}),
        ("rl_does_not_fit", {"rl__max_new_tokens": 400_000}),
        ("chat_eval_does_not_fit", {"chat_eval__batch_size": 2048, "chat_eval__max_new_tokens": 2048}),
        ("evaluate_does_not_fit", {"batch__device_batch_size": 4096, "pipeline__stages": ("evaluate",)}),
    ],
)
def test_a_stage_that_does_not_fit_is_warned_of_with_a_change_that_mends_it(code: str, changes: dict[str, Any]) -> None:
    if "batch__device_batch_size" in changes:
        changes = {**changes, "batch__total_batch_size": 4096 * 1536}
    config, change = warning_of(code, **changes)
    mended = make_plan(with_changes(config, change), A100)
    assert code not in {warning.code for warning in mended.warnings}
    assert stages_of(mended)[code.removesuffix("_does_not_fit")].fits


def test_what_is_said_of_pretraining_is_not_said_again_of_others() -> None:
    small = by_id("v100-16gb")
    codes = {warning.code for warning in make_plan(config_of("reference"), small).warnings}
    assert "does_not_fit" in codes and "midtrain_does_not_fit" not in codes


def test_what_was_measured_corrects_the_stages_too() -> None:
    host = cpu(2, 16 * GIB)
    config = config_of("quickstart")
    plain = stages_of(make_plan(config, host))
    speed = make_plan(config, host).time.tokens_per_second
    assert speed is not None
    measured = Measured(
        device=calibration.key_of(host),
        torch="x",
        depth=4,
        vocab_size=4096,
        max_seq_len=256,
        device_batch_size=16,
        total_batch_size=4096,
        activation_checkpointing="none",
        loss="chunked",
        loss_chunk_tokens=1024,
        compiled=False,
        tokens_per_second=speed / 2,
        peak_memory=make_plan(config, host).memory.total - 300 * 2**20,
    )
    found = stages_of(make_plan(config, host, Calibration(measured=(measured,))))
    for name in ("midtrain", "rl"):
        less = (plain[name].peak_memory or 0) - (found[name].peak_memory or 0)
        assert less == pytest.approx(300 * 2**20, rel=0.2), name
    for name in ("evaluate", "sft", "rl", "chat_eval"):
        before, after = plain[name].hours, found[name].hours
        assert before is not None and after is not None and before < after <= 2 * before
        assert "measured here" in found[name].time_basis


def test_quickstart_is_predicted_as_it_was_measured() -> None:
    """Seconds and MiB of a real run of two busy cores; time in the range, memory at most half too much."""
    plan = make_plan(from_dict(load_preset("quickstart")), cpu(2, 16 * GIB))
    seen = {"data": 3.2, "tokenizer": 3.2, "tokenize": 3.3, "pretrain": 295.2, "sft": 133.4, "chat_eval": 6.1}
    peaks = {"pretrain": 1013, "evaluate": 433, "sft": 1012, "chat_eval": 289}
    stages = stages_of(plan)
    for name, seconds in seen.items():
        assert (stages[name].low_hours or 0) * 3600 <= seconds <= (stages[name].high_hours or 0) * 3600, name
    for name, mib in peaks.items():
        assert 0.95 * mib <= (stages[name].peak_memory or 0) / 2**20 <= 1.5 * mib, name
    assert stages["sft"].steps == pytest.approx(89, rel=0.05)


def test_known_datasets() -> None:
    assert conversations_in(("gsm8k:100", "gsm8k:100")) == (2 * 100 * 190, 1_319 * 190)
    assert conversations_in(("builtin", "talks.jsonl")) is None
    assert [is_remote(name) for name in ("builtin", "smoltalk:10", "hf:a/b", "talks.jsonl")] == [
        False,
        True,
        True,
        False,
    ]
    assert core_questions(0) == sum(CORE_QUESTIONS) > core_questions(500) > core_questions(1) == 22


def test_the_formulas_know_the_programs_own_figures() -> None:
    """The planner imports no torch, so what it knows of the program stands twice."""
    from engine.data.chat.builtin_conversations import examples

    held = conversations_in(("builtin",))
    assert held is not None and held.tokens == 31 * len(examples("train"))
    assert held.validation == 31 * len(examples("validation"))


def test_a_plan_from_before_stages_were_planned_can_still_be_read() -> None:
    plan = make_plan(config_of(), A100)
    table = msgspec.json.decode(msgspec.json.encode(plan))
    del table["pipeline"]
    old = ("stage", "device_batch_size", "total_batch_size", "steps", "hours")
    table["stages"] = [{key: stage[key] for key in old} for stage in table["stages"] if stage["stage"] == "sft"]
    read = msgspec.convert(table, Plan)
    assert read.stages[0].steps == stages_of(plan)["sft"].steps and read.pipeline.hours is None


def test_rewards_take_a_batch_of_problems() -> None:
    assert stage_config(config_of(), "rl").batch.device_batch_size == 16


def test_a_later_stage_finds_its_model_compiled_where_an_earlier_one_is_of_the_same_form() -> None:
    def least(**changes: Any) -> float:
        found = stages_of(make_plan(config_of("full-80gb", **changes), by_id("a100-80gb")))["sft"]
        return 3600 * (found.hours or 0)

    # 8 rows of 2,048 tokens in either stage, so that only the cache differs
    same = {"batch__device_batch_size": 8, "sft__device_batch_size": 8, "sft__steps": 10}
    alone = least(**same, pipeline__stages=["sft"])
    after = least(**same, pipeline__stages=["pretrain", "sft"])
    other = least(**{**same, "batch__device_batch_size": 16}, pipeline__stages=["pretrain", "sft"])
    assert after < alone == pytest.approx(other, rel=1e-6)

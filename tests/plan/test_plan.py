"""The plan: exact integers of the presets, exact arithmetic for any configuration, warnings with a way out."""

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.layers import from_dict, from_toml, to_toml, with_changes
from engine.config.schema import RunConfig, depth_is_valid
from engine.hardware.gpu_catalog import CATALOGUE, by_id, by_name, cpu
from engine.plan.dataset_facts import TRAINING_SHARDS, shards_needed
from engine.plan.plan import Plan, make_plan
from engine.plan.presets import load_preset, preset_names


def plan_of(preset: str, gpu: str | None = None, **changes: Any) -> Plan:
    table = load_preset(preset)
    for path, value in changes.items():
        section, key = path.split("__")
        table.setdefault(section, {})[key] = value
    config = from_dict(table)
    return make_plan(config, by_id(gpu or config.runtime.gpu))


@pytest.mark.parametrize(
    ("preset", "accumulation", "total", "params"),
    [
        ("conservative", 32, 131_072, 185_597_952),
        ("balanced", 43, 264_192, 252_313_600),
        ("aggressive", 32, 524_288, 335_544_320),
        ("maximum", 32, 524_288, 437_649_408),
        ("reference", 8, 524_288, 560_988_160),
        ("full-40gb", 32, 524_288, 560_988_160),
        ("full-80gb", 8, 524_288, 560_988_160),
    ],
)
def test_exact_integers(preset: str, accumulation: int, total: int, params: int) -> None:
    plan = plan_of(preset)
    assert plan.grad_accum_steps == accumulation
    assert plan.total_batch_size == total
    assert plan.params.total == params
    assert plan.steps == -(-20 * params // total)
    assert plan.tokens == plan.steps * total


def test_balanced_says_what_was_asked() -> None:
    warning = next(w for w in plan_of("balanced").warnings if w.code == "total_batch_rounded")
    assert "262,144" in warning.message and "42.67" in warning.message and "264,192" in warning.message
    assert warning.change == {"batch.total_batch_size": 264_192}


def test_reference_needs_what_nanochat_downloads() -> None:
    plan = plan_of("reference")
    assert plan.steps == 21_400  # as nanochat ran it
    assert plan.data_shards == 216 + 1  # training shards and the validation shard
    assert plan.flops_per_token == pytest.approx(3.4918e9, rel=1e-4)


@pytest.mark.parametrize("gpu", [gpu.id for gpu in CATALOGUE])
def test_the_reference_plans_on_any_gpu(gpu: str) -> None:
    plan = plan_of("reference", gpu)
    assert plan.gpu == gpu and plan.time.hours is not None
    codes = {warning.code for warning in plan.warnings}
    assert plan.memory.fits != ("does_not_fit" in codes)
    assert ("no_bfloat16" in codes) == (gpu == "v100-16gb")


def test_plans_for_a_cpu_and_an_unknown_gpu() -> None:
    config = from_dict(load_preset("reference"))
    assert make_plan(config, cpu(2, 2**34)).compiled is False
    plan = make_plan(config, by_name("NVIDIA X1", 2**37))
    assert plan.memory.fits and plan.time.hours is None
    assert "unknown_gpu" in {warning.code for warning in plan.warnings}


@settings(max_examples=150)
@given(
    depth=st.integers(1, 48).filter(depth_is_valid),
    rows=st.integers(1, 300),
    length=st.integers(16, 8192),
    batches=st.floats(1, 100),
    steps=st.one_of(st.none(), st.integers(1, 10**6)),
    gpu=st.sampled_from(CATALOGUE),
)
def test_arithmetic(depth: int, rows: int, length: int, batches: float, steps: int | None, gpu: Any) -> None:
    asked = int(rows * length * batches)
    table: dict[str, Any] = {
        "model": {"depth": depth, "max_seq_len": length},
        "batch": {"device_batch_size": rows, "total_batch_size": asked},
    }
    if steps is not None:
        table["budget"] = {"steps": steps}
    plan = make_plan(from_dict(table), gpu)
    assert plan.tokens_per_micro_batch == rows * length
    assert plan.total_batch_size == plan.grad_accum_steps * rows * length
    assert 2 * abs(plan.total_batch_size - asked) <= rows * length or plan.grad_accum_steps == 1
    assert plan.tokens == plan.steps * plan.total_batch_size
    assert steps is None or plan.steps == steps
    p = plan.params
    assert p.total == p.matrices + p.embedding + p.lm_head == 12 * depth * (64 * depth) ** 2 + 2 * 65_536 * 64 * depth
    m = plan.memory
    assert m.weights + m.gradients + m.optimizer + m.activations + m.loss + m.overhead == m.total
    assert m.fits == (m.total <= m.capacity) and min(m.weights, m.activations, m.loss, m.overhead) >= 0
    assert plan.disk_bytes == plan.disk.shards + plan.disk.tokens + plan.disk.checkpoints
    assert plan.data_shards == min(shards_needed(plan.tokens), TRAINING_SHARDS) + 1
    assert plan.time.hours is not None and sum(plan.time.parts.values()) == pytest.approx(3600 * plan.time.hours)


@given(st.integers(1, 10**13))
def test_shards_hold_the_tokens(tokens: int) -> None:
    shards = shards_needed(tokens)
    assert (shards - 1) * 250_000_000 < tokens * 4.8 <= shards * 250_000_000 * (1 + 1e-9)


@pytest.mark.parametrize("preset", preset_names())
def test_an_exported_preset_plans_as_the_preset(preset: str) -> None:
    config = from_dict(load_preset(preset))
    again = from_dict(from_toml(to_toml(config)))
    assert again == config
    gpu = (
        cpu(2, 2**34)
        if config.runtime.gpu == "cpu"
        else by_id(config.runtime.gpu if config.runtime.gpu != "auto" else "l4")
    )
    assert make_plan(again, gpu) == make_plan(config, gpu)


@pytest.mark.parametrize("preset", ["maximum", "largest-80gb"])
def test_export_and_plan_by_the_command_line(preset: str, tmp_path: Any) -> None:
    code = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"

    def run(*words: str) -> str:
        return subprocess.run((sys.executable, "-c", code, *words), capture_output=True, text=True, check=True).stdout

    exported = tmp_path / "m.toml"
    exported.write_text(run("--preset", preset, "--export", "-"))
    assert json.loads(run("plan", "--config", str(exported), "--json")) == json.loads(
        run("plan", "--preset", preset, "--json")
    )


def test_a_plan_survives_json() -> None:
    plan = plan_of("balanced")
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_a_plan_of_other_stages_says_nothing_of_pretraining() -> None:
    plan = plan_of("balanced", pipeline__stages=["data", "tokenizer"])
    assert not plan.pretrains and plan.time.hours is None and plan.peak_memory == 0
    assert (plan.disk.tokens, plan.disk.checkpoints) == (0, 0) and plan.disk_bytes == plan.disk.shards > 0
    assert plan.pipeline.high_hours is not None and plan.pipeline.high_hours < 0.5
    assert plan.warnings == ()  # its rounded batch is no matter of these stages
    judging = plan_of("balanced", pipeline__stages=["evaluate"])
    assert 0 < judging.peak_memory < judging.memory.total and judging.disk_bytes == 0 and not judging.trains


@pytest.mark.parametrize("budget", [{"budget__steps": 100}, {"budget__tokens_per_param": 0.1}])
def test_a_smoke_test_is_no_warning_and_nothing_offers_to_make_it_last_for_hours(budget: dict[str, Any]) -> None:
    (note,) = (w for w in plan_of("full-80gb", **budget).warnings if w.code == "few_tokens_per_param")
    assert note.severity == "note" and note.change is None and "budget." not in note.message + note.help
    assert note.message.startswith("smoke test only: ") and "about 20 are needed" in note.message


def test_a_short_training_names_the_setting_of_its_own_budget() -> None:
    for key, value in (("steps", 10_000), ("tokens", 10**9), ("tokens_per_param", 5.0)):
        (warning,) = (w for w in plan_of("full-80gb", **{f"budget__{key}": value}).warnings if w.severity == "warning")
        assert warning.code == "few_tokens_per_param" and f"(budget.{key} = " in warning.help
        longer = json.loads(warning.help.partition(f"budget.{key} = ")[2].partition(")")[0])
        assert plan_of("full-80gb", **{f"budget__{key}": longer}).tokens_per_param == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"budget.tokens_per_param": 1.0}, "few_tokens_per_param"),
        ({"runtime.deterministic": True}, "deterministic"),
        ({"optim.warmup_steps": 10**6}, "warmup_too_long"),
        ({"budget.tokens_per_param": 20_000.0}, "repeated_epochs"),
        ({"batch.device_batch_size": 64, "batch.total_batch_size": 2**22}, "does_not_fit"),
    ],
)
def test_warnings_have_a_fix_and_their_change_helps(changes: dict[str, Any], code: str) -> None:
    config, gpu = with_changes(from_dict(load_preset("full-40gb")), changes), by_id("a100-40gb")
    warning = next(w for w in make_plan(config, gpu).warnings if w.code == code)
    assert warning.message and warning.help
    if warning.change:
        mended = make_plan(with_changes(config, warning.change), gpu)
        assert code not in {w.code for w in mended.warnings}


def test_auto_checkpointing_takes_the_fastest_that_fits() -> None:
    def mode(rows: int) -> str:
        plan = plan_of("full-40gb", batch__activation_checkpointing="auto", batch__device_batch_size=rows)
        by_mode = {option.mode: option for option in plan.memory_by_checkpointing}
        assert by_mode[plan.activation_checkpointing].peak == plan.memory.total
        assert by_mode["none"].peak > by_mode["selective"].peak > by_mode["block"].peak
        return plan.activation_checkpointing

    assert [mode(rows) for rows in (8, 16, 32)] == ["none", "selective", "block"]


def test_planning_imports_neither_torch_nor_textual() -> None:
    code = "import sys, engine.plan.plan; sys.exit(bool({'torch', 'textual'} & set(sys.modules)))"
    assert subprocess.run((sys.executable, "-c", code), check=False).returncode == 0


def test_defaults_make_a_plan() -> None:
    assert make_plan(RunConfig(), by_id("a100-80gb")).memory.fits


def test_the_plan_says_what_a_checkpoint_takes() -> None:
    # d20 on CUDA: the notice of a preempted machine is 30 seconds
    plan = plan_of("reference", "a100-80gb")
    p = plan.params
    assert plan.checkpoint_bytes == 8 * p.matrices + 12 * p.lm_head + 6 * p.embedding
    assert plan.checkpoint_seconds < 30


def test_disk_counts_every_checkpoint_that_is_kept() -> None:
    def kept(**changes: Any) -> int:
        plan = plan_of("balanced", "a100-40gb", **changes)
        return plan.disk.checkpoints // plan.checkpoint_bytes

    alone = {"pipeline__stages": ["data", "tokenizer", "tokenize", "pretrain", "evaluate"]}
    assert kept(**alone, checkpoint__keep_last=2) == 3  # one is written before one goes
    assert kept(**alone, checkpoint__keep_last=1, checkpoint__keep_best=True) == 3
    assert kept(**alone, checkpoint__keep_last=1, checkpoint__keep_every_steps=60, budget__steps=200) == 2 + 3
    assert kept(checkpoint__keep_last=2) == 5  # sft leaves those of pretraining where they are
    assert kept(pipeline__stages=["pretrain", "midtrain", "sft", "rl"], checkpoint__keep_last=1) == 5
    assert kept(pipeline__stages=["data", "tokenizer", "tokenize"]) == 0


def test_a_budget_beyond_the_corpus_takes_it_all_once() -> None:
    plan = plan_of("full-80gb", budget__tokens=10**12)
    assert plan.data_shards == 1_823
    assert "repeated_epochs" in {warning.code for warning in plan.warnings}


def test_the_warnings_of_a_stored_plan_are_read_whichever_version_wrote_them() -> None:
    plan = plan_of("quickstart", "a100-40gb", runtime__deterministic=True)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    table = json.loads(msgspec.json.encode(plan))
    earlier = {"code": "tight_memory", "message": "m.", "fix": "set x", "change": None}
    table["warnings"] = [earlier, {**earlier, "change": {"runtime.deterministic": False}, "level": "note"}]
    old, note = msgspec.convert(table, Plan).warnings
    assert (old.severity, old.help, old.change) == ("warning", "set x", None)
    assert (note.severity, note.change, str(note)) == ("note", {"runtime.deterministic": False}, "m. Set x.")

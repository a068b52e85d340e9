"""Calibration: what was measured corrects what is planned, on the same device only, and survives damage."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.layers import from_dict, with_changes
from engine.config.schema import RunConfig, depth_is_valid
from engine.core.units import GIB
from engine.events.kinds import Device
from engine.hardware.detect import detect_cpu
from engine.hardware.gpu_catalog import CATALOGUE, Gpu, by_id, by_name, cpu
from engine.plan import budget_search, duration, memory
from engine.plan.calibration import FAR, Calibration, Measured, distance, key_of
from engine.plan.plan import make_plan
from engine.plan.presets import load_preset
from engine.plan.shape import shape_of
from engine.run import calibration_store as on_disk
from engine.run import measuring
from engine.run.directory import RunDirectory
from engine.run.planning import plan_here
from tests.helpers.made_run import Story, write_run

GPU = by_id("a100-40gb")
SLICES = (
    ("1g.5gb", 4.75),
    ("1g.10gb", 9.62),
    ("2g.10gb", 9.62),
    ("3g.20gb", 19.5),
    ("4g.20gb", 19.5),
    ("7g.40gb", 39.25),
)
CONFIG = from_dict(load_preset("full-40gb"))


def measured(config: RunConfig = CONFIG, gpu: Gpu = GPU, speed: float = 1.0, peak: float = 1.0) -> Measured:
    """A run that reached these multiples of what the model says."""
    rate = duration.tokens_per_second(config, gpu, True)
    counted = memory.estimate(shape_of(config), config.batch, gpu, True).total
    assert config.batch.activation_checkpointing != "auto"
    return Measured(
        device=key_of(gpu),
        torch="2.13.0",
        depth=config.model.depth,
        vocab_size=config.tokenizer.vocab_size,
        max_seq_len=config.model.max_seq_len,
        device_batch_size=config.batch.device_batch_size,
        total_batch_size=config.batch.total_batch_size,
        activation_checkpointing=config.batch.activation_checkpointing,
        loss=config.batch.loss,
        loss_chunk_tokens=config.batch.loss_chunk_tokens,
        compiled=True,
        tokens_per_second=speed * rate,
        peak_memory=round(peak * counted),
        source=f"run-{config.model.depth}",
    )


def test_a_plan_takes_over_what_the_same_run_reached() -> None:
    known = Calibration(measured=(measured(speed=1.25, peak=1.1),))
    before, after = make_plan(CONFIG, GPU), make_plan(CONFIG, GPU, known)
    assert before.time.tokens_per_second is not None and after.time.tokens_per_second is not None
    assert after.time.tokens_per_second == pytest.approx(1.25 * before.time.tokens_per_second)
    assert after.memory.total == pytest.approx(1.1 * before.memory.total, rel=1e-6)
    assert "measured here (run-20" in after.time.basis and "measured here" in after.memory.basis
    parts = ("weights", "gradients", "optimizer", "activations", "loss", "overhead")
    assert sum(getattr(after.memory, part) for part in parts) == after.memory.total
    narrower = [(p.time.high_hours or 0) / (p.time.low_hours or 1) for p in (after, before)]
    assert narrower[0] < narrower[1]


def test_another_model_is_scaled_and_the_nearest_measurement_is_taken() -> None:
    far = with_changes(CONFIG, {"model.depth": 8})
    known = Calibration(measured=(measured(speed=1.25), measured(far, speed=0.5)))
    other = make_plan(with_changes(CONFIG, {"model.depth": 10}), GPU, known)
    plain = make_plan(with_changes(CONFIG, {"model.depth": 10}), GPU)
    assert (other.time.tokens_per_second or 0) / (plain.time.tokens_per_second or 1) == pytest.approx(0.5)
    assert "run-8" in other.time.basis
    farther = make_plan(with_changes(CONFIG, {"model.depth": 4}), GPU, known)
    assert "scaled from a measurement here" in farther.time.basis


def test_other_devices_and_uncompiled_runs_do_not_count() -> None:
    known = Calibration(measured=(measured(speed=3.0),))
    other = by_id("a100-80gb")
    assert make_plan(CONFIG, other, known) == make_plan(CONFIG, other)
    eager = with_changes(CONFIG, {"runtime.compile": "off"})
    assert make_plan(eager, GPU, known) == make_plan(eager, GPU)


@pytest.mark.parametrize(
    ("speed", "peak", "fault"),
    [
        (50.0, 1.0, "a measurement here is not used, as it comes to x 50 of the formula: run-20"),
        (0.001, 1.0, "a measurement here is not used, as it comes to x 0.001 of the formula: run-20"),
        (3.0, 1.0, "a measurement here is not used, as it comes to an MFU of 1"),
        (1.0, 4.0, "a measurement here is not used, as it comes to x 4 of the formula: run-20"),
        (1.0, 0.4, "a measurement here is not used, as it comes to less than weights, gradients and optimizer take"),
    ],
)
def test_what_cannot_be_is_not_believed_and_the_basis_says_so(speed: float, peak: float, fault: str) -> None:
    config = with_changes(CONFIG, {"batch.device_batch_size": 1})
    known = Calibration(measured=(measured(config, speed=speed, peak=peak),))
    plain, plan = make_plan(config, GPU), make_plan(config, GPU, known)
    if speed != 1.0:
        assert fault in plan.time.basis and plan.time.basis.startswith(plain.time.basis)
        assert msgspec.structs.replace(plan.time, basis=plain.time.basis) == plain.time
    else:
        assert fault in plan.memory.basis and plan.memory.basis.startswith(plain.memory.basis)
        assert msgspec.structs.replace(plan.memory, basis=plain.memory.basis) == plain.memory


def test_what_is_believed_is_taken_where_the_nearest_is_not() -> None:
    near, next_to_it = measured(speed=50.0), measured(with_changes(CONFIG, {"model.depth": 18}), speed=1.1)
    plan = make_plan(CONFIG, GPU, Calibration(measured=(near, next_to_it)))
    assert "run-18" in plan.time.basis
    assert plan.time.tokens_per_second == pytest.approx(1.1 * (make_plan(CONFIG, GPU).time.tokens_per_second or 0))


def test_a_cpu_may_be_faster_than_its_peak_is_taken_to_be() -> None:
    host, config = cpu(1, 64 * GIB), from_dict({"model": {"depth": 12}, "runtime": {"gpu": "cpu", "device": "cpu"}})
    plain = make_plan(config, host).time
    assert plain.mfu is not None and plain.tokens_per_second is not None
    faster = msgspec.structs.replace(
        measured(config, host), compiled=False, tokens_per_second=2 * plain.tokens_per_second / plain.mfu
    )
    found = make_plan(config, host, Calibration(measured=(faster,))).time
    assert found.tokens_per_second == pytest.approx(faster.tokens_per_second)
    assert found.mfu is None and "measured here" in found.basis


DEVICES = st.sampled_from(
    [*CATALOGUE, by_name("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20 * GIB), by_name("NVIDIA X1", 2**37)]
)


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    rows, length = draw(st.integers(1, 64)), draw(st.sampled_from([64, 512, 1536, 2048, 8192]))
    return from_dict(
        {
            "model": {"depth": draw(st.integers(1, 48).filter(depth_is_valid)), "max_seq_len": length},
            "batch": {
                "device_batch_size": rows,
                "total_batch_size": rows * length * draw(st.integers(1, 16)),
                "activation_checkpointing": draw(st.sampled_from(["none", "selective", "block"])),
                "loss": draw(st.sampled_from(["chunked", "full"])),
            },
            "tokenizer": {"vocab_size": draw(st.sampled_from([1024, 32_768, 65_536]))},
        }
    )


@given(config=configs(), other=configs(), gpu=DEVICES, rate=st.floats(1e-3, 1e9), peak=st.integers(1, 2**45))
def test_no_measurement_leads_to_what_cannot_be(
    config: RunConfig, other: RunConfig, gpu: Gpu, rate: float, peak: int
) -> None:
    seen = msgspec.structs.replace(measured(other, gpu), tokens_per_second=rate, peak_memory=peak)
    plain, plan = make_plan(config, gpu), make_plan(config, gpu, Calibration(measured=(seen,)))
    assert plan.time.mfu is None or plan.time.mfu <= max(1.0, plain.time.mfu or 0.0)
    assert plan.time.hours is None or plan.time.hours > 0
    found, counted = plan.memory, plain.memory
    parts = [getattr(found, part) for part in ("weights", "gradients", "optimizer", "activations", "loss", "overhead")]
    assert sum(parts) == found.total and min(parts) >= 0
    assert counted.total * 0.3 <= found.total <= counted.total * 3
    for stage, before in zip(plan.stages, plain.stages, strict=True):
        assert (stage.peak_memory is None) == (before.peak_memory is None)
        assert stage.peak_memory is None or 0.3 * before.peak_memory <= stage.peak_memory <= 3 * before.peak_memory


@given(config=configs(), other=configs(), speed=st.floats(0.2, 1.2), peak=st.floats(0.9, 2.0))
def test_what_is_too_unlike_is_not_used(config: RunConfig, other: RunConfig, speed: float, peak: float) -> None:
    known = Calibration(measured=(measured(other, speed=speed, peak=peak),))
    far = distance(config, other) >= FAR
    plain, plan = make_plan(config, GPU), make_plan(config, GPU, known)
    assert ("too unlike this run to correct it" in plan.time.basis) == far
    assert ("too unlike this run to correct it" in plan.memory.basis) == far
    if far:
        assert plan.time.tokens_per_second == plain.time.tokens_per_second
        assert plan.memory.total == plain.memory.total


def test_measurements_are_those_of_the_same_card_and_the_same_slice() -> None:
    whole = by_id("a100-40gb")
    by_driver = [by_name(whole.name, 40 * GIB, usable=int(gib * GIB)) for gib in (39.39, 39.44, 39.56)]
    assert {key_of(gpu) for gpu in by_driver} == {key_of(whole)}
    slices = [by_name(f"{whole.name} MIG {profile}", int(gib * GIB)) for profile, gib in SLICES]
    unknown = [by_name("NVIDIA GeForce RTX 3060", gib * GIB) for gib in (8, 12)]  # one name, two cards
    others = [by_id("a100-80gb"), by_id("a100-40gb-pcie"), *slices, *unknown]
    assert len({key_of(gpu) for gpu in (whole, *others)}) == 1 + len(others)
    for gpu in others:
        assert make_plan(CONFIG, gpu, Calibration(measured=(measured(speed=1.2),))) == make_plan(CONFIG, gpu)
    assert key_of(cpu(2, 8 * GIB)) == key_of(cpu(2, 16 * GIB)) != key_of(cpu(4, 8 * GIB))


def test_memory_that_was_saved_is_not_taken_to_grow_with_the_model() -> None:
    small = with_changes(CONFIG, {"model.depth": 12, "batch.device_batch_size": 4})
    known = Calibration(measured=(measured(small, peak=0.8),))
    spared = make_plan(small, GPU).memory.total - make_plan(small, GPU, known).memory.total
    large = make_plan(CONFIG, GPU).memory.total - make_plan(CONFIG, GPU, known).memory.total
    assert spared > 0 and large == pytest.approx(spared, rel=0.01)


def test_an_offer_counts_on_the_measured_peak() -> None:
    reference = from_dict(load_preset("reference"))
    known = Calibration(measured=(measured(peak=1.7),))
    offered = next(w for w in make_plan(reference, GPU, known).warnings if w.code == "does_not_fit").change
    assert offered is not None
    mended = with_changes(reference, offered)
    assert make_plan(mended, GPU, known).memory.fits


def test_the_search_uses_it_too() -> None:
    known = Calibration(measured=(measured(speed=1.5),))
    slow, fast = (budget_search.best(budget_search.candidates(CONFIG, GPU, 12.0, calibration=c)) for c in (None, known))
    assert slow is not None and fast is not None and fast.predicted_loss < slow.predicted_loss


@given(st.sampled_from([4, 8, 20]), st.integers(1, 32), st.sampled_from([4, 8, 20]), st.integers(1, 32))
def test_distance_is_symmetric_and_zero_for_the_same(d: int, b: int, e: int, c: int) -> None:
    one = with_changes(CONFIG, {"model.depth": d, "batch.device_batch_size": b})
    other = with_changes(CONFIG, {"model.depth": e, "batch.device_batch_size": c})
    assert distance(one, other) == pytest.approx(distance(other, one))
    assert (distance(one, other) == 0) == ((d, b) == (e, c))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOSOLO_HOME", str(tmp_path))
    return tmp_path


def test_what_is_recorded_is_read_again(home: Path) -> None:
    value = measured(speed=1.5)
    path = on_disk.record(GPU, value)
    assert path.is_relative_to(home / "calibration")
    assert on_disk.read_calibration(GPU, "2.13.0") == Calibration(measured=(value,))
    assert on_disk.read_calibration(GPU, "2.14.0").measured == ()
    assert on_disk.read_calibration(by_id("a100-80gb"), "2.13.0").measured == ()
    on_disk.record(GPU, measured(speed=1.6))
    assert len(on_disk.read_calibration(GPU, "2.13.0").measured) == 1  # the same run, later


def test_damaged_files_are_passed_over(home: Path) -> None:
    path = on_disk.record(GPU, measured())
    good = path.read_bytes()
    for name, content in {
        "half": good[: len(good) // 2],
        "empty": b"",
        "bytes": os.urandom(64),
        "other": b'{"device": 3}',
        "deep": b"[" * 50_000,
    }.items():
        (path.parent / f"{name}.json").write_bytes(content)
    (path.parent / "folder.json").mkdir()
    assert len(on_disk.read_calibration(GPU, "2.13.0").measured) == 1


def cpu_run(home: Path, steps: int, name: str = "small", **changes: object) -> RunDirectory:
    config = from_dict({**load_preset("smoke"), "runtime": {"gpu": "cpu", "device": "cpu"}})
    story = Story(make_plan(config, detect_cpu()), config, 0.0).start(name).stage("pretrain")
    story.add(
        Device,
        stage="pretrain",
        device="cpu",
        name="CPU",
        torch="2.13.0+cpu",
        compiled=False,
        grad_accum_steps=1,
        device_batch_size=2,
    )
    fields = {"tokens_per_second": 1000.0, "peak_memory": 700 * 2**20, **changes}
    story.steps(steps, evaluations=False, machine=False, **fields).end_stage("pretrain", seconds=77.0)
    return write_run(home, name, story)


def test_a_run_leaves_what_it_reached_and_the_next_plan_here_knows(home: Path) -> None:
    run = cpu_run(home, 10)
    path = measuring.record_run(run)
    assert path is not None
    kept = msgspec.json.decode(path.read_bytes(), type=Measured)
    assert kept.tokens_per_second == 1000.0 and kept.peak_memory == 700 * 2**20
    assert kept.stage_seconds == {"pretrain": 77.0} and kept.source == "small" and kept.torch == "2.13.0"
    assert kept.predicted["tokens_per_second"] == run.plan().time.tokens_per_second  # type: ignore[union-attr]
    if on_disk.installed_torch() == "2.13.0":
        plan = plan_here(run.config())
        assert plan.time.tokens_per_second == pytest.approx(1000.0)
        assert plan.memory.total == 700 * 2**20 and "small" in plan.time.basis


def test_a_run_that_did_not_get_warm_leaves_nothing(home: Path) -> None:
    assert measuring.record_run(cpu_run(home, 3)) is None
    assert not (home / "calibration").exists()


def test_a_run_without_a_plan_leaves_nothing(home: Path) -> None:
    run = cpu_run(home, 10)
    run.plan_file.write_text("{")
    assert measuring.record_run(run) is None

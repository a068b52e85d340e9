"""Plans on a machine whose card is not the one that is planned for: both are told of, and the way to change it."""

import json
import re
import sys
from pathlib import Path

import msgspec
import pytest

from engine.config.layers import with_changes
from engine.core.units import GIB
from engine.diagnostics.doctor import examine
from engine.hardware.gpu_catalog import by_id
from engine.launch.prepare import prepare
from engine.plan.calibration import Measured, key_of
from engine.plan.other_card import OTHER_CARD, figures_of
from engine.plan.plan import make_plan
from engine.run.calibration_store import installed_torch, record
from engine.run.planning import plan_here
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.made_run import config_of
from tui.cli.main import main

PCIE = "NVIDIA A100-PCIE-40GB"
SLICE = "NVIDIA A100-SXM4-40GB MIG 3g.20gb"


@pytest.fixture
def pcie(gpu: FakeNvml) -> FakeNvml:
    gpu.name = PCIE
    return gpu


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """What a command prints on both streams."""
    assert main(list(arguments)) == 0
    return capsys.readouterr()


def test_a_plan_for_another_card_says_what_is_here_with_the_figures_of_both(home: Path, pcie: FakeNvml) -> None:
    config = config_of("balanced")
    plan = plan_here(config)
    assert plan.gpu == "a100-40gb"  # as the preset names
    warning = plan.warnings[0]
    assert warning.code == OTHER_CARD
    assert "this machine has A100-PCIE-40GB: 18.0 h" in warning.message and "of 39.5 GiB" in warning.message
    assert "the plan is for A100-SXM4-40GB: 15.3 h" in warning.message and "of 39.4 GiB" in warning.message
    assert warning.change is not None
    taken = plan_here(with_changes(config, warning.change))
    assert taken.gpu == "a100-40gb-pcie" and OTHER_CARD not in {each.code for each in taken.warnings}
    assert figures_of(taken) in warning.message


def test_a_slice_is_told_with_its_own_memory_and_time(home: Path, gpu: FakeNvml) -> None:
    gpu.slices, gpu.total = [SLICE], int(8 * 19.5 * GIB)  # the fake gives an eighth to a slice
    message = plan_here(config_of("full-40gb")).warnings[0].message
    assert "this machine has A100-SXM4-40GB MIG 3g.20gb: " in message and "of 19.5 GiB, does not fit;" in message
    assert "the plan is for A100-SXM4-40GB: " in message and "of 39.4 GiB." in message


@pytest.mark.parametrize("named", ["auto", "cpu", "a100-40gb-pcie"])
def test_a_plan_for_what_is_here_says_nothing_of_cards(home: Path, pcie: FakeNvml, named: str) -> None:
    plan = plan_here(config_of("balanced", runtime__gpu=named))
    assert OTHER_CARD not in {warning.code for warning in plan.warnings}


def test_without_a_gpu_nothing_is_said_of_cards(home: Path, gpu: FakeNvml) -> None:
    gpu.lost = True
    assert OTHER_CARD not in {warning.code for warning in plan_here(config_of("balanced")).warnings}


def test_the_named_card_has_the_memory_that_its_driver_leaves_where_it_is_here(home: Path, gpu: FakeNvml) -> None:
    gpu.reserved = 451 * 2**20
    plan = plan_here(config_of("balanced"))
    assert plan.memory.capacity == gpu.total - gpu.reserved and plan.gpu == "a100-40gb"
    gpu.name = PCIE
    assert plan_here(config_of("balanced")).memory.capacity == by_id("a100-40gb").capacity


def test_a_launch_is_planned_for_the_card_that_is_here_and_says_so(home: Path, pcie: FakeNvml) -> None:
    config = config_of("balanced")
    ready = prepare(config)
    assert ready.plan.gpu == ready.device.id == "a100-40gb-pcie"
    note = next(check for check in ready.checks if check.subject == "device")
    assert note.severity == "note" and "18.0 h" in note.message and "15.3 h" in note.message
    for named in ("auto", "a100-40gb-pcie"):
        checks = prepare(with_changes(config, {"runtime.gpu": named})).checks
        assert "device" not in {check.subject for check in checks}


def test_a_run_that_is_told_to_use_the_cpu_is_planned_for_it(home: Path, pcie: FakeNvml) -> None:
    for device, named in (("cpu", "a100-40gb"), ("auto", "cpu")):
        assert prepare(config_of("balanced", runtime__gpu=named, runtime__device=device)).plan.gpu == "cpu"


def test_measurements_of_the_card_that_is_here_correct_its_figures_alone(home: Path, pcie: FakeNvml) -> None:
    config, here = config_of("balanced"), by_id("a100-40gb-pcie")
    before = plan_here(config)
    rate = make_plan(config, here).time.tokens_per_second
    assert rate is not None
    seen = Measured(
        device=key_of(here),
        torch=installed_torch(),
        depth=14,
        vocab_size=65_536,
        max_seq_len=1536,
        device_batch_size=4,
        total_batch_size=264_192,
        activation_checkpointing="none",
        loss="chunked",
        loss_chunk_tokens=1024,
        compiled=True,
        tokens_per_second=rate / 1.2,
        peak_memory=None,
        source="mine",
    )
    record(here, seen)
    after = plan_here(config)
    assert msgspec.structs.replace(after, warnings=()) == msgspec.structs.replace(before, warnings=())
    assert "A100-PCIE-40GB: 18.0 h" in before.warnings[0].message
    assert "A100-PCIE-40GB: 21." in after.warnings[0].message


def test_the_doctor_says_what_the_preset_for_this_machine_comes_to_here(home: Path, pcie: FakeNvml) -> None:
    check = next(check for check in examine() if check.subject == "plan")
    assert check.severity == "note" and "preset balanced on this machine's A100-PCIE-40GB: 18.0 h" in check.message
    assert "it names A100-SXM4-40GB: 15.3 h" in check.message
    assert "nanosolo plan --preset balanced --gpu auto" in check.help
    pcie.name = "NVIDIA A100-SXM4-40GB"
    assert "plan" not in {check.subject for check in examine()}
    pcie.lost = True
    assert "plan" not in {check.subject for check in examine()}


def test_the_command_prints_both_and_gpu_auto_takes_what_is_here(
    home: Path, pcie: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    named = printed(capsys, "plan", "--preset", "balanced")[0]
    assert "balanced on NVIDIA A100-SXM4-40GB (a100-40gb)" in named
    assert "! this machine has A100-PCIE-40GB: 18.0 h" in named
    assert "  plan for this machine's card: --gpu auto\n" in named
    here = printed(capsys, "plan", "--preset", "balanced", "--gpu", "auto")[0]
    assert "balanced on NVIDIA A100-PCIE-40GB (a100-40gb-pcie)" in here and "this machine has" not in here


def test_the_preset_for_this_machine_is_planned_for_its_card(
    home: Path, pcie: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = printed(capsys, "plan", "--preset", "auto")
    assert "balanced on NVIDIA A100-PCIE-40GB (a100-40gb-pcie)" in out and "this machine has" not in out
    assert (
        "preset balanced: NVIDIA A100-PCIE-40GB has 39.5 GiB; the preset names a100-40gb, the plan is for this GPU"
        in err
    )
    asked = printed(capsys, "plan", "--preset", "auto", "--gpu", "a100-80gb")[0]
    assert "balanced on NVIDIA A100-SXM4-80GB" in asked and "! this machine has A100-PCIE-40GB: 18.0 h" in asked
    exported = printed(capsys, "--preset", "auto", "--export", "-")[0]
    assert '\ngpu = "auto"\n' in exported and '\ndevice = "cuda"\n' in exported  # never the CPU in silence
    pcie.name = "NVIDIA A100-SXM4-40GB"
    out, err = printed(capsys, "plan", "--preset", "auto")
    assert "(a100-40gb)" in out and "it names" not in err


def test_the_best_model_for_a_time_is_told_for_the_card_that_is_here_too(
    home: Path, pcie: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "plan", "--hours", "12", "--gpu", "a100-80gb")[0]
    assert f"! this machine has {PCIE}, where the best is depth " in out
    assert "  search for the card that is here: --gpu auto" in out
    assert "this machine has" not in printed(capsys, "plan", "--hours", "12", "--gpu", "auto")[0]
    plan = json.loads(printed(capsys, "plan", "--hours", "12", "--gpu", "a100-80gb", "--json")[0])
    assert plan["gpu"] == "a100-80gb" and plan["gpu_here"] == "a100-40gb-pcie"


def test_planning_does_not_import_nvml_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.hardware import detect

    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr(detect, "_has_driver", lambda: False)
    assert detect.nvml() is None and "pynvml" not in sys.modules


@pytest.mark.parametrize(("steps", "said"), [(1, "under 1 s"), (200, "s"), (20_000, "min"), (2_000_000, "h")])
def test_short_runs_are_told_in_short_units(steps: int, said: str) -> None:
    config = config_of("smoke", budget__steps=steps, runtime__compile="off", evaluate__tokens=1024)
    text = figures_of(make_plan(config, by_id("a100-40gb")))
    assert re.match(rf"A100-SXM4-40GB: ([1-9][0-9.]* )?{said}, ", text), text


def test_fit_offers_the_card_that_is_here(home: Path, pcie: FakeNvml, capsys: pytest.CaptureFixture[str]) -> None:
    told = "".join(printed(capsys, "fit", "--preset", "conservative"))
    assert f"this machine has {PCIE}, not a100-40gb. Fit for the card that is here: --gpu auto" in told

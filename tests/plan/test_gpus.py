"""The catalogue of GPUs: how cards and MIG slices are found by the names that NVML gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.units import GIB, MIB
from engine.hardware.gpu_catalog import CATALOGUE, Gpu, by_id, by_name

# profile, MiB that NVML reports, of 108 multiprocessors, of 8 memory slices; NVIDIA's MIG user guide, A100-SXM4-40GB
SLICES = [
    ("1g.5gb", 4_864, 14, 1),
    ("1g.10gb", 9_856, 14, 2),
    ("2g.10gb", 9_856, 28, 2),
    ("3g.20gb", 19_968, 42, 4),
    ("4g.20gb", 19_968, 56, 4),
    ("7g.40gb", 40_192, 98, 8),
]


@pytest.mark.parametrize(("profile", "mib", "multiprocessors", "memory"), SLICES)
def test_a_slice_has_its_own_memory_and_its_share_of_the_speed(
    profile: str, mib: int, multiprocessors: int, memory: int
) -> None:
    whole = by_id("a100-40gb")
    found = by_name(f"{whole.name} MIG {profile}", mib * MIB)
    assert found.is_slice and found.id == "a100-40gb-mig" and found.capacity == mib * MIB
    assert found.peak_flops == pytest.approx(whole.peak_flops * multiprocessors / 108)
    assert found.bandwidth == pytest.approx(whole.bandwidth * memory / 8)
    assert found.compute_capability == whole.compute_capability and found.has_bf16


def test_a_slice_of_a_card_that_is_not_known_has_no_figures_of_another() -> None:
    found = by_name("NVIDIA A30 MIG 2g.12gb", 12 * GIB)
    assert found.is_slice and found.capacity == 12 * GIB and found.peak_flops == 0


@given(st.sampled_from(CATALOGUE), st.integers(10 * GIB, 200 * GIB))
def test_a_card_has_the_bytes_that_its_driver_leaves(known: Gpu, usable: int) -> None:
    assert by_name(known.name, 300 * GIB) == known
    found = by_name(known.name, 300 * GIB, usable=usable)
    assert found.capacity == usable and (found.id, found.peak_flops) == (known.id, known.peak_flops)
    assert not found.is_slice

"""The bytes that torch allocates on the CPU, by phase."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def peaks_of(work: Callable[[Callable[[str], None]], object], there: Iterable[Tensor]) -> dict[str, int]:
    """The most bytes allocated in each phase that `work` announces, including those of the tensors `there` before."""
    current = sum(tensor.nbytes for tensor in there)

    def begin(phase: str) -> None:
        with torch.profiler.record_function(f"phase:{phase}"):
            pass

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work(begin)
    peaks: dict[str, int] = {}
    phase: str | None = None
    for event in sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name().startswith("phase:"):
            phase = event.name().removeprefix("phase:")
        if event.name() == "[memory]":
            current += event.nbytes()
        if phase is not None:
            peaks[phase] = max(peaks.get(phase, 0), current)
    return peaks

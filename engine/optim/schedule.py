"""How the learning rates and Muon's momentum change over a run: pure functions of the step."""


def learning_rate_scale(
    step: int, steps: int, warmup_steps: int, warmdown_fraction: float, final_fraction: float
) -> float:
    """The factor of all learning rates in step 0 .. steps - 1.

    Linear up over the first `warmup_steps`, then 1, then linear down over the last `warmdown_fraction` of the steps,
    on the way to `final_fraction` which the step after the last would reach (nanochat). The smaller where they overlap.
    """
    up = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    warmdown_steps = round(warmdown_fraction * steps)
    left = min(1.0, (steps - step) / warmdown_steps) if warmdown_steps else 1.0
    return min(up, left + (1.0 - left) * final_fraction)


def muon_momentum(step: int, start: float, end: float, warmup_steps: int) -> float:
    """Muon's momentum: linear from `start` to `end` over the first `warmup_steps`, then `end`."""
    done = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return start + (end - start) * done

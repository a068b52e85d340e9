"""How long a stop takes, from the signal to the end of the process, against the notice that a spot machine gives."""

from engine.plan.duration import Duration

# Seconds between the notice and the end of the machine, as the clouds document them.
SPOT_NOTICES = (("Google Cloud and Azure", 30.0), ("AWS", 120.0))
QUEUED_ON_GPU = 2  # micro-batches: the one that the GPU works on, and the one that the host has queued behind it


def stop_seconds(
    time: Duration, steps: int, grad_accum_steps: int, checkpoint_seconds: float, *, on_gpu: bool
) -> float | None:
    """Seconds until the micro-batches under way are done and a checkpoint is written; None where the speed is not
    known. A first step that compiles, an evaluation and a sample end at once or with their batch, which is shorter."""
    if not steps or not time.parts:
        return None
    micro_batch = time.parts["training"] / steps / grad_accum_steps
    under_way = min(QUEUED_ON_GPU, grad_accum_steps) if on_gpu else 1
    return under_way * micro_batch + checkpoint_seconds


def short_notices(seconds: float | None) -> list[str]:
    """The clouds whose notice is shorter than a stop takes, each with its notice in words."""
    return [f"{cloud} ({notice:.0f} s)" for cloud, notice in SPOT_NOTICES if seconds is not None and seconds > notice]

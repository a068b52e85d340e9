"""Which checkpoints stay on disk: the newest, the permanent ones, and the one that validated best."""

from collections.abc import Mapping, Sequence

from engine.config.schema import CheckpointConfig


def expendable(steps: Sequence[int], config: CheckpointConfig, bits_per_byte: Mapping[int, float]) -> list[int]:
    """The steps, of those checkpoints that exist, that may go, oldest first.

    `bits_per_byte`: what the validation after a step gave, where there was one.
    """
    ordered = sorted(steps)
    kept = set(ordered[-config.keep_last :])
    kept |= {step for step in ordered if is_permanent(step, config)}
    if config.keep_best:
        evaluated = [step for step in ordered if step in bits_per_byte]
        kept |= {min(evaluated, key=lambda step: bits_per_byte[step])} if evaluated else set()
    return [step for step in ordered if step not in kept]


def is_permanent(step: int, config: CheckpointConfig) -> bool:
    """Whether the checkpoint after `step` is never removed."""
    return config.keep_every_steps > 0 and step > 0 and step % config.keep_every_steps == 0

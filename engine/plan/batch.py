"""How a step of total_batch_size tokens is cut into whole micro-batches."""

from engine.config.schema import BatchConfig, RunConfig


def micro_batches(batch: BatchConfig, seq_len: int) -> int:
    """The whole number of micro-batches nearest to the total batch that was asked for (halves go up), at least 1."""
    micro = batch.device_batch_size * seq_len
    return max(1, (2 * batch.total_batch_size + micro) // (2 * micro))


def tokens_per_micro_batch(config: RunConfig) -> int:
    """device_batch_size x max_seq_len."""
    return config.batch.device_batch_size * config.model.max_seq_len


def grad_accum_steps(config: RunConfig) -> int:
    """Micro-batches of one step."""
    return micro_batches(config.batch, config.model.max_seq_len)


def tokens_per_step(config: RunConfig) -> int:
    """The total batch size as used: whole micro-batches, so exact."""
    return grad_accum_steps(config) * tokens_per_micro_batch(config)

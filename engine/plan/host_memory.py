"""Host memory of a run: the process and, on CUDA, the pinned copy that checkpoints are written from."""

from engine.core.units import GIB
from engine.plan.shape import Shape

CUDA_PROCESS = 3 * GIB  # interpreter, torch's libraries, the driver


def pinned(size: int) -> int:
    """Bytes that torch allocates for `size` pinned bytes: the next power of two (CachingHostAllocatorImpl.h)."""
    return 1 << (size - 1).bit_length() if size > 0 else 0


def checkpoint_copy(shape: Shape) -> int:
    """Bytes of the pinned copy of weights and optimizer state on CUDA, tensor by tensor.

    Each block has four d x d and two d x 4d matrices, each with one momentum buffer, in float32. Head and embedding
    have two AdamW moments each, in float32 and bfloat16.
    """
    square, table = shape.width**2, shape.vocab_size * shape.width
    block = 4 * pinned(4 * square) + 2 * pinned(16 * square)
    return 2 * shape.depth * block + 3 * (pinned(4 * table) + pinned(2 * table))


def host_memory(shape: Shape, trains: bool = True) -> int:
    """Bytes of host memory that a run on CUDA needs. Only training writes checkpoints."""
    return CUDA_PROCESS + (checkpoint_copy(shape) if trains else 0)

"""What a run takes of the host's memory: the process, and on CUDA the pinned copy that checkpoints are written from."""

from engine.core.units import GIB
from engine.plan.shape import Shape

CUDA_PROCESS = 3 * GIB  # the interpreter, torch's libraries, the driver's part of a process


def pinned(size: int) -> int:
    """Bytes that torch takes for `size` pinned bytes: the next power of two (CachingHostAllocatorImpl.h)."""
    return 1 << (size - 1).bit_length() if size > 0 else 0


def checkpoint_copy(shape: Shape) -> int:
    """Bytes of the pinned copy of weights and optimizer state on CUDA, tensor by tensor.

    Each block has four matrices of d x d and two of d x 4d, with one momentum each, in float32; head and embedding have
    two AdamW moments each, in float32 and bfloat16.
    """
    square, table = shape.width**2, shape.vocab_size * shape.width
    block = 4 * pinned(4 * square) + 2 * pinned(16 * square)
    return 2 * shape.depth * block + 3 * (pinned(4 * table) + pinned(2 * table))


def host_memory(shape: Shape, trains: bool = True) -> int:
    """Bytes that a run on CUDA takes of the host; only training writes checkpoints."""
    return CUDA_PROCESS + (checkpoint_copy(shape) if trains else 0)

"""What training asks of a device, counted: FLOPs of matrix products and attention, bytes moved, kernels started."""

from collections.abc import Sequence

import msgspec

from engine.config.schema import BatchConfig, CheckpointingMode, LossKind
from engine.plan.shape import Shape

NEWTON_SCHULZ_STEPS = 5  # of Muon


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """An amount of work."""

    matmul: float = 0.0  # FLOPs of matrix products
    attention: float = 0.0  # FLOPs of attention, only those that a causal mask needs
    moved: float = 0.0  # bytes read and written in the device's memory
    kernels: float = 0.0  # operations started

    def __add__(self, other: "Work") -> "Work":
        return Work(
            matmul=self.matmul + other.matmul,
            attention=self.attention + other.attention,
            moved=self.moved + other.moved,
            kernels=self.kernels + other.kernels,
        )

    def __mul__(self, times: float) -> "Work":
        return Work(
            matmul=self.matmul * times,
            attention=self.attention * times,
            moved=self.moved * times,
            kernels=self.kernels * times,
        )


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """How often a program reads or writes its tensors outside matrix products. Counts: docs/time.md."""

    block_forward: float  # activations of N d elements that one block's pointwise operations move
    block_backward: float
    loss_forward: float  # bytes for each logit, of the loss of a training batch
    loss_backward: float
    loss_evaluation: float = 34.0  # and of one that is only evaluated, which is never compiled
    weight: float = 24.0  # bytes for each matrix weight and micro-batch: its bf16 copy, its gradient added up
    kernels_forward: float = 16.0  # in one block
    kernels_backward: float = 32.0


# A compiler fuses norm with residual, rotation with norm, squared ReLU into one pass each; eager runs every operation.
# Of the chunked loss it makes two passes over bfloat16 logits: the row sums, then the gradient.
COMPILED = Traffic(block_forward=20, block_backward=28, loss_forward=2, loss_backward=4)
EAGER = Traffic(
    block_forward=46, block_backward=62, loss_forward=34, loss_backward=18, kernels_forward=40, kernels_backward=70
)
# All logits at once are never compiled, and autograd keeps and moves more of them.
FULL_LOSS = (42.0, 50.0)

# (matrix products, attention, pointwise) of the forward pass that backward does a second time
RECOMPUTED: dict[CheckpointingMode, tuple[bool, bool, bool]] = {
    "none": (False, False, False),
    "selective": (False, False, True),
    "block": (True, True, True),
}


def traffic_of(compiled: bool, loss: LossKind) -> Traffic:
    """The counts of nanosolo's own program."""
    traffic = COMPILED if compiled else EAGER
    if loss == "full":
        return msgspec.structs.replace(traffic, loss_forward=FULL_LOSS[0], loss_backward=FULL_LOSS[1])
    return traffic


def micro_batch(
    shape: Shape, batch: BatchConfig, mode: CheckpointingMode, traffic: Traffic, wide: int, training: bool = True
) -> Work:
    """One micro-batch forward and, when training, backward. `wide`: bytes of an activation.

    The batch gives device_batch_size, loss and loss_chunk_tokens; `mode` is what its checkpointing comes down to.
    """
    tokens = batch.device_batch_size * shape.max_seq_len
    chunk = tokens if batch.loss == "full" and training else min(tokens, batch.loss_chunk_tokens)
    return blocks(shape, tokens, mode, traffic, wide, training) + head_and_loss(
        shape, tokens, chunk, traffic, wide, training
    )


def blocks(
    shape: Shape,
    tokens: int,
    mode: CheckpointingMode,
    traffic: Traffic,
    wide: int,
    training: bool = True,
    matrices: Sequence[tuple[int, int]] | None = None,
) -> Work:
    """All blocks on N tokens. `matrices`: (inputs, outputs) of a block's own, where they are not nanochat-2025's.

    Attention, causal and counted once: 2 T d FLOPs a token forward (half of 4 T d) and 5 T d backward, which computes
    the scores again (Dao 2023).
    """
    d, layers = shape.width, shape.depth
    matrices = matrices or ((d, d), (d, d), (d, d), (d, d), (d, 4 * d), (4 * d, d))
    forward = Work()
    for inputs, outputs in matrices:
        forward += product(tokens, inputs, outputs, wide)
    attention = Work(attention=2.0 * tokens * shape.max_seq_len * d, moved=4.0 * wide * tokens * d)
    pointwise = Work(moved=traffic.block_forward * wide * tokens * d, kernels=traffic.kernels_forward)
    once = forward + attention + pointwise
    if not training:
        return once * layers
    backward = Work(
        moved=traffic.block_backward * wide * tokens * d
        + traffic.weight * sum(inputs * outputs for inputs, outputs in matrices),
        kernels=traffic.kernels_backward,
    )
    again = Work()
    for part, twice in zip((forward, attention, pointwise), RECOMPUTED[mode], strict=True):
        again += part * twice
    return (once + forward * 2 + attention * 2.5 + backward + again) * layers


def head_and_loss(shape: Shape, tokens: int, chunk: int, traffic: Traffic, wide: int, training: bool = True) -> Work:
    """The head and cross-entropy on N tokens, `chunk` at a time: each chunk reads the head and adds to its gradient."""
    logits, head = tokens * shape.vocab_size, shape.vocab_size * shape.width
    chunks = -(-tokens // chunk)
    work = product(chunk, shape.width, shape.vocab_size, wide) * (tokens / chunk)
    work += Work(moved=(traffic.loss_forward if training else traffic.loss_evaluation) * logits, kernels=12.0 * chunks)
    if training:
        work += product(chunk, shape.width, shape.vocab_size, wide) * (2 * tokens / chunk)
        work += Work(moved=traffic.loss_backward * logits + 8.0 * head * chunks, kernels=12.0 * chunks)
    return work


def product(rows: int, inputs: int, outputs: int, wide: int) -> Work:
    """rows x inputs times inputs x outputs: 2 FLOPs for each of its triples, each factor and the result moved once."""
    return Work(
        matmul=2.0 * rows * inputs * outputs, moved=float(wide) * (rows * (inputs + outputs) + inputs * outputs)
    )


def optimizer_step(shape: Shape, wide: int) -> Work:
    """Clipping, Muon on the blocks' matrices, AdamW on embedding and head.

    Newton-Schulz on rows x columns with rows <= columns: rows x columns x rows for the Gram matrix and for the
    product, rows^3 for the polynomial, 2 FLOPs each, five times. A block has four d x d and two d x 4 d.
    """
    params, d = shape.params, shape.width
    square, long = 2.0 * 3 * d**3, 2.0 * (4 + 1 + 4) * d**3
    matmul = NEWTON_SCHULZ_STEPS * shape.depth * (4 * square + 2 * long)
    # norm and scaling 12; momentum, stacking, five iterations at `wide`, update: ~40 + 20 wide; AdamW: 28 and clipping
    moved = (12.0 + 40 + 20 * wide) * params.matrices + 40.0 * params.lm_head + 10.0 * wide * params.embedding
    return Work(matmul=matmul, moved=moved, kernels=30.0 * shape.depth)

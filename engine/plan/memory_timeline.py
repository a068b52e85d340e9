"""Memory timeline of training: the points at which memory may peak and what is alive there, in bytes, by formula.

Follows engine.model and engine.optim line by line: float32 matrices and head; embedding and activations in bfloat16 on
CUDA, float32 on a CPU. docs/memory.md derives every term and compares it with traces.
"""

from collections.abc import Iterable, Iterator

import msgspec

from engine.config.schema import BatchConfig, CheckpointingMode
from engine.core.units import MIB
from engine.plan.batch import micro_batches
from engine.plan.shape import Shape

# Float32 bytes of the matrices that Muon updates together. The step needs about twice this on top of weights,
# gradients and momentum. 64 MiB (ten 1280 x 1280 matrices) is enough to keep an A100 busy.
MUON_GROUP_BYTES = 64 * MIB


class MemoryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a phase and what is alive there, in bytes."""

    phase: str
    name: str
    weights: int
    gradients: int
    optimizer: int
    activations: int  # kept for the backward pass, plus token ids and the workspace of the current block
    loss: int  # logits or one chunk of them, copies of the head's weight and its new gradient

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss


def phase_peaks(timeline: Iterable[MemoryPoint]) -> dict[str, int]:
    """Phase -> bytes at its peak, in the order of a step."""
    peaks: dict[str, int] = {}
    for point in timeline:
        peaks[point.phase] = max(peaks.get(point.phase, 0), point.total)
    return peaks


def full_timeline(
    shape: Shape, batch: BatchConfig, mode: CheckpointingMode, cuda: bool, compiled: bool
) -> Iterator[MemoryPoint]:
    """All points at which memory may peak, phase by phase. Derivations: docs/memory.md."""
    s = Sizes(shape, batch, mode, cuda)
    yield from training_timeline(s, compiled)
    yield from _evaluation(s)
    yield from _sampling(s)
    yield s.point("checkpoint", "checkpoint")
    # on a CPU each file (weights, then optimizer) is in memory in addition to its tensors; CUDA loads through the host
    yield s.point("resume", "resume", activations=0 if cuda else max(s.weights, s.optimizer))


def training_timeline(s: "Sizes", compiled: bool) -> Iterator[MemoryPoint]:
    """The points of one optimizer step."""
    forward, backward = (_compiled_forward, _compiled_backward) if compiled else (_eager_forward, _eager_backward)
    yield from forward(s)
    yield from _loss(s, _compiled_trunk(s) if compiled else _eager_trunk(s), compiled)
    yield from backward(s)
    yield from _optimizer_step(s)


class Sizes:
    """The symbols of the formulas, in bytes unless stated otherwise."""

    def __init__(self, shape: Shape, batch: BatchConfig, mode: CheckpointingMode, cuda: bool) -> None:
        self.mode = mode
        self.fused_loss = batch.loss == "chunked"
        self.cuda = cuda
        self.a = a = 2 if cuda else 4  # per activation
        self.depth = shape.depth
        self.vocab = vocab = shape.vocab_size
        self.tokens = n = batch.device_batch_size * shape.max_seq_len
        self.length = shape.max_seq_len
        self.width = d = shape.width
        self.heads = shape.heads
        self.chunk = min(batch.loss_chunk_tokens, n)  # tokens

        self.state = a * n * d  # the hidden states of all tokens: the unit of activations
        self.square = d * d  # elements of the smallest matrix
        self.copies = 12 * self.square * (2 if cuda else 0)  # bfloat16 copies of a block's weights
        self.table = vocab * d  # elements of embedding and head
        self.head_copy = self.table * (2 if cuda else 0)

        params = shape.params
        self.weights = 4 * params.matrices + 4 * params.lm_head + a * params.embedding
        self.optimizer = 4 * params.matrices + 8 * params.lm_head + 2 * a * params.embedding
        accumulation = micro_batches(batch, shape.max_seq_len)
        self.gradients = self.weights if accumulation > 1 else 0  # alive while the last micro-batch is computed
        self.rotary = 2 * a * shape.max_seq_len * shape.head_size
        self.step_ids = 16 * n * accumulation  # int64 tokens and targets, kept so that a step can be replayed
        self.micro_ids = 16 * n

        # Kept by one block for its backward pass. none: 18 states (x, norm, rotated q k, normed q k, v, attention, x,
        # norm, 4 relu, 4 relu^2), rstd of the norms, log-sum-exp of the attention, and the weight copies.
        self.whole = 18 * self.state + 8 * n + 12 * n * self.heads + self.copies
        by_mode = {
            "none": self.whole,
            "selective": 10 * self.state + 4 * n * self.heads,  # x, q, k, v, attention, its projection, 4 expanded
            "block": self.state,  # x alone
        }
        self.kept = by_mode[mode]

    def point(self, phase: str, name: str, activations: int = 0, loss: int = 0, gradients: int = 0) -> MemoryPoint:
        return MemoryPoint(
            phase=phase,
            name=name,
            weights=self.weights,
            gradients=gradients,
            optimizer=self.optimizer,
            activations=self.rotary + activations,
            loss=loss,
        )

    def training(self, phase: str, name: str, activations: int, loss: int = 0, new_gradients: int = 0) -> MemoryPoint:
        """`new_gradients`: gradients computed by then if none existed before the micro-batch."""
        gradients = self.gradients or new_gradients
        return self.point(phase, name, self.step_ids + activations, loss, gradients)


def _eager_forward(s: Sizes) -> Iterator[MemoryPoint]:
    outside = s.state + 4 * s.tokens  # the embedding's output, which its norm keeps
    if s.mode == "none":
        # the last block peaks at the squared ReLU, whose input is alive too and before the contraction's weights are
        # copied, or at its end, with the MLP's result and its sum with x
        work = s.whole + max(4 * s.state - s.copies // 3, 2 * s.state)
    else:
        work = {"selective": 20, "block": 15}[s.mode] * s.state
    yield s.training("forward", "forward", (s.depth - 1) * s.kept + outside + work)


def _eager_trunk(s: Sizes) -> int:
    """What the forward pass keeps: the blocks plus embedding, last x and final norm."""
    return s.depth * s.kept + 3 * s.state + 8 * s.tokens


def _loss(s: Sizes, trunk: int, compiled: bool) -> Iterator[MemoryPoint]:
    """The loss is outside the trunk's graph (inside, all chunks would be computed at once), compiled per chunk."""
    if not s.fused_loss:
        # float32 tanh, capped logits and log-softmax
        yield s.training("loss", "loss", trunk, s.head_copy + 12 * s.tokens * s.vocab)
        return
    logits = s.chunk * s.vocab
    new = s.state + 4 * s.table  # gradients of the hidden states and of the head (float32)
    if compiled:
        work = 2 * s.a * logits + s.head_copy  # raw logits and their gradient; a product of the head's size
    else:
        pointwise = (10 if s.cuda else 8) * logits  # raw logits in bfloat16, tanh and exp in float32
        work = max(pointwise, s.a * logits + s.head_copy)  # the raw logits' memory holds their gradient
    yield s.training("loss", "loss", trunk, s.head_copy + new + work)


def _loss_backward(s: Sizes, trunk: int) -> Iterator[MemoryPoint]:
    if s.fused_loss:
        yield s.training("backward", "backward of the loss", trunk - s.state, s.state + 4 * s.table)
        return
    logits = s.tokens * s.vocab
    yield s.training("backward", "backward of the loss", trunk, s.head_copy + 16 * logits + 4 * s.tokens)
    product = s.a * (logits + s.table) + s.state
    yield s.training("backward", "gradient of the head", trunk, s.head_copy + product)
    if s.cuda:  # cast from the product's bfloat16 to the weight's float32
        yield s.training("backward", "gradient of the head", trunk, 6 * s.table + s.state)


def _block_work(s: Sizes) -> int:
    """Peak of one block's backward pass, on top of everything that the block keeps in mode `none`."""
    products = 5 * s.state + 4 * s.a * s.square  # the contraction's: gradients of its output, input and weight
    if not s.cuda:
        return products
    return max(products, s.state + 16 * s.square)  # gradient of its weight, cast from bfloat16 to float32


def _eager_backward(s: Sizes) -> Iterator[MemoryPoint]:
    yield from _loss_backward(s, _eager_trunk(s))
    outside = s.state + 4 * s.tokens
    head = 4 * s.table
    last = (s.depth - 1) * s.kept + s.whole + outside + _block_work(s)
    yield s.training("backward", "backward of the last block", last, 0, head)
    new = head + 48 * (s.depth - 1) * s.square
    first = s.whole + outside + _block_work(s)
    yield s.training("backward", "backward of the first block", first, 0, new)
    yield _embedding_backward(s, 0)


def _embedding_backward(s: Sizes, other: int) -> MemoryPoint:
    table = s.a * s.table
    workspace = embedding_workspace(s.tokens, s.vocab, s.width) if s.cuda else 0
    others = s.weights - table
    return s.training("backward", "gradient of the embedding", other + s.state + workspace, table, others)


def embedding_workspace(tokens: int, vocab: int, width: int) -> int:
    """Bytes that CUDA's embedding backward allocates: sorted indices and float32 sums of at most 10 rows each.

    Source: ATen's Embedding.cu and EmbeddingBackwardKernel.cu; up to 3,072 tokens, another kernel needs none.
    """
    if tokens <= 3072:
        return 0
    segments = min(tokens, vocab)
    return 24 * tokens + 24 * segments + 4 * width * (segments + tokens // 10)


def _compiled_trunk(s: Sizes) -> int:
    """What a compiled forward pass keeps: the same per block as eager, less outside the blocks."""
    return s.depth * s.kept + (2 if s.mode == "none" else 1) * s.state + 8 * s.tokens


def _compiled_forward(s: Sizes) -> Iterator[MemoryPoint]:
    work = 0 if s.mode == "none" else 5 * s.state + 10 * s.square
    yield s.training("forward", "forward", _compiled_trunk(s) + work)


def _compiled_backward(s: Sizes) -> Iterator[MemoryPoint]:
    """Inductor orders a graph to keep little alive. It returns all new gradients together, at the end."""
    yield from _loss_backward(s, _compiled_trunk(s))
    head = 4 * s.table
    others = (s.depth - 1) * s.kept
    # the current block: what it kept, what it recomputes, its gradients
    states, squares, squares_of_first = {"none": (2, 40, -8), "selective": (16, 56, 32), "block": (28, 8, 8)}[s.mode]
    work = states * s.state + (s.whole if s.mode == "none" else 0)
    yield s.training("backward", "backward of the last block", others + work + squares * s.square, 0, head)
    new = s.weights - head
    yield s.training("backward", "backward of the first block", new + work + squares_of_first * s.square, 0, head)


def _optimizer_step(s: Sizes) -> Iterator[MemoryPoint]:
    """All gradients, and Muon's working set for one group of matrices of one shape."""
    work = 0
    for count, elements, gram in ((4 * s.depth, s.square, 1.0), (s.depth, 4 * s.square, 0.25)):
        group = elements * min(count, max(1, MUON_GROUP_BYTES // (4 * elements)))
        # the list and its stack in float32; then the update, two iterates and two Gram matrices in the activation dtype
        work = max(work, 8 * group, int((3 + 2 * gram) * s.a * group))
    yield s.point("optimizer step", "optimizer step", s.step_ids + work, 0, s.weights)


def _evaluation(s: Sizes) -> Iterator[MemoryPoint]:
    """No gradients and nothing kept: one block, then one chunk of logits. (A compiled block needs less.)"""
    # x twice, norm, 4 expanded, 4 relu
    yield s.point("evaluation", "evaluation", s.micro_ids + 11 * s.state)
    logits = (10 if s.cuda else 8) * s.chunk * s.vocab
    yield s.point("evaluation", "loss of an evaluation", s.micro_ids + s.state, s.head_copy + logits)


def _sampling(s: Sizes) -> Iterator[MemoryPoint]:
    """A cache of the maximum sequence length, filled by one prompt, then one token at a time. Eager only."""
    state = s.a * s.length * s.width
    cache = 2 * s.depth * state
    yield s.point("sampling", "sampling", cache + 11 * state)
    yield s.point("sampling", "sampling", cache + state, s.head_copy)

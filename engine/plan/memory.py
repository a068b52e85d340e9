"""The VRAM breakdown: what each phase of training holds at its worst moment, in bytes.

Sizes follow the model that engine.model builds: float32 matrices and head, bfloat16 embedding and activations on CUDA
(float32 on a CPU), Muon with a float32 momentum, AdamW, gradients kept while accumulating. The coefficients were
traced (docs/memory.md): within 1 % of published peaks for two of three nanochat runs, 5 % for one; a fourth was 13 %
above for no known reason, hence the headroom that the plan asks for.
"""

import msgspec

from engine.plan.config import BatchConfig, Checkpointing, LossKind
from engine.plan.gpus import GIB, Gpu
from engine.plan.shape import Shape

CUDA_CONTEXT = 1 * GIB  # context 0.42-0.55 GiB, cuBLAS workspaces and loaded kernels the rest
ALLOCATOR_SLACK = 0.03  # reserved over allocated with static shapes: 0.2-3 %
CPU_PROCESS = 600 * 2**20  # torch's libraries and the interpreter in host memory
MUON_GROUP_BYTES = 256 * 2**20  # largest stack of float32 gradients that the optimizer orthogonalises at once


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of a step and what is alive in it, in bytes."""

    name: str
    weights: int
    gradients: int
    optimizer: int
    activations: int  # kept for the backward pass, with the token ids and the workspace of the block at work
    loss: int  # logits or their chunks, the head's working copies

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The breakdown at the peak, in bytes, and whether it fits."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    overhead: int  # CUDA context, cuBLAS, allocator slack (on a CPU: the process itself)
    total: int
    capacity: int
    fits: bool
    headroom: float  # share of the capacity left; negative when it does not fit
    peak_phase: str
    phases: dict[str, int]  # phase -> bytes, without overhead
    basis: str


def estimate(shape: Shape, batch: BatchConfig, gpu: Gpu, compiled: bool, accumulates: bool = True) -> Memory:
    """The breakdown for one configuration on one device."""
    phases = training_phases(shape, batch, gpu.is_cuda, compiled, accumulates)
    peak = max(phases, key=lambda phase: phase.total)
    overhead = CUDA_CONTEXT + int(ALLOCATOR_SLACK * peak.total) if gpu.is_cuda else CPU_PROCESS
    total = peak.total + overhead
    mode = "compiled" if compiled else "eager"
    return Memory(
        weights=peak.weights,
        gradients=peak.gradients,
        optimizer=peak.optimizer,
        activations=peak.activations,
        loss=peak.loss,
        overhead=overhead,
        total=total,
        capacity=gpu.capacity,
        fits=total <= gpu.capacity,
        headroom=1 - total / gpu.capacity,
        peak_phase=peak.name,
        phases={phase.name: phase.total for phase in phases},
        basis=f"formula for {mode} {'bfloat16' if gpu.is_cuda else 'float32'} training, not yet measured on this card",
    )


def training_phases(
    shape: Shape, batch: BatchConfig, bf16: bool, compiled: bool, accumulates: bool = True
) -> list[Phase]:
    """What is alive at the worst moment of each phase of a step. Source of the coefficients: docs/memory.md."""
    sizes = _Sizes.of(shape, batch, bf16, accumulates)
    phases = _compiled(sizes, batch) if compiled else _eager(sizes, batch)
    return [*phases, _optimizer_step(sizes), _evaluation(sizes)]


class _Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """The symbols of the formulas, once."""

    a: int  # bytes of one activation
    n: int  # N, tokens of a micro-batch
    d: int
    layers: int
    heads: int
    vocab: int
    chunk: int  # C, tokens of a loss chunk
    weights: int  # P
    optimizer: int  # O
    gradients: int  # G, those alive during forward and backward
    inputs: int  # token ids, targets, rotary tables
    copies: int  # bytes of a bf16 copy of one parameter; 0 where weights are used as they are

    @classmethod
    def of(cls, shape: Shape, batch: BatchConfig, bf16: bool, accumulates: bool) -> "_Sizes":
        a = 2 if bf16 else 4
        n = batch.device_batch_size * shape.max_seq_len
        params = shape.params
        weights = 4 * params.matrices + 4 * params.lm_head + a * params.embedding
        return cls(
            a=a,
            n=n,
            d=shape.width,
            layers=shape.depth,
            heads=shape.heads,
            vocab=shape.vocab_size,
            chunk=min(batch.loss_chunk_tokens, n),
            weights=weights,
            optimizer=4 * params.matrices + 8 * params.lm_head + 2 * a * params.embedding,
            gradients=weights if accumulates else 0,
            inputs=16 * n + a * shape.max_seq_len * shape.head_size,
            copies=2 if bf16 else 0,
        )

    def phase(self, name: str, activations: int, loss: int, new_gradients: int = 0) -> Phase:
        return Phase(
            name=name,
            weights=self.weights,
            gradients=max(self.gradients, new_gradients),
            optimizer=self.optimizer,
            activations=self.inputs + activations,
            loss=loss,
        )


def _saved_per_block(s: _Sizes, mode: Checkpointing) -> int:
    """Bytes that one block keeps for its backward pass.

    none: 18 activations of N d (x, norm, rotated q k, normed q k, v, attention out, x, norm, 4 relu, 4 relu^2), rstd of
    the norms, log-sum-exp of the attention, and the copies of the 12 d^2 weights. block: its input alone.
    """
    if mode == "block":
        return s.a * s.n * s.d
    return 18 * s.a * s.n * s.d + 8 * s.n + 12 * s.n * s.heads + 12 * s.copies * s.d**2


def _fused_loss(s: _Sizes) -> tuple[int, int]:
    """(forward, backward) bytes of the chunked loss: head copy, its float32 gradient, hidden gradient, chunk logits."""
    kept = 4 * s.vocab * s.d + s.a * s.n * s.d
    return kept + s.copies * s.vocab * s.d + 12 * s.chunk * s.vocab, kept


def _full_loss(s: _Sizes) -> tuple[int, int]:
    """(forward, backward) bytes of eager float32 logits with softcap, log-softmax and their gradients."""
    copy = s.copies * s.vocab * s.d
    return copy + 12 * s.n * s.vocab, copy + 16 * s.n * s.vocab + 4 * s.n


def _loss(s: _Sizes, kind: LossKind) -> tuple[int, int]:
    return _fused_loss(s) if kind == "chunked" else _full_loss(s)


def _eager(s: _Sizes, batch: BatchConfig) -> list[Phase]:
    mode = batch.activation_checkpointing
    token = s.a * s.n * s.d  # one (N, d) activation
    saved, whole = _saved_per_block(s, mode), _saved_per_block(s, "none")
    kept = s.layers * saved + 3 * token + 8 * s.n
    forward, backward = _loss(s, batch.loss)
    # worst point of a block's backward: four gradients of relu^2 at (N, 4d), its input's gradient; relu^2's own output
    # and the second weight copy are gone by then
    at_work = 13 * token - 4 * s.copies * s.d**2 + (whole - token if mode == "block" else 0)
    table = 4 * s.vocab * s.d
    new_head = 0 if s.gradients else table
    new_blocks = 0 if s.gradients else 48 * (s.layers - 1) * s.d**2 + table
    loss_kept = token if batch.loss == "chunked" else 0
    rows = min(s.n, s.vocab) + s.n // 10
    sort = 24 * s.n + 4 * s.d * rows if s.n > 3072 else 0  # the embedding gradient's sort and partial sums
    return [
        s.phase("forward and loss", kept, forward),
        s.phase("backward of the loss", kept, backward),
        s.phase("backward of the last block", kept - 2 * token + at_work, loss_kept, new_head),
        s.phase("backward of the first block", token + saved + at_work, 0, new_blocks),
        s.phase("embedding gradient", 2 * token + sort, s.a * s.vocab * s.d, new_blocks),
    ]


def _compiled(s: _Sizes, batch: BatchConfig) -> list[Phase]:
    mode = batch.activation_checkpointing
    token = s.a * s.n * s.d
    saved, whole = _saved_per_block(s, mode), _saved_per_block(s, "none")
    kept = s.layers * saved + (1 if mode == "block" else 2) * token
    if batch.loss == "full":
        # compiled, one bf16 (N, V) tensor exists; its gradient overwrites it
        forward = backward = s.a * s.n * s.vocab + 4 * s.vocab * s.d
    else:
        forward, backward = _fused_loss(s)
    table = 4 * s.vocab * s.d
    blocks = 48 * s.layers * s.d**2
    recompute = max(kept - token, blocks) + whole + 10 * token
    at_work = recompute if mode == "block" else kept + 6 * token
    return [
        s.phase("forward and loss", kept, forward),
        s.phase("backward of the loss", kept, backward),
        s.phase("backward of a block", at_work, 0, 0 if s.gradients else table),
        # a compiled backward hands back all its new gradients at once, beside those that accumulate
        s.phase("end of backward", 2 * token + s.weights, 0),
    ]


def _optimizer_step(s: _Sizes) -> Phase:
    """All gradients, and the working set of one bounded group of matrices: its stack and five bf16 iterates."""
    largest = 4 * s.d**2
    elements = max(largest, min(MUON_GROUP_BYTES // 4, s.layers * largest))
    work = (4 + 4 + 4 * s.a) * elements
    return Phase(
        name="optimizer step",
        weights=s.weights,
        gradients=s.weights,
        optimizer=s.optimizer,
        activations=work,
        loss=0,
    )


def _evaluation(s: _Sizes) -> Phase:
    """No gradients and nothing kept: one block's forward, and the logits of one chunk."""
    block = 12 * s.a * s.n * s.d + 12 * s.copies * s.d**2
    return Phase(
        name="evaluation",
        weights=s.weights,
        gradients=0,
        optimizer=s.optimizer,
        activations=s.inputs + block,
        loss=s.copies * s.vocab * s.d + 12 * s.chunk * s.vocab,
    )

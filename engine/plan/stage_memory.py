"""Memory timeline of the stages that generate or score answers (rl, chat_eval, CORE): formulas, in bytes.

Symbols as in engine.plan.memory_timeline: N tokens, S = a N d the hidden states of all of them. The formulas follow
engine.stages.rl, engine.evaluate and engine.inference.decoder. docs/memory.md says how accurate they are.
"""

from collections.abc import Iterator

import msgspec

from engine.config.schema import BatchConfig, CheckpointingMode, RunConfig
from engine.plan.memory_timeline import MemoryPoint, Sizes, training_timeline
from engine.plan.shape import Shape

PREFILL_TOKENS = 16_384  # most prompt tokens in one forward pass; bounds memory when prompts are long
# Tokens in one batch of CORE or multiple choice: enough to fill a GPU, few enough for the caches of a CPU.
CUDA_TOKENS, CPU_TOKENS = 32_768, 2_048
CORE_CHUNK = 1024  # positions of CORE whose logits are in memory at the same time
STATES = 11  # hidden states alive in a block without gradients: x twice, norm, 4 expanded, 4 ReLU


def rl_timeline(
    shape: Shape, config: RunConfig, prompt: int, mode: CheckpointingMode, cuda: bool
) -> Iterator[MemoryPoint]:
    """Sample answers to a problem of `prompt` tokens, then compute the gradient of one micro-batch of them. Eager only.

    Sampling: a cache of rows x (prompt + new tokens), the forward pass of one prompt, and float32 logits of one token
    per row. Learning: a micro-batch of answers at full length, whose hidden states are copied once more by reward. If
    it holds both right and wrong answers, a second float32 gradient of the head exists too.
    """
    rl = config.rl
    rows = min(rl.device_batch_size, rl.samples_per_problem)
    length = prompt + rl.max_new_tokens
    tokens = rows * (length - 1)
    # from the second problem of a step on, gradients accumulate as with a second micro-batch
    batch = msgspec.structs.replace(config.batch, device_batch_size=rows, total_batch_size=2 * tokens)
    s = Sizes(msgspec.structs.replace(shape, max_seq_len=length - 1), batch, mode, cuda)
    drawing = _drawing(s, rows, length, max(prompt, rows))
    logits = _logits(s, rows, rl.top_k is None)
    yield s.point("answers", "drawing answers", drawing, s.head_copy + logits, s.weights)
    second = 4 * s.table if s.fused_loss else s.head_copy
    for point in training_timeline(s, compiled=False):
        change = {"activations": point.activations + s.state}  # hidden states are kept and copied by reward
        if point.phase == "loss" or point.name in ("backward of the loss", "gradient of the head"):
            change = {"activations": point.activations + 2 * s.state, "loss": point.loss + second}
        yield msgspec.structs.replace(point, **change) if point.phase in ("loss", "backward") else point


def generative_timeline(
    shape: Shape, batch: BatchConfig, rows: int, prompt: int, new_tokens: int, cuda: bool
) -> Iterator[MemoryPoint]:
    """Greedy decoding of `rows` answers at a time, by a model without optimizer state and gradients."""
    length = prompt + new_tokens
    s = Sizes(msgspec.structs.replace(shape, max_seq_len=length), _of_rows(batch, rows, length), "none", cuda)
    together = min(rows * prompt, max(PREFILL_TOKENS, prompt))
    yield _loading(s)
    yield _bare(s, "answers", "writing answers", _drawing(s, rows, length, together), s.head_copy + _logits(s, rows))


def multiple_choice_timeline(
    shape: Shape, batch: BatchConfig, problems: int, prompt: int, cuda: bool
) -> Iterator[MemoryPoint]:
    """Multiple choice: prompts of similar length in one forward pass, then the logits of the last token of each. The
    hidden states of the previous batch are still alive.

    `prompt`: mean prompt length in tokens. The shortest prompts, which fill the largest batch, count as half as long.
    """
    tokens = min(tokens_at_once(cuda), problems * prompt)
    s = Sizes(shape, batch, "none", cuda)
    state = s.a * tokens * s.width
    rows = min(problems, 2 * tokens // max(1, prompt))
    yield _loading(s)
    yield _bare(s, "answers", "reading questions", 8 * tokens + (STATES + 1) * state)
    yield _bare(s, "answers", "choosing letters", 8 * tokens + state, s.head_copy + _logits(s, rows))


def evaluate_timeline(shape: Shape, batch: BatchConfig, core: bool, cuda: bool) -> Iterator[MemoryPoint]:
    """Bits per byte in the batches of training, plus the hidden states of the previous batch. CORE in its own batches,
    with float32 logits of one chunk and the temporaries that rank them."""
    s = Sizes(shape, batch, "none", cuda)
    yield _loading(s)
    yield _bare(s, "evaluation", "evaluation", s.micro_ids + (STATES + 1) * s.state)
    logits = (10 if cuda else 8) * s.chunk * s.vocab
    yield _bare(s, "evaluation", "loss of an evaluation", s.micro_ids + s.state, s.head_copy + logits)
    if core:
        tokens = tokens_at_once(cuda)
        state = s.a * tokens * s.width
        yield _bare(s, "CORE", "questions of CORE", 8 * tokens + (STATES + 1) * state)
        yield _bare(s, "CORE", "logits of CORE", 8 * tokens + 2 * state, s.head_copy + 12 * CORE_CHUNK * s.vocab)


def tokens_at_once(cuda: bool) -> int:
    """Most tokens in one forward pass of CORE or multiple choice."""
    return CUDA_TOKENS if cuda else CPU_TOKENS


def _drawing(s: Sizes, rows: int, length: int, together: int) -> int:
    """Keys and values of `rows` sequences of `length` tokens, plus one block that processes `together` tokens."""
    return 2 * s.a * s.depth * s.width * rows * length + STATES * s.a * s.width * together


def _logits(s: Sizes, rows: int, whole: bool = False) -> int:
    """Logits of one token per row: raw, scaled and their tanh at the same time. `whole`: sampled from the whole
    vocabulary, with probabilities in float32 and their cumulative sum in float64."""
    return (16 if whole else 10 if s.cuda else 12) * rows * s.vocab


def _of_rows(batch: BatchConfig, rows: int, length: int) -> BatchConfig:
    return msgspec.structs.replace(batch, device_batch_size=rows, total_batch_size=rows * length)


def _loading(s: Sizes) -> MemoryPoint:
    """On a CPU the file is in memory in addition to the tensors it fills. CUDA loads through host memory."""
    return _bare(s, "loading", "loading the weights", 0 if s.cuda else s.weights)


def _bare(s: Sizes, phase: str, name: str, activations: int, loss: int = 0) -> MemoryPoint:
    """A point without optimizer state: the model is not trained."""
    return msgspec.structs.replace(s.point(phase, name, activations, loss), optimizer=0)

"""The moments at which memory may peak in the stages that answer: rewards, chat evaluation, CORE. By formula, in bytes.

Symbols as in engine.plan.memory_timeline: N tokens, S = a N d one hidden state of them all. The formulas follow
engine.stages.rl, engine.evaluate and engine.inference.decoder; how well: docs/memory.md.
"""

from collections.abc import Iterator

import msgspec

from engine.config.schema import BatchConfig, CheckpointingMode, RunConfig
from engine.plan.memory_timeline import Moment, Sizes, training_moments
from engine.plan.shape import Shape

PREFILL_TOKENS = 16_384  # of prompts in one forward pass, so that long prompts do not add up in memory
# Tokens in one batch of CORE and of multiple choice: enough to fill a GPU, and few enough for the caches of a CPU.
CUDA_TOKENS, CPU_TOKENS = 32_768, 2_048
CORE_CHUNK = 1024  # positions of CORE whose logits exist at one time
STATES = 11  # hidden states at work in a block without gradients: x twice, norm, 4 expanded, 4 ReLU


def rl_moments(shape: Shape, config: RunConfig, prompt: int, mode: CheckpointingMode, cuda: bool) -> Iterator[Moment]:
    """Drawing answers to a problem of `prompt` tokens, then the gradient of as many answers at a time; never compiled.

    Drawing: a cache of rows x (prompt + new tokens), one prompt's forward pass, and float32 logits of a token of each
    row. Learning: a micro-batch of answers at full length, whose hidden states are gathered once more by reward, and
    where right and wrong ones are in it together, a second float32 gradient of the head.
    """
    rl = config.rl
    rows = min(rl.device_batch_size, rl.samples_per_problem)
    length = prompt + rl.max_new_tokens
    tokens = rows * (length - 1)
    # from the second problem of a step on there are gradients that add up, as with a second micro-batch
    batch = msgspec.structs.replace(config.batch, device_batch_size=rows, total_batch_size=2 * tokens)
    s = Sizes(msgspec.structs.replace(shape, max_seq_len=length - 1), batch, mode, cuda)
    drawing = _drawing(s, rows, length, max(prompt, rows))
    logits = _logits(s, rows, rl.top_k is None)
    yield s.moment("answers", "drawing answers", drawing, s.head_copy + logits, s.weights)
    second = 4 * s.table if s.fused_loss else s.head_copy
    for moment in training_moments(s, compiled=False):
        change = {"activations": moment.activations + s.state}  # the hidden states stay, and are gathered by reward
        if moment.phase == "loss" or moment.name in ("backward of the loss", "gradient of the head"):
            change = {"activations": moment.activations + 2 * s.state, "loss": moment.loss + second}
        yield msgspec.structs.replace(moment, **change) if moment.phase in ("loss", "backward") else moment


def written_moments(
    shape: Shape, batch: BatchConfig, rows: int, prompt: int, new_tokens: int, cuda: bool
) -> Iterator[Moment]:
    """Writing answers of the likeliest tokens, `rows` at a time, by a model without optimizer and gradients."""
    length = prompt + new_tokens
    s = Sizes(msgspec.structs.replace(shape, max_seq_len=length), _of_rows(batch, rows, length), "none", cuda)
    together = min(rows * prompt, max(PREFILL_TOKENS, prompt))
    yield _loading(s)
    yield _bare(s, "answers", "writing answers", _drawing(s, rows, length, together), s.head_copy + _logits(s, rows))


def letter_moments(shape: Shape, batch: BatchConfig, problems: int, prompt: int, cuda: bool) -> Iterator[Moment]:
    """Choosing letters: prompts of like length in one forward pass, and logits of the last token of each at once. The
    batch before still has its hidden states then.

    `prompt`: tokens of the mean one; the shortest, of which most lie in one batch, are taken to have half.
    """
    tokens = min(tokens_at_once(cuda), problems * prompt)
    s = Sizes(shape, batch, "none", cuda)
    state = s.a * tokens * s.width
    rows = min(problems, 2 * tokens // max(1, prompt))
    yield _loading(s)
    yield _bare(s, "answers", "reading questions", 8 * tokens + (STATES + 1) * state)
    yield _bare(s, "answers", "choosing letters", 8 * tokens + state, s.head_copy + _logits(s, rows))


def evaluate_moments(shape: Shape, batch: BatchConfig, core: bool, cuda: bool) -> Iterator[Moment]:
    """Bits per byte in batches as in training, beside the hidden states of the batch before; CORE in its own, with
    float32 logits of a chunk, on which operations work: the likeliest, the runner-up."""
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
    """The most tokens in one forward pass of CORE and of multiple choice."""
    return CUDA_TOKENS if cuda else CPU_TOKENS


def _drawing(s: Sizes, rows: int, length: int, together: int) -> int:
    """Keys and values of `rows` sequences of `length` tokens, and one block at work on `together` of them."""
    return 2 * s.a * s.depth * s.width * rows * length + STATES * s.a * s.width * together


def _logits(s: Sizes, rows: int, whole: bool = False) -> int:
    """Logits of a token of each row: raw, scaled and their tanh at one time; `whole`: drawn from all words, with
    probabilities in float32 and their running sum in float64."""
    return (16 if whole else 10 if s.cuda else 12) * rows * s.vocab


def _of_rows(batch: BatchConfig, rows: int, length: int) -> BatchConfig:
    return msgspec.structs.replace(batch, device_batch_size=rows, total_batch_size=rows * length)


def _loading(s: Sizes) -> Moment:
    """A CPU reads the file beside the tensors that it fills; CUDA reads through the host."""
    return _bare(s, "loading", "loading the weights", 0 if s.cuda else s.weights)


def _bare(s: Sizes, phase: str, name: str, activations: int, loss: int = 0) -> Moment:
    """A moment of a model that is not trained."""
    return msgspec.structs.replace(s.moment(phase, name, activations, loss), optimizer=0)

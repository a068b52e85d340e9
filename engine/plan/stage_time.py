"""Predicts the time of the other stages: generating and scoring answers, tokenizing text. Ranges in seconds."""

from typing import NamedTuple

import msgspec

from engine.config.schema import CheckpointingMode, RunConfig
from engine.hardware.gpu_catalog import Gpu
from engine.plan import duration, work
from engine.plan.dataset_facts import CHAT_PROBLEMS, CORE_TOKENS, RL_PROBLEMS, Problems, core_questions
from engine.plan.roofline import seconds
from engine.plan.shape import Shape
from engine.plan.stage_memory import tokens_at_once

PASSES = 8  # answers to each held-out problem, as engine.stages.rl draws them

# Characters a second that the host turns into tokens, and learns a vocabulary from: 11M and 8M were measured on one
# core; both use all cores for part of their work, and how many there are is not known here.
TEXT_RATES = (40e6, 20e6, 5e6)
CORE_RANGE = (0.5, 1.0, 2.0)  # how far the tokens of CORE's questions may be off


class Span(NamedTuple):
    """Seconds: lowest, estimate, highest."""

    low: float
    mid: float
    high: float

    def __add__(self, other: tuple[float, ...]) -> "Span":  # type: ignore[override]
        return Span(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, low: float, mid: float | None = None, high: float | None = None) -> "Span":
        """Each scaled by its own factor, or all by the first."""
        mid = low if mid is None else mid
        return Span(self.low * low, self.mid * mid, self.high * (mid if high is None else high))


START = Span(2.0, 4.0, 10.0)  # of a process: imports and loading


def even(value: float) -> Span:
    """A time without a range of its own."""
    return Span(value, value, value)


def text_span(chars: float) -> Span:
    """To learn a vocabulary from so many characters, or to turn them into tokens."""
    return START + Span(*(chars / rate for rate in TEXT_RATES))


def forward_seconds(shape: Shape, gpu: Gpu, tokens: int, length: int, at_once: int) -> float:
    """Hidden states of `tokens` tokens in sequences of `length`, `at_once` of them in one pass; never compiled."""
    sized = msgspec.structs.replace(shape, max_seq_len=max(1, length))
    batch = min(tokens, at_once)
    one = work.blocks(sized, batch, "none", work.EAGER, duration.bytes_of_activation(gpu), training=False)
    return tokens / batch * seconds(one, duration.known(gpu), compiled=False) if tokens else 0.0


def drawing_seconds(shape: Shape, gpu: Gpu, problems: Problems, copies: int, rows: int, new: float) -> float:
    """`copies` answers of `new` tokens to each problem, `rows` at a time; a prompt is computed once for its copies."""
    prompts = forward_seconds(shape, gpu, problems.number * problems.prompt, problems.prompt, problems.prompt * rows)
    together = min(rows, max(copies, 1) * problems.number)
    token = duration.draw_seconds(shape, gpu, together, problems.prompt + round(new / 2))
    return prompts + problems.number * copies * new / together * token


def evaluate_span(config: RunConfig, shape: Shape, gpu: Gpu, core: bool) -> Span:
    """Bits per byte of two splits, a sample for each prompt, and CORE: each of its tokens once, its head left out."""
    evaluate = config.evaluate
    bits = 2 * evaluate.tokens * duration.evaluation_seconds_per_token(config, gpu, compiled=False)
    drawn = len(evaluate.prompts) * evaluate.sample_tokens
    span = even(bits + drawn * duration.draw_seconds(shape, gpu))
    if core:
        read = forward_seconds(shape, gpu, core_tokens(config), CORE_TOKENS, tokens_at_once(gpu.is_cuda))
        span += even(read).times(*CORE_RANGE)
    return span


def core_tokens(config: RunConfig) -> int:
    """Tokens of all questions of CORE, an estimate."""
    return CORE_TOKENS * core_questions(config.evaluate.core_max_per_task)


def asked(config: RunConfig) -> list[Problems]:
    """What the chat evaluation asks, metric by metric."""
    most = config.chat_eval.max_per_task
    every = [problems for task in config.chat_eval.tasks for problems in CHAT_PROBLEMS[task]]
    return [problems._replace(number=min(problems.number, most) if most else problems.number) for problems in every]


def chat_eval_span(config: RunConfig, shape: Shape, gpu: Gpu) -> Span:
    """Letters by one forward pass of the questions; answers of half the usual length at best, of all that is allowed
    at worst, as a model writes that does not end them."""
    settings = config.chat_eval
    span = even(0.0)
    for problems in asked(config):
        if not problems.answer:
            tokens, at_once = problems.number * problems.prompt, tokens_at_once(gpu.is_cuda)
            span += even(forward_seconds(shape, gpu, tokens, problems.prompt, at_once))
            continue
        lengths = (problems.answer / 2, problems.answer, settings.max_new_tokens)
        span += Span(
            *(
                drawing_seconds(shape, gpu, problems, 1, settings.batch_size, min(new, settings.max_new_tokens))
                for new in lengths
            )
        )
    return span


def rl_span(
    config: RunConfig, shape: Shape, gpu: Gpu, mode: CheckpointingMode, steps: int, checkpoint_bytes: int
) -> Span:
    """All steps with their evaluations and checkpoints, for answers of half the usual length to all that is allowed."""
    answer = RL_PROBLEMS[config.rl.task][0].answer
    most = config.rl.max_new_tokens
    lengths = [min(new, most) for new in (answer / 2, answer, most)]
    return Span(*(_rl_seconds(config, shape, gpu, mode, steps, checkpoint_bytes, new) for new in lengths))


def rl_tokens(config: RunConfig, steps: int) -> int:
    """Tokens that all steps learn from: prompts and answers of the usual length."""
    rl, problems = config.rl, RL_PROBLEMS[config.rl.task][0]
    answers = steps * rl.problems_per_step * rl.samples_per_problem
    return round(answers * (problems.prompt + min(problems.answer, rl.max_new_tokens)))


def _rl_seconds(
    config: RunConfig,
    shape: Shape,
    gpu: Gpu,
    mode: CheckpointingMode,
    steps: int,
    checkpoint_bytes: int,
    new: float,
) -> float:
    rl = config.rl
    learned, held_out = RL_PROBLEMS[rl.task]
    wide = duration.bytes_of_activation(gpu)
    rows = min(rl.device_batch_size, rl.samples_per_problem)
    problems = learned._replace(number=rl.problems_per_step)
    length = learned.prompt + round(new)
    sized = msgspec.structs.replace(shape, max_seq_len=length)
    batch = msgspec.structs.replace(config.batch, device_batch_size=rows)
    traffic = work.traffic_of(False, batch.loss)
    pieces = rl.problems_per_step * -(-rl.samples_per_problem // rows)
    piece = work.micro_batch(sized, batch, mode, traffic, wide)
    step = (
        drawing_seconds(shape, gpu, problems, rl.samples_per_problem, rows, new)
        + pieces * seconds(piece, duration.known(gpu), compiled=False)
        + seconds(work.optimizer_step(shape, wide), duration.known(gpu))
    )
    judged = held_out._replace(number=min(held_out.number, rl.evaluate_problems))
    every, saved = rl.evaluate_every_steps, config.checkpoint.every_steps
    evaluations = 1 + -(-steps // every) if every else 2
    checkpoints = -(-steps // saved) if saved else 1
    return (
        steps * step
        + evaluations * drawing_seconds(shape, gpu, judged, PASSES, min(rows, PASSES), new)
        + checkpoints * checkpoint_bytes / duration.DISK_BYTES_PER_SECOND
    )

"""The settings of the stages after pretraining: midtraining, fine-tuning, reinforcement learning, chat evaluation."""

from typing import Annotated, Literal

from msgspec import Meta

from engine.config.setting_types import Count, Epochs, Rate, Rows, Section, Share, Whole, about

ChatTask = Literal["builtin", "arc-easy", "arc-challenge", "mmlu", "gsm8k", "humaneval"]

_SOURCES = (
    "Conversations: builtin, smoltalk, mmlu, gsm8k, arc-easy, arc-challenge, hf:OWNER/NAME, or a .jsonl or .parquet "
    "file. NAME:1000: at most 1,000."
)
_EPOCHS = "Passes over the conversations."
_STEPS = "Optimizer steps. Replaces epochs."
_ROWS = "Sequences per micro-batch. If not set, the value of pretraining is used."
_TOKENS = "Tokens per optimizer step, padding included. If not set, the value of pretraining is used."
_FRACTION = "Learning rates as a fraction of the [optim] rates."
_WARMDOWN = "Last part of the stage, in which the learning rates fall to zero."
_EVALUATE = "Steps between evaluations. 0: only at the end."


class MidtrainConfig(Section, frozen=True, kw_only=True):
    """Midtraining: first training on conversations, with the learning rates of pretraining."""

    sources: Annotated[tuple[str, ...], about(_SOURCES)] = ("smoltalk", "mmlu", "gsm8k", "builtin")
    epochs: Annotated[Epochs, about(_EPOCHS, "epochs")] = 1.0
    steps: Annotated[Count | None, about(_STEPS, "steps")] = None
    device_batch_size: Annotated[Rows | None, about(_ROWS, "sequences")] = None
    total_batch_size: Annotated[Count | None, about(_TOKENS, "tokens")] = None
    learning_rate_fraction: Annotated[Rate, about(_FRACTION, "of rate")] = 1.0
    warmdown_fraction: Annotated[Share, about(_WARMDOWN, "of stage")] = 0.2
    evaluate_every_steps: Annotated[Whole, about(_EVALUATE, "steps")] = 150


class SftConfig(Section, frozen=True, kw_only=True):
    """Supervised fine-tuning: last training on conversations, with small, falling learning rates."""

    sources: Annotated[tuple[str, ...], about(_SOURCES)] = ("builtin",)
    epochs: Annotated[Epochs, about(_EPOCHS, "epochs")] = 1.0
    steps: Annotated[Count | None, about(_STEPS, "steps")] = None
    device_batch_size: Annotated[Rows | None, about(_ROWS, "sequences")] = None
    total_batch_size: Annotated[Count | None, about(_TOKENS, "tokens")] = 16_384
    learning_rate_fraction: Annotated[Rate, about(_FRACTION, "of rate")] = 0.02
    warmdown_fraction: Annotated[Share, about(_WARMDOWN, "of stage")] = 1.0
    evaluate_every_steps: Annotated[Whole, about(_EVALUATE, "steps")] = 100


class RlConfig(Section, frozen=True, kw_only=True):
    """Reinforcement learning on problems whose answers can be checked."""

    task: Annotated[
        Literal["gsm8k", "arithmetic"],
        about("Problems to train on. gsm8k: grade-school math, downloaded. arithmetic: generated sums, no download."),
    ] = "gsm8k"
    epochs: Annotated[Epochs, about("Passes over the problems.", "epochs")] = 1.0
    steps: Annotated[Count | None, about(_STEPS, "steps")] = None
    problems_per_step: Annotated[Count, about("Problems per optimizer step.", "problems")] = 16
    samples_per_problem: Annotated[
        int,
        Meta(ge=2, le=1024),
        about("Answers sampled per problem. Each one is rewarded relative to their mean.", "answers"),
    ] = 16
    device_batch_size: Annotated[Rows, about("Answers per forward and backward pass.", "answers")] = 8
    max_new_tokens: Annotated[Count, about("Maximum length of an answer.", "tokens")] = 256
    temperature: Annotated[float, Meta(gt=0), about("Sampling temperature. Higher values give more variety.")] = 1.0
    top_k: Annotated[
        Count | None, about("Sample from this many most likely tokens. If not set, from all tokens.", "tokens")
    ] = 50
    learning_rate_fraction: Annotated[Rate, about(_FRACTION, "of rate")] = 0.05
    evaluate_every_steps: Annotated[Whole, about(_EVALUATE, "steps")] = 60
    evaluate_problems: Annotated[Count, about("Held-out problems per evaluation.", "problems")] = 400


class ChatEvalConfig(Section, frozen=True, kw_only=True):
    """Evaluation of the finished model on tasks."""

    tasks: Annotated[
        tuple[ChatTask, ...], about("Tasks to evaluate. humaneval runs programs that the model writes, in a sandbox.")
    ] = ("builtin",)
    max_per_task: Annotated[Whole, about("Maximum problems per task. 0: all.", "problems")] = 0
    max_new_tokens: Annotated[Count, about("Maximum length of an answer.", "tokens")] = 256
    batch_size: Annotated[Count, about("Answers generated at the same time.", "answers")] = 16

"""The settings as knobs: unit, help, legal range, and the way between a value and the text a user types."""

import difflib
import math
import tomllib
from typing import Any, NamedTuple

import msgspec

from engine.plan.config import choices, depth_is_valid, fields

# The knobs that decide a run come first; the rest follows by section.
MAIN = (
    "model.depth",
    "model.max_seq_len",
    "batch.device_batch_size",
    "batch.total_batch_size",
    "batch.activation_checkpointing",
    "budget.tokens_per_param",
    "budget.tokens",
    "budget.steps",
    "data.source",
    "data.paths",
    "runtime.price_per_hour",
)

# path -> (unit, what it does). A test sees to it that none is missing.
ABOUT_KNOBS: dict[str, tuple[str, str]] = {
    "model.depth": ("blocks", "The one dial of the model: the width is 64 × depth."),
    "model.max_seq_len": ("tokens", "How far back the model can look."),
    "batch.device_batch_size": ("sequences", "Sequences in one micro-batch: larger is faster until memory ends."),
    "batch.total_batch_size": ("tokens", "Tokens in one optimizer step; accumulated from micro-batches."),
    "batch.activation_checkpointing": ("", "block: keep only each block's input and compute it twice; saves memory."),
    "batch.loss": ("", "chunked: never hold all logits; full: the plain way, for comparison."),
    "batch.loss_chunk_tokens": ("tokens", "Tokens whose logits exist at one time."),
    "budget.tokens_per_param": ("tokens", "Training tokens for each parameter; about 20 are compute-optimal."),
    "budget.tokens": ("tokens", "The whole token budget, in place of tokens per parameter."),
    "budget.steps": ("steps", "Optimizer steps, in place of a token budget."),
    "optim.matrix_lr": ("", "Muon's learning rate for the block matrices."),
    "optim.embedding_lr": ("", "AdamW's rate for the embedding, at width 768."),
    "optim.head_lr": ("", "AdamW's rate for the output head, at width 768."),
    "optim.adam_beta1": ("", "AdamW's decay of the mean."),
    "optim.adam_beta2": ("", "AdamW's decay of the variance."),
    "optim.weight_decay": ("", "Decay of embedding and head; Muon's matrices have none."),
    "optim.muon_momentum": ("", "Muon's momentum after its warmup."),
    "optim.muon_momentum_start": ("", "Muon's momentum at the first step."),
    "optim.muon_momentum_warmup_steps": ("steps", "Steps in which the momentum rises."),
    "optim.warmup_steps": ("steps", "Steps in which the learning rates rise from zero."),
    "optim.warmdown_fraction": ("of run", "The last part of the run, in which the rates fall."),
    "optim.final_lr_fraction": ("of rate", "What is left of the rates at the last step."),
    "optim.grad_clip": ("", "Largest global gradient norm; 0: no clipping."),
    "data.source": ("", "builtin: Python's own text; local: your files; fineweb-edu: downloaded shards."),
    "data.paths": ("", "For local: folders, files or globs of .txt, .jsonl, .parquet."),
    "data.text_column": ("", "The column that holds the text, in .jsonl and .parquet."),
    "data.validation_fraction": ("of docs", "Documents kept for validation, for builtin and local."),
    "data.shuffle": ("", "Whether the order of rows is new in every epoch."),
    "data.on_exhausted": ("", "When the text runs out: begin another epoch, or stop with an error."),
    "tokenizer.vocab_size": ("tokens", "Size of the byte-pair vocabulary; token files hold 16 bits."),
    "tokenizer.train_chars": ("chars", "Characters of text the tokenizer is trained on."),
    "tokenizer.max_chars_per_document": ("chars", "At most this much of one document counts in that."),
    "evaluate.every_steps": ("steps", "Steps between validations; 0: only at the end."),
    "evaluate.tokens": ("tokens", "Validation tokens of one evaluation."),
    "evaluate.sample_every_steps": ("steps", "Steps between samples; 0: only at the end."),
    "evaluate.sample_tokens": ("tokens", "Length of one sample."),
    "evaluate.temperature": ("", "Randomness of samples; 0: always the likeliest token."),
    "evaluate.prompts": ("", "What the samples begin with."),
    "evaluate.core": ("", "CORE's 22 tasks: off, auto (where the bundle is here), download, or the bundle's path."),
    "evaluate.core_max_per_task": ("examples", "Examples of each CORE task; 0: all of them."),
    "midtrain.sources": ("", "Conversations: builtin, smoltalk, mmlu, gsm8k, arc-easy, hf:OWNER/NAME or a file."),
    "midtrain.epochs": ("epochs", "How often the conversations are gone over."),
    "midtrain.steps": ("steps", "Optimizer steps, in place of epochs."),
    "midtrain.device_batch_size": ("sequences", "Sequences in one micro-batch; empty: as in pretraining."),
    "midtrain.total_batch_size": ("tokens", "Tokens in one step, padding included; empty: as in pretraining."),
    "midtrain.learning_rate_fraction": ("of rate", "What part of pretraining's rates is used."),
    "midtrain.warmdown_fraction": ("of stage", "The last part of the stage, in which the rates fall to zero."),
    "midtrain.evaluate_every_steps": ("steps", "Steps between validations; 0: only at the end."),
    "sft.sources": ("", "Conversations: builtin, smoltalk:10000 (at most so many), arc-easy, hf:OWNER/NAME or a file."),
    "sft.epochs": ("epochs", "How often the conversations are gone over."),
    "sft.steps": ("steps", "Optimizer steps, in place of epochs."),
    "sft.device_batch_size": ("sequences", "Sequences in one micro-batch; empty: as in pretraining."),
    "sft.total_batch_size": ("tokens", "Tokens in one step, padding included; empty: as in pretraining."),
    "sft.learning_rate_fraction": ("of rate", "What part of pretraining's rates is used."),
    "sft.warmdown_fraction": ("of stage", "The last part of the stage, in which the rates fall to zero."),
    "sft.evaluate_every_steps": ("steps", "Steps between validations; 0: only at the end."),
    "rl.task": ("", "The problems: GSM8K, or the built-in sums."),
    "rl.epochs": ("epochs", "How often the problems are gone over."),
    "rl.steps": ("steps", "Optimizer steps, in place of epochs."),
    "rl.problems_per_step": ("problems", "Problems in one optimizer step."),
    "rl.samples_per_problem": ("answers", "Answers drawn for each problem, to be compared with each other."),
    "rl.device_batch_size": ("answers", "Answers in one forward and backward pass."),
    "rl.max_new_tokens": ("tokens", "Longest answer."),
    "rl.temperature": ("", "Randomness of the answers."),
    "rl.top_k": ("tokens", "Draw from so many likeliest tokens; empty: from all."),
    "rl.learning_rate_fraction": ("of rate", "What part of pretraining's rates is used."),
    "rl.evaluate_every_steps": ("steps", "Steps between evaluations; 0: only at the end."),
    "rl.evaluate_problems": ("problems", "Held-out problems of one evaluation."),
    "chat_eval.tasks": ("", "What the model is asked; humaneval runs the programs that it writes."),
    "chat_eval.max_per_task": ("problems", "Problems of each task; 0: all of them."),
    "chat_eval.max_new_tokens": ("tokens", "Longest answer."),
    "chat_eval.batch_size": ("answers", "Answers written at the same time."),
    "checkpoint.every_steps": ("steps", "Steps between checkpoints; 0: only at the end."),
    "checkpoint.keep_last": ("kept", "How many of the newest checkpoints stay on disk."),
    "checkpoint.keep_every_steps": ("steps", "After each of these steps there is a checkpoint that stays; 0: none."),
    "checkpoint.keep_best": ("", "Also keep the checkpoint with the best validation."),
    "runtime.device": ("", "Where it runs; auto: a GPU where there is one."),
    "runtime.compile": ("", "torch.compile; auto: on for CUDA, off for the CPU."),
    "runtime.on_oom": ("", "Out of memory: halve the micro-batch and replay it, or stop."),
    "runtime.on_divergence": ("", "Loss or gradients not finite: stop, or rewind past the data that did it."),
    "runtime.on_spike": ("", "A loss far above the last 128: warn, or skip its update."),
    "runtime.preempt_file": ("", "A file whose appearance means: checkpoint and stop, as preemptible machines say it."),
    "runtime.threads": ("threads", "CPU threads of torch; empty: its own choice."),
    "runtime.seed": ("", "The seed of every random number."),
    "runtime.price_per_hour": ("an hour", "What the machine costs, in any currency; gives the cost of the run."),
    "pipeline.stages": ("", "The stages to run, in this order."),
}


class Knob(NamedTuple):
    """One setting that can be turned."""

    path: str
    unit: str
    help: str
    kind: str  # int, float, bool, choice, text, list
    optional: bool  # whether it may be left empty
    low: float | None  # least value, included unless low_open
    low_open: bool
    high: float | None
    choices: tuple[str, ...]
    main: bool

    @property
    def section(self) -> str:
        return self.path.partition(".")[0]

    @property
    def key(self) -> str:
        return self.path.partition(".")[2]

    @property
    def range_text(self) -> str:
        """The legal values in words."""
        empty = ", or empty" if self.optional else ""
        match self.kind:
            case "bool":
                return "yes or no"
            case "choice":
                return " · ".join(self.choices)
            case "list":
                return f"a list of {', '.join(self.choices)}" if self.choices else "a list, with commas between"
            case "text":
                return "any text"
        kind = "whole number" if self.kind == "int" else "number"
        if self.low is not None and self.high is not None:
            above = "above " if self.low_open else ""
            return f"{above}{_plain(self.low)} to {_plain(self.high)}{empty}"
        if self.low is not None:
            return f"{kind} {'above' if self.low_open else 'from'} {_plain(self.low)}{empty}"
        return f"any {kind}{empty}"


def knobs() -> tuple[Knob, ...]:
    """Every knob: the main ones, then the rest in file order."""
    found = {path: _knob(path, field) for path, field in fields() if not _chosen_elsewhere(path)}
    rest = [knob for path, knob in found.items() if path not in MAIN]
    return (*(found[path] for path in MAIN), *rest)


def _chosen_elsewhere(path: str) -> bool:
    return path.startswith("about.") or path == "runtime.gpu"


def _knob(path: str, field: msgspec.structs.FieldInfo) -> Knob:
    info = msgspec.inspect.type_info(field.type)
    optional = False
    if isinstance(info, msgspec.inspect.UnionType):
        optional = True
        info = next(t for t in info.types if not isinstance(t, msgspec.inspect.NoneType))
    low: float | None = None
    low_open = False
    high: float | None = None
    match info:
        case msgspec.inspect.BoolType():
            kind = "bool"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            kind = "int" if isinstance(info, msgspec.inspect.IntType) else "float"
            low, low_open, high = (info.ge if info.gt is None else info.gt), info.gt is not None, info.le
        case msgspec.inspect.LiteralType():
            kind = "choice"
        case msgspec.inspect.VarTupleType():
            kind = "list"
        case _:
            kind = "text"
    unit, words = ABOUT_KNOBS.get(path, ("", ""))
    return Knob(path, unit, words, kind, optional, low, low_open, high, choices(field), path in MAIN)


def show(knob: Knob, value: Any) -> str:
    """A value as it stands in the list: short, with separators."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, tuple):
        if knob.choices:
            return f"{len(value)} of {len(knob.choices)}"
        return "–" if not value else value[0] if len(value) == 1 else f"{len(value)} entries"
    return str(value)


def to_text(value: Any) -> str:
    """A value as it is edited; `parse(knob, to_text(v)) == v`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _plain(value).replace(",", "")
    if isinstance(value, tuple):
        awkward = any("," in item or item != item.strip() or item[:1] in '["' or not item for item in value)
        return "[" + ", ".join(quoted(item) for item in value) + "]" if awkward else ", ".join(value)
    return str(value)


def parse(knob: Knob, text: str) -> Any:
    """The value a user typed. Raises ValueError with what was expected; the range is not checked here."""
    text = text.strip() if knob.kind != "text" else text
    if not text and knob.optional:
        return None
    match knob.kind:
        case "bool":
            word = text.lower()
            if word in ("yes", "true", "on", "y", "1"):
                return True
            if word in ("no", "false", "off", "n", "0"):
                return False
            raise ValueError("expected yes or no")
        case "int" | "float":
            return _number(knob, text)
        case "list":
            return _list(text)
    return text


def _number(knob: Knob, text: str) -> int | float:
    plain = text.replace(",", "").replace("_", "").replace(" ", "")
    what = "a whole number" if knob.kind == "int" else "a number"
    try:
        value = float(plain)
    except ValueError:
        raise ValueError(f"expected {what}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected {what}")
    if knob.kind == "float":
        return value
    try:
        return int(plain)
    except ValueError:
        if value.is_integer():  # 1e6
            return int(value)
        raise ValueError("expected a whole number") from None


def _list(text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            items = tomllib.loads(f"x = {text}")["x"]
        except (tomllib.TOMLDecodeError, RecursionError):
            raise ValueError('expected a list such as ["a", "b"]') from None
        if not all(isinstance(item, str) for item in items):
            raise ValueError("expected a list of texts")
        return tuple(items)
    return tuple(item.strip() for item in text.split(",") if item.strip())


def quoted(value: Any) -> str:
    """A plain value as TOML writes it."""
    import tomli_w

    return tomli_w.dumps({"x": value}).partition("= ")[2].strip()


def nearest(knob: Knob, text: str) -> Any:
    """The legal value nearest to a typed text, by this knob's own range; None where there is none to offer."""
    match knob.kind:
        case "choice":
            found = difflib.get_close_matches(text.strip().lower(), knob.choices, n=1, cutoff=0.0)
            return found[0] if found else None
        case "int" | "float":
            digits = "".join(c for c in text if c in "0123456789.-")
            try:
                value = float(digits)
            except ValueError:
                return None
            return _clamp(knob, value)
    return None


def in_range(knob: Knob, value: float) -> bool:
    """Whether a number is within the knob's own range."""
    below = knob.low is not None and (value < knob.low or (knob.low_open and value <= knob.low))
    return not below and (knob.high is None or value <= knob.high)


def _clamp(knob: Knob, value: float) -> int | float | None:
    if knob.low is not None and (value < knob.low or (knob.low_open and value <= knob.low)):
        value = knob.low + (1 if knob.low_open else 0)
    if knob.high is not None and value > knob.high:
        value = knob.high
    if knob.kind == "float":
        return value
    number = round(value)
    if knob.path == "model.depth":
        return next((d for d in (number, number - 1, number + 1) if depth_is_valid(d)), None)
    return number


def step(knob: Knob, value: Any, direction: int) -> Any:
    """The next value in a direction: the next choice, one block more, twice as many tokens. May be out of range."""
    match knob.kind:
        case "bool":
            return not value
        case "choice":
            at = knob.choices.index(value) + direction
            return knob.choices[at % len(knob.choices)]
        case "int":
            return _step_whole(knob, value, direction)
        case "float":
            base = value or 0.0
            size = 10 ** math.floor(math.log10(abs(base))) if base else 0.1
            if direction < 0 and base and abs(abs(base) - size) < 1e-12:
                size /= 10
            return _clamp(knob, round(base + direction * size, 12))
    return value


def _step_whole(knob: Knob, value: int | None, direction: int) -> int | None:
    if value is None:
        return None
    if knob.path == "model.depth":
        low, high = int(knob.low or 1), int(knob.high or 128)
        candidates = range(value + direction, high + 1 if direction > 0 else low - 1, direction)
        return next((d for d in candidates if depth_is_valid(d)), value)
    if value == 0 or knob.path in ("runtime.seed", "runtime.threads", "checkpoint.keep_last"):
        moved = value + direction
    elif value & (value - 1) == 0:  # a power of two stays one
        moved = value * 2 if direction > 0 else value // 2
    else:  # one more or less in the leading digit
        size = 10 ** int(math.log10(value))
        moved = value + direction * (size // 10 if direction < 0 and value == size else size)
    clamped = _clamp(knob, moved)
    return None if clamped is None else int(clamped)


def _plain(number: float) -> str:
    text = f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"
    return text if float(text.replace(",", "")) == number else repr(number)

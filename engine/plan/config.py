"""RunConfig, what the user asks for: frozen, typed, validated, TOML in and out, with dotted overrides."""

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta

from engine.errors import UsageError

MAX_VOCAB_SIZE = 65_536  # token files hold uint16

Whole = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]  # of a moving average: with 1 nothing new would enter

DataSource = Literal["builtin", "local", "fineweb-edu"]
Stage = Literal["data", "tokenizer", "tokenize", "pretrain", "evaluate", "midtrain", "sft", "rl", "chat_eval", "report"]
ChatTask = Literal["builtin", "arc-easy", "arc-challenge", "mmlu", "gsm8k", "humaneval"]
CheckpointingMode = Literal["none", "selective", "block"]
Checkpointing = Literal["none", "selective", "block", "auto"]  # auto: the first of these that fits the device
LossKind = Literal["chunked", "full"]

# all that every run does; midtrain and rl are asked for
USUAL_STAGES: tuple[Stage, ...] = (
    "data",
    "tokenizer",
    "tokenize",
    "pretrain",
    "evaluate",
    "sft",
    "chat_eval",
    "report",
)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration file. Unknown keys are errors."""


class AboutConfig(Section, frozen=True, kw_only=True):
    """Where the configuration comes from. Nothing here changes the run."""

    preset: str = "custom"
    description: str = ""
    expected_hours: tuple[float, float] | None = None  # what the strategy document expects, for comparison only


class ModelConfig(Section, frozen=True, kw_only=True):
    """The architecture nanochat-2025. One dial, depth; the width is 64 x depth."""

    depth: Annotated[int, Meta(ge=1, le=128)] = 12
    max_seq_len: Annotated[int, Meta(ge=16, le=131_072)] = 2048  # tokens


class BatchConfig(Section, frozen=True, kw_only=True):
    """How a step is cut into pieces that fit the GPU."""

    device_batch_size: Annotated[int, Meta(ge=1, le=4096)] = 8  # sequences in one micro-batch
    total_batch_size: Count = 524_288  # tokens in one optimizer step
    activation_checkpointing: Checkpointing = "none"
    loss: LossKind = "chunked"
    loss_chunk_tokens: Annotated[int, Meta(ge=16)] = 1024  # tokens whose logits exist at one time


class BudgetConfig(Section, frozen=True, kw_only=True):
    """How long to train. `steps` or `tokens`, when given, replace `tokens_per_param`."""

    tokens_per_param: Annotated[float, Meta(gt=0, le=100_000)] = 20.0
    tokens: Count | None = None
    steps: Count | None = None


class OptimConfig(Section, frozen=True, kw_only=True):
    """Muon for the block matrices, AdamW for embedding and head; AdamW rates are for width 768."""

    matrix_lr: Rate = 0.02
    embedding_lr: Rate = 0.2
    head_lr: Rate = 0.004
    adam_beta1: Decay = 0.8
    adam_beta2: Decay = 0.95
    weight_decay: Rate = 0.0  # AdamW groups only
    muon_momentum: Decay = 0.95
    muon_momentum_start: Decay = 0.85
    muon_momentum_warmup_steps: Whole = 300
    warmup_steps: Whole = 0
    warmdown_fraction: Share = 0.2  # the last part of the run, in which rates fall linearly
    final_lr_fraction: Share = 0.0
    grad_clip: Rate = 1.0  # largest global gradient norm; 0: no clipping


class DataConfig(Section, frozen=True, kw_only=True):
    """The text to train on."""

    source: DataSource = "fineweb-edu"
    paths: tuple[str, ...] = ()  # for `local`: folders, files or globs of .txt, .jsonl, .parquet
    text_column: str = "text"  # in .jsonl and .parquet
    validation_fraction: Annotated[float, Meta(gt=0, le=0.5)] = 0.02  # of documents, for `builtin` and `local`
    shuffle: bool = True  # the order of rows, anew in every epoch
    on_exhausted: Literal["epoch", "error"] = "epoch"


class TokenizerConfig(Section, frozen=True, kw_only=True):
    """The byte-pair encoding that is trained on the corpus."""

    vocab_size: Annotated[int, Meta(ge=266, le=MAX_VOCAB_SIZE)] = MAX_VOCAB_SIZE
    train_chars: Count = 2_000_000_000
    max_chars_per_document: Count = 10_000


class EvaluateConfig(Section, frozen=True, kw_only=True):
    """What is measured while training, and how often. 0 steps: only at the end."""

    every_steps: Whole = 250
    tokens: Count = 10_485_760  # validation tokens of one evaluation
    sample_every_steps: Whole = 1000
    sample_tokens: Whole = 48
    temperature: Rate = 0.7
    prompts: tuple[str, ...] = (
        "The capital of France is",
        "If yesterday was Friday, then tomorrow will be",
        "The planets of the solar system are:",
    )
    core: str = "auto"  # off, auto (where its bundle is here), download, or the bundle's folder or .zip
    core_max_per_task: Whole = 500  # examples; 0: all


class CheckpointConfig(Section, frozen=True, kw_only=True):
    """What is kept on disk, to go on from."""

    every_steps: Whole = 500  # 0: only at the end
    keep_last: Count = 2
    keep_every_steps: Whole = 0  # after each of these steps there is one that is never removed; 0: none
    keep_best: bool = False  # also the one with the best validation, of those evaluated at their step


class MidtrainConfig(Section, frozen=True, kw_only=True):
    """The first training on conversations: many of them, at pretraining's own rates."""

    sources: tuple[str, ...] = ("smoltalk", "mmlu", "gsm8k", "builtin")  # name, or name:most; twice weighs double
    epochs: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    steps: Count | None = None  # replaces epochs
    device_batch_size: Annotated[int, Meta(ge=1, le=4096)] | None = None  # none: as in pretraining
    total_batch_size: Count | None = None  # tokens of a step, padding included; none: as in pretraining
    learning_rate_fraction: Rate = 1.0  # of pretraining's rates
    warmdown_fraction: Share = 0.2
    evaluate_every_steps: Whole = 150  # 0: only at the end


class SftConfig(Section, frozen=True, kw_only=True):
    """Supervised fine-tuning: the last training on conversations, with small and falling rates."""

    sources: tuple[str, ...] = ("builtin",)
    epochs: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    steps: Count | None = None
    device_batch_size: Annotated[int, Meta(ge=1, le=4096)] | None = None
    total_batch_size: Count | None = 16_384
    learning_rate_fraction: Rate = 0.02
    warmdown_fraction: Share = 1.0
    evaluate_every_steps: Whole = 100


class RlConfig(Section, frozen=True, kw_only=True):
    """Reinforcement learning on problems whose answers can be checked."""

    task: Literal["gsm8k", "arithmetic"] = "gsm8k"
    epochs: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    steps: Count | None = None
    problems_per_step: Count = 16
    samples_per_problem: Annotated[int, Meta(ge=2, le=1024)] = 16
    device_batch_size: Annotated[int, Meta(ge=1, le=4096)] = 8  # answers in one forward and backward pass
    max_new_tokens: Count = 256
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    top_k: Count | None = 50
    learning_rate_fraction: Rate = 0.05
    evaluate_every_steps: Whole = 60
    evaluate_problems: Count = 400


class ChatEvalConfig(Section, frozen=True, kw_only=True):
    """What the finished model is asked."""

    tasks: tuple[ChatTask, ...] = ("builtin",)  # humaneval runs programs that the model wrote
    max_per_task: Whole = 0  # problems; 0: all
    max_new_tokens: Count = 256
    batch_size: Count = 16  # answers written at the same time


class RuntimeConfig(Section, frozen=True, kw_only=True):
    """Where and how it runs."""

    gpu: str = "auto"  # an id of the catalogue; `auto`: the one found here
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"  # auto: on for CUDA, off for the CPU
    on_oom: Literal["adapt", "stop"] = "adapt"  # adapt: halve the micro-batch and replay it
    on_divergence: Literal["stop", "rewind"] = "stop"  # rewind: back to the last checkpoint, past the data since
    on_spike: Literal["warn", "skip"] = "warn"  # a loss > 6 sigma above the last 128; skip: leave its update out
    preempt_file: str | None = None  # its appearance means the same as SIGTERM, like `preempt` in the run's directory
    threads: Count | None = None  # CPU threads of torch; none: its own choice
    seed: Annotated[int, Meta(ge=0, lt=2**62)] = 42  # what generators and TOML take
    price_per_hour: Rate | None = None  # what the machine costs, in any currency


class PipelineConfig(Section, frozen=True, kw_only=True):
    """The stages to run, in this order."""

    stages: tuple[Stage, ...] = USUAL_STAGES


class RunConfig(Section, frozen=True, kw_only=True):
    """All that a run was asked to do. `Plan` says what it means on a GPU."""

    about: AboutConfig = AboutConfig()
    model: ModelConfig = ModelConfig()
    batch: BatchConfig = BatchConfig()
    budget: BudgetConfig = BudgetConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    midtrain: MidtrainConfig = MidtrainConfig()
    sft: SftConfig = SftConfig()
    rl: RlConfig = RlConfig()
    chat_eval: ChatEvalConfig = ChatEvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    pipeline: PipelineConfig = PipelineConfig()


class Layer(NamedTuple):
    """Values from one origin (`preset`, `file`, `flag`, `edited`): a nested table like the TOML's."""

    origin: str
    values: Mapping[str, Any]


class Resolved(NamedTuple):
    """A configuration and where each of its values came from (`default` where no layer set it)."""

    config: RunConfig
    origins: dict[str, str]  # dotted path -> origin


def resolve(*layers: Layer) -> Resolved:
    """Lay the layers over the defaults, later over earlier, and validate. Raises UsageError naming the first fault."""
    merged: dict[str, Any] = {}
    origins = {path: "default" for path, _ in fields()}
    for layer in layers:
        _merge(merged, layer.values)
        for path, _value in _leaves(layer.values):
            if path in origins:
                origins[path] = layer.origin
    return Resolved(from_dict(merged), origins)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Validate a nested table. Raises UsageError: dotted path, value, what was expected, the nearest valid key."""
    _refuse_unknown(values)
    try:
        config = msgspec.convert(values, RunConfig, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), values) from None
    _check_together(config)
    return config


def from_toml(text: str, name: str = "the configuration") -> dict[str, Any]:
    """Parse TOML into a nested table (not yet validated). Raises UsageError naming the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not valid TOML: {error}. Mend that line and try again.") from None
    except RecursionError:
        raise UsageError(f"{name} is not a configuration: its values are nested without end.") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into a nested table. Raises UsageError when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}. Give the path of a TOML file.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text. Give the path of a TOML file.") from None
    return from_toml(text, str(path))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The nested table of a configuration, complete; values that are not set are left out, as TOML has no null."""
    table = cast(dict[str, dict[str, Any]], msgspec.to_builtins(config))
    return {
        section: {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if value is not None
        }
        for section, values in table.items()
    }


def to_toml(config: RunConfig) -> str:
    """The complete configuration as TOML; `from_dict(from_toml(to_toml(c))) == c`."""
    import tomli_w

    return tomli_w.dumps(to_dict(config))


def parse_override(text: str) -> dict[str, Any]:
    """`section.key=value` as a nested table. The value is read as TOML, and as a plain string where it is not TOML.

    `none` takes back a setting that may be left out, such as a preset's budget.steps; TOML has no word for that.
    """
    path, equals, raw = text.partition("=")
    parts = path.strip().split(".")
    if not equals or len(parts) != 2 or not all(parts):
        raise UsageError(f"--set {text}: expected section.key=value, for example --set model.depth=12")
    if raw.strip() == "none" and path.strip() in _optional():
        return {parts[0]: {parts[1]: None}}
    try:
        value = tomllib.loads(f"value = {raw.strip()}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = raw.strip()
    return {parts[0]: {parts[1]: value}}


def _optional() -> frozenset[str]:
    """The paths of all settings that may be left out."""
    return frozenset(path for path, field in fields() if field.default is None)


def with_changes(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The configuration with the values at these dotted paths replaced, validated anew."""
    table = to_dict(config)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        table.setdefault(section, {})[key] = value
    return from_dict(table)


def fields() -> Iterator[tuple[str, msgspec.structs.FieldInfo]]:
    """Every setting as (dotted path, its type and default), in file order."""
    for section in msgspec.structs.fields(RunConfig):
        for field in msgspec.structs.fields(section.type):
            yield f"{section.name}.{field.name}", field


def get(config: RunConfig, path: str) -> Any:
    """The value at a dotted path."""
    section, key = path.split(".")
    return getattr(getattr(config, section), key)


def width_of(depth: int) -> int:
    """Model width d of nanochat-2025: 64 x depth."""
    return 64 * depth


def heads_of(depth: int) -> int:
    """Attention heads: as many of size 128 as cover the width (nanochat: ceil(d / 128))."""
    return max(1, -(-width_of(depth) // 128))


def depth_is_valid(depth: int) -> bool:
    """Heads must divide the width and have an even size, so that rotary positions pair up."""
    width, heads = width_of(depth), heads_of(depth)
    return depth >= 1 and width % heads == 0 and (width // heads) % 2 == 0


def _check_together(config: RunConfig) -> None:
    """The rules that a type cannot say."""
    for path, _ in fields():
        value = get(config, path)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{path} = {value}: expected a finite number.")
    depth = config.model.depth
    if not depth_is_valid(depth):
        below, above = depth - 1, depth + 1
        raise UsageError(
            f"model.depth = {depth}: width {width_of(depth)} does not divide into {heads_of(depth)} heads. "
            f"Use {below} or {above}."
        )
    micro = config.batch.device_batch_size * config.model.max_seq_len
    if config.batch.total_batch_size < micro:
        raise UsageError(
            f"batch.total_batch_size = {config.batch.total_batch_size}: less than one micro-batch of "
            f"{config.batch.device_batch_size} x {config.model.max_seq_len} = {micro} tokens. "
            f"Use at least {micro}, or a smaller batch.device_batch_size or model.max_seq_len."
        )
    if config.budget.steps is not None and config.budget.tokens is not None:
        raise UsageError(
            f"budget.steps = {config.budget.steps} and budget.tokens = {config.budget.tokens}: give one of the two."
        )
    notice = config.runtime.preempt_file
    if notice is not None and not notice.startswith("/"):
        raise UsageError(f'runtime.preempt_file = "{notice}": expected an absolute path.')
    if config.data.source == "local" and not config.data.paths:
        raise UsageError('data.paths = []: data.source = "local" needs at least one folder, file or glob of text.')
    for path, sources in (("midtrain.sources", config.midtrain.sources), ("sft.sources", config.sft.sources)):
        if not sources:
            raise UsageError(f"{path} = []: name at least one source of conversations, for example builtin.")
    if not config.pipeline.stages:
        raise UsageError("pipeline.stages = []: name at least one stage, for example data.")
    if len(set(config.pipeline.stages)) != len(config.pipeline.stages):
        raise UsageError(
            f"pipeline.stages = {list(config.pipeline.stages)}: a stage stands there twice. Name each once."
        )


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            into[key] = {**into[key], **value}
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, table in values.items():
        if isinstance(table, Mapping):
            for key, value in table.items():
                yield f"{section}.{key}", value


def _refuse_unknown(values: Mapping[str, Any]) -> None:
    known = [path for path, _ in fields()]
    sections = {path.split(".")[0] for path in known}
    for section, table in values.items():
        if section not in sections:
            # the key may stand at the top level by mistake: `depth = 12` outside [model]
            homes = [path for path in known if path.endswith(f".{section}")]
            what = (
                f"[{section}]: unknown section"
                if isinstance(table, Mapping)
                else f"{section} = {_show(table)}: unknown key"
            )
            raise UsageError(f"{what}. {_suggest(section, homes, sorted(sections))}")
        if not isinstance(table, Mapping):
            raise UsageError(f"{section} = {_show(table)}: expected a table, [{section}].")
        for key in table:
            path = f"{section}.{key}"
            if path not in known:
                here = [name.split(".")[1] for name in known if name.startswith(f"{section}.")]
                homes = [name for name in known if name.endswith(f".{key}")]
                raise UsageError(f"{path} = {_show(table[key])}: unknown key. {_suggest(key, homes, here, section)}")


def _suggest(name: str, homes: list[str], near: list[str], section: str = "") -> str:
    if homes:
        return f"Did you mean {homes[0]}?"
    match = difflib.get_close_matches(name, near, n=1, cutoff=0.5)
    prefix = f"{section}." if section else ""
    return f"Did you mean {prefix}{match[0]}?" if match else f"Known here: {', '.join(near)}."


def _explain(message: str, values: Mapping[str, Any]) -> UsageError:
    """Turn msgspec's `Expected ... - at `$.a.b`` into our sentence with the value."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".").partition("[")[0]
    value: Any = values
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else value
    allowed = _allowed(path)
    expected = (
        f"expected one of {', '.join(map(str, allowed))}" if allowed else what[:1].lower() + what[1:].replace("`", "")
    )
    nearest = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5) if allowed else []
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    return UsageError(f"{path} = {_show(value)}: {expected}.{hint}")


def _allowed(path: str) -> tuple[str, ...]:
    """The values of a choice; empty where the field is not one."""
    for name, field in fields():
        if name == path:
            return choices(field)
    return ()


def choices(field: msgspec.structs.FieldInfo) -> tuple[str, ...]:
    """The values a choice setting (or each item of a list of choices) may take; empty for other settings."""
    kind = msgspec.inspect.type_info(field.type)
    if isinstance(kind, msgspec.inspect.VarTupleType):
        kind = kind.item_type
    return tuple(str(v) for v in kind.values) if isinstance(kind, msgspec.inspect.LiteralType) else ()


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."

"""RunConfig, what the user asks for: all settings with their types, legal ranges and defaults."""

import functools
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

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

    gpu: str = "auto"  # what to plan for: an id of the catalogue; `auto`: the card found here, as every run uses
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"  # auto: on for CUDA, off for the CPU
    on_oom: Literal["adapt", "stop"] = "adapt"  # adapt: halve the micro-batch and replay it
    on_divergence: Literal["stop", "rewind"] = "stop"  # rewind: back to the last checkpoint, past the data since
    on_spike: Literal["warn", "skip"] = "warn"  # a loss > 6 sigma above the last 128; skip: leave its update out
    deterministic: bool = False  # on CUDA: the same numbers at every repetition on this machine, at the cost of speed
    preempt_file: str | None = None  # its appearance means the same as SIGTERM, like `preempt` in the run's directory
    threads: Count | None = None  # CPU threads; none: the usable cores, shared with other runs on this host
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


@functools.cache  # a plan asks hundreds of times
def fields() -> tuple[tuple[str, msgspec.structs.FieldInfo], ...]:
    """Every setting as (dotted path, its type and default), in file order."""
    return tuple(
        (f"{section.name}.{field.name}", field)
        for section in msgspec.structs.fields(RunConfig)
        for field in msgspec.structs.fields(section.type)
    )


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


def choices(field: msgspec.structs.FieldInfo) -> tuple[str, ...]:
    """The values a choice setting (or each item of a list of choices) may take; empty for other settings."""
    kind = msgspec.inspect.type_info(field.type)
    if isinstance(kind, msgspec.inspect.VarTupleType):
        kind = kind.item_type
    return tuple(str(v) for v in kind.values) if isinstance(kind, msgspec.inspect.LiteralType) else ()


def is_list(field: msgspec.structs.FieldInfo) -> bool:
    """Whether a setting is a list of any length. Its items are texts, or choices."""
    return isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.VarTupleType)


def list_example(field: msgspec.structs.FieldInfo) -> tuple[str, ...]:
    """Two valid items of a list setting, to show its form."""
    known = choices(field) or cast(tuple[str, ...], field.default)
    return tuple(known[:2]) if len(known) > 1 else (*known, "my/text/", "more.jsonl")[:2]

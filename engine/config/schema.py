"""RunConfig: every setting with its type, range, unit, meaning and default. The only place that describes them."""

import functools
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from engine.config.chat_sections import ChatEvalConfig, MidtrainConfig, RlConfig, SftConfig
from engine.config.setting_types import Count, Decay, Rate, Rows, Section, Share, Whole, about

MAX_VOCAB_SIZE = 65_536  # token files hold uint16

DataSource = Literal["builtin", "local", "fineweb-edu"]
Stage = Literal["data", "tokenizer", "tokenize", "pretrain", "evaluate", "midtrain", "sft", "rl", "chat_eval", "report"]
CheckpointingMode = Literal["none", "selective", "block"]
Checkpointing = Literal["none", "selective", "block", "auto"]  # auto: the first of these that fits the device
LossKind = Literal["chunked", "full"]

# the stages of a run that names none; midtrain and rl run only on request
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


class AboutConfig(Section, frozen=True, kw_only=True):
    """Where the configuration comes from. These values do not change the run."""

    preset: Annotated[str, about("Name of the preset.")] = "custom"
    description: Annotated[str, about("What the preset is for.")] = ""
    expected_hours: Annotated[
        tuple[float, float] | None, about("Shortest and longest training time that the preset's source expects.", "h")
    ] = None


class ModelConfig(Section, frozen=True, kw_only=True):
    """The model: the nanochat architecture of late 2025. `depth` sets all other dimensions."""

    depth: Annotated[
        int, Meta(ge=1, le=128), about("Number of transformer blocks. The width of the model is 64 × depth.", "blocks")
    ] = 12
    max_seq_len: Annotated[int, Meta(ge=16, le=131_072), about("Context length.", "tokens")] = 2048


class BatchConfig(Section, frozen=True, kw_only=True):
    """How an optimizer step is divided into micro-batches that fit into memory."""

    device_batch_size: Annotated[
        Rows, about("Sequences per micro-batch. Larger values are faster and use more memory.", "sequences")
    ] = 8
    total_batch_size: Annotated[
        Count, about("Tokens per optimizer step. Gradients of several micro-batches are added up.", "tokens")
    ] = 524_288
    activation_checkpointing: Annotated[
        Checkpointing,
        about(
            "Activations to compute again instead of keeping them. selective: cheap ones. block: all but the input of "
            "each block. auto: as few as fit."
        ),
    ] = "none"
    loss: Annotated[
        LossKind, about("chunked: compute the loss in pieces, which saves memory. full: compute all logits at once.")
    ] = "chunked"
    loss_chunk_tokens: Annotated[
        int, Meta(ge=16), about("Tokens per piece of the chunked loss. Smaller values use less memory.", "tokens")
    ] = 1024


class BudgetConfig(Section, frozen=True, kw_only=True):
    """How long to pretrain. `steps` or `tokens` replaces `tokens_per_param`; set at most one of the two."""

    tokens_per_param: Annotated[
        float,
        Meta(gt=0, le=100_000),
        about("Training tokens per parameter. About 20 give the best model for the compute.", "tokens"),
    ] = 20.0
    tokens: Annotated[Count | None, about("Training tokens in total. Replaces tokens_per_param.", "tokens")] = None
    steps: Annotated[Count | None, about("Optimizer steps. Replaces tokens_per_param.", "steps")] = None


class OptimConfig(Section, frozen=True, kw_only=True):
    """Optimizer of pretraining: Muon for the matrices of the blocks, AdamW for embedding and output head."""

    matrix_lr: Annotated[Rate, about("Muon's learning rate for the matrices of the blocks.")] = 0.02
    embedding_lr: Annotated[
        Rate, about("AdamW's learning rate for the embedding, at width 768. It is scaled to the width of the model.")
    ] = 0.2
    head_lr: Annotated[
        Rate, about("AdamW's learning rate for the output head, at width 768. It is scaled to the width of the model.")
    ] = 0.004
    adam_beta1: Annotated[Decay, about("AdamW's decay rate for the mean of the gradients.")] = 0.8
    adam_beta2: Annotated[Decay, about("AdamW's decay rate for the mean of the squared gradients.")] = 0.95
    weight_decay: Annotated[Rate, about("AdamW's weight decay for embedding and output head.")] = 0.0
    muon_momentum: Annotated[Decay, about("Muon's momentum after the momentum warmup.")] = 0.95
    muon_momentum_start: Annotated[Decay, about("Muon's momentum at the first step.")] = 0.85
    muon_momentum_warmup_steps: Annotated[Whole, about("Steps in which Muon's momentum rises.", "steps")] = 300
    warmup_steps: Annotated[Whole, about("Steps in which the learning rates rise from zero.", "steps")] = 0
    warmdown_fraction: Annotated[
        Share, about("Last part of the run, in which the learning rates fall linearly.", "of run")
    ] = 0.2
    final_lr_fraction: Annotated[
        Share, about("Learning rates at the last step, as a fraction of their full value.", "of rate")
    ] = 0.0
    grad_clip: Annotated[Rate, about("Maximum global norm of the gradients. 0: no clipping.")] = 1.0


class DataConfig(Section, frozen=True, kw_only=True):
    """The text to train on."""

    source: Annotated[
        DataSource,
        about(
            "builtin: the text of Python's standard library. local: your files, see paths. "
            "fineweb-edu: web pages, downloaded as needed."
        ),
    ] = "fineweb-edu"
    paths: Annotated[
        tuple[str, ...], about("For source local: folders, files or globs of .txt, .md, .jsonl and .parquet files.")
    ] = ()
    text_column: Annotated[str, about("Name of the field that holds the text, in .jsonl and .parquet files.")] = "text"
    validation_fraction: Annotated[
        float,
        Meta(gt=0, le=0.5),
        about("Fraction of the documents that is kept for validation, for sources builtin and local.", "of docs"),
    ] = 0.02
    shuffle: Annotated[bool, about("Shuffle the sequences, in a new order in every epoch.")] = True
    on_exhausted: Annotated[
        Literal["epoch", "error"], about("At the end of the text. epoch: start another epoch. error: stop.")
    ] = "epoch"


class TokenizerConfig(Section, frozen=True, kw_only=True):
    """The byte-pair tokenizer, which is trained on the text."""

    vocab_size: Annotated[int, Meta(ge=266, le=MAX_VOCAB_SIZE), about("Size of the vocabulary.", "tokens")] = (
        MAX_VOCAB_SIZE
    )
    train_chars: Annotated[Count, about("Characters of text to train the tokenizer on.", "chars")] = 2_000_000_000
    max_chars_per_document: Annotated[
        Count, about("Maximum characters per document used to train the tokenizer.", "chars")
    ] = 10_000


class EvaluateConfig(Section, frozen=True, kw_only=True):
    """What is measured during and after pretraining, and how often."""

    every_steps: Annotated[Whole, about("Steps between validations. 0: only at the end.", "steps")] = 250
    tokens: Annotated[Count, about("Tokens per validation.", "tokens")] = 10_485_760
    sample_every_steps: Annotated[Whole, about("Steps between text samples. 0: only at the end.", "steps")] = 1000
    sample_tokens: Annotated[Whole, about("Length of a text sample.", "tokens")] = 48
    temperature: Annotated[
        Rate, about("Sampling temperature of the text samples. 0: always the most likely token.")
    ] = 0.7
    prompts: Annotated[tuple[str, ...], about("Beginnings of the text samples, one sample each.")] = (
        "The capital of France is",
        "If yesterday was Friday, then tomorrow will be",
        "The planets of the solar system are:",
    )
    core: Annotated[
        str,
        about(
            "CORE benchmark, 22 tasks: off, auto (if its data is already here), download (its data, if needed), or the "
            "path of its folder or .zip file."
        ),
    ] = "auto"
    core_max_per_task: Annotated[Whole, about("Maximum examples per CORE task. 0: all.", "examples")] = 500


class CheckpointConfig(Section, frozen=True, kw_only=True):
    """When checkpoints are written, and which ones are kept."""

    every_steps: Annotated[Whole, about("Steps between checkpoints. 0: only at the end.", "steps")] = 500
    keep_last: Annotated[Count, about("Number of newest checkpoints to keep.", "kept")] = 2
    keep_every_steps: Annotated[
        Whole, about("Also write a checkpoint every this many steps, and never delete it. 0: none.", "steps")
    ] = 0
    keep_best: Annotated[bool, about("Also keep the checkpoint with the lowest validation loss.")] = False


class RuntimeConfig(Section, frozen=True, kw_only=True):
    """Where and how the run executes."""

    gpu: Annotated[str, about("GPU to plan for: auto (the GPU of this machine), cpu, or an id such as a100-40gb.")] = (
        "auto"
    )
    device: Annotated[
        Literal["auto", "cuda", "cpu"], about("Where to train. auto: on the GPU if there is one, else on the CPU.")
    ] = "auto"
    compile: Annotated[Literal["auto", "on", "off"], about("Use torch.compile. auto: on for a GPU, off for a CPU.")] = (
        "auto"
    )
    on_oom: Annotated[
        Literal["adapt", "stop"],
        about("When memory runs out. adapt: halve the micro-batch and repeat the step. stop: stop the run."),
    ] = "adapt"
    on_divergence: Annotated[
        Literal["stop", "rewind"],
        about(
            "When the loss or a gradient is not finite. stop: stop the run. rewind: return to the last checkpoint and "
            "skip the data that followed it."
        ),
    ] = "stop"
    on_spike: Annotated[
        Literal["warn", "skip"],
        about(
            "When the loss is more than 6 standard deviations above its recent mean. warn: record it. skip: also skip "
            "the update of that step."
        ),
    ] = "warn"
    deterministic: Annotated[
        bool, about("On a GPU: the same result every time on the same machine, but slower. A CPU always does this.")
    ] = False
    preempt_file: Annotated[
        str | None, about("Absolute path of a file. When it appears, the run writes a checkpoint and stops.")
    ] = None
    threads: Annotated[
        Count | None, about("CPU threads. If not set, the usable cores are shared with other runs.", "threads")
    ] = None
    seed: Annotated[int, Meta(ge=0, lt=2**62), about("Seed of all random numbers.")] = 42  # fits generators and TOML
    price_per_hour: Annotated[
        Rate | None, about("Price of the machine per hour, in any currency. Gives the cost of the run.", "per hour")
    ] = None


class PipelineConfig(Section, frozen=True, kw_only=True):
    """The stages of the run."""

    stages: Annotated[tuple[Stage, ...], about("Stages to run, in this order.")] = USUAL_STAGES


class RunConfig(Section, frozen=True, kw_only=True):
    """All settings of a run. `engine.plan.plan.Plan` says what they need on a device."""

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

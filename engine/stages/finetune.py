"""The stages midtrain and sft: training on conversations, from the weights of the stage before.

Both do the same with their own sources and settings: fetch the conversations and write them as tokens, pack them into
rows, and train on the tokens of the assistant. Midtrain takes many conversations at the learning rates of pretraining;
sft takes a few good ones at lower rates.
"""

from collections.abc import Callable

from engine.checkpoint.checkpoint import load_weights, read_state
from engine.checkpoint.lineage import last_weights, no_weights
from engine.config.schema import MidtrainConfig, SftConfig
from engine.config.train_spec import finetuning_steps
from engine.core import formatting
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import data_home
from engine.data.chat.dataset import ConversationSet, PackedRows, write_set
from engine.data.chat.sources import open_sources
from engine.data.corpora.corpus import SPLITS, Split, short_hash
from engine.data.loader import RowSource
from engine.data.skip_counter import SkipCounter
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.sft_evaluator import SftEvaluator
from engine.events import kinds
from engine.model.gpt import GPT
from engine.model.trunk import Trunk
from engine.optim.optimizer import Optimizer
from engine.plan.batch import tokens_per_step
from engine.run.stage_context import StageContext
from engine.train.code_check import check_code
from engine.train.step import StepRunner
from engine.train.training import Evaluator, train


def finetune(context: StageContext) -> None:
    """Train on the stage's conversations to the last step, from its newest checkpoint or from the stage before.

    Raises what `engine.train.training.train` raises.
    """
    train(context, Finetuning)


class Finetuning:
    """The training task of midtrain and sft."""

    loss_falls = True

    def __init__(self, context: StageContext) -> None:
        config = context.config
        settings = config.midtrain if context.stage == "midtrain" else config.sft
        self._context = context
        self._tokenizer = Tokenizer.load(context.run.tokenizer)
        conversations = conversations_of(context, settings, self._tokenizer)
        rows = self._packed(conversations, "train")
        self._validation = self._held_out(conversations)
        self.rows: RowSource = rows
        self.steps = finetuning_steps(settings, rows.rows * config.model.max_seq_len, tokens_per_step(config))

    def begin(self, model: GPT) -> None:
        load_previous_weights(self._context, model)

    def stepper(
        self, model: GPT, trunk: Trunk, optimizer: Optimizer, splits: int, interrupted: Callable[[], bool]
    ) -> StepRunner:
        context = self._context
        return StepRunner(model, trunk, optimizer, context.config, context.stage, context.emit, splits, interrupted)

    def evaluator(self, model: GPT, trunk: Trunk, interrupted: Callable[[], bool]) -> Evaluator:
        return SftEvaluator(self._context, model, trunk, self._tokenizer, self._validation, interrupted)

    def _held_out(self, conversations: ConversationSet) -> PackedRows | None:
        """The validation split; None, with a warning event, where a small set leaves nothing in it."""
        try:
            return self._packed(conversations, "validation")
        except UsageError as error:
            message = f"the loss of held-out answers is not measured: {error}"
            self._context.emit(kinds.Warning(stage=self._context.stage, step=0, code="no_validation", message=message))
            return None

    def _packed(self, conversations: ConversationSet, split: Split) -> PackedRows:
        rows = PackedRows(conversations, split, self._context.config.model.max_seq_len, self._tokenizer.bos_id)
        print(
            f"{split}: {rows.conversations:,} conversations, {rows.trained_tokens:,} tokens to learn from, "
            f"{rows.rows:,} rows, {formatting.percent(rows.padding, 1)} padding"
        )
        for count, what in ((rows.cut, "cut to the length of a row"), (rows.dropped, "too long before the answer")):
            if count:
                print(f"{split}: {count:,} conversations {what}")
        return rows


def conversations_of(
    context: StageContext, settings: MidtrainConfig | SftConfig, tokenizer: Tokenizer
) -> ConversationSet:
    """The stage's conversations as tokens, written where they are missing. Raises NanosoloError."""
    sources = open_sources(settings.sources, data_home(), context.config.data.validation_fraction)
    sources.prepare(context.progress)
    identity = short_hash("conversations", sources.identity(), tokenizer.identity())
    skipped_counter = SkipCounter()
    made = write_set(
        data_home() / "conversations" / identity,
        identity,
        {split: sources.conversations(split, skipped_counter) for split in SPLITS},
        tokenizer,
        context.progress,
    )
    for skipped in skipped_counter.skipped():
        print(f"left out: {skipped.count:,} {skipped.reason} (first: {skipped.first})")
    return made


def load_previous_weights(context: StageContext, model: GPT) -> None:
    """Load the last weights of the stages before this one. Raises NanosoloError when there are none."""
    newest = last_weights(context, before=context.stage)
    if newest is None:
        raise no_weights(context, "start from")
    state = read_state(newest)
    if state.shape != model.shape:
        raise NanosoloError(f"the checkpoint {newest} is of another model. Resume it with the run.toml of its own run.")
    load_weights(newest, model)
    check_code(context, newest, 0)  # step 0 of this stage, which starts
    print(f"starts from the weights of {newest.relative_to(context.run.path)}")

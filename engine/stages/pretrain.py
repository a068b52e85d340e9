"""The stage pretrain: trains a model from random weights on the text of the corpus.

It opens the run's tokens and tokenizer, and trains on rows of `model.max_seq_len` tokens for the steps of the plan.
Evaluations measure bits per byte on held-out text and continue a few prompts.
"""

from collections.abc import Callable

from engine.core.errors import NanosoloError
from engine.data.loader import RowSource, TokenRows
from engine.data.tokenizer import Tokenizer
from engine.evaluate.evaluator import TextEvaluator, Trunk
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.plan.plan import training_steps
from engine.plan.shape import shape_of
from engine.run.directory import RunDirectory
from engine.run.stage_context import StageContext
from engine.stages.tokenize import tokens_of
from engine.train.step import StepRunner
from engine.train.training import Evaluator, train


def pretrain(context: StageContext) -> None:
    """Train to the last planned step, from the newest valid checkpoint where there is one.

    Raises Stopped (after a checkpoint), Diverged, OutOfMemory, or NanosoloError when nothing can be saved.
    """
    train(context, Pretraining)


class Pretraining:
    """The training task of pretraining."""

    loss_falls = True

    def __init__(self, context: StageContext) -> None:
        config = context.config
        self._context = context
        self._tokens = tokens_of(context)
        self._tokenizer = load_tokenizer(context.run, self._tokens.index.tokenizer)
        self.steps = training_steps(config, shape_of(config))
        self.rows: RowSource = TokenRows(self._tokens, "train", config.model.max_seq_len)

    def begin(self, model: GPT) -> None:
        model.init_weights(self._context.config.runtime.seed)

    def stepper(
        self, model: GPT, trunk: Trunk, optimizer: Optimizer, splits: int, interrupted: Callable[[], bool]
    ) -> StepRunner:
        context = self._context
        return StepRunner(model, trunk, optimizer, context.config, context.stage, context.emit, splits, interrupted)

    def evaluator(self, model: GPT, trunk: Trunk, interrupted: Callable[[], bool]) -> Evaluator:
        return TextEvaluator(self._context, model, trunk, self._tokenizer, self._tokens, interrupted)


def load_tokenizer(run: RunDirectory, identity: str) -> Tokenizer:
    """The run's tokenizer. Raises NanosoloError when it is not the one that its tokens were made with."""
    tokenizer = Tokenizer.load(run.tokenizer)
    if tokenizer.identity() != identity:
        raise NanosoloError(f"{run.tokenizer} is not the tokenizer of the run's tokens. Start a new run.")
    return tokenizer

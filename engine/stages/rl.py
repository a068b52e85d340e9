"""The stage rl: reinforcement learning from rewards, from the weights of the stage before.

The model answers each problem several times. Answers that are better than the average of their problem become more
probable: policy gradient, on policy, without a reference model, as in nanochat.
"""

from collections.abc import Callable

from engine.config.train_spec import problem_steps
from engine.core.paths import data_home
from engine.data.loader import RowSource
from engine.data.order import permutation
from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.problems import training_problems
from engine.evaluate.chat.reward_evaluator import RewardEvaluator
from engine.model.gpt import GPT
from engine.model.trunk import Trunk
from engine.optim.optimizer import Optimizer
from engine.run.stage_context import StageContext
from engine.stages.finetune import load_previous_weights
from engine.train.policy_gradient import PolicyGradientRunner, ProblemRows
from engine.train.step import StepRunner
from engine.train.training import Evaluator, train

_HELD_OUT_SEED = 42  # of the shuffle from which the evaluation takes the first problems


def reinforce(context: StageContext) -> None:
    """Learn from rewards to the last step, from the stage's newest checkpoint or from the stage before.

    Raises what `engine.train.training.train` raises.
    """
    train(context, Reinforcement)


class Reinforcement:
    """The training task of reinforcement learning."""

    loss_falls = False

    def __init__(self, context: StageContext) -> None:
        self._context = context
        settings = context.config.rl
        self._tokenizer = Tokenizer.load(context.run.tokenizer)
        self._problems = training_problems(settings.task, data_home(), "train", context.progress)
        held_out = training_problems(settings.task, data_home(), "validation", context.progress)
        order = permutation(len(held_out), _HELD_OUT_SEED, 0)[: settings.evaluate_problems]
        self._held_out = [held_out[i] for i in order]
        self.rows: RowSource = ProblemRows(len(self._problems))
        self.steps = problem_steps(settings, len(self._problems))

    def begin(self, model: GPT) -> None:
        load_previous_weights(self._context, model)

    def stepper(
        self, model: GPT, trunk: Trunk, optimizer: Optimizer, splits: int, interrupted: Callable[[], bool]
    ) -> StepRunner:
        # answers differ in length from pass to pass: a compiled trunk would be compiled for each
        return PolicyGradientRunner(
            self._context, model, optimizer, splits, self._tokenizer, self._problems, interrupted
        )

    def evaluator(self, model: GPT, trunk: Trunk, interrupted: Callable[[], bool]) -> Evaluator:
        return RewardEvaluator(self._context, model, self._tokenizer, self._held_out, interrupted)

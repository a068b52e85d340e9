"""Evaluates a model during reinforcement learning: how many held-out problems it solves, and some of its answers."""

from collections.abc import Callable, Sequence

from engine.data.tokenizer import Tokenizer
from engine.evaluate.chat.answers import show_answer
from engine.evaluate.chat.problems import Problem
from engine.evaluate.chat.rollouts import Rollout, sample_rollouts
from engine.evaluate.evaluator import BatchedEvaluator
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.plan.stage_time import PASSES
from engine.run.stage_context import StageContext


class RewardEvaluator(BatchedEvaluator):
    """Emits `pass@1`, the share of right answers to held-out problems, and `pass@8`, that of problems with a right one
    among eight answers."""

    metric = "pass@1"

    def __init__(
        self,
        context: StageContext,
        model: GPT,
        tokenizer: Tokenizer,
        problems: Sequence[Problem],
        interrupted: Callable[[], bool],
    ) -> None:
        super().__init__(context, model, model.trunk, interrupted)
        self._tokenizer = tokenizer
        self._problems = problems
        self._rows = context.config.rl.device_batch_size
        self._any = 0.0

    def validation(self, step: int) -> float | None:
        """None: by these figures no checkpoint is the best, as higher is better."""
        if self._evaluate(self.metric, step, lambda: self._measure(step)) is not None:
            self._evaluate(f"pass@{PASSES}", step, lambda: self._any)
        return None

    def _sample(self, step: int) -> None:
        """An answer to each of the first few held-out problems."""
        texts = []
        for problem in self._problems[:3]:
            (answer,) = self._answers(problem, 1, f"sample {step}")
            texts.append((str(problem.prompt[-1].content), show_answer(self._tokenizer, answer.tokens)))
        self._emit_samples(step, texts)

    def _measure(self, step: int) -> float:
        right, solved = 0.0, 0
        for number, problem in enumerate(self._problems):
            rewards = [answer.reward for answer in self._answers(problem, PASSES, f"evaluation {step} {number}")]
            right += sum(rewards)
            solved += max(rewards) > 0
        self._any = solved / len(self._problems)
        return right / (PASSES * len(self._problems))

    def _answers(self, problem: Problem, count: int, seed: str) -> list[Rollout]:
        settings = self._config.rl
        sampling = Sampling(temperature=settings.temperature, top_k=settings.top_k)
        return sample_rollouts(
            self._model,
            self._tokenizer,
            problem,
            count,
            settings.max_new_tokens,
            sampling,
            seed,
            self._rows,
            self._interrupted,
        )

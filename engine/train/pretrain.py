"""The pretraining stage: steps, checkpoints, evaluations and samples, in an order that loses nothing."""

import gc
import time
from collections.abc import Sequence
from typing import NoReturn

import torch

from engine.data.loader import Loader
from engine.data.stages import tokens_of
from engine.data.tokenizer import Tokenizer
from engine.errors import EXIT_DIVERGED, NanosoloError
from engine.evaluate.evaluator import Evaluator
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.optim.schedule import learning_rate_scale, muon_momentum
from engine.plan.batch import grad_accum_steps
from engine.plan.plan import training_steps, uses_compile
from engine.plan.shape import shape_of
from engine.run import events
from engine.run.directory import RunDirectory
from engine.run.hardware import detect, detect_cpu
from engine.run.history import read_history
from engine.run.stage import StageContext, Stopped
from engine.train import checkpoint as checkpoints
from engine.train.checkpoint import TrainingState
from engine.train.device import device_name, peak_memory, prepare_device
from engine.train.step import NotFinite, StepRunner

STAGE = "pretrain"


class Diverged(NanosoloError):
    """Loss or gradient is no longer a number."""

    exit_code = EXIT_DIVERGED


def pretrain(context: StageContext) -> None:
    """Train to the last planned step, from the newest checkpoint if there is one.

    Raises Stopped (after a checkpoint), Diverged, or OutOfMemory.
    """
    Pretraining(context, prepare_device(context.config)).run()


class Pretraining:
    """One process' part of a pretraining run."""

    def __init__(self, context: StageContext, device: str) -> None:
        self.context = context
        self.config = config = context.config
        self.device = device
        self.folder = context.run.checkpoints(STAGE)
        self.shape = shape_of(config)
        self.steps = training_steps(config, self.shape)
        gpu = detect() if device == "cuda" else detect_cpu()
        # a CPU has no published peak to be honest about
        self.peak_flops = gpu.peak_flops if device == "cuda" else 0.0

        self.tokens = tokens_of(context)
        self.tokenizer = load_tokenizer(context.run, self.tokens.index.tokenizer)
        self.model = GPT(self.shape, config.batch.activation_checkpointing, device)
        self.optimizer = Optimizer(self.model, config.optim, self.shape.width)
        self.state = self._restore()
        self.history = read_history(context.run.events_file)
        compiled = uses_compile(config, gpu)
        trunk = torch.compile(self.model.trunk, dynamic=False) if compiled else self.model.trunk
        self.stepper = StepRunner(
            self.model, trunk, self.optimizer, config, STAGE, context.emit, self.state.micro_splits
        )
        self.evaluator = Evaluator(context, self.model, trunk, self.tokenizer, self.tokens)
        context.emit(
            events.Device(
                stage=STAGE,
                device=device,
                name=device_name(device),
                torch=str(torch.__version__),
                compiled=compiled,
                grad_accum_steps=grad_accum_steps(config),
                device_batch_size=config.batch.device_batch_size,
            )
        )

    def run(self) -> None:
        """Steps until the last, or until asked to stop."""
        self.context.stops_at_boundary = True
        with self._loader() as loader:
            self._judge_if_due()
            while self.state.step < self.steps:
                self._step(loader)
                # the checkpoint comes first: an evaluation that fails then costs nothing
                if self._checkpoint_is_due():
                    self._save()
                self._stop_if_asked()
                self._judge_if_due()

    def _loader(self) -> Loader:
        return Loader(
            self.tokens,
            "train",
            self.config.batch.device_batch_size,
            self.config.model.max_seq_len,
            self.config.runtime.seed,
            self.config.data.shuffle,
            self.config.data.on_exhausted,
            self.state.loader,
            self.device,
        )

    def _restore(self) -> TrainingState:
        newest = checkpoints.latest_checkpoint(self.folder)
        self.saved_step = 0
        if newest is None:
            self.model.init_weights(self.config.runtime.seed)
            return checkpoints.first_state(self.shape)
        state = checkpoints.read_state(newest)
        if state.shape != self.shape:
            raise NanosoloError(f"the checkpoint {newest} is of another model. Resume with its own run.toml.")
        checkpoints.load_weights(newest, self.model)
        checkpoints.load_optimizer(newest, self.optimizer)
        self.saved_step = state.step
        self.context.emit(events.Resumed(stage=STAGE, step=state.step, path=str(newest)))
        return state

    def _step(self, loader: Loader) -> None:
        step = self.state.step + 1
        scale, momentum = self._rates()
        began = time.perf_counter()
        try:
            result = self.stepper.run(loader, step, scale, momentum)
        except NotFinite as problem:
            self._diverged(step, str(problem))
        seconds = time.perf_counter() - began
        first = self.state.step == self.saved_step
        self.state = TrainingState(
            format=checkpoints.FORMAT,
            step=step,
            tokens=self.state.tokens + result.tokens,
            loader=result.loader,
            micro_splits=self.stepper.splits,
            shape=self.shape,
        )
        rate = result.tokens / seconds
        self.context.emit(
            events.Step(
                stage=STAGE,
                step=step,
                steps=self.steps,
                tokens=self.state.tokens,
                loss=result.loss,
                learning_rate_scale=scale,
                grad_norm=result.grad_norm,
                step_seconds=seconds,
                data_seconds=result.data_seconds,
                tokens_per_second=rate,
                mfu=rate * self.shape.flops_per_token / self.peak_flops if self.peak_flops else None,
                peak_memory=peak_memory(self.device),
                epoch=result.loader.epoch,
            )
        )
        if first:
            gc.collect()
            gc.freeze()  # what lives after the first step lives to the end: do not walk it again

    def _rates(self) -> tuple[float, float]:
        """(learning rate scale, Muon's momentum) of the next step."""
        optim, step = self.config.optim, self.state.step
        scale = learning_rate_scale(
            step, self.steps, optim.warmup_steps, optim.warmdown_fraction, optim.final_lr_fraction
        )
        momentum = muon_momentum(step, optim.muon_momentum_start, optim.muon_momentum, optim.muon_momentum_warmup_steps)
        return scale, momentum

    def _diverged(self, step: int, what: str) -> NoReturn:
        action = "stopped before the update; the weights are those of the step before"
        self.context.emit(events.Diverged(stage=STAGE, step=step, what=what, action=action))
        raise Diverged(
            f"diverged at step {step}: {what}. The weights were not updated. Lower optim.matrix_lr and "
            f"optim.embedding_lr in {self.context.run.config_file}, then resume from step {self.saved_step}."
        )

    def _checkpoint_is_due(self) -> bool:
        every = self.config.checkpoint.every_steps
        return (
            self.state.step == self.steps
            or self.context.checkpoint_asked
            or (every > 0 and self.state.step % every == 0)
        )

    def _save(self) -> None:
        self.context.checkpoint_asked = False
        saved = checkpoints.save_checkpoint(
            self.folder, self.model, self.optimizer, self.state, self.config.checkpoint.keep_last
        )
        self.saved_step = self.state.step
        path = str(saved.path.relative_to(self.context.run.path))
        self.context.emit(
            events.Checkpoint(stage=STAGE, step=self.state.step, path=path, bytes=saved.bytes, seconds=saved.seconds)
        )

    def _stop_if_asked(self) -> None:
        if not self.context.stop_asked:
            return
        if self.saved_step != self.state.step:
            self._save()
        raise Stopped(f"stopped after step {self.state.step} of {self.steps}; a checkpoint was written")

    def _judge_if_due(self) -> None:
        """Evaluate and sample where this step is due for it, and it was not done before a resume."""
        step, settings = self.state.step, self.config.evaluate
        if self._is_due(settings.every_steps) and not _has(self.history.evaluations, step):
            self.evaluator.validation(step)
        if step > 0 and self._is_due(settings.sample_every_steps) and not _has(self.history.samples, step):
            self.evaluator.sample(step)

    def _is_due(self, every: int) -> bool:
        step = self.state.step
        return step in (0, self.steps) or (every > 0 and step % every == 0)


def load_tokenizer(run: RunDirectory, identity: str) -> Tokenizer:
    """The run's tokenizer. Raises NanosoloError when it is not the one that its tokens were made with."""
    tokenizer = Tokenizer.load(run.tokenizer)
    if tokenizer.identity() != identity:
        raise NanosoloError(f"{run.tokenizer} is not the tokenizer of the run's tokens. Start a new run.")
    return tokenizer


def _has(judged: Sequence[events.Evaluation | events.Sample], step: int) -> bool:
    return any(event.stage == STAGE and event.step == step for event in judged)

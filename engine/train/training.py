"""The training loop of every stage that trains: steps, checkpoints, evaluations, in an order that loses nothing."""

import gc
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

import torch

from engine.checkpoint.checkpoint import TrainingState
from engine.config.train_spec import TrainSpec, effective_config, train_spec
from engine.core.errors import EXIT_DIVERGED, Interrupted, NanosoloError, Stopped
from engine.data.loader import RowLoader, RowSource
from engine.device.allocator import settle_for_stage
from engine.device.device import device_name, peak_memory, prepare_device
from engine.evaluate.evaluator import Trunk
from engine.events import kinds
from engine.events.history import read_history
from engine.events.spikes import SPIKE, find_spike, remember
from engine.hardware.detect import detect, detect_cpu
from engine.model.compiling import compile_for_each_size
from engine.model.gpt import GPT
from engine.optim.optimizer import Optimizer
from engine.optim.schedule import learning_rate_scale, muon_momentum
from engine.plan.batch import grad_accum_steps
from engine.plan.memory import resolve_checkpointing
from engine.plan.plan import uses_compile
from engine.plan.shape import shape_of
from engine.run.stage_context import StageContext
from engine.train import resume
from engine.train.preemption import forget_notice, preemption_notice
from engine.train.rewind import MOST_REWINDS, Rewind, add_rewind, attempts_from, read_rewinds
from engine.train.saver import Saver
from engine.train.step import NotFinite, StepResult, StepRunner

NOTICE_SECONDS = 1.0  # between looks for a notice of preemption while a step or an evaluation is under way


class Diverged(NanosoloError):
    """Loss, gradient or weights are no longer numbers."""

    exit_code = EXIT_DIVERGED


class Evaluator(Protocol):
    """Evaluates the model while it trains, and emits the results as events."""

    @property
    def metric(self) -> str:
        """The name of its metric in the events."""

    def validation(self, step: int) -> float | None:
        """The value by which checkpoints are compared, lower is better; None when there is none. Raises
        Interrupted."""

    def sample(self, step: int) -> None:
        """Emit samples of what the model generates. Raises Interrupted."""


class TrainingTask(Protocol):
    """What a stage trains on, from which weights, and how it is evaluated."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole stage."""

    @property
    def rows(self) -> RowSource:
        """What to train on."""

    @property
    def loss_falls(self) -> bool:
        """Whether the loss falls as the model learns, so that a spike means something; that of a policy is near 0."""

    def begin(self, model: GPT) -> None:
        """Fill the weights where the stage has no checkpoint yet. Raises NanosoloError."""

    def stepper(
        self, model: GPT, trunk: Trunk, optimizer: Optimizer, splits: int, interrupted: Callable[[], bool]
    ) -> StepRunner:
        """The runner of optimizer steps. `splits`: how many parts each batch is cut into. `interrupted`: called before
        each part; true interrupts the step."""

    def evaluator(self, model: GPT, trunk: Trunk, interrupted: Callable[[], bool]) -> Evaluator:
        """The evaluator. `interrupted`: called before each batch of an evaluation; true interrupts it."""


def train(context: StageContext, open_task: Callable[[StageContext], TrainingTask]) -> None:
    """Train to the last step of the stage's task, from the newest valid checkpoint where there is one.

    Raises Stopped (after a checkpoint), Diverged, OutOfMemory, or NanosoloError when nothing can be saved.
    """
    forget_notice(context.run)  # of an earlier start
    spec = train_spec(context.config, context.stage)
    context.config = effective_config(context.config, spec)
    device = prepare_device(context.config, context.run.plan())
    settle_for_stage(context, device)
    # opening the task and the first step may take long; until then a stop ends the stage at once, as there is nothing
    # to save
    task = open_task(context)
    Training(context, device, task, spec).run()


class Training:
    """The training of one stage in this process."""

    def __init__(self, context: StageContext, device: str, task: TrainingTask, spec: TrainSpec) -> None:
        self.context = context
        self.stage = context.stage
        self.task = task
        self.spec = spec
        self.config = config = context.config
        self.device = device
        self.folder = context.run.checkpoints(self.stage)
        self.shape = shape_of(config)
        self.steps = task.steps
        gpu = detect() if device == "cuda" else detect_cpu()
        # a CPU has no published peak
        self.peak_flops = gpu.peak_flops if device == "cuda" else 0.0

        compiled = uses_compile(config, gpu)
        self.model = GPT(self.shape, resolve_checkpointing(self.shape, spec.batch, gpu, compiled), device)
        self.optimizer = Optimizer(self.model, spec.optim, self.shape.width)
        self.state = resume.restore(context, self.model, self.optimizer, task.begin)
        self.step_began_at = self.state.loader  # where the data of the last step begins
        self.history = read_history(context.run.events_file)
        self.saver = Saver(context, self.model, self.optimizer, self.state.step, self.history)
        trunk = compile_for_each_size(self.model.trunk) if compiled else self.model.trunk
        self.stepper = task.stepper(self.model, trunk, self.optimizer, self.state.micro_splits, self._is_interrupted)
        self.evaluator = task.evaluator(self.model, trunk, self._is_interrupted)
        self.looked_at = 0.0  # when the disk was last checked for a notice
        self.warm = False  # whether this process has done a step
        context.emit(
            kinds.Device(
                stage=self.stage,
                device=device,
                name=device_name(device),
                torch=str(torch.__version__),
                compiled=compiled,
                grad_accum_steps=grad_accum_steps(config),
                device_batch_size=spec.batch.device_batch_size,
                threads=torch.get_num_threads(),
            )
        )

    def run(self) -> None:
        """Steps until the last, or until asked to stop."""
        with self.saver:
            while True:
                try:
                    with self._loader() as loader:
                        return self._train(loader)
                except NotFinite as problem:
                    self._diverged(problem)

    def _train(self, loader: RowLoader) -> None:
        self._stop_if_asked()
        self._evaluate_if_due()
        while self.state.step < self.steps:
            self._step(loader)
            self.saver.look()
            # the checkpoint comes first: a failed evaluation then loses nothing
            if self.state.step == self.steps:
                self._require_finite_weights()
                self.saver.finish(self.state)
            elif self.saver.is_due(self.state.step):
                self._require_finite_weights()
                self.saver.begin(self.state)
            self._stop_if_asked()
            self._evaluate_if_due()

    def _loader(self) -> RowLoader:
        return RowLoader(
            self.task.rows,
            self.spec.batch.device_batch_size,
            self.config.runtime.seed,
            self.spec.shuffle,
            self.spec.on_exhausted,
            self.state.loader,
            self.device,
            prefetch=grad_accum_steps(self.config),  # a step takes all of its batches at its start
        )

    def _step(self, loader: RowLoader) -> None:
        step = self.state.step + 1
        self.step_began_at = self.state.loader
        scale, momentum = self._rates()
        began = time.perf_counter()
        try:
            result = self.stepper.run(loader, step, scale, momentum, self._is_acceptable)
        except Interrupted:  # nothing of the step is kept: a resume does it again, with the same data
            self._stop(self._stop_reason() or "stopped as asked")
        self.context.stops_at_boundary = True  # from here on there is something to save: a signal only sets a flag
        seconds = time.perf_counter() - began
        self.state = TrainingState(
            step=step,
            tokens=self.state.tokens + result.tokens,
            loader=result.loader,
            micro_splits=self.stepper.splits,
            losses=remember(self.state.losses, result.loss),
            shape=self.shape,
            settings=self.state.settings,
        )
        self._emit_step(result, scale, seconds)
        if not self.warm:
            self.warm = True
            gc.collect()
            gc.freeze()  # what lives after the first step lives to the end: do not walk it again

    def _is_acceptable(self, step: int, loss: float) -> bool:
        """Whether to update the weights after a step of this loss; a spike is reported. They may change from now on."""
        self.saver.hold_still()
        spike = find_spike(self.state.losses, loss) if self.task.loss_falls else None
        if spike is None:
            return True
        skips = self.spec.on_spike == "skip"
        message = f"{spike}; {'update skipped' if skips else 'training continues'}"
        self.context.emit(kinds.Warning(stage=self.stage, step=step, code=SPIKE, message=message))
        return not skips

    def _emit_step(self, result: StepResult, scale: float, seconds: float) -> None:
        rate = result.tokens / seconds
        self.context.emit(
            kinds.Step(
                stage=self.stage,
                step=self.state.step,
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

    def _rates(self) -> tuple[float, float]:
        """(learning rate scale, Muon's momentum) of the next step."""
        optim, step = self.spec.optim, self.state.step
        scale = learning_rate_scale(
            step, self.steps, optim.warmup_steps, optim.warmdown_fraction, optim.final_lr_fraction
        )
        momentum = muon_momentum(step, optim.muon_momentum_start, optim.muon_momentum, optim.muon_momentum_warmup_steps)
        return scale, momentum

    def _require_finite_weights(self) -> None:
        """A step can be finite and its update not: such weights must not be saved."""
        if not self.saver.weights_are_finite():
            raise NotFinite("weights are not finite after the update", self.state.step, self.state.loader)

    def _diverged(self, problem: NotFinite) -> None:
        """Go back to the last checkpoint with the data beyond it skipped, or stop. Raises Diverged."""
        self.saver.settle()
        step, back = problem.step, self.saver.step
        rewinds = self.config.runtime.on_divergence == "rewind"
        tried = attempts_from(read_rewinds(self.folder), back)
        goes_on = rewinds and tried < MOST_REWINDS
        if goes_on:
            action = f"rewinding to step {back}, then continuing with the data after step {step}"
        else:
            action = f"stopped; resume from the checkpoint of step {back}"
        place = self.step_began_at
        self.context.emit(
            kinds.Diverged(
                stage=self.stage, step=step, what=str(problem), action=action, epoch=place.epoch, row=place.row
            )
        )
        if not goes_on:
            again = f" Training was rewound to that checkpoint {tried} times." if tried else ""
            raise Diverged(
                f"diverged at step {step}: {problem}.{again} Lower optim.matrix_lr and optim.embedding_lr in "
                f"{self.context.run.config_file}, then resume from step {back}."
            )
        add_rewind(self.folder, Rewind(step=back, at_step=step, loader=problem.loader))
        self.state = resume.restore(self.context, self.model, self.optimizer, self.task.begin)
        self.saver.step = self.state.step
        self.history = read_history(self.context.run.events_file)
        self.stepper.splits = self.state.micro_splits

    def _stop_reason(self) -> str | None:
        """Why to stop; None to continue."""
        notice = preemption_notice(self.context.run, self.config)
        if notice is not None:
            self.context.stop_asked = True
            return f"stopped because {notice} appeared"
        return "stopped as asked" if self.context.stop_asked else None

    def _is_interrupted(self) -> bool:
        """Whether to interrupt the current work. Cheap: called before each micro-batch and each new token."""
        if self.context.stop_asked:
            return True
        now = time.monotonic()
        if now - self.looked_at < NOTICE_SECONDS:
            return False
        self.looked_at = now
        return self._stop_reason() is not None

    def _stop_if_asked(self) -> None:
        reason = self._stop_reason()
        if reason is not None:
            self._stop(reason)

    def _stop(self, reason: str) -> NoReturn:
        """Save the last step that is complete, and end. Raises Stopped, or NotFinite or NanosoloError where it cannot
        be saved."""
        if self.saver.step != self.state.step:
            self._require_finite_weights()
        self.saver.finish(self.state)
        forget_notice(self.context.run)
        place = f"after step {self.state.step} of {self.steps}"
        raise Stopped(f"{reason} {place}. Resume with: nanosolo resume {self.context.run.name}")

    def _evaluate_if_due(self) -> None:
        """Evaluate and sample where this step is due for it, and it was not done before a resume."""
        step, settings = self.state.step, self.spec.evaluate
        if self._is_due(settings.every_steps) and not self._was_validated(step):
            try:
                value = self.evaluator.validation(step)
            except Interrupted:  # what is skipped here is done first after a resume
                self._stop_if_asked()
                return
            if value is not None:
                self.saver.evaluated(step, value)
        if step > 0 and self._is_due(settings.sample_every_steps) and not self._was_sampled(step):
            try:
                self.evaluator.sample(step)
            except Interrupted:
                self._stop_if_asked()

    def _is_due(self, every: int) -> bool:
        step = self.state.step
        return step in (0, self.steps) or (every > 0 and step % every == 0)

    def _was_validated(self, step: int) -> bool:
        metric = self.evaluator.metric
        return any((e.stage, e.step, e.metric) == (self.stage, step, metric) for e in self.history.evaluations)

    def _was_sampled(self, step: int) -> bool:
        return any((e.stage, e.step) == (self.stage, step) for e in self.history.samples)

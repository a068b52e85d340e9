"""Advice on what is learned: divergence, loss spikes, too few tokens, text that repeats."""

import math
import statistics
from collections.abc import Iterator

from engine.config.schema import RunConfig
from engine.core import formatting
from engine.diagnostics.finding import Finding, Situation
from engine.events.step_columns import StepColumns
from engine.plan.advice import Changes, compute_optimal
from engine.plan.scaling import CHINCHILLA_TOKENS_PER_PARAM, is_smoke_test, per_param, smoke_test_words

SPIKE_WINDOW = 128  # losses before a step that say what is usual
SPIKE_SIGMAS = 6.0
WARNED_STEPS = 500  # a warning older than that has no consequence any more
SPIKE_FLOOR = 1e-3  # of the mean: the least spread that counts, for losses that hardly move
# Up to about four passes, repeated text is nearly as good as new (Muennighoff et al. 2023, arXiv:2305.16264).
GOOD_EPOCHS = 4


def diverged(s: Situation) -> Iterator[Finding]:
    columns = s.columns
    if s.history.diverged:
        step, what = s.history.diverged[-1].step, s.history.diverged[-1].what
        if columns.step[-1] > step:
            return  # it was resumed and went past that step
    elif math.isnan(columns.loss[-1]):
        step, what = columns.step[-1], "loss is not a finite number"
    else:
        return
    kept = [c.step for c in s.history.checkpoints if c.step < step]
    back = f"goes on from step {max(kept):,}, {step - max(kept):,} steps back" if kept else "starts over from step 1"
    yield Finding(
        "diverged",
        "bad",
        f"diverged at step {step:,}: {what}",
        "halve the learning rates and resume",
        _half_rates(s.config),
        f"updates half as large; {back}",
    )


def spike(s: Situation) -> Iterator[Finding]:
    found = last_spike(s.columns)
    if found is None:
        return
    index, sigmas, usual = found
    step, loss, now = s.columns.step[index], s.columns.loss[index], s.columns.loss[-1]
    recovered = index < len(s.columns) - 1 and now < (usual + loss) / 2
    message = f"loss spike at step {step:,}: {loss:.3f}, {sigmas:.0f} sigma above the {usual:.3f} before it"
    if recovered:
        yield Finding("loss_spike", "hint", message, "nothing to do", {}, f"it has come back to {now:.3f}")
        return
    clip: Changes = {"optim.grad_clip": 1.0}
    change = clip if s.config.optim.grad_clip == 0 else _half_rates(s.config)
    fix = "clip gradients" if s.config.optim.grad_clip == 0 else "halve the learning rates"
    yield Finding(
        "loss_spike",
        "warn",
        message,
        f"if it does not come back within {SPIKE_WINDOW // 2} steps: {fix}, resume from the last checkpoint",
        change,
        "updates of bounded size" if s.config.optim.grad_clip == 0 else "updates half as large",
    )


def last_spike(columns: StepColumns) -> tuple[int, float, float] | None:
    """(index, sigmas above, mean before) of the newest of the last 128 losses that leapt above the 128 before it."""
    losses = [loss for loss in columns.loss[-2 * SPIKE_WINDOW :] if not math.isnan(loss)]
    if len(losses) < SPIKE_WINDOW + 1 or len(losses) < min(len(columns), 2 * SPIKE_WINDOW):
        return None  # too early, or NaNs about, which is another finding
    offset = len(columns) - len(losses)
    for i in range(len(losses) - 1, SPIKE_WINDOW - 1, -1):
        before = losses[i - SPIKE_WINDOW : i]
        mean = math.fsum(before) / SPIKE_WINDOW
        if losses[i] <= mean:
            continue
        spread = max(statistics.pstdev(before, mean), SPIKE_FLOOR * abs(mean))
        if spread > 0 and losses[i] > mean + SPIKE_SIGMAS * spread:
            return offset + i, (losses[i] - mean) / spread, mean
    return None


def warned(s: Situation) -> Iterator[Finding]:
    """What the stage itself said in the last few hundred steps, once for each kind."""
    newest = {w.code: w for w in s.history.warnings if w.step > s.columns.step[-1] - WARNED_STEPS}
    for warning in newest.values():
        if warning.code != "spike":  # which is judged here, with what came after it
            message = f"step {warning.step:,}: {warning.message}"
            meant = warning.code == "config_changed"
            fix = "nothing to do if you meant it" if meant else "the stage goes on; look at the log"
            yield Finding(warning.code, "hint" if meant else "warn", message, fix, {}, "")


def few_tokens(s: Situation) -> Iterator[Finding]:
    ratio = s.plan.tokens_per_param
    if ratio >= 0.98 * CHINCHILLA_TOKENS_PER_PARAM or s.plan.tokens <= 0:
        return
    if is_smoke_test(ratio):  # asked for; longer training would turn its minutes into hours
        message = smoke_test_words(ratio).rstrip(".")
        yield Finding("few_tokens_per_param", "hint", message, "nothing to change for a test", {}, "")
        return
    wanted, planned = CHINCHILLA_TOKENS_PER_PARAM / ratio, per_param(ratio)
    verb = "is" if " token " in planned else "are"
    hours = s.plan.time.hours
    yield Finding(
        "few_tokens_per_param",
        "hint",
        f"{planned} {verb} planned, about {CHINCHILLA_TOKENS_PER_PARAM} are compute-optimal",
        "train longer, or take a smaller model next time",
        compute_optimal(s.config, s.plan.params.total),
        f"{math.ceil(s.plan.steps * wanted):,} steps"
        + (f", about {formatting.duration(hours * wanted * 3600)}" if hours is not None else ""),
    )


def repeats(s: Situation) -> Iterator[Finding]:
    epoch = s.columns.epoch[-1]
    if epoch < 1:
        return
    passes = epoch + 1
    step = s.columns.step[-1]
    expected = passes * s.columns.steps / step if step else passes
    yield Finding(
        "repeated_epochs",
        "warn" if passes > GOOD_EPOCHS else "hint",
        f"pass {passes} over the text; about {max(passes, math.ceil(expected - 1))} by the end",
        "add text (data.paths), or train for fewer steps",
        {},
        "new text teaches more"
        if passes > GOOD_EPOCHS
        else f"up to {GOOD_EPOCHS} passes are nearly as good as new text",
    )


def _half_rates(config: RunConfig) -> Changes:
    optim = config.optim
    return {
        "optim.matrix_lr": optim.matrix_lr / 2,
        "optim.embedding_lr": optim.embedding_lr / 2,
        "optim.head_lr": optim.head_lr / 2,
    }

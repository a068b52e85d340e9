"""Advice on learning: divergence, loss spikes, too few tokens, repeated text."""

import math
from bisect import bisect_left
from collections.abc import Iterator

from engine.config.schema import RunConfig
from engine.core import formatting
from engine.core.diagnostic import Changes, Diagnostic
from engine.diagnostics.situation import Situation
from engine.events import kinds
from engine.events.spikes import SPIKE, WINDOW, find_spike
from engine.plan.advice import compute_optimal
from engine.plan.scaling import CHINCHILLA_TOKENS_PER_PARAM, is_smoke_test, per_param, smoke_test_words

WARNED_STEPS = 500  # older warnings no longer matter
# Up to about four passes, repeated text is nearly as good as new (Muennighoff et al. 2023, arXiv:2305.16264).
GOOD_EPOCHS = 4


def diverged(s: Situation) -> Iterator[Diagnostic]:
    columns = s.columns
    if s.history.diverged:
        step, what = s.history.diverged[-1].step, s.history.diverged[-1].what
        if columns.step[-1] > step:
            return  # the run was resumed and is past that step
    elif math.isnan(columns.loss[-1]):
        step, what = columns.step[-1], "loss is not a finite number"
    else:
        return
    kept = [c.step for c in s.history.checkpoints if c.step < step]
    back = f"restarts at step {max(kept):,}, {step - max(kept):,} steps back" if kept else "restarts at step 1"
    yield Diagnostic(
        "diverged",
        f"diverged at step {step:,}: {what}",
        "halve the learning rates and resume",
        severity="error",
        change=_half_rates(s.config),
        effect=f"updates half as large; {back}",
    )


def spike(s: Situation) -> Iterator[Diagnostic]:
    """The newest spike that the trainer reported within the last window of steps, and whether the loss recovered."""
    warning = _last_spike(s)
    columns = s.columns
    at = bisect_left(columns.step, warning.step) if warning is not None else len(columns)
    if warning is None or at == len(columns):  # the trainer reports a spike before its step is complete
        return
    loss, now = columns.loss[at], columns.loss[-1]
    window = [value for value in columns.loss[max(0, at - WINDOW) : at] if not math.isnan(value)]
    found = find_spike(window, loss)
    # steps that the rule needs may be missing from a damaged log: then the trainer's own words have to do
    message = f"loss spike at step {warning.step:,}: {found if found is not None else warning.message}"
    usual = found.mean if found is not None else loss
    if at < len(columns) - 1 and now < (usual + loss) / 2:
        effect = f"the loss is back at {now:.3f}"
        yield Diagnostic("loss_spike", message, "nothing to do", severity="note", effect=effect)
        return
    clip: Changes = {"optim.grad_clip": 1.0}
    clips = s.config.optim.grad_clip > 0
    fix = "halve the learning rates" if clips else "clip gradients"
    yield Diagnostic(
        "loss_spike",
        message,
        f"if the loss does not recover within {WINDOW // 2} steps: {fix} and resume from the last checkpoint",
        change=_half_rates(s.config) if clips else clip,
        effect="updates half as large" if clips else "updates of limited size",
    )


def _last_spike(s: Situation) -> kinds.Warning | None:
    """The trainer's newest spike within the window, on steps that were not redone since."""
    oldest = s.columns.step[-1] - WINDOW
    for warning in reversed(s.history.warnings):
        if warning.code != SPIKE or warning.stage != s.stage or warning.step <= oldest:
            continue
        resumes = s.history.resumes
        if not any(r.stage == s.stage and r.t > warning.t and r.step < warning.step for r in resumes):
            return warning
    return None


def stage_warnings(s: Situation) -> Iterator[Diagnostic]:
    """The newest warning of each kind that the stage wrote in the last steps."""
    newest = {w.code: w for w in s.history.warnings if w.step > s.columns.step[-1] - WARNED_STEPS}
    for warning in newest.values():
        if warning.code == SPIKE:  # `spike` covers it, with what came after it
            continue
        message = f"step {warning.step:,}: {warning.message}"
        if warning.code == "config_changed":
            yield Diagnostic(warning.code, message, "nothing to do if you intended this", severity="note")
        else:
            yield Diagnostic(warning.code, message, "training continues; check the log")


def few_tokens(s: Situation) -> Iterator[Diagnostic]:
    ratio = s.plan.tokens_per_param
    if ratio >= 0.98 * CHINCHILLA_TOKENS_PER_PARAM or s.plan.tokens <= 0:
        return
    code = "few_tokens_per_param"
    if is_smoke_test(ratio):  # intended; longer training would turn its minutes into hours
        message = smoke_test_words(ratio).rstrip(".")
        yield Diagnostic(code, message, "nothing to change for a test", severity="note")
        return
    wanted, hours = CHINCHILLA_TOKENS_PER_PARAM / ratio, s.plan.time.hours
    steps = f"{math.ceil(s.plan.steps * wanted):,} steps"
    yield Diagnostic(
        code,
        f"planned: {per_param(ratio)}; compute-optimal: about {CHINCHILLA_TOKENS_PER_PARAM}",
        "train longer, or use a smaller model next time",
        severity="note",
        change=compute_optimal(s.config, s.plan.params.total),
        effect=steps + (f", about {formatting.duration(hours * wanted * 3600)}" if hours is not None else ""),
    )


def repeats(s: Situation) -> Iterator[Diagnostic]:
    epoch = s.columns.epoch[-1]
    if epoch < 1:
        return
    passes = epoch + 1
    step = s.columns.step[-1]
    expected = passes * s.columns.steps / step if step else passes
    many = passes > GOOD_EPOCHS
    yield Diagnostic(
        "repeated_epochs",
        f"pass {passes} over the text; about {max(passes, math.ceil(expected - 1))} by the end",
        "add text (data.paths), or train for fewer steps",
        severity="warning" if many else "note",
        effect="new text teaches more" if many else f"up to {GOOD_EPOCHS} passes are nearly as good as new text",
    )


def _half_rates(config: RunConfig) -> Changes:
    optim = config.optim
    return {
        "optim.matrix_lr": optim.matrix_lr / 2,
        "optim.embedding_lr": optim.embedding_lr / 2,
        "optim.head_lr": optim.head_lr / 2,
    }

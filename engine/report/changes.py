"""Changes of settings and of nanosolo's code between the starts of a run, and the step from which they apply."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from engine.config.stages import MODEL_STAGES
from engine.events.history import History
from engine.hardware.versions import is_other, noted_code

RELAUNCHED = "relaunched with "  # begins the message of a relaunch


class Change(NamedTuple):
    """A change of settings or code."""

    t: float
    kind: str  # settings or code
    stage: str  # the first stage that ran with it; empty: none yet
    step: int | None  # after which it applies; 0: from the start of the stage; None: a stage without steps
    what: str


def changes(history: History) -> list[Change]:
    """All changes in the events, in order. A change that a resumed stage reports again is left out."""
    found = sorted((*_relaunches(history), *_other_code(history)))
    places = {(change.kind, change.stage, change.step) for change in found}
    seen = [change for change in _seen_on_resume(history) if (change.kind, change.stage, change.step) not in places]
    return sorted((*found, *seen))


def _relaunches(history: History) -> Iterator[Change]:
    for advice in history.advice:
        if advice.code == "relaunched":
            yield Change(advice.t, "settings", *_place(history, advice.t), advice.message.removeprefix(RELAUNCHED))


def _other_code(history: History) -> Iterator[Change]:
    for before, after in pairwise(history.starts):
        old, new = noted_code(before.version, before.versions), noted_code(after.version, after.versions)
        if is_other(old, new):
            what = f"nanosolo {old} -> {new}"
            same = (old.version, old.commit) == (new.version, new.commit)
            yield Change(
                after.t, "code", *_place(history, after.t), f"{what}, other uncommitted changes" if same else what
            )


def _seen_on_resume(history: History) -> Iterator[Change]:
    kinds = {"config_changed": "settings", "code_changed": "code"}
    for warning in history.warnings:
        if warning.code in kinds:
            step = warning.step if warning.stage in MODEL_STAGES else None
            yield Change(warning.t, kinds[warning.code], warning.stage, step, warning.message)


def _place(history: History, t: float) -> tuple[str, int | None]:
    """(stage, step) that first trained after time `t`, or that first ran if nothing has trained since."""
    since = [attempt for attempt in history.attempts if attempt.started >= t and not attempt.given_up]
    first = next((attempt for attempt in since if attempt.stage in MODEL_STAGES), since[0] if since else None)
    if first is None:
        return "", None
    if first.stage not in MODEL_STAGES:
        return first.stage, None
    later = [attempt.started for attempt in since if attempt.started > first.started]
    end = min(later, default=float("inf"))
    steps = [r.step for r in history.resumes if r.stage == first.stage and first.started <= r.t < end]
    return first.stage, steps[0] if steps else 0

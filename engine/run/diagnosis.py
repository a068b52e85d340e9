"""Live advice on a run: what is wrong or could be better, the number behind it, the change, its predicted effect."""

from engine.plan.config import RunConfig
from engine.plan.plan import Plan
from engine.run import learning_checks, machine_checks
from engine.run.finding import LEVELS, Finding, Situation
from engine.run.history import History
from engine.run.verdict import last_columns

SILENT_SECONDS = 3600.0  # a run silent for longer is not judged by its last readings

CHECKS = (
    learning_checks.diverged,
    machine_checks.disk,
    machine_checks.squeezed,
    learning_checks.spike,
    learning_checks.warned,
    machine_checks.slow,
    machine_checks.late,
    machine_checks.waits_for_data,
    machine_checks.throttled,
    machine_checks.shared_gpu,
    machine_checks.headroom,
    learning_checks.repeats,
    learning_checks.few_tokens,
)
# what these compare with is pretraining's: its text, and the speed and the memory of its plan
OF_PRETRAINING = (machine_checks.slow, machine_checks.headroom, learning_checks.repeats)


def diagnose(history: History, plan: Plan | None, config: RunConfig | None, now: float) -> list[Finding]:
    """All advice on the run as it is at Unix time `now`, the most serious first.

    Empty before the first step, and for a run whose plan or configuration cannot be read.
    """
    known = last_columns(history)
    if known is None or plan is None or config is None:
        return []
    working = history.ended is None and history.current == known[0] and now - known[1].time[-1] < SILENT_SECONDS
    situation = Situation(history, plan, config, known[1], working)
    left_out = () if known[0] == "pretrain" else OF_PRETRAINING
    if working and known[0] != "pretrain":  # it is too late for this run, and soon enough when it is done
        left_out = (*left_out, learning_checks.few_tokens)
    if known[0] == "rl":  # the loss of a policy lies about 0 and says nothing; its reward does
        left_out = (*left_out, learning_checks.spike)
    found = [finding for check in CHECKS if check not in left_out for finding in check(situation)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))

"""Live advice on a run: what is wrong or could be better, the number behind it, the change, its predicted effect."""

from engine.config.schema import RunConfig
from engine.diagnostics import throughput_rules, training_rules
from engine.diagnostics.finding import LEVELS, Finding, Situation
from engine.events.history import History
from engine.plan.plan import Plan
from engine.run.status import last_columns

SILENT_SECONDS = 3600.0  # a run silent for longer is not judged by its last readings

CHECKS = (
    training_rules.diverged,
    throughput_rules.disk,
    throughput_rules.squeezed,
    training_rules.spike,
    training_rules.warned,
    throughput_rules.slow,
    throughput_rules.late,
    throughput_rules.waits_for_data,
    throughput_rules.throttled,
    throughput_rules.shared_gpu,
    throughput_rules.headroom,
    training_rules.repeats,
    training_rules.few_tokens,
)
# what these compare with is pretraining's: its text, and the speed and the memory of its plan
OF_PRETRAINING = (throughput_rules.slow, throughput_rules.headroom, training_rules.repeats)


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
        left_out = (*left_out, training_rules.few_tokens)
    if known[0] == "rl":  # the loss of a policy lies about 0 and says nothing; its reward does
        left_out = (*left_out, training_rules.spike)
    found = [finding for check in CHECKS if check not in left_out for finding in check(situation)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))

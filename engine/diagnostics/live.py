"""Live advice on a run: what is wrong or could be better, with its number, the change and the predicted effect."""

from engine.config.schema import RunConfig
from engine.core.diagnostic import Diagnostic, by_severity
from engine.diagnostics import throughput_rules, training_rules
from engine.diagnostics.situation import Situation
from engine.events.history import History
from engine.plan.plan import Plan
from engine.run.status import last_columns

SILENT_SECONDS = 3600.0  # after this long without a step, the last readings say nothing about the run

RULES = (
    training_rules.diverged,
    throughput_rules.disk,
    throughput_rules.memory_ran_out,
    training_rules.spike,
    training_rules.stage_warnings,
    throughput_rules.slow,
    throughput_rules.late,
    throughput_rules.waits_for_data,
    throughput_rules.throttled,
    throughput_rules.shared_gpu,
    throughput_rules.headroom,
    training_rules.repeats,
    training_rules.few_tokens,
)
# these compare with the plan of pretraining: its text, speed and memory
PRETRAINING_ONLY = (throughput_rules.slow, throughput_rules.headroom, training_rules.repeats)


def diagnose(history: History, plan: Plan | None, config: RunConfig | None, now: float) -> list[Diagnostic]:
    """All advice on the run at Unix time `now`, the most serious first.

    Empty before the first step, and for a run whose plan or configuration cannot be read.
    """
    known = last_columns(history)
    if known is None or plan is None or config is None:
        return []
    stage, columns = known
    working = history.ended is None and history.current == stage and now - columns.time[-1] < SILENT_SECONDS
    situation = Situation(history, plan, config, stage, columns, working)
    left_out = () if stage == "pretrain" else PRETRAINING_ONLY
    if working and stage != "pretrain":  # too late to change pretraining of this run; the advice appears at the end
        left_out = (*left_out, training_rules.few_tokens)
    return by_severity(found for rule in RULES if rule not in left_out for found in rule(situation))

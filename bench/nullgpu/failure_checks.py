"""Scenarios with drivers that refuse a function, and settings that refuse kernels."""

from collections.abc import Iterator

from findings import Check
from session import LEARN, SMALL, Session, settings

TINY = {"model.depth": 2, "model.max_seq_len": 256, "batch.total_batch_size": 4096, "budget.steps": 3}
ALL = ("--stages", "data,tokenizer,tokenize,pretrain,evaluate,sft,rl,chat_eval,report")
UNTIL_PRETRAIN = ("--stages", "data,tokenizer,tokenize,pretrain")
FABRIC_NOT_SUPPORTED = "3"


def deterministic(session: Session) -> Iterator[Check]:
    """Every stage with runtime.deterministic: torch refuses no kernel."""
    changes = settings(SMALL, TINY, LEARN, {"runtime.deterministic": "true"})
    code = session.nanosolo("deterministic", "--preset", "balanced", "--name", "deterministic", *ALL, *changes)
    yield from session.ended("deterministic", "deterministic", code)
    log = (session.run("deterministic") / "engine.log").read_text(errors="replace")
    refused = log.count("deterministic implementation")
    yield Check("deterministic", "kernels refused", str(refused), "0", refused == 0)


def fabric(session: Session) -> Iterator[Check]:
    """A driver without what expandable segments need: training continues without them, and says so."""
    arguments = ("--preset", "balanced", "--name", "fabric", *UNTIL_PRETRAIN, *settings(SMALL, TINY))
    code = session.nanosolo("fabric", *arguments, env={"NULLGPU_FABRIC": FABRIC_NOT_SUPPORTED})
    yield from session.ended("fabric", "fabric", code)
    told = [event["code"] for event in session.events("fabric", "warning")]
    yield Check("fabric", "warnings", ", ".join(told), "fixed_segments", told == ["fixed_segments"])


def exhausted(session: Session) -> Iterator[Check]:
    """Memory that runs out outside torch's allocator: exit code 3, and one line that says which memory."""
    for name, variable, error, outcome in (
        ("kernels", "NULLGPU_LOAD_FAIL", "2", "out_of_memory"),
        ("cublas", "NULLGPU_BLAS_FAIL", "1", "out_of_memory"),
        ("pinned", "NULLGPU_PINNED_FAIL", "1", "out_of_host_memory"),
    ):
        arguments = ("--preset", "balanced", "--name", name, *UNTIL_PRETRAIN, *settings(SMALL, TINY))
        code = session.nanosolo("exhausted", *arguments, env={variable: error})
        yield from session.ended("exhausted", name, code, 3)
        (ended,) = session.events(name, "run_ended")[-1:]
        yield Check("exhausted", f"outcome of {name}", ended["outcome"], outcome, ended["outcome"] == outcome)
        one_line = "memory" in ended["message"] and "Traceback" not in ended["message"]
        yield Check("exhausted", f"message of {name}", ended["message"][:60], "one line about memory", one_line)

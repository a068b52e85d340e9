"""What the scenarios share: a separate home, nanosolo as a process on the null GPU, the counters of its runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import findings
from findings import Check, Cost

ENTRY = "import sys; from tui.cli.main import entry; sys.argv[0] = 'nanosolo'; entry()"
PATIENCE = 3600  # seconds for one run; compiling on a busy machine takes minutes

# The built-in text, and few of everything: the results on the null GPU do not depend on it.
SMALL = {
    "data.source": "builtin",
    "tokenizer.vocab_size": 4096,
    "tokenizer.train_chars": 1_000_000,
    "evaluate.core": "off",
    "evaluate.tokens": 8192,
    "evaluate.sample_tokens": 8,
    "sft.sources": ["builtin"],
    "sft.steps": 5,
    "sft.total_batch_size": 2048,
    "sft.evaluate_every_steps": 2,
    "chat_eval.tasks": ["builtin"],
    "chat_eval.max_per_task": 2,
    "chat_eval.max_new_tokens": 8,
}

# Also for reinforcement learning.
LEARN = {
    "rl.task": "arithmetic",
    "rl.steps": 2,
    "rl.problems_per_step": 2,
    "rl.samples_per_problem": 4,
    "rl.device_batch_size": 2,
    "rl.max_new_tokens": 8,
    "rl.evaluate_problems": 2,
}


class Session:
    """The folder of one session of checks, and what was found in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.measured: dict[str, Any] = {}  # scenario -> figures that are not checks

    def nanosolo(self, scenario: str, *arguments: str, env: Mapping[str, str] | None = None) -> int:
        """Run a command and return its exit code. Its output is in SCENARIO.log."""
        with self.process(scenario, *arguments, env=env) as process:
            return process.wait(PATIENCE)

    def process(
        self, scenario: str, *arguments: str, env: Mapping[str, str] | None = None, stdout: Any = None
    ) -> subprocess.Popen[bytes]:
        """Start the command."""
        with (self.folder / f"{scenario}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", ENTRY, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout or log,
                stderr=log,
                env={
                    **os.environ,
                    "NANOSOLO_HOME": str(self.home),
                    "NULLGPU_ACCOUNT": str(self.account(scenario)),
                    "TORCH_LOGS": "recompiles,graph_breaks",  # the reasons, in engine.log
                    **(env or {}),
                },
            )

    def account(self, scenario: str) -> Path:
        return self.folder / f"{scenario}.jsonl"

    def costs(self, scenario: str) -> list[Cost]:
        """The costs of everything that a scenario has run; they become part of the results."""
        path = self.account(scenario)
        costs = findings.read_account(path.read_text()) if path.exists() else []
        self.measured[scenario] = findings.cost_table(costs)
        return costs

    def run(self, name: str) -> Path:
        return self.home / "runs" / name

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        """The events of a kind that a run has written."""
        path = self.run(name) / "events.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be incomplete
        return [event for event in found if event["kind"] == kind]

    def ended(self, scenario: str, name: str, code: int, wanted: int = 0) -> Iterator[Check]:
        """Check that the run's command ended as expected, on the GPU; otherwise its log says why."""
        log = self.run(name) / "engine.log"
        devices = {event["device"] for event in self.events(name, "device")}
        yield Check(scenario, f"exit code of {name}", str(code), str(wanted), code == wanted)
        found = ", ".join(sorted(devices)) or "none"
        yield Check(scenario, f"device of {name}", found, "cuda", devices == {"cuda"})
        if code != wanted and log.exists():
            print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), file=sys.stderr)


def settings(*changes: Mapping[str, Any]) -> list[str]:
    """`--set` options; a later value of a setting replaces an earlier one."""
    merged: dict[str, Any] = {}
    for some in changes:
        merged |= some
    texts = {key: json.dumps(value) if isinstance(value, list) else value for key, value in merged.items()}
    return [part for key, text in texts.items() for part in ("--set", f"{key}={text}")]

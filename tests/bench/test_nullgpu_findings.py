"""How the null GPU's checks read a run's counters, and that its stand-ins match the engine and each other."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "bench" / "nullgpu"


def load(path: Path) -> ModuleType:
    """A module that is not in a package."""
    spec = importlib.util.spec_from_file_location(f"nullgpu_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


findings = load(TOOL / "findings.py")


class Account:
    """Lines as the shim writes them: running totals for each process."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.totals: dict[int, dict[str, int]] = {}

    def add(self, kind: str, step: int, pid: int = 1, stage: str = "pretrain", **more: int) -> "Account":
        totals = self.totals.setdefault(pid, dict.fromkeys(findings.COUNTS, 0))
        for name, value in more.items():
            totals[name] += value
        self.lines.append(json.dumps({"pid": pid, "stage": stage, "kind": kind, "step": step, **totals}))
        return self

    def step(self, step: int, pid: int = 1, stage: str = "pretrain", **more: int) -> "Account":
        """A step with the expected cost."""
        return self.add("Step", step, pid, stage, **{"stream_syncs": 1, "pageable": 1, "kernels": 10, **more})

    def costs(self) -> list[Any]:
        return list(findings.read_account("\n".join(self.lines)))


def failed(account: Account, stage: str = "pretrain") -> list[str]:
    return [check.what for check in findings.stage_checks("case", account.costs(), (stage,)) if not check.holds]


def test_a_step_costs_what_happened_since_the_event_before_it_in_its_own_process() -> None:
    account = Account().add("Device", 0, kernels=500).step(1, kernels=30).step(1, pid=2, kernels=7).step(2, kernels=40)
    assert [(cost.pid, cost.launches) for cost in account.costs()] == [(1, 500), (1, 30), (2, 7), (1, 40)]


def test_a_good_run_passes_though_its_first_step_compiles_and_waits() -> None:
    account = Account().add("Device", 0).step(1, graphs=3, stream_syncs=40)
    for step in range(2, 6):
        account.step(step)
    assert failed(account) == []


@pytest.mark.parametrize("wait", ["stream_syncs", "device_syncs", "event_syncs", "blocking"])
def test_one_more_wait_of_any_kind_in_any_warm_step_is_told(wait: str) -> None:
    account = Account().step(1).step(2).step(3)
    account.add("Waited", 3, **{wait: 1}).lines.pop()  # so it is of the step that follows
    assert failed(account.step(4)) == ["host syncs of a pretrain step"]


def test_a_step_that_never_waits_is_told_too() -> None:
    """It would mean that loss and norm are not read."""
    assert failed(Account().step(1).step(2).add("Step", 3, pageable=1)) == ["host syncs of a pretrain step"]


def test_a_graph_compiled_again_is_told_in_a_warm_step_only() -> None:
    assert failed(Account().step(1, graphs=2).step(2).step(3, graphs=1)) == ["graphs compiled in warm pretrain steps"]
    resumed = Account().step(1, graphs=2).step(2).step(3, pid=2, graphs=2).step(4, pid=2)
    assert failed(resumed) == []
    replayed = Account().step(1, graphs=2).step(2).add("OutOfMemory", 3).step(3, graphs=2).step(4)
    assert failed(replayed) == []
    replayed.step(5, graphs=1)
    assert failed(replayed) == ["graphs compiled in warm pretrain steps"]


def test_later_evaluations_and_samples_compile_nothing() -> None:
    account = Account().step(1, graphs=2).add("Evaluation", 1, graphs=1).step(2).add("Evaluation", 2).step(3)
    assert failed(account) == []
    account.add("Evaluation", 3, graphs=1).add("Sample", 3, graphs=1).add("Sample", 3, graphs=1)
    assert failed(account) == [
        "graphs compiled in later pretrain evaluations",
        "graphs compiled in later pretrain samples",
    ]


def test_a_broken_graph_is_told_wherever_it_breaks() -> None:
    account = Account().step(1).step(2).add("Evaluation", 0, pid=2, stage="evaluate", breaks=1)
    assert failed(account) == ["graph breaks"]


def test_waits_of_the_thread_that_copies_a_checkpoint_are_not_the_steps() -> None:
    """The checkpoint of step 2 was copied during steps 3 and 4, and reported after step 4."""
    account = Account().step(1).step(2).step(3, stream_syncs=50).step(4, stream_syncs=2).add("Checkpoint", 2).step(5)
    assert failed(account) == []
    assert [cost.step for cost in findings.steady_steps(account.costs(), "pretrain")] == [2, 5]


def test_the_usual_waits_of_evaluations_are_those_of_most_of_the_later_ones() -> None:
    account = Account().add("Evaluation", 0, stream_syncs=30)
    for step, waits in enumerate((1, 1, 9), 1):  # the last one during a checkpoint
        account.step(step).add("Evaluation", step, stream_syncs=waits)
    costs = account.costs()
    assert findings.usual_syncs("case", costs, "pretrain", "Evaluation", 1).holds
    assert not findings.usual_syncs("case", costs, "pretrain", "Evaluation", 2).holds
    assert not findings.usual_syncs("case", costs, "sft", "Evaluation", 1).holds


def test_samples_of_one_step_count_together_whichever_event_their_cost_stands_at() -> None:
    account = Account()
    for step in (1, 2, 3):
        account.step(step).add("Sample", step, stream_syncs=16).add("Sample", step)
    assert findings.usual_syncs("case", account.costs(), "pretrain", "Sample", 16).holds


def test_nothing_to_look_at_does_not_pass() -> None:
    assert "host syncs of a sft step" in failed(Account().step(1).step(2), stage="sft")


def test_the_table_gives_the_usual_cost_of_what_comes_later() -> None:
    account = Account().step(1, kernels=900, graphs=2).step(2).step(3).step(4, kernels=12)
    (row,) = findings.cost_table(account.costs())
    assert (row["event"], row["count"], row["graphs_at_first"], row["graphs_later"]) == ("Step", 4, 2, 0)
    assert (row["launches"], row["syncs"]) == (10, 1)


def test_counters_are_read_in_the_order_in_which_the_library_has_them() -> None:
    header = (TOOL / "src" / "device.h").read_text()
    body = re.search(r"enum nullgpu_counter \{(.*?)\}", header, re.DOTALL)
    assert body is not None
    names = [name.lower() for name in re.findall(r"NULLGPU_(\w+)", body[1])]
    counters = load(TOOL / "shim" / "counters.py")
    assert (*counters.NAMES, "counters") == tuple(names)
    assert set(counters.NAMES) < set(findings.COUNTS)


def test_what_the_shims_change_is_there_to_be_changed() -> None:
    tree = ast.parse((TOOL / "shim" / "sitecustomize.py").read_text())
    (shims,) = (node for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SHIMS")
    assert isinstance(shims.value, ast.Dict)
    for key, value in zip(shims.value.keys, shims.value.values, strict=True):
        assert isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
        attribute = ast.literal_eval(value.elts[1])
        module = ast.parse((ROOT / (key.value.replace(".", "/") + ".py")).read_text())
        defined = {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert attribute in defined, f"{key.value} has no {attribute} any more: change bench/nullgpu/shim"


def test_every_variable_that_the_stand_ins_read_is_documented() -> None:
    text = "".join(path.read_text() for path in [*TOOL.glob("*.sh"), *TOOL.glob("s*/*.*")])
    readme = (TOOL / "README.md").read_text()
    for name in set(re.findall(r'(?:"|\$\{?)(NULLGPU_[A-Z_]+)', text)):
        assert f"`{name}`" in readme, f"{name} is not in bench/nullgpu/README.md"


def test_with_no_command_it_says_how_it_is_used() -> None:
    done = subprocess.run(["bash", str(TOOL / "with.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: bash bench/nullgpu/with.sh COMMAND [ARGUMENT...]\n"

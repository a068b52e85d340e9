"""Nothing that is read from outside can execute code: no module loads pickles, evaluates text or asks a shell."""

import re
from pathlib import Path

import engine
import tui

FORBIDDEN = re.compile(
    r"\bimport (pickle|dill|cloudpickle|joblib|shelve|marshal)\b|\bfrom (pickle|dill|joblib|shelve|marshal) |"
    r"\btorch\.load\((?!.*weights_only=True)|allow_pickle\s*=\s*True|(?<![\w.])(eval|exec)\(|\bos\.system\(|shell\s*=\s*True|"
    r"\byaml\.load\(|weights_only\s*=\s*False"
)

# Answers to coding tasks are run to be judged, in a process of their own that may do nothing but compute.
JUDGED = "engine/evaluate/chat/sandbox.py"


def test_nothing_executes_what_it_reads() -> None:
    found = []
    for package in (engine, tui):
        folder = Path(next(iter(package.__path__)))
        for path in folder.rglob("*.py"):
            if path.relative_to(folder.parent).as_posix() == JUDGED:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if FORBIDDEN.search(line):
                    found.append(f"{path.relative_to(folder.parent)}:{number}: {line.strip()}")
    assert found == []


def test_the_search_finds_what_it_is_for() -> None:
    for line in ("import pickle", "torch.load(path)", "x = eval(text)", "np.load(f, allow_pickle=True)"):
        assert FORBIDDEN.search(line)
    for line in ("model.eval()", "torch.load(path, weights_only=True)", "evaluate(x)", "msgspec.json.decode(b)"):
        assert not FORBIDDEN.search(line)

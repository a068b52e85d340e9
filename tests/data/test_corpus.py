"""The split by hash, and the text that Python itself carries."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.schema import DataConfig
from engine.core.errors import UsageError
from engine.core.progress import Reporter
from engine.data.corpora.builtin_corpus import BuiltinCorpus, sources
from engine.data.corpora.corpus import split_of
from engine.data.corpora.python_docs import code_of, prose_of
from engine.data.corpora.registry import open_corpus


@pytest.fixture(scope="module")
def builtin() -> BuiltinCorpus:
    return BuiltinCorpus(0.02)


@given(st.text(), st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_a_larger_fraction_only_adds_documents_to_validation(text: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    if split_of(text, small) == "validation":
        assert split_of(text, large) == "validation"


def test_split_is_pinned_for_ever() -> None:
    held_out = [i for i in range(200) if split_of(f"document {i}", 0.05) == "validation"]
    assert held_out == [40, 70, 100, 118, 123, 129, 148, 163]


def test_builtin_is_mostly_prose_and_large_enough(builtin: BuiltinCorpus) -> None:
    builtin.prepare()
    train, validation = list(builtin.documents("train")), list(builtin.documents("validation"))
    assert sum(map(len, train)) > 2_000_000
    assert 0.005 < len(validation) / len(train) < 0.05
    assert not set(train) & set(validation)
    assert all(text.strip() for text in train + validation)
    code = sum(len(text) for text in train if "\n    return " in text and "self." in text)
    assert code < 0.3 * sum(map(len, train))
    assert any('The "yield" statement' in text for text in train + validation)


def test_builtin_comes_in_the_same_order_in_another_process(builtin: BuiltinCorpus) -> None:
    program = (
        "import hashlib; from engine.data.corpora.builtin_corpus import BuiltinCorpus; c = BuiltinCorpus(0.02);"
        "print(c.identity(), hashlib.sha256(chr(0).join(c.documents('validation')).encode()).hexdigest())"
    )
    here = hashlib.sha256("\0".join(builtin.documents("validation")).encode()).hexdigest()
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert there.split() == [builtin.identity(), here]


def test_no_paragraph_of_builtin_is_in_both_splits(builtin: BuiltinCorpus) -> None:
    def long_paragraphs(split: str) -> set[str]:
        return {p for text in builtin.documents(split) for p in text.split("\n\n") if len(p) > 200 and "def " not in p}

    assert not long_paragraphs("train") & long_paragraphs("validation")


def test_sources_leave_out_tests_and_installed_packages(tmp_path: Path) -> None:
    for name in ("os.py", "json/decoder.py", "test/test_os.py", "site-packages/numpy.py", "tkinter/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [str(path.relative_to(tmp_path)) for path in sources(tmp_path)] == ["json/decoder.py", "os.py"]


def test_prose_and_code_of_a_module_share_nothing() -> None:
    source = '''"""What this module is for, said in one sentence that is long enough to be kept by the harvest."""
# This comment explains at some length why the next function has to do what it does here.
def twice(x):
    """Return the double of x, which must be a number; anything else that can be added also works."""
    return x + x
class Empty:
    """Only a docstring, and nothing else in here, which must still be valid code when it is gone."""
'''
    prose = "\n".join(prose_of(source, "double"))
    assert "double.twice: Return the double" in prose
    assert "explains at some length" in prose
    assert code_of(source) == "def twice(x):\n    return x + x\n\nclass Empty:\n    pass"


def test_identity_changes_with_the_split_only_where_it_matters(tmp_path: Path) -> None:
    def identity(**settings: object) -> str:
        return open_corpus(DataConfig(source="builtin", **settings), tmp_path, 1).identity()  # type: ignore[arg-type]

    assert identity() == identity(shuffle=False)
    assert identity() != identity(validation_fraction=0.03)


def test_a_budget_beyond_the_last_shard_goes_over_all_of_them_again_where_that_is_asked_for(tmp_path: Path) -> None:
    said = open_corpus(DataConfig(source="fineweb-edu"), tmp_path, 5000).description()
    assert "1,822 of 1,822 training shards" in said
    with pytest.raises(UsageError, match="has 1 to 1,822 training shards, but 5,000 are needed"):
        open_corpus(DataConfig(source="fineweb-edu", on_exhausted="error"), tmp_path, 5000)


def test_only_the_loader_imports_torch_and_nothing_heavy_comes_unasked() -> None:
    program = (
        "import sys; import engine.data.corpora.builtin_corpus, engine.data.corpora.local, engine.data.corpora.fineweb;"
        "import engine.data.tokens;"
        "print(sorted({'torch', 'textual', 'pyarrow', 'huggingface_hub', 'tiktoken', 'rustbpe'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@given(steps=st.lists(st.integers(0, 50), max_size=20), total=st.integers(0, 300))
def test_progress_never_passes_its_total_and_ends_at_what_was_done(steps: list[int], total: int) -> None:
    seen: list[tuple[int, int, str]] = []
    reporter = Reporter(lambda *report: seen.append(report), total, "things")
    for step in steps:
        reporter.advance(step)
    reporter.finish()
    assert seen[-1] == (sum(steps), sum(steps), "things")
    assert all(done <= most or most == 0 for done, most, _ in seen)
    assert len(seen) <= 2 + len(steps)

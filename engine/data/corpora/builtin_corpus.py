"""Text that every Python installation contains: the language reference, docstrings, comments and some code."""

import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from engine.data.corpora.corpus import HashSplitCorpus, short_hash
from engine.data.corpora.python_docs import code_of, extension_docs, language_reference, prose_of
from engine.data.skip_counter import SkipCounter, Skipped

_FORMAT = 1  # increase when the same installation gives other documents

CODE_SHARE = 0.2  # of all characters: a tiny model learns words faster from prose than from code

_PIECE_CHARS = 4_000

# Not in every installation (tests, IDLE, Tk, removed in 3.12), or tables rather than text.
_LEFT_OUT = (
    "__phello__ __pycache__ dist-packages distutils encodings ensurepip idlelib lib-dynload lib2to3 pydoc_data "
    "site-packages test tests tkinter turtledemo"
)
_LEFT_OUT_FILES = frozenset({"sitecustomize.py", "turtle.py", "usercustomize.py"})
_LEFT_OUT_PREFIXES = ("_sysconfig", "_distutils", "config-", ".")


class BuiltinCorpus(HashSplitCorpus):
    """Documents made of the running Python's own documentation and standard library. Needs no network."""

    def __init__(self, validation_fraction: float) -> None:
        super().__init__(validation_fraction)
        self._documents: tuple[str, ...] | None = None
        self._unread = SkipCounter()

    def identity(self) -> str:
        """Made from the exact build of Python, which determines the text: hashing the text itself takes seconds."""
        return short_hash("builtin", _FORMAT, sys.version, self._fraction)

    def description(self) -> str:
        version = ".".join(map(str, sys.version_info[:3]))
        return f"the documentation, docstrings, comments and some code of Python {version}'s standard library"

    def _texts(self, tally: SkipCounter) -> Iterator[str]:
        if self._documents is None:
            self._documents = build(Path(sysconfig.get_path("stdlib")), self._unread)
        yield from self._documents

    def skipped(self) -> tuple[Skipped, ...]:
        return self._unread.skipped()


def build(stdlib: Path, tally: SkipCounter) -> tuple[str, ...]:
    """All documents, ordered by a hash of each, so that any prefix is a fair mix of prose and code."""
    prose = list(language_reference())
    modules = []
    for path in sources(stdlib):
        try:
            source = path.read_text(encoding="utf-8")
            prose += prose_of(source, path.stem)
        except (OSError, ValueError, SyntaxError):
            tally.skip("source files that cannot be read or parsed", str(path))
            continue
        modules.append(source)
    chosen = _without_repeats([*prose, *extension_docs()])
    room = int(sum(map(len, chosen)) * CODE_SHARE / (1 - CODE_SHARE))
    for source in sorted(modules, key=_order):
        code = code_of(source)[:room]
        room -= len(code)
        chosen += _cut(code)
        if not room:
            break
    return tuple(sorted(set(filter(str.strip, chosen)), key=_order))


def sources(stdlib: Path) -> list[Path]:
    """The library's source files that every installation has, sorted by path."""
    found = []
    for path in sorted(stdlib.iterdir()):
        if path.name in _LEFT_OUT.split() or path.name.startswith(_LEFT_OUT_PREFIXES):
            continue
        if path.is_dir():
            found.extend(sources(path))
        elif path.suffix == ".py" and path.name not in _LEFT_OUT_FILES:
            found.append(path)
    return found


def _without_repeats(texts: list[str]) -> list[str]:
    """The texts in documents of a few thousand characters, each paragraph only once: the reference
    repeats whole sections, and a paragraph in both splits would make the validation loss look better than it is."""
    seen: set[str] = set()
    documents: list[str] = []
    for text in texts:
        kept = []
        for paragraph in re.split(r"\n\s*\n", text):
            key = " ".join(re.findall(r"\w+", paragraph))  # headings are underlined differently at each level
            if key and key not in seen:
                seen.add(key)
                kept.append(paragraph.rstrip())
        documents.extend(_cut("\n\n".join(kept)))
    return documents


def _cut(text: str) -> Iterator[str]:
    """Pieces of at least about 4,000 characters (the last one may be shorter), cut at blank lines."""
    held: list[str] = []
    length = 0
    for paragraph in text.split("\n\n"):
        held.append(paragraph)
        length += len(paragraph) + 2
        if length >= _PIECE_CHARS:
            yield "\n\n".join(held).strip("\n")
            held, length = [], 0
    if rest := "\n\n".join(held).strip("\n"):
        yield rest


def _order(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

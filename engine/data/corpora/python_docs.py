"""Splits Python sources into prose (documentation, docstrings, comments) and code without either."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

_MIN_CHARS = 60  # shorter docstrings say little more than the name

# Written in C, so their docstrings are in no source file. Every ordinary build has them.
_EXTENSIONS = (
    "builtins sys itertools time math cmath array zlib marshal gc errno unicodedata select mmap fcntl resource posix "
    "atexit faulthandler _asyncio _bisect _bz2 _codecs _collections _csv _ctypes _datetime _decimal _elementtree "
    "_functools _hashlib _heapq _io _json _lzma _operator _pickle _random _signal _socket _sqlite3 _sre _ssl _stat "
    "_statistics _struct _symtable _thread _tracemalloc _weakref _zoneinfo pyexpat"
)

_OBJECT = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def prose_of(source: str, module: str) -> list[str]:
    """A module's docstrings (its own and its functions', then class by class) and comments. Raises SyntaxError."""
    return [*_docstrings(ast.parse(source), module), *_comments(source, module)]


def code_of(source: str) -> str:
    """The same module without docstrings and comments. Raises SyntaxError if it is not Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | _OBJECT) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return ast.unparse(tree)


def language_reference() -> Iterator[str]:
    """The sections of the language reference that `help()` shows."""
    from pydoc_data.topics import topics

    for _, text in sorted(topics.items()):
        yield text


def extension_docs() -> Iterator[str]:
    """Docstrings of the classes and functions that are written in C."""
    for name in _EXTENSIONS.split():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # e.g. posix on Windows
        parts = [_entry(name, _doc(module))]
        for key, value in sorted(vars(module).items()):
            if inspect.isclass(value):
                members = [(f"{key}.{k}", v) for k, v in sorted(vars(value).items()) if callable(v)]
                parts += [_entry(k, _doc(v)) for k, v in [(key, value), *members]]
            elif inspect.isbuiltin(value) and not key.endswith("hook"):  # programs put their own hooks there
                parts.append(_entry(f"{name}.{key}", _doc(value)))
        yield "\n\n".join(part for part in parts if part)


def _docstrings(tree: ast.Module, module: str) -> Iterator[str]:
    """The module's docstring and those of its functions together, then each class with its methods."""
    plain = [_entry(module, ast.get_docstring(tree))]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            parts = [_entry(node.name, ast.get_docstring(node))]
            for inner in ast.walk(node):
                if inner is not node and isinstance(inner, _OBJECT):
                    parts.append(_entry(f"{node.name}.{inner.name}", ast.get_docstring(inner)))
            yield "\n\n".join(part for part in parts if part)
        elif isinstance(node, _OBJECT):
            plain.append(_entry(f"{module}.{node.name}", ast.get_docstring(node)))
    yield "\n\n".join(part for part in plain if part)


def _comments(source: str, module: str) -> Iterator[str]:
    """The multi-line comments that read like prose, joined."""
    blocks: list[str] = []
    held: list[str] = []
    for line in [*source.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith("#"):
            held.append(stripped.lstrip("#!").strip())
        elif held:
            block = "\n".join(held).strip()
            if len(block) >= _MIN_CHARS and _reads_like_prose(block):
                blocks.append(block)
            held = []
    if blocks:
        yield f"Notes on {module}\n\n" + "\n\n".join(blocks)


def _reads_like_prose(text: str) -> bool:
    """Mostly letters and spaces, in words: true of sentences, not of tables, rulers and commented-out code."""
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return letters >= 0.85 * len(text) and len(re.findall(r"\b[a-z]{2,}\b", text)) >= 8


def _entry(name: str, doc: str | None) -> str:
    return f"{name}: {doc.strip()}" if doc and len(doc) >= _MIN_CHARS else ""


def _doc(value: Any) -> str | None:
    doc = getattr(value, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) else None

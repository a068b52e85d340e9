"""Renders the report as Markdown, for terminals and repositories."""

import re
from collections.abc import Sequence

from engine.core.sanitize import document_text
from engine.report.document import (
    Block,
    Code,
    Continuation,
    Document,
    Paragraph,
    Pictures,
    Table,
    Talk,
    Tiles,
    Timeline,
)
from engine.report.excerpts import Part

OVERVIEW = "curves.svg"  # next to the report
VERDICTS = {True: ", right", False: ", wrong", None: ""}


def markdown(document: Document) -> str:
    """The document as Markdown. The caller writes its overview picture next to it."""
    lines = [f"# {_text(document.name)}", "", f"**{_text(_upper(document.state))}.** {_text(document.verdict)}", ""]
    lines += _table(("figure", "value", ""), [tuple(tile) for tile in document.tiles.tiles], (False, True, False))
    for section in document.sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += _block(block)
    return "\n".join([*lines, "---", "", _text(document.written), ""])


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph():
            return [_text(block.text), ""]
        case Table():
            title = [f"### {_text(block.title)}", ""] if block.title else []
            heads = tuple(column.head for column in block.columns)
            coded = [column.kind == "code" for column in block.columns]
            rows = [
                tuple(
                    f"`{cell.replace('`', chr(39))}`" if code else cell for cell, code in zip(row, coded, strict=True)
                )
                for row in block.rows
            ]
            return [*title, *_table(heads, rows, tuple(column.kind == "number" for column in block.columns))]
        case Tiles():
            return _table(("figure", "value", ""), [tuple(tile) for tile in block.tiles], (False, True, False))
        case Timeline():
            return []  # the table below it has the same figures
        case Pictures():
            return (
                [f"![{'; '.join(picture.title for picture in block.pictures)}]({OVERVIEW})", ""]
                if block.overview
                else []
            )
        case Continuation():
            lines = []
            for when, text in block.texts:
                lines += [f"{_text(_upper(when))}, the model continues the text before the bar:", ""]
                lines += _fenced("text", f"{block.prompt}|{text}")
            return lines
        case Talk():
            said = [f"{('user', 'model')[place % 2]}: {_joined(parts)}" for place, parts in enumerate(block.said)]
            return [f"{_text(_upper(block.about))}{VERDICTS[block.right]}:", "", *_fenced("text", "\n\n".join(said))]
        case Code():
            title = [f"{_text(block.title)}:", ""] if block.title else []
            return [*title, *_fenced(block.language, block.text)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> list[str]:
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (heads, *rows)]
    return [lines[0], "|" + "".join(" ---: |" if number else " --- |" for number in numbers), *lines[1:], ""]


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """One line without HTML markup."""
    return document_text(" ".join(text.split())).replace("<", "&lt;").replace("](", "]\\(")


def _fenced(language: str, text: str) -> list[str]:
    """A fenced block. The fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", document_text(text), fence, ""]


def _joined(parts: Sequence[Part]) -> str:
    return "".join(f"[{part.text}] " if part.call else part.text for part in parts)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]

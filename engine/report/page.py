"""Renders the report as one self-contained page: no script, no font, no network."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from engine.core.sanitize import document_text
from engine.report.document import Document

FOLDER = Path(__file__).parent


def page(document: Document) -> str:
    """The page's HTML. Names, prompts and answers are escaped: they are never markup."""
    style = Markup((FOLDER / "page.css").read_text(encoding="utf-8"))
    return _ENVIRONMENT.get_template("page.html").render(document=document, style=style)


def _sanitized(value: object) -> object:
    """Values for the template: texts without characters that hide or reorder others."""
    return document_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _drawing(svg: str) -> Markup:
    """A picture that nanosolo drew from numbers and its own labels: safe as markup."""
    return Markup(svg)


def _block_kind(block: object) -> str:
    return type(block).__name__


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_sanitized,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(drawing=_drawing, kind=_block_kind)

"""The content of a report, without its form: Markdown and the page are rendered from the same document."""

from typing import Literal, NamedTuple

from engine.report.excerpts import Part

Kind = Literal["text", "number", "code"]
Tone = Literal["good", "busy", "warn", "bad", "quiet"]


class Column(NamedTuple):
    head: str
    kind: Kind = "text"


class Table(NamedTuple):
    """Rows of text with headings. `shares`, one per row, are drawn as bars: -1 to 1; None: no bar."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    shares: tuple[float | None, ...] = ()
    folded: bool = False  # collapsed at first


class Paragraph(NamedTuple):
    text: str


class Tile(NamedTuple):
    """One of the main figures."""

    label: str
    value: str
    note: str = ""


class Tiles(NamedTuple):
    tiles: tuple[Tile, ...]


class Span(NamedTuple):
    """A stage on the timeline."""

    stage: str
    share: float  # of the whole
    took: str
    tone: Tone


class Timeline(NamedTuple):
    spans: tuple[Span, ...]


class Picture(NamedTuple):
    """A drawing as SVG, to embed in a page."""

    title: str
    caption: str
    svg: str


class Pictures(NamedTuple):
    pictures: tuple[Picture, ...]
    overview: bytes = b""  # the main ones as a single SVG file, for formats that cannot embed drawings


class Continuation(NamedTuple):
    """A prompt and its continuations, early and late in training."""

    prompt: str
    texts: tuple[tuple[str, str], ...]  # (when, text)


class Talk(NamedTuple):
    """One conversation with the model."""

    about: str
    right: bool | None
    said: tuple[tuple[Part, ...], ...]  # user and assistant in turn


class Code(NamedTuple):
    language: str
    text: str
    title: str = ""
    folded: bool = False


Block = Table | Paragraph | Tiles | Timeline | Pictures | Continuation | Talk | Code


class Section(NamedTuple):
    key: str
    title: str
    blocks: tuple[Block, ...]


class Document(NamedTuple):
    name: str
    state: str  # one or two words
    tone: Tone
    verdict: str
    tiles: Tiles
    sections: tuple[Section, ...]
    written: str  # time and version

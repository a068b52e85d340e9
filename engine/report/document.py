"""What a report consists of, apart from how it looks: Markdown and the page are made from the same document."""

from typing import Literal, NamedTuple

from engine.report.plain import Part

Kind = Literal["text", "number", "code"]
Tone = Literal["good", "busy", "warn", "bad", "quiet"]


class Column(NamedTuple):
    head: str
    kind: Kind = "text"


class Table(NamedTuple):
    """Rows of texts under heads. `shares`, one a row, are drawn as bars: -1 to 1, None: no bar."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    shares: tuple[float | None, ...] = ()
    folded: bool = False  # opened by the reader


class Paragraph(NamedTuple):
    text: str


class Tile(NamedTuple):
    """One figure that a reader looks for first."""

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
    """A drawing as SVG to be put into a page."""

    title: str
    caption: str
    svg: str


class Pictures(NamedTuple):
    pictures: tuple[Picture, ...]
    overview: bytes = b""  # the most important of them as one SVG of its own, for where a page cannot hold them


class Continuation(NamedTuple):
    """How a prompt was continued, early and late."""

    prompt: str
    texts: tuple[tuple[str, str], ...]  # (when, what)


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
    state: str  # in a word or two
    tone: Tone
    verdict: str
    tiles: Tiles
    sections: tuple[Section, ...]
    written: str  # when and by what

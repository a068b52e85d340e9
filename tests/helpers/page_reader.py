"""Read a report's page: elements, their text, and whether tags are balanced."""

from html.parser import HTMLParser
from typing import NamedTuple

EMPTY = {"meta", "link", "br", "hr", "img", "input", "path", "use"}
INLINE = {"a", "b", "code", "span", "strong"}


class Element(NamedTuple):
    """One element with all its text."""

    tag: str
    attributes: dict[str, str]
    inside: list[str]

    @property
    def text(self) -> str:
        return " ".join("".join(self.inside).split())


class PageReader(HTMLParser):
    """Collects elements; raises AssertionError if tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(set(names)) == len(names), (tag, names)
        element = Element(tag, {name: value or "" for name, value in attributes}, [])
        self.elements.append(element)
        if tag not in INLINE:
            self.handle_data(" ")
        if tag not in EMPTY:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attributes}, []))

    def handle_endtag(self, tag: str) -> None:
        if tag in EMPTY:
            return
        assert self._open and self._open[-1].tag == tag, (tag, [element.tag for element in self._open])
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.inside.append(data)

    def all(self, tag: str, kind: str | None = None) -> list[Element]:
        """The elements with a tag, and with a class if one is given, in order."""
        return [
            element
            for element in self.elements
            if element.tag == tag and (kind is None or kind in element.attributes.get("class", "").split())
        ]

    def section(self, key: str) -> str:
        """The text of a section."""
        return next(element.text for element in self.all("section") if element.attributes["id"] == key)

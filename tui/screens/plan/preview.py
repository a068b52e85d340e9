"""The right list of the Plan screen: the figures of the plan, with the memory as a stacked bar."""

from collections.abc import Iterator, Sequence

from textual.content import Content
from textual.reactive import reactive

from engine.core import formatting
from engine.plan.memory import COMPONENTS, Memory
from tui.planning.formulas import LETTERS, Figure
from tui.widgets.rows import Row, RowList, clip

LABEL = 17  # cells of the label column
DETAILS = ("components", "modes", "basis", "stages")  # groups that are shown if they fit
TITLES = {"modes": "activation checkpointing", "stages": "stages: peak and time"}
HEADINGS = {"step": "Step", "budget": "Run", "memory": "Peak memory", "time": "Time"}


class Preview(RowList):
    """The figures of a plan.

    `roomy` adds rows for the memory components, the checkpointing modes and the basis, with blank lines between
    groups; `airy` adds headings.
    """

    figures: reactive[tuple[Figure, ...]] = reactive(())
    memory: reactive[Memory | None] = reactive(None)
    roomy: reactive[bool] = reactive(False)
    airy: reactive[bool] = reactive(False)

    def watch_figures(self) -> None:
        self.rebuild()

    def watch_roomy(self) -> None:
        self.rebuild()

    def watch_airy(self) -> None:
        self.rebuild()

    @property
    def figure(self) -> Figure | None:
        """The figure under the cursor."""
        return next((figure for figure in self.figures if figure.key == self.chosen), None)

    def build(self, width: int) -> Sequence[Row]:
        return list(self._rows(width)) if self.memory is not None else []

    def _rows(self, width: int) -> Iterator[Row]:
        memory = self.memory
        assert memory is not None
        group = ""
        for figure in self.figures:
            if figure.group in DETAILS and not self.roomy:
                continue
            if self.roomy and figure.group != group and figure.group in HEADINGS:
                if group:
                    yield Row(None, Content(""))
                if self.airy:
                    yield Row(None, Content.styled(HEADINGS[figure.group], "bold $secondary"))
            if figure.group in TITLES and figure.group != group:
                yield Row(None, Content(""))
                yield Row(None, Content.styled(TITLES[figure.group], "$quiet"))
            group = figure.group
            yield Row(figure.key, _line(figure, memory, width))
            if figure.key == "memory":
                yield Row(None, bar(memory, width))
                if not self.roomy:
                    yield Row(None, legend(memory))


def _line(figure: Figure, memory: Memory, width: int) -> Content:
    if figure.group == "components":
        letter = Content.styled(f" {LETTERS[figure.key]} ", f"bold $vram-text on $vram-{figure.key}")
        share = getattr(memory, figure.key) / memory.total
        return (
            letter
            + Content(f" {figure.label:<{LABEL - 4}}{figure.value:>9}  ")
            + Content.styled(f"{formatting.percent(share):>5}", "$quiet")
        )
    if figure.group in TITLES:
        name = Content(f"  {figure.label:<{LABEL - 2}}{figure.value:>9}  ")
        return name + Content.styled(figure.note, "$quiet" if "not fit" not in figure.note else "bold $error")
    if figure.group == "basis":
        return Content(f"{figure.label:<{LABEL}}") + Content.styled(clip(figure.value, width - LABEL), "$quiet")
    value = f"{figure.value:<12}"
    style = "bold"
    note = figure.note
    if figure.key == "memory":
        note, style = _fit(memory)
    if LABEL + len(value) + 2 + len(note) > width:
        value, note = figure.value.replace(" of ", "/"), note.split()[0] if figure.key == "memory" else ""
    line = Content(f"{figure.label:<{LABEL}}") + Content.styled(value, style)
    return line + Content.styled(f"  {note}", style if figure.key == "memory" else "$quiet") if note else line


def _fit(memory: Memory) -> tuple[str, str]:
    """(text, style) for a plan that fits, is tight, or does not fit."""
    if not memory.fits:
        return "✗ does not fit", "bold $error"
    share = formatting.percent(1 - memory.headroom)
    return (f"! {share} tight", "bold $warning") if memory.headroom < 0.08 else (f"✓ {share}", "bold $success")


def bar(memory: Memory, width: int) -> Content:
    """The components side by side, each with its letter if it fits, relative to the capacity.

    If the sum exceeds the capacity, the bar shows the sum, with a mark at the capacity.
    """
    scale = max(memory.total, memory.capacity)
    cells = _apportion([getattr(memory, name) for name in COMPONENTS], width, scale)
    parts = []
    for name, count in zip(COMPONENTS, cells, strict=True):
        text = LETTERS[name].center(count) if count else ""
        parts.append(Content.styled(text, f"bold $vram-text on $vram-{name}"))
    used = sum(cells)
    line = Content("").join(parts) + Content.styled("·" * (width - used), "$faint")
    if not memory.fits:
        at = min(width - 1, int(width * memory.capacity / scale))
        line = line[:at] + Content.styled("┃", "bold $error") + line[at + 1 :]
    return line


def _apportion(sizes: list[int], width: int, scale: int) -> list[int]:
    """The cells of each size, so that each end is at the rounded running sum."""
    ends, total = [], 0
    for size in sizes:
        total += size
        ends.append(round(width * total / scale))
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def legend(memory: Memory) -> Content:
    """All components on one line, by letter, in GiB."""
    items = [
        Content.styled(LETTERS[name], f"bold $vram-{name}") + Content(formatting.gib(getattr(memory, name)))
        for name in COMPONENTS
    ]
    return Content(" ").join(items)

"""The left list of the Plan screen: preset, GPU, and all settings with values and origins."""

from collections.abc import Iterator, Sequence

from textual.content import Content
from textual.reactive import reactive

from engine.config.schema import get
from engine.config.setting import Setting
from engine.hardware.gpu_catalog import Gpu
from tui.planning.draft import Draft
from tui.planning.setting_fields import MAIN, edited_settings, show
from tui.widgets.rows import Row, RowList, clip, columns

KNOBS = {knob.path: knob for knob in edited_settings()}
PRESET, GPU = "preset", "gpu"  # the two rows at the top, which open a list
MARKS = {"edited": "●", "flag": "▸", "file": "◆"}  # the origin of a value, if the row is too narrow for the word
HEADINGS = {"main": "Main settings"}
WIDE = 46  # cells from which a row has room for unit and origin in words


class KnobList(RowList):
    """The settings of one draft for one device."""

    draft: reactive[Draft | None] = reactive(None)
    gpu: reactive[Gpu | None] = reactive(None)

    def watch_draft(self) -> None:
        self.rebuild()

    def watch_gpu(self) -> None:
        self.rebuild()

    @property
    def knob(self) -> Setting | None:
        """The setting under the cursor; None on the rows of preset and GPU."""
        return KNOBS.get(self.chosen or "")

    def build(self, width: int) -> Sequence[Row]:
        draft, gpu = self.draft, self.gpu
        if draft is None or gpu is None:
            return []
        return list(self._rows(width, draft, gpu))

    def _rows(self, width: int, draft: Draft, gpu: Gpu) -> Iterator[Row]:
        name = draft.config.about.preset + (f" + {len(draft.edits)} edited" if draft.edits else "")
        yield Row(PRESET, _choice(width, "preset", name))
        yield Row(GPU, _choice(width, "GPU" if gpu.is_cuda else "device", device_name(gpu)))
        heading = ""
        for knob in KNOBS.values():
            group = "main" if (knob.path in MAIN) else knob.section
            if group != heading:
                heading = group
                yield Row(None, Content(""))
                yield Row(None, Content.styled(HEADINGS.get(group, group), "bold $secondary"))
            yield Row(knob.path, _setting(width, knob, draft))


def device_name(gpu: Gpu) -> str:
    """The name of a device for display."""
    return gpu.name.removeprefix("NVIDIA ") if gpu.is_cuda else f"this CPU ({gpu.name})"


def _choice(width: int, label: str, value: str) -> Content:
    right = Content.styled(clip(value, width - 10), "bold") + Content.styled(" ▾", "$primary")
    return columns(width, Content.styled(label, "$quiet"), right)


def _setting(width: int, knob: Setting, draft: Draft) -> Content:
    origin = draft.origins[knob.path]
    edited = origin == "edited"
    prefix = Content.styled(f"{knob.section}.", "$quiet") if (knob.path in MAIN) else Content("")
    set_to = get(draft.config, knob.path)
    value = clip(show(knob, set_to), max(8, width - len(knob.key) - 4))
    right = Content.styled(value, "bold $accent" if edited else "bold" if origin != "default" else "")
    if width >= WIDE:
        right += Content.styled(f" {'' if set_to is None else knob.unit:<9}", "$quiet")
        right += Content.styled(f" {'' if origin == 'default' else origin:<6}", "$accent" if edited else "$quiet")
    else:
        right += Content.styled(f" {MARKS.get(origin, ' ')}", "$accent")
    return columns(width, prefix + Content(knob.key), right)

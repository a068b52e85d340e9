"""The lower part of the Plan screen: the warnings, and the details or the editor of the row under the cursor."""

from collections.abc import Mapping
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Input, Static

from engine.config.schema import AboutConfig, get
from engine.config.setting import Setting
from engine.core import formatting
from engine.core.diagnostic import Diagnostic
from engine.hardware.gpu_catalog import Gpu
from tui.keys.bindings import bindings_for
from tui.planning.draft import Draft
from tui.planning.formulas import Figure
from tui.planning.setting_fields import parse, step, to_text, valid_values
from tui.widgets.diagnostic_rows import SIGNS, help_sentence, sign
from tui.widgets.rows import clip

ORIGINS = {
    "default": "nanosolo's default",
    "preset": "from the preset",
    "file": "from the file",
    "flag": "from the command line",
    "edited": "edited here; Bksp resets it",
}


class WarningBar(Static):
    """The warnings of the plan: one of them on one line, or all of them if they fit."""

    warnings: reactive[tuple[Diagnostic, ...]] = reactive(())
    at: reactive[int] = reactive(0)
    roomy: reactive[bool] = reactive(False)

    @property
    def warning(self) -> Diagnostic | None:
        """The current warning."""
        return self.warnings[self.at % len(self.warnings)] if self.warnings else None

    @property
    def fixable(self) -> Diagnostic | None:
        """The current warning if it has a fix, otherwise the first one that has."""
        shown = [self.warning] if self.warning is not None else []
        return next((warning for warning in (*shown, *self.warnings) if warning.change), None)

    def show_next(self) -> None:
        """Show the next warning."""
        self.at = (self.at + 1) % max(1, len(self.warnings))

    def on_resize(self) -> None:
        self._draw()

    def watch_warnings(self, before: tuple[Diagnostic, ...], now: tuple[Diagnostic, ...]) -> None:
        if [warning.code for warning in before] != [warning.code for warning in now]:
            self.at = 0  # show new warnings first
        self._draw()

    def watch_at(self) -> None:
        self._draw()

    def watch_roomy(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self.warning is None:
            self.update(Content.styled("✓ no warnings", "$success"))
        elif self.roomy:
            self.update(Content("\n").join(self._whole(warning) for warning in self.warnings))
        else:
            self.update(self._one(self.warning, self.content_size.width))

    def _one(self, warning: Diagnostic, width: int) -> Content:
        count = len(self.warnings)
        tail = "  f fix" if warning.change else ""
        tail += f"  w {self.at % count + 1}/{count}" if count > 1 else ""
        head = sign(warning) + Content(" ")
        text = clip(warning.message, width - 2 - len(tail))
        return head + Content(text) + Content.styled(tail, "bold $quiet")

    def _whole(self, warning: Diagnostic) -> Content:
        shown = warning is self.warning and len(self.warnings) > 1
        mark = Content.styled("▸", SIGNS[warning.severity][1]) if shown else sign(warning)
        key = Content.styled("  f ", "bold $primary") if warning is self.fixable else Content("  ")
        return mark + Content(f" {warning.message}") + key + Content.styled(help_sentence(warning), "$quiet")


class Editor(Input):
    """The input field for a value."""

    KEYS_OF = "edit"
    BINDINGS = bindings_for("edit")

    def action_nearest(self) -> None:
        self.post_message(Detail.NearestPressed())

    def action_cancel(self) -> None:
        self.post_message(Detail.CancelPressed())

    def action_step(self, direction: int) -> None:
        self.post_message(Detail.StepPressed(direction))


class Detail(Vertical):
    """Shows the details of a row; becomes its editor."""

    class Typed(Message):
        """The text of the editor changed."""

        def __init__(self, knob: Setting, text: str) -> None:
            super().__init__()
            self.knob, self.text = knob, text

    class AcceptRequested(Message):
        """The user accepts the text. The receiver closes the editor if the text is valid."""

        def __init__(self, knob: Setting, text: str) -> None:
            super().__init__()
            self.knob, self.text = knob, text

    class NearestRequested(Message):
        """The user wants the nearest valid values of the text."""

        def __init__(self, knob: Setting, text: str) -> None:
            super().__init__()
            self.knob, self.text = knob, text

    class Cancelled(Message):
        """The editor closed without a change."""

    class NearestPressed(Message):
        """The key for the nearest valid value was pressed."""

    class CancelPressed(Message):
        """The key that closes the editor was pressed."""

    class StepPressed(Message):
        """A key that increases or decreases the value was pressed."""

        def __init__(self, direction: int) -> None:
            super().__init__()
            self.direction = direction

    def __init__(self, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.knob: Setting | None = None

    def compose(self) -> ComposeResult:
        editor = Editor(id="editor")
        editor.display = False
        yield editor
        fault = Static(id="fault")
        fault.display = False
        yield fault
        yield Static(id="about")

    @property
    def editing(self) -> bool:
        """Whether the editor is open."""
        return self.knob is not None

    def _say(self, title: str, *lines: Content | str) -> None:
        self.border_title = title
        self.query_one("#about", Static).update(
            Content("\n").join(Content(x) if isinstance(x, str) else x for x in lines)
        )
        self._fault(Content(""))

    def _fault(self, line: Content) -> None:
        fault = self.query_one("#fault", Static)
        fault.update(line)
        fault.display = bool(line)

    def show_knob(self, knob: Setting, draft: Draft) -> None:
        """Show what a setting does, its valid values, and the origin of its value."""
        value = to_text(get(draft.config, knob.path)) or "not set"
        if knob.kind == "list":
            value = f"[{value.strip('[]')}]"
        now = Content.styled(value, "bold") + Content.styled(f" {knob.unit}", "$quiet") if knob.unit else value
        origin = Content.styled(ORIGINS[draft.origins[knob.path]], "$quiet")
        self._say(
            knob.path,
            knob.help,
            Content("value  ") + now + Content.styled(" · ", "$quiet") + origin,
            Content("valid  ") + Content.styled(valid_values(knob), "$quiet"),
        )

    def show_figure(self, figure: Figure) -> None:
        """Show how a figure is computed."""
        self._say(f"{figure.label} · how it is computed", figure.formula)

    def show_warning(self, warning: Diagnostic) -> None:
        """Show one warning in full."""
        key = Content.styled("f ", "bold $primary") if warning.change else Content("")
        self._say(warning.severity.capitalize(), warning.message, key + Content(f"{help_sentence(warning)}."))

    def show_preset(self, about: AboutConfig) -> None:
        """Show the description of a preset."""
        self._say(
            f"preset {about.preset}", about.description, Content.styled("Enter or p: all presets. L: launch.", "$quiet")
        )

    def show_gpu(self, gpu: Gpu, here: Gpu | None) -> None:
        """Show the target device, and what to do if this machine does not have it. `here`: the GPU of this machine."""
        peak = f" · {gpu.peak_flops / 1e12:,.3g} TFLOP/s" if gpu.peak_flops else ""
        lines = [f"{gpu.name} · {formatting.size(gpu.capacity)}{peak}"]
        if here is None and gpu.is_cuda:
            lines.append(
                "This machine has no visible NVIDIA GPU. Export the plan (E) and run it on a machine that has one,"
            )
            lines.append("or choose cpu (d) to try everything here.")
        elif here is not None and gpu.is_cuda and here.id != gpu.id:
            lines.append(f"This machine has {here.name} · {formatting.size(here.capacity)}. A launch here uses it.")
        self._say("target device", *lines, Content.styled("Enter or d: all GPUs.", "$quiet"))

    def edit(self, knob: Setting, text: str) -> None:
        """Open the editor on a value."""
        self.knob = knob
        unit = f" in {knob.unit}" if knob.unit else ""
        self._say(f"edit {knob.path}{unit}", Content.styled(f"{knob.help} Range: {knob.range_text}", "$quiet"))
        editor = self.query_one(Editor)
        with self.prevent(Input.Changed):
            editor.value = text
        editor.display = True
        editor.focus()  # selects all: typing replaces, the arrow keys edit

    def show_fault(self, fault: str, nearest: Mapping[str, Any] | None) -> None:
        """Show what is wrong with the text, and the nearest valid values; an empty `fault` clears it."""
        line = Content.styled(f"✗ {fault}", "$error") if fault else Content("")
        if nearest:
            values = ", ".join(f"{path} = {to_text(value) or 'not set'}" for path, value in nearest.items())
            line = Content.styled("Tab", "bold $primary") + Content(f" {values}\n") + line
        self._fault(line)

    def close(self) -> None:
        """Close the editor."""
        self.knob = None
        self.query_one(Editor).display = False

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.knob is not None:
            self.post_message(self.Typed(self.knob, event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self.knob is not None:
            self.post_message(self.AcceptRequested(self.knob, event.value))

    @on(NearestPressed)
    def _use_nearest(self) -> None:
        if self.knob is not None:
            self.post_message(self.NearestRequested(self.knob, self.query_one(Editor).value))

    @on(CancelPressed)
    def _end(self) -> None:
        self.close()
        self.post_message(self.Cancelled())

    @on(StepPressed)
    def _step(self, event: StepPressed) -> None:
        editor = self.query_one(Editor)
        if self.knob is None:
            return
        try:
            value = parse(self.knob, editor.value)
        except ValueError:
            return
        editor.value = to_text(step(self.knob, value, event.direction))
        editor.action_end()

"""The Plan screen: choose preset and GPU, edit every setting, and see the resulting plan at each keystroke."""

from collections.abc import Iterable, Mapping
from typing import Any

from textual import events, on
from textual.containers import Grid, Vertical
from textual.widget import Widget
from textual.widgets import OptionList

from engine.config.schema import get
from engine.core.errors import NanosoloError, UsageError
from engine.core.paths import presets_home
from tui.keys.bindings import bindings_for
from tui.planning.choices import Here, first_draft, gpu_choices, preset_choices
from tui.planning.draft import Draft, nearest_valid, try_text
from tui.planning.formulas import MODE_KEY, figures
from tui.planning.setting_fields import step, to_text
from tui.screens.base import ConsoleScreen
from tui.screens.plan.detail import Detail, WarningBar
from tui.screens.plan.preview import Preview
from tui.screens.plan.settings_list import GPU, PRESET, KnobList
from tui.screens.plan.stage_picker import pick
from tui.widgets.dialogs import ChoiceDialog, ChoiceList


class PlanScreen(ConsoleScreen):
    """Settings on the left, the plan on the right, details of the row under the cursor below."""

    MODE = "plan"
    KEYS_OF = "plan"
    BINDINGS = bindings_for("plan")
    CSS_PATH = "plan.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.here = Here.look()
        self.history: list[Draft] = []
        self.draft = first_draft(self.here)
        self.plan = self.here.plan(self.draft.config)

    def compose_body(self) -> Iterable[Widget]:
        with Grid(id="plan"):
            with Vertical(id="start"):
                yield ChoiceList((), id="presets")
                yield ChoiceList((), id="gpus")
            yield KnobList(id="knobs", classes="pane")
            yield Preview(id="preview", classes="pane")
            yield WarningBar(id="warnings")
            yield Detail(id="detail", classes="pane")

    def on_mount(self) -> None:
        for name, title in (("#presets", "Presets"), ("#gpus", "GPUs"), ("#knobs", "Settings"), ("#preview", "Plan")):
            pane = self.query_one(name)
            pane.add_class("pane")
            pane.border_title = title
        self.query_one("#gpus", ChoiceList).show(gpu_choices(self.here))
        self.query_one("#presets", ChoiceList).show(preset_choices(self.here))
        if self.console.layers:
            try:
                self.draft = Draft.from_layers(self.console.layers)
            except NanosoloError as error:
                self.console.tell_error(error)
        self.show_about(self.here.gpu.name if self.here.gpu else "no NVIDIA GPU")
        self._show(self.draft)
        knobs = self.query_one(KnobList)
        knobs.choose(PRESET)
        knobs.focus()

    def on_resize(self, event: events.Resize) -> None:
        # headings and components need rows; in windows of medium height the list scrolls
        wide = event.size.width >= 110
        preview = self.query_one(Preview)
        preview.roomy = wide and event.size.height >= 36
        preview.airy = event.size.height >= 46
        self.query_one(WarningBar).roomy = wide

    # the draft

    def _show(self, draft: Draft) -> None:
        """Show the plan of a draft: the current one, or the one being typed."""
        self.console.draft = self.draft
        gpu = self.here.device(draft.config)
        self.plan = self.here.plan(draft.config)
        preview = self.query_one(Preview)
        preview.memory = self.plan.memory
        preview.figures = tuple(figures(draft.config, gpu, self.plan))
        knobs = self.query_one(KnobList)
        knobs.gpu, knobs.draft = gpu, draft
        knobs.border_subtitle = f"{len(draft.edits)} edited · u undo" if draft.edits else ""
        # memory warnings first, because running out of memory ends a run; notes last
        warnings = sorted(
            self.plan.warnings,
            key=lambda w: (w.severity == "note", not w.code.endswith(("does_not_fit", "tight_memory"))),
        )
        self.query_one(WarningBar).warnings = tuple(warnings)
        self.query_one("#presets", ChoiceList).choose(draft.name)
        self.query_one("#gpus", ChoiceList).choose(draft.config.runtime.gpu)
        self._describe()

    def _keep(self, draft: Draft) -> None:
        """Make a draft the current one; undo restores the previous one."""
        if draft != self.draft:
            self.history.append(self.draft)
            self.draft = draft
        self._show(draft)

    def _change(self, changes: Mapping[str, Any]) -> None:
        try:
            self._keep(self.draft.edit(changes))
        except UsageError as error:
            self.console.tell_error(error)

    def _describe(self) -> None:
        """Show the row under the cursor in the detail pane."""
        detail, knobs, preview = self.query_one(Detail), self.query_one(KnobList), self.query_one(Preview)
        if detail.editing:
            return
        if self.focused is preview and preview.figure is not None:
            detail.show_figure(preview.figure)
        elif knobs.knob is not None:
            detail.show_knob(knobs.knob, self.draft)
        elif knobs.chosen == GPU:
            gpu = self.here.device(self.draft.config)
            detail.show_gpu(gpu, self.here.gpu)
        else:
            detail.show_preset(self.draft.config.about)

    @on(OptionList.OptionHighlighted)
    @on(events.DescendantFocus)
    def _moved(self) -> None:
        self._describe()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_list.id == "presets":
            self._take_preset(event.option_id)
        elif event.option_list.id == "gpus":
            self._take_gpu(event.option_id)
        elif event.option_list.id == "knobs":
            self.action_edit()
        elif (event.option_id or "").startswith(MODE_KEY):
            self._change({"batch.activation_checkpointing": (event.option_id or "").removeprefix(MODE_KEY)})

    # editing

    def action_edit(self) -> None:
        knobs = self.query_one(KnobList)
        if knobs.chosen == PRESET:
            self.action_choose_preset()
        elif knobs.chosen == GPU:
            self.action_choose_gpu()
        elif knobs.knob is not None:
            if knobs.knob.kind in ("bool", "choice"):
                self.action_step(1)
            elif knobs.knob.kind == "list" and knobs.knob.choices:
                pick(self.app, self.draft, knobs.knob, self._change)
            else:
                self.query_one(Detail).edit(knobs.knob, to_text(get(self.draft.config, knobs.knob.path)))

    @on(Detail.Typed)
    def _typed(self, event: Detail.Typed) -> None:
        detail = self.query_one(Detail)
        if not detail.editing:  # typed after the key that accepted the value
            return
        draft, fault = try_text(self.draft, event.knob, event.text)
        if draft is None:
            detail.show_fault(fault, nearest_valid(self.draft, event.knob, event.text))
        else:
            detail.show_fault("", None)
            self._show(draft)

    @on(Detail.AcceptRequested)
    def _accept_typed(self, event: Detail.AcceptRequested) -> None:
        draft = try_text(self.draft, event.knob, event.text)[0]
        if draft is not None:  # otherwise the error stays on screen
            self._end_edit()
            self._keep(draft)

    @on(Detail.NearestRequested)
    def _use_nearest(self, event: Detail.NearestRequested) -> None:
        changes = nearest_valid(self.draft, event.knob, event.text)
        if changes is not None:
            self._end_edit()
            self._change(changes)

    def _end_edit(self) -> None:
        self.query_one(Detail).close()
        self.query_one(KnobList).focus()

    @on(Detail.Cancelled)
    def _cancelled(self) -> None:
        self._show(self.draft)
        self.query_one(KnobList).focus()

    def action_step(self, direction: int) -> None:
        knobs = self.query_one(KnobList)
        knob = knobs.knob
        if self.focused is not knobs or knob is None:
            return
        value = get(self.draft.config, knob.path)
        moved = step(knob, value, direction)
        if moved == value:
            return
        draft, fault = try_text(self.draft, knob, to_text(moved))
        changes = {knob.path: moved} if draft is not None else nearest_valid(self.draft, knob, to_text(moved))
        if draft is None:
            self.console.tell(fault, "warning")
        elif changes:
            self._change(changes)

    def action_reset(self) -> None:
        knob = self.query_one(KnobList).knob
        if knob is not None:
            try:
                self._keep(self.draft.reset(knob.path))
            except UsageError as error:
                self.console.tell_error(error)

    def action_undo(self) -> None:
        if self.history:
            self.draft = self.history.pop()
            self._show(self.draft)
        else:
            self.console.tell("Nothing to undo.")

    # preset and device

    def action_choose_preset(self) -> None:
        presets = self.query_one("#presets", ChoiceList)
        if presets.is_on_screen and self.size.width >= 160:
            presets.focus()
            return
        dialog = ChoiceDialog("Presets", preset_choices(self.here), self.draft.name)
        self.app.push_screen(dialog, self._take_preset)

    def action_choose_gpu(self) -> None:
        gpus = self.query_one("#gpus", ChoiceList)
        if self.size.width >= 160:
            gpus.focus()
            return
        gpu = self.draft.config.runtime.gpu
        self.app.push_screen(ChoiceDialog("Target device", gpu_choices(self.here), gpu), self._take_gpu)

    def _take_preset(self, name: str | None) -> None:
        if name is None:
            return
        dropped = len(self.draft.edits)
        try:
            self._keep(Draft.from_preset(name, presets_home()))
        except NanosoloError as error:
            self.console.tell_error(error)
            return
        if dropped:
            self.console.tell(f"{dropped} of your edits were left behind; u brings them back.")

    def _take_gpu(self, gpu: str | None) -> None:
        if gpu is not None:
            self._keep(self.draft.on_gpu(gpu))

    # warnings

    def action_next_warning(self) -> None:
        bar = self.query_one(WarningBar)
        bar.show_next()
        if bar.warning is not None:
            self.query_one(Detail).show_warning(bar.warning)

    def action_fix(self) -> None:
        bar = self.query_one(WarningBar)
        warning = bar.fixable
        if warning is None or warning.change is None:
            self.console.tell("No warning has an automatic fix.")
            return
        self._change(warning.change)
        self.console.tell(f"Applied: {warning.help}.")

    def action_budget(self) -> None:
        from tui.screens.plan.budget_screen import BudgetScreen

        self.app.push_screen(BudgetScreen(self.draft, self.here, self._keep))

    # files and launch

    def action_save(self) -> None:
        from tui.screens.plan.save_dialogs import save_as_preset

        def saved(name: str) -> None:
            self._keep(Draft.from_preset(name, presets_home()))
            self.query_one("#presets", ChoiceList).show(preset_choices(self.here))

        save_as_preset(self.console, self.draft, saved)

    def action_export(self) -> None:
        from tui.screens.plan.save_dialogs import export

        export(self.console, self.draft)

    def action_review(self) -> None:
        from tui.screens.plan.review import ReviewScreen

        self.app.push_screen(ReviewScreen(self.draft, self.here))

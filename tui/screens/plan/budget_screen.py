"""The budget view of the Plan screen: the best model for a number of hours, as a table and a chart."""

from collections.abc import Callable, Iterable, Sequence

from textual import events, on
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from engine.core import formatting
from engine.plan.budget_search import Candidate
from engine.plan.scaling import predicted_loss, tells_nothing
from tui.chart.model import XAxis
from tui.chart.series import Series
from tui.keys.bindings import bindings_for
from tui.planning import budget_table
from tui.planning.budget_table import Asked, Found
from tui.planning.choices import Here
from tui.planning.draft import Draft
from tui.screens.base import ConsoleScreen
from tui.widgets.rows import Row, RowList
from tui.widgets.run_chart import RunChart

FULL_TABLE = 100  # cells; from this screen width the table has room for all columns
DETAILS = ("/param", "peak")  # columns that a narrow table moves to the line below it
FAR = 2  # times the budget; a longer plan would squeeze the Pareto front in the chart
FRONT, OTHERS, CHOSEN, NOW = "Pareto front", "others", "under the cursor", "current plan"


class BudgetField(Input):
    """The input field for hours or price."""

    KEYS_OF = "budget-field"
    BINDINGS = bindings_for("budget-field")

    def __init__(self, value: str, id: str) -> None:
        super().__init__(value, placeholder="none", restrict="[0-9.,]*", id=id)


class CandidateList(RowList):
    """One row per candidate worth showing; the key is its index."""

    found: reactive[Found | None] = reactive(None)

    def watch_found(self) -> None:
        self.rebuild()
        self.choose("0")

    @property
    def candidate(self) -> Candidate | None:
        """The candidate under the cursor."""
        found, at = self.found, self.chosen
        return found.shown[int(at)] if found is not None and at is not None else None

    def build(self, width: int) -> Sequence[Row]:
        found = self.found
        if found is None:
            return []
        without = columns_left_out(self.app.size.width)
        return [Row(str(at), self._line(candidate, found, without)) for at, candidate in enumerate(found.shown)]

    def _line(self, candidate: Candidate, found: Found, without: tuple[str, ...]) -> Content:
        text = budget_table.table_row(budget_table.cells_of(candidate, found.vocab_size), without)
        mark = budget_table.mark_of(candidate, found.best)
        return Content.styled(text, "bold" if mark else "") + Content.styled(f" {mark}", "bold $success")


def columns_left_out(screen_width: int) -> tuple[str, ...]:
    """The columns that do not fit on a screen of this width."""
    return () if screen_width >= FULL_TABLE else DETAILS


class BudgetScreen(ConsoleScreen):
    """Opens on top of the Plan screen. Enter calls `adopted` with the draft that has the candidate's settings."""

    MODE = "plan"
    KEYS_OF = "budget"
    BINDINGS = bindings_for("budget")
    CSS_PATH = "budget.tcss"
    AUTO_FOCUS = "#hours"

    def __init__(self, draft: Draft, here: Here, adopted: Callable[[Draft], None]) -> None:
        super().__init__()
        self.draft, self.here, self.adopted = draft, here, adopted
        self.plan = here.plan(draft.config)

    def compose_body(self) -> Iterable[Widget]:
        price = self.draft.config.runtime.price_per_hour
        with Horizontal(id="asked"):
            yield Static("Hours", classes="label")
            yield BudgetField(f"{budget_table.first_hours(self.plan):g}", "hours")
            yield Static("Price per hour", classes="label")
            yield BudgetField("" if price is None else f"{price:g}", "price")
        yield Static(id="best", markup=False)
        with Container(id="results"):
            with Vertical(id="models", classes="pane") as models:
                models.border_title = "Models"
                yield Static(id="headings", classes="quiet", markup=False)
                yield CandidateList(id="candidates")
            yield RunChart(
                "predicted loss by hours",
                axes=(XAxis("hours", "number"),),
                ascii_only=self.console.ascii_only,
                empty="No model to show",
                id="front",
            )
        yield Static(id="about", classes="quiet", markup=False)

    def on_mount(self) -> None:
        self.show_about(self.here.device(self.draft.config).name.removeprefix("NVIDIA "))
        self._search()

    def on_resize(self, event: events.Resize) -> None:
        self.query_one("#headings", Static).update(budget_table.header(columns_left_out(event.size.width)))

    # searching

    @on(Input.Changed)
    def _search(self) -> None:
        """Search again; an incomplete input keeps the last result."""
        line = self.query_one("#best", Static)
        try:
            asked = Asked(
                budget_table.parse_hours(self.query_one("#hours", Input).value),
                budget_table.parse_price(self.query_one("#price", Input).value),
            )
        except ValueError as error:
            line.update(Content.styled(f"✗ {error}", "$error"))
            return
        found = budget_table.find(self.draft, self.here, asked)
        line.update(self._summary(found))
        self.query_one(CandidateList).found = found
        self._draw(found)
        self._describe()

    def _summary(self, found: Found) -> Content:
        if found.best is None:
            return Content.styled(f"! {found.trouble}", "bold $warning")
        best, time = found.best, self.plan.time
        line = Content.styled(f"Depth {best.depth} on {formatting.count(best.tokens)} tokens", "bold $success")
        line += Content(f": {budget_table.loss_text(best.predicted_loss, found.vocab_size)}")
        if time.hours is not None:
            now = budget_table.loss_text(self._loss_now, found.vocab_size)
            line += Content.styled(f" · current plan, {formatting.duration(3600 * time.hours)}: {now}", "$quiet")
        return line

    @property
    def _loss_now(self) -> float:
        return predicted_loss(self.plan.params.total, self.plan.tokens)

    # showing

    def _draw(self, found: Found) -> None:
        chart = self.query_one(RunChart)
        chart.clear()
        front = found.front
        if not front:
            return
        worst = max(candidate.predicted_loss for candidate in front)  # worse candidates would flatten the front
        others = sorted((c for c in found.estimated if c.predicted_loss <= worst), key=lambda c: c.hours)
        chart.set_x_domain("hours", (0.0, max(found.asked.hours, front[-1].hours)))
        chart.set_series(FRONT, _series(front))
        chart.set_series(OTHERS, _series([c for c in others if not c.pareto]), role="points")
        hours = self.plan.time.hours
        known = not tells_nothing(self._loss_now, found.vocab_size)
        if known and hours is not None and hours < FAR * found.asked.hours:
            now = Series(1)
            now.extend([self._loss_now], [round(hours, 2)])
            chart.set_series(NOW, now, role="points")

    @on(OptionList.OptionHighlighted)
    def _describe(self) -> None:
        """Describe the candidate under the cursor, and show it in the chart."""
        candidate = self.query_one(CandidateList).candidate
        about = self.query_one("#about", Static)
        if candidate is None:
            about.update("")
            return
        lines = (
            budget_table.describe(candidate),
            budget_table.law_line(candidate),
            budget_table.stages_line(self.plan),
        )
        about.update("\n".join(lines))
        found = self.query_one(CandidateList).found
        if found is not None and candidate in found.estimated:
            self.query_one(RunChart).set_series(CHOSEN, _series([candidate]), role="points")

    # keys

    def action_field(self, name: str) -> None:
        self.query_one(f"#{name}", BudgetField).focus()

    @on(Input.Submitted)
    def _go_to_models(self) -> None:
        self.query_one(CandidateList).focus()

    @on(OptionList.OptionSelected)
    def action_adopt(self) -> None:
        models = self.query_one(CandidateList)
        if models.candidate is None or models.found is None:
            return
        draft = budget_table.adopt(self.draft, models.candidate, models.found.asked.price)
        self.app.pop_screen()
        self.adopted(draft)


def _series(candidates: Iterable[Candidate]) -> Series:
    series = Series(1)
    for candidate in candidates:
        series.extend([candidate.predicted_loss], [round(candidate.hours, 2)])
    return series

"""Following as text: what is printed of events that hold strange values."""

import pytest

from engine.run.events import Advice
from engine.run.history import History
from tui.follow import LinePrinter


@pytest.mark.parametrize("moment", [1e300, -1e300, 1e17, -1e12])
def test_a_time_that_no_clock_shows_is_no_reason_to_fall(moment: float, capsys: pytest.CaptureFixture[str]) -> None:
    LinePrinter(History(), 10).show(Advice(t=moment, code="x", message="look here", change={}, effect=""))
    assert capsys.readouterr().out.endswith("  advice: look here\n")

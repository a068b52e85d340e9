"""A scrolling frame for text, with the same keys as lists."""

from textual.containers import VerticalScroll

from tui.keys.bindings import bindings_for


class TextBox(VerticalScroll, inherit_bindings=False):
    """Holds text to read."""

    BINDINGS = bindings_for("text")

"""A frame that scrolls what is longer than it, by the keys that lists have."""

from textual.containers import VerticalScroll

from tui.keys.bindings import bindings_for


class TextBox(VerticalScroll, inherit_bindings=False):
    """Holds text to be read."""

    BINDINGS = bindings_for("text")

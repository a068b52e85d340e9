"""Texts of models, users and files cannot control a terminal or change the order of what surrounds them."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.sanitize import document_text, masked, one_line, terminal_text, without_escapes
from tui.cli.commands.chat import _Printer

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HOSTILE = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            ["\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b1m", "\r", "\r\n", "\b", "\t", *BIDI]
        ),
    ),
    max_size=8,
).map("".join)
HARMLESS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("äßéЖ日本語한א؟√–…🚀"))
ALL: list[Callable[[str], str]] = [one_line, terminal_text, masked, document_text]


@pytest.mark.parametrize("sanitize", ALL)
@given(HOSTILE)
def test_nothing_controls_the_terminal(sanitize: Callable[[str], str], text: str) -> None:
    shown = sanitize(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs") or c in "\n\t" for c in shown)
    assert not set(shown) & {*BIDI, "\x1b", "\r", "\u2028", "\u2029"}
    if sanitize is not document_text:  # that keeps tabs and the joiners of emoji
        assert shown.replace("\n", "").isprintable()
    assert sanitize(shown) == shown


@pytest.mark.parametrize("sanitize", [*ALL, without_escapes])
@given(HARMLESS)
def test_harmless_text_stays(sanitize: Callable[[str], str], text: str) -> None:
    assert sanitize(text) == text


@given(HOSTILE)
def test_each_keeps_the_shape_it_promises(text: str) -> None:
    assert "\n" not in one_line(text) and len(one_line(text)) == len(text)
    assert len(masked(text)) == len(text)
    assert masked(text).count("\n") == text.count("\n")
    assert terminal_text(text).count("\n") == text.count("\n")


def test_what_replaces_a_character() -> None:
    assert one_line("a\tb\x1bc\n") == "a b\ufffdc "
    assert terminal_text("a\tb\x1b[0m\u202e\u200bc\ufe0f\u00a0") == "a   b·[0mc "
    assert masked("a\x1b\u202eb\n") == "a··b\n"
    assert without_escapes("\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain") == "red plain"
    assert document_text("a\x00\x7f\u202e\r\n") == "a␀␡⟨U+202E⟩\n"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_an_answer_is_sanitized_on_a_terminal_and_exact_in_a_pipe(
    on_terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.inference.detokenizer import Piece

    printer = _Printer(styled=on_terminal)
    printer.show(Piece("text", "a\x1b]0;title\x07b"))
    printer.end()
    assert capsys.readouterr().out == ("a·]0;title·b\n" if on_terminal else "a\x1b]0;title\x07b\n")

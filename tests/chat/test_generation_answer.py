"""Reading an answer token by token: whole characters, calculations, texts that end it."""

from hypothesis import given
from hypothesis import strategies as st

from engine.data.chat.conversation import Part
from engine.inference.detokenizer import AnswerReader, Piece
from tests.helpers.byte_tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer("stop")


def read(tokens: list[int], stops: tuple[str, ...] = ()) -> tuple[AnswerReader, list[list[Piece]]]:
    reader = AnswerReader(TOKENIZER, stops)
    pieces = [reader.read(token) for token in tokens]
    return reader, [*pieces, reader.finish()]


def test_a_character_comes_when_it_is_whole() -> None:
    tokens = TOKENIZER.encode("a한")
    assert len(tokens) == 4
    _, pieces = read(tokens)
    assert pieces == [[Piece("text", "a")], [], [], [Piece("text", "한")], []]
    _, pieces = read(tokens[:3])
    assert pieces[-1] == [Piece("text", "�")]


@given(st.text(max_size=40))
def test_pieces_together_are_the_text(text: str) -> None:
    reader, pieces = read(TOKENIZER.encode(text))
    assert "".join(piece.text for some in pieces for piece in some) == text == reader.text


def test_calculations_are_pieces_of_their_own() -> None:
    special = TOKENIZER.special_ids
    tokens = [
        *TOKENIZER.encode("is "),
        special["<|python_start|>"],
        *TOKENIZER.encode("1+1"),
        special["<|python_end|>"],
        special["<|output_start|>"],
        *TOKENIZER.encode("2"),
        special["<|output_end|>"],
        *TOKENIZER.encode("."),
        special["<|user_start|>"],
    ]
    reader, _ = read(tokens)
    assert reader.parts == [
        Part("text", "is "),
        Part("python", "1+1"),
        Part("python_output", "2"),
        Part("text", ".<|user_start|>"),
    ]


@given(st.lists(st.sampled_from(["s", "st", "sto", "stop", "x", "\n", "top", "é"]), max_size=12))
def test_a_stop_text_never_comes_out(words: list[str]) -> None:
    text = "".join(words)
    stops = ("stop", "x\n", "xx")
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    reader, pieces = read(TOKENIZER.encode(text), stops)
    assert reader.text == (text[: min(places)] if places else text)
    assert reader.stopped == bool(places)
    assert "".join(piece.text for some in pieces for piece in some) == reader.text

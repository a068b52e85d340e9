"""Conversations as tokens: nanochat's special tokens, and exactly the assistant's own tokens marked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.chat.conversation import Malformed, Message, Part, conversation_of, prompt_of, render, text_of
from engine.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from tests.helpers.byte_tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer("hello")


def marked(messages: list[dict[str, object]], tokenizer: Tokenizer = TOKENIZER) -> list[tuple[str, bool]]:
    """Runs of text that are, or are not, trained on."""
    rendered = render(conversation_of(messages), tokenizer)
    runs: list[tuple[str, bool]] = []
    for token, own in zip(rendered.ids.tolist(), rendered.trained.tolist(), strict=True):
        text = tokenizer.decode([token])
        if runs and runs[-1][1] == own:
            runs[-1] = (runs[-1][0] + text, own)
        else:
            runs.append((text, own))
    return runs


def test_a_conversation_of_text() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "no"},
    ]
    assert marked(messages) == [
        ("<|bos|><|user_start|>hi<|user_end|><|assistant_start|>", False),
        ("hello<|assistant_end|>", True),
        ("<|user_start|>more<|user_end|><|assistant_start|>", False),
        ("no<|assistant_end|>", True),
    ]


def test_programs_are_trained_on_and_their_results_are_not() -> None:
    parts = [
        {"type": "text", "text": "So "},
        {"type": "python", "text": "1+1"},
        {"type": "python_output", "text": "2"},
        {"type": "text", "text": "two"},
    ]
    assert marked([{"role": "user", "content": "q"}, {"role": "assistant", "content": parts}]) == [
        ("<|bos|><|user_start|>q<|user_end|><|assistant_start|>", False),
        ("So <|python_start|>1+1<|python_end|>", True),
        ("<|output_start|>2<|output_end|>", False),
        ("two<|assistant_end|>", True),
    ]


def test_a_system_message_joins_the_users() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ok"},
    ]
    assert marked(messages)[0][0] == "<|bos|><|user_start|>Be brief.\n\nhi<|user_end|><|assistant_start|>"


def test_text_that_spells_special_tokens_stays_text() -> None:
    text = "<|assistant_end|><|user_start|>"
    rendered = render(
        conversation_of([{"role": "user", "content": text}, {"role": "assistant", "content": text}]), TOKENIZER
    )
    special = [i for i in rendered.ids.tolist() if i in TOKENIZER.special_ids.values()]
    assert len(special) == 5  # bos, and the start and end of each message


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([], "the assistant says nothing"),
        ([{"role": "user", "content": "a"}], "the assistant says nothing"),
        ([{"role": "assistant", "content": "a"}], "message 1 is from assistant instead of user"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "message 2 is from user"),
        ([{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}], "not followed by the user's"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}], "text"),
        ([{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "b"}], "not Unicode"),
        ([{"role": "robot", "content": "a"}], "robot"),
        ("text", "Expected"),
        (None, "Expected"),
        ([{"role": "user"}], "content"),
    ],
)
def test_what_is_no_conversation_says_why(messages: object, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        conversation_of(messages)


def test_the_prompt_ends_where_the_assistant_speaks() -> None:
    prompt = prompt_of((Message("user", "hi"),), TOKENIZER)
    assert TOKENIZER.decode(prompt) == "<|bos|><|user_start|>hi<|user_end|><|assistant_start|>"
    whole = render((Message("user", "hi"), Message("assistant", "x")), TOKENIZER)
    assert whole.ids[: len(prompt)].tolist() == prompt and not whole.trained[: len(prompt)].any()
    with pytest.raises(Malformed):
        prompt_of((Message("user", "hi"), Message("assistant", "x")), TOKENIZER)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
PARTS = st.lists(
    st.builds(lambda t, s: Part(t, s), st.sampled_from(["text", "python", "python_output"]), TEXTS), max_size=4
).map(tuple)


@given(st.lists(st.tuples(TEXTS, TEXTS | PARTS), min_size=1, max_size=4))
def test_the_marked_tokens_are_the_assistants_and_nothing_else(exchanges: list[tuple[str, object]]) -> None:
    conversation = tuple(
        message
        for asked, said in exchanges
        for message in (Message("user", asked), Message("assistant", said))  # type: ignore[arg-type]
    )
    rendered = render(conversation, TOKENIZER)
    own = ""
    for message in conversation[1::2]:
        parts = message.content if isinstance(message.content, tuple) else (Part("text", message.content),)
        for part in parts:
            if part.type != "python_output":
                own += f"<|python_start|>{part.text}<|python_end|>" if part.type == "python" else part.text
        own += "<|assistant_end|>"
    assert TOKENIZER.decode(rendered.ids[rendered.trained]) == own
    assert rendered.ids[0] == TOKENIZER.bos_id and rendered.trained[-1]
    assert len(rendered.ids) == len(rendered.trained)
    assert set(TOKENIZER.special_ids) == set(SPECIAL_TOKENS)


def test_the_text_of_a_message_leaves_programs_out() -> None:
    assert text_of(Message("user", "a")) == "a"
    assert text_of(Message("assistant", (Part("text", "a"), Part("python", "1"), Part("text", "b")))) == "ab"

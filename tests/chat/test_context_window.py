"""A conversation is fitted into the context by one rule: in `nanosolo chat`, the console's worker and the server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import UsageError
from engine.data.chat.conversation import Message
from engine.inference.chat_session import Reply, Session
from engine.inference.chat_settings import Settings
from engine.inference.context_window import MIN_ANSWER, ContextExceeded, fit
from engine.inference.engine import ChatEngine, load_engine
from engine.inference.sampling_params import Sampling
from engine.run.directory import RunDirectory
from engine.serve.openai_api import ChatRequest, Refused, prompt_of_request

CONTEXT = 256


@given(lengths=st.lists(st.integers(1, 120), min_size=1, max_size=12), truncate=st.booleans())
def test_the_fewest_turns_are_left_out(lengths: list[int], truncate: bool) -> None:
    def prompt_without(turns: int) -> list[int]:
        return [0] * (1 + sum(lengths[turns:]))

    if not truncate and len(prompt_without(0)) >= CONTEXT:
        with pytest.raises(ContextExceeded):
            fit(prompt_without, len(lengths), CONTEXT, truncate)
        return
    fitted = fit(prompt_without, len(lengths), CONTEXT, truncate)
    assert fitted.prompt == prompt_without(fitted.truncated)
    assert fitted.truncated < len(lengths)
    assert len(fitted.prompt) + (MIN_ANSWER if truncate else 1) <= CONTEXT
    if fitted.truncated:
        assert truncate
        assert len(prompt_without(fitted.truncated - 1)) + MIN_ANSWER > CONTEXT


@pytest.mark.parametrize("tokens", [239, 240, 241, 255, 256, 257])
@pytest.mark.parametrize("truncate", [True, False])
def test_a_single_message_needs_room_for_one_token(tokens: int, truncate: bool) -> None:
    if tokens < CONTEXT:
        assert fit(lambda _: [0] * tokens, 1, CONTEXT, truncate) == ([0] * tokens, 0)
        return
    with pytest.raises(ContextExceeded, match=f"takes {tokens} tokens, but the model's context is 256 tokens"):
        fit(lambda _: [0] * tokens, 1, CONTEXT, truncate)


@pytest.fixture(scope="module")
def engine(trained: RunDirectory) -> ChatEngine:
    return load_engine(trained, device="cpu")


@pytest.mark.parametrize("left", [17, 16, 15, 1, 0, -1])
def test_terminal_and_server_agree(engine: ChatEngine, left: int) -> None:
    """`left`: tokens of the context that the prompt leaves."""
    text = "~"  # of which no merge of the vocabulary makes one token
    text *= 1 + engine.context - left - len(engine.prompt(conversation(text)))
    tokens = len(engine.prompt(conversation(text)))
    assert tokens == engine.context - left
    session = Session(engine, Settings(sampling=Sampling(temperature=0)))
    request = ChatRequest(messages=[{"role": "user", "content": text}], forget=True)
    if left >= 1:
        *_, reply = session.ask(text)
        assert isinstance(reply, Reply)
        assert reply.prompt_tokens == tokens
        assert 1 <= reply.new_tokens <= left
        assert len(prompt_of_request(request, engine)[0]) == tokens
        return
    with pytest.raises(UsageError, match="answer included") as in_terminal:
        list(session.ask(text))
    with pytest.raises(Refused) as by_server:
        prompt_of_request(request, engine)
    assert str(by_server.value) == str(in_terminal.value)
    assert by_server.value.code == "context_length_exceeded"


def conversation(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)

"""Generation: greedy, drawn, until a stop; many rows at once give what each gives alone."""

import math
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import UsageError
from engine.inference.decoder import Decoder, Request, Token, generate, generate_all
from engine.inference.sampler import sample
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.plan.shape import Shape

GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def model() -> GPT:
    model = GPT(Shape(depth=2, width=128, heads=1, vocab_size=60, max_seq_len=16))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.empty(weight.shape).normal_(0, 1.5 / math.sqrt(weight.shape[1]), generator=generator))
    return model


def alone(model: GPT, request: Request) -> list[int]:
    return [token.id for token in generate_all(model, [request], 1)[0]]


def test_greedy_takes_the_likeliest_of_the_full_forward(model: GPT) -> None:
    tokens = [1, 2, 3]
    for drawn in generate(model, [1, 2, 3], 24, GREEDY):  # 24: past max_seq_len
        with torch.no_grad():
            assert drawn == int(model(torch.tensor([tokens]))[0, -1].argmax())
        tokens.append(drawn)
    assert len(tokens) == 27


def test_the_seed_decides_the_text(model: GPT) -> None:
    def text(seed: int, top_k: int | None = None) -> list[int]:
        return list(generate(model, [5], 12, Sampling(top_k=top_k), seed))

    assert text(1) == text(1) != text(2)
    assert text(1, top_k=1) == list(generate(model, [5], 12, GREEDY))


def test_it_stops_before_a_stop_id(model: GPT) -> None:
    greedy = list(generate(model, [7, 8], 10, GREEDY))
    stop = greedy[4]
    assert list(generate(model, [7, 8], 10, GREEDY, stop_ids={stop})) == greedy[: greedy.index(stop)]


def test_it_streams_and_leaves_gradients_on(model: GPT) -> None:
    assert len(list(islice(generate(model, [1], 10**4, GREEDY), 3))) == 3
    assert torch.is_grad_enabled()
    for _ in generate(model, [1], 2, GREEDY):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_training_goes_on_after_a_sample_past_max_seq_len(model: GPT) -> None:
    list(generate(model, [1], 200, GREEDY))
    model.trunk(torch.arange(16).unsqueeze(0)).sum().backward()
    assert model.blocks[0].attention.query.weight.grad.isfinite().all()


requests = st.builds(
    Request,
    key=st.just(None),
    prompt=st.lists(st.integers(0, 59), min_size=1, max_size=30),
    max_new_tokens=st.integers(1, 14),
    sampling=st.sampled_from([GREEDY, Sampling(temperature=0.8), Sampling(top_k=5), Sampling(top_p=0.7)]),
    seed=st.integers(0, 3),
    stop_ids=st.sampled_from([(), (3, 4, 5)]),
    force=st.none(),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(requests, min_size=1, max_size=9).flatmap(lambda some: st.permutations(some + some[:2])),
    st.integers(1, 8),
)
def test_rows_together_give_what_each_gives_alone(model: GPT, some: list[Request], rows: int) -> None:
    together = generate_all(model, some, rows)
    assert [[token.id for token in tokens] for tokens in together] == [alone(model, request) for request in some]
    for request, tokens in zip(some, together, strict=True):
        assert [token.end for token in tokens[:-1]] == [None] * (len(tokens) - 1)
        assert tokens[-1].end == ("stop" if tokens[-1].id in request.stop_ids else "length")


def test_a_sequence_may_join_and_leave_at_any_time(model: GPT) -> None:
    decoder = Decoder(model, 60, rows=3)
    some = [Request(i, [i + 1] * (3 * i + 1), 12, GREEDY) for i in range(5)]
    seen: dict[object, list[int]] = {}
    for number in range(30):
        if number < len(some):
            decoder.add(some[number])
        if number == 4:
            decoder.cancel(1)
        for token in decoder.step():
            seen.setdefault(token.key, []).append(token.id)
    assert decoder.active == 0
    assert len(seen.pop(1)) < 12
    assert seen == {request.key: alone(model, request) for request in some if request.key != 1}


def test_forced_tokens_follow_and_count(model: GPT) -> None:
    greedy = list(generate(model, [9], 8, GREEDY))
    trigger = greedy[1]

    def force(token: int) -> list[int]:
        return [50, 51] if token == trigger else []

    tokens = generate_all(model, [Request(None, [9], 8, GREEDY, force=force), Request(None, [4], 8, GREEDY)], 2)[0]
    place = greedy.index(trigger)
    assert [(t.id, t.forced) for t in tokens[: place + 3]] == [
        *((token, False) for token in greedy[: place + 1]),
        (50, True),
        (51, True),
    ]
    assert len(tokens) == 8
    rest = list(generate(model, [9, *greedy[: place + 1], 50, 51], 1, GREEDY))
    assert tokens[place + 3].id in {*rest, 50}  # what the model makes of them


def test_the_next_turn_starts_from_what_is_there(model: GPT) -> None:
    computed: list[int] = []
    trunk = model.trunk
    decoder = Decoder(model, 100, keeps_prefix=True)

    def run(prompt: list[int]) -> list[int]:
        decoder.add(Request(None, prompt, 6, GREEDY))
        found: list[Token] = []
        while decoder.active:
            found += decoder.step()
        return [token.id for token in found]

    def counted(tokens: torch.Tensor, cache: object) -> torch.Tensor:
        computed.append(tokens.shape[1])
        return trunk(tokens, cache)

    model.trunk = counted
    try:
        history = [1, 2, 3, 4, 5]
        for turn, new in enumerate([5, 5, 1]):  # tokens to compute before the first answer
            answer = run(history)
            assert computed[0] == new, turn
            assert answer == alone(model, Request(None, history, 6, GREEDY))
            computed.clear()
            history = [*history, *answer, 7, 8, 9, 10] if turn == 0 else history
        assert run([1, 2, 40]) == alone(model, Request(None, [1, 2, 40], 6, GREEDY))
        assert computed[0] == 1
    finally:
        del model.trunk


def test_room_runs_out_without_an_error(model: GPT) -> None:
    decoder = Decoder(model, 10)
    decoder.add(Request(None, [1] * 8, 50, GREEDY))
    tokens: list[Token] = []
    while decoder.active:
        tokens += decoder.step()
    assert [token.end for token in tokens] == [None, None, "length"]
    assert [token.id for token in tokens] == list(generate(model, [1] * 8, 3, GREEDY))
    with pytest.raises(UsageError, match="10 tokens, but at most 9"):
        decoder.add(Request(None, [1] * 10, 5, GREEDY))


def test_draws_follow_the_temperature_top_k_and_top_p() -> None:
    logits = torch.tensor([[0.0, 1.0, 3.0, 2.0]])
    points = [(i + 0.5) / 4000 for i in range(4000)]

    def shares(**settings: float) -> torch.Tensor:
        drawn = sample(logits.expand(4000, 4), Sampling(**settings), points)
        return torch.bincount(torch.tensor(drawn), minlength=4) / 4000

    def close(actual: torch.Tensor, expected: list[float]) -> None:
        torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0.001)

    close(shares(temperature=2.0), torch.softmax(logits[0] / 2, 0).tolist())
    half = 1 / (1 + math.exp(-1 / 2))
    close(shares(temperature=2.0, top_k=2), [0, 0, half, 1 - half])
    close(shares(top_k=99), torch.softmax(logits[0], 0).tolist())
    whole = 1 / (1 + math.exp(-1))
    close(shares(top_p=0.7), [0, 0, whole, 1 - whole])  # 0.644 alone is not 0.7
    close(shares(top_p=0.6), [0, 0, 1, 0])
    close(shares(top_k=3, top_p=0.99), [0, *torch.softmax(logits[0, 1:], 0).tolist()])
    close(shares(temperature=1e-9), [0, 0, 1, 0])


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.full((2, 70_000), -torch.inf)
    logits[:, 40_000] = 0.0
    assert sample(logits, Sampling(), [0.0, 1 - 2**-53]) == [40_000, 40_000]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"temperature": -1.0}, "temperature -1"), ({"temperature": math.nan}, "temperature nan"),
     ({"top_k": 0}, "top_k 0"), ({"top_p": 0.0}, "top_p 0"), ({"top_p": 1.5}, "top_p 1.5")],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_named(model: GPT, settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        next(generate(model, [1], 5, Sampling(**settings)))


def test_an_empty_prompt_is_an_error(model: GPT) -> None:
    with pytest.raises(UsageError, match="prompt has no tokens"):
        next(generate(model, [], 5, GREEDY))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_is_kept_of_the_last_sequence_never_shows(model: GPT, data: st.DataObject) -> None:
    decoder = Decoder(model, 60, rows=3, keeps_prefix=True)
    history = [1, 2, 3]
    for _ in range(data.draw(st.integers(1, 6))):
        some = data.draw(st.lists(requests, min_size=0, max_size=3))
        ours = Request("ours", history, data.draw(st.integers(1, 6)), GREEDY)
        named = [ours, *(request._replace(key=i) for i, request in enumerate(some))]
        for request in data.draw(st.permutations(named)):
            decoder.add(request)
        found: dict[object, list[int]] = {request.key: [] for request in named}
        while decoder.active:
            for token in decoder.step():
                found[token.key].append(token.id)
        assert found == {request.key: alone(model, request) for request in named}
        history = ([*history, *found["ours"]] if data.draw(st.booleans()) else history[:2])[:40]

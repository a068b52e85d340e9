"""The model: size, initial weights, architecture, checkpointing, cache, compilation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.config.schema import heads_of, width_of
from engine.model.gpt import GPT, rotary_tables, rotate
from engine.model.loss import summed_loss
from engine.model.pointwise import RMS_EPS, rms_norm, squared_relu
from engine.plan.shape import Shape
from tests.helpers.storages import StorageTracker


def shape_for(depth: int, vocab_size: int = 96, max_seq_len: int = 32) -> Shape:
    return Shape(
        depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=vocab_size, max_seq_len=max_seq_len
    )


def random_model(depth: int, activation_checkpointing: str = "none", seed: int = 0) -> GPT:
    """No matrix is zero, so every part shows in the output."""
    model = GPT(shape_for(depth), activation_checkpointing)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.empty(weight.shape).normal_(0, 1.5 / math.sqrt(weight.shape[1]), generator=generator))
    return model


def tokens_for(model: GPT, batch: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.shape.vocab_size, (batch, length), generator=generator)


def gradients(model: GPT, tokens: Tensor) -> dict[str, Tensor]:
    hidden = model.trunk(tokens).flatten(0, 1)
    summed_loss(hidden, model.head.weight, tokens.flatten(), "chunked", 16).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_parameter_counts_are_those_of_the_plan(depth: int) -> None:
    model = GPT(shape_for(depth))
    params = model.shape.params
    assert sum(weight.numel() for weight in model.parameters()) == params.total
    assert sum(weight.numel() for weight in model.blocks.parameters()) == params.matrices


def test_initial_weights() -> None:
    model = GPT(shape_for(4, vocab_size=2000))
    model.init_weights(seed=1)
    weights = dict(model.named_parameters())
    zero = {name for name, weight in weights.items() if not weight.any()}
    assert zero == {"head.weight"} | {
        f"blocks.{i}.{name}.weight" for i in range(4) for name in ("attention.output", "mlp.contract")
    }
    assert float(weights["embedding.weight"].detach().std()) == pytest.approx(1.0, rel=0.01)
    for name in ("attention.query", "attention.key", "attention.value", "mlp.expand"):
        assert float(weights[f"blocks.2.{name}.weight"].detach().std()) == pytest.approx(1 / math.sqrt(256), rel=0.02)
    # a zero head: every token is as likely as any other
    tokens = tokens_for(model, 2, 16)
    loss = summed_loss(model.trunk(tokens).flatten(0, 1), model.head.weight, tokens.flatten(), "chunked", 8)
    assert float(loss.detach()) / 32 == pytest.approx(math.log(2000), rel=1e-5)


def test_the_seed_alone_decides_the_initial_weights() -> None:
    states = []
    for seed, noise in ((5, 1), (5, 2), (6, 1)):
        torch.manual_seed(noise)
        model = GPT(shape_for(2))
        model.init_weights(seed)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["embedding.weight"], states[2]["embedding.weight"])
    assert not torch.equal(states[0]["blocks.0.mlp.expand.weight"], states[0]["blocks.1.mlp.expand.weight"])


def test_rms_norm_equals_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5, 3, 48, generator=generator) * torch.logspace(-5, 3, 5).view(5, 1, 1)
    upstream = torch.randn(5, 3, 48, generator=generator)
    results = []
    for norm in (rms_norm, lambda x: F.rms_norm(x, (48,), eps=RMS_EPS)):
        x = inputs.clone().requires_grad_()
        y = norm(x)
        y.backward(upstream)
        results.append((y.detach(), x.grad))
    for actual, expected in zip(*results, strict=True):
        for row_actual, row_expected in zip(actual, expected, strict=True):  # rows differ in scale by 1e8
            torch.testing.assert_close(row_actual, row_expected, rtol=1e-5, atol=1e-6 * float(row_expected.abs().max()))


def test_squared_relu_equals_its_definition() -> None:
    x = torch.tensor([-2.0, 0.0, 0.5, 3.0], requires_grad=True)
    y = squared_relu(x)
    y.backward(torch.tensor([1.0, 1.0, 2.0, 1.0]))
    assert y.tolist() == [0.0, 0.0, 0.25, 9.0]
    assert x.grad.tolist() == [0.0, 0.0, 2.0, 6.0]


def test_rotation_turns_by_minus_theta() -> None:
    cos, sin = rotary_tables(4, 4)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 4, 1, 4)  # pairs (1, 0) and (0, 1)
    turned = rotate(x, cos, sin)[0, 3, 0]
    slow = 3 * 10_000 ** (-2 / 4)
    expected = torch.tensor([math.cos(3), math.sin(slow), -math.sin(3), math.cos(slow)])
    torch.testing.assert_close(turned, expected)


def test_hidden_states_do_not_see_the_future() -> None:
    model = random_model(2)
    tokens = tokens_for(model, 1, 20)
    changed = tokens.clone()
    changed[0, 12:] = (changed[0, 12:] + 1) % model.shape.vocab_size
    before, after = model.trunk(tokens), model.trunk(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_hidden_states_depend_on_the_order_of_tokens() -> None:
    model = random_model(1)
    states = model.trunk(torch.tensor([[1, 2, 3], [2, 1, 3]]))
    assert not torch.allclose(states[0, 2], states[1, 2])


def test_logits_are_capped() -> None:
    model = random_model(1)
    with torch.no_grad():
        model.head.weight.mul_(1000)
    logits = model(tokens_for(model, 1, 8)).detach()
    assert logits.dtype == torch.float32 and logits.shape == (1, 8, 96)
    assert 14.9 < float(logits.abs().max()) <= 15


def test_checkpointed_blocks_give_exactly_the_same_gradients() -> None:
    plain, checkpointed = (random_model(3, kind) for kind in ("none", "block"))
    tokens = tokens_for(plain, 2, 32)
    expected, actual = gradients(plain, tokens), gradients(checkpointed, tokens)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_checkpointed_blocks_keep_only_their_inputs() -> None:
    held = {}
    for kind in ("none", "block"):
        model = random_model(4, kind)
        with StorageTracker() as tracker:
            hidden = model.trunk(tokens_for(model, 4, 32))
        held[kind] = tracker.peak
        del hidden
    assert held["block"] < held["none"] / 3


def test_training_never_builds_an_attention_matrix() -> None:
    length = 2048
    model = GPT(shape_for(1, max_seq_len=length))
    model.init_weights(0)
    with StorageTracker() as tracker:
        gradients(model, tokens_for(model, 1, length))
    assert tracker.largest < length * length  # bytes: not even a boolean mask


@pytest.mark.parametrize("pieces", [[24], [1] * 8, [7, 1, 1, 9, 6], [40, 1, 1]])
def test_cache_equals_full_forward(pieces: list[int]) -> None:
    """Prefill, single tokens and further prompts, also past max_seq_len (32)."""
    model = random_model(3)
    tokens = tokens_for(model, 2, sum(pieces))
    with torch.no_grad():
        cache = model.new_cache(sum(pieces), batch=2)
        parts = [model.trunk(part, cache) for part in tokens.split(pieces, 1)]
        expected = model.trunk(tokens)
    assert cache.lengths == [sum(pieces)] * 2
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-4, atol=1e-5)


def test_a_full_cache_says_so() -> None:
    model = random_model(1)
    cache = model.new_cache(3)
    with torch.no_grad():
        model.trunk(tokens_for(model, 1, 3), cache)
        with pytest.raises(ValueError, match="4 tokens do not fit"):
            model.trunk(tokens_for(model, 1, 1), cache)


def test_training_goes_on_after_the_rotary_tables_grew() -> None:
    model = random_model(1)
    tokens = tokens_for(model, 1, 32)
    expected = gradients(model, tokens)["blocks.0.attention.query.weight"].clone()
    model.zero_grad()
    with torch.no_grad():
        model.trunk(tokens_for(model, 1, 100), model.new_cache(100))
    assert torch.equal(gradients(model, tokens)["blocks.0.attention.query.weight"], expected)


@pytest.mark.parametrize("kind", ["none", "block"])
def test_trunk_compiles_to_one_graph(kind: str) -> None:
    model = random_model(1, kind)
    tokens = tokens_for(model, 2, 16)
    expected = gradients(model, tokens)
    expected = {name: gradient.clone() for name, gradient in expected.items()}
    model.zero_grad()
    # the whole of dynamo and autograd, without the minute of C++ that Inductor takes
    compiled = torch.compile(model.trunk, dynamic=False, fullgraph=True, backend="aot_eager")
    summed_loss(compiled(tokens).flatten(0, 1), model.head.weight, tokens.flatten(), "chunked", 16).backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-4, atol=1e-5)


def test_bfloat16_activations_stay_close_to_float32() -> None:
    """The dtypes of CUDA, on the CPU: a bfloat16 embedding makes every activation bfloat16, weights stay float32."""
    exact, model = random_model(2), random_model(2)
    model.embedding.bfloat16()
    model.cos, model.sin = model.cos.bfloat16(), model.sin.bfloat16()
    tokens = tokens_for(model, 2, 32)
    assert model.compute_dtype == model.trunk(tokens).dtype == torch.bfloat16
    expected, actual = gradients(exact, tokens), gradients(model, tokens)
    for name, weight in model.named_parameters():
        assert actual[name].dtype == weight.dtype == (torch.bfloat16 if "embedding" in name else torch.float32)
        error = (actual[name].float() - expected[name]).norm() / expected[name].norm()
        assert float(error) < 0.1

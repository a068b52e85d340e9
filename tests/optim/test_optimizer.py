"""The model's optimizer: rates, state that survives a file, clipping."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.schema import OptimConfig
from engine.core.errors import NanosoloError
from engine.model.gpt import GPT
from engine.model.loss import summed_loss
from engine.optim.optimizer import Optimizer, clip_gradients
from engine.plan.shape import Shape

CONFIG = OptimConfig(weight_decay=0.1)


def new_model(depth: int = 2) -> GPT:
    shape = Shape(depth=depth, width=64 * depth, heads=1, vocab_size=50, max_seq_len=16)
    model = GPT(shape)
    model.init_weights(0)
    return model


def train(model: GPT, optimizer: Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        tokens = torch.randint(50, (2, 17), generator=torch.Generator().manual_seed(step))
        hidden = model.trunk(tokens[:, :-1]).flatten(0, 1)
        loss = summed_loss(hidden, model.head.weight, tokens[:, 1:].flatten(), "chunked", 16) / 32
        loss.backward()
        clip_gradients(model, 1.0)
        optimizer.step(1.0 - step / 100, 0.85 + step / 100)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_embedding_and_head_follow_adamw_at_scaled_rates() -> None:
    model = new_model()
    optimizer = Optimizer(model, CONFIG, width=128)
    copies = [torch.nn.Parameter(w.detach().clone()) for w in (model.embedding.weight, model.head.weight)]
    scale = (128 / 768) ** -0.5 * 0.5
    oracle = torch.optim.AdamW(
        [{"params": [copies[0]], "lr": 0.2 * scale}, {"params": [copies[1]], "lr": 0.004 * scale}],
        betas=(0.8, 0.95),
        eps=1e-10,
        weight_decay=0.1,
        fused=False,
        foreach=False,
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for ours, theirs in zip((model.embedding.weight, model.head.weight), copies, strict=True):
            ours.grad = torch.randn(ours.shape, generator=generator)
            theirs.grad = ours.grad.clone()
        optimizer.step(0.5, 0.9)
        oracle.step()
    torch.testing.assert_close(model.embedding.weight, copies[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.head.weight, copies[1], rtol=1e-5, atol=1e-6)


def test_matrices_follow_muon_at_the_configured_rate() -> None:
    model = new_model()
    optimizer = Optimizer(model, CONFIG, width=128)
    weight = model.blocks[0].mlp.expand.weight
    theirs = torch.nn.Parameter(weight.detach().clone())
    start = theirs.detach().clone()
    oracle = torch.optim.Muon([theirs], lr=0.02 * 0.5, weight_decay=0.0, momentum=0.9, adjust_lr_fn="original")
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    theirs.grad = weight.grad.clone()
    optimizer.step(0.5, 0.9)
    oracle.step()
    error = (weight - theirs).norm() / (theirs - start).norm()
    assert float(error.detach()) < 0.02


def test_training_lowers_the_loss_and_moves_every_weight() -> None:
    model = new_model()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = Optimizer(model, OptimConfig(), width=128)
    tokens = torch.arange(16).repeat(2, 1)
    losses = []
    for _ in range(8):
        hidden = model.trunk(tokens).flatten(0, 1)
        loss = summed_loss(hidden, model.head.weight, (tokens + 1).flatten(), "chunked", 16) / 32
        loss.backward()
        optimizer.step(1.0, 0.9)
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(math.log(50), rel=1e-5) and losses[-1] < losses[0] / 2
    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_resume_from_a_file_is_bit_identical(tmp_path: Path) -> None:
    straight = new_model()
    losses = train(straight, Optimizer(straight, CONFIG, width=128), range(6))

    first = new_model()
    optimizer = Optimizer(first, CONFIG, width=128)
    assert train(first, optimizer, range(3)) == losses[:3]
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    save_file(optimizer.state_tensors(), tmp_path / "optimizer.safetensors")

    second = new_model()
    second.load_state_dict(load_file(tmp_path / "model.safetensors"))
    optimizer = Optimizer(second, CONFIG, width=128)
    optimizer.load_state_tensors(load_file(tmp_path / "optimizer.safetensors"))
    assert train(second, optimizer, range(3, 6)) == losses[3:]
    assert all(torch.equal(second.state_dict()[name], weight) for name, weight in straight.state_dict().items())


def test_state_is_complete_before_the_first_step() -> None:
    model = new_model()
    optimizer = Optimizer(model, CONFIG, width=128)
    before = {name: tensor.shape for name, tensor in optimizer.state_tensors().items()}
    train(model, optimizer, range(1))
    assert {name: tensor.shape for name, tensor in optimizer.state_tensors().items()} == before
    assert set(before) == {
        *(f"{side}.weight.{what}" for side in ("embedding", "head") for what in ("step", "exp_avg", "exp_avg_sq")),
        *(f"{name}.momentum" for name, _ in model.named_parameters() if name.startswith("blocks.")),
    }


def test_state_of_another_model_is_refused() -> None:
    optimizer = Optimizer(new_model(), CONFIG, width=128)
    before = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    with pytest.raises(NanosoloError, match="checkpoint belongs to a different model"):
        optimizer.load_state_tensors(Optimizer(new_model(depth=1), CONFIG, width=64).state_tensors())
    wrong_size = {**before, "head.weight.exp_avg": torch.ones(3, 3)}
    with pytest.raises(NanosoloError, match=r"head\.weight\.exp_avg"):
        optimizer.load_state_tensors(wrong_size)
    assert all(torch.equal(tensor, before[name]) for name, tensor in optimizer.state_tensors().items())


def test_a_bfloat16_embedding_as_on_cuda() -> None:
    model = new_model()
    model.embedding.bfloat16()
    model.cos, model.sin = model.cos.bfloat16(), model.sin.bfloat16()
    optimizer = Optimizer(model, CONFIG, width=128)
    before = model.embedding.weight.detach().clone()
    losses = train(model, optimizer, range(2))
    assert all(map(math.isfinite, losses))
    assert model.embedding.weight.dtype == torch.bfloat16 and not torch.equal(model.embedding.weight, before)
    assert optimizer.state_tensors()["embedding.weight.exp_avg"].dtype == torch.bfloat16


def test_clipping_scales_to_the_global_norm() -> None:
    model = new_model()
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    count = sum(weight.numel() for weight in model.parameters())
    assert float(clip_gradients(model, 0.0)) == pytest.approx(math.sqrt(count), rel=1e-5)
    assert all((weight.grad == 1).all() for weight in model.parameters())  # measured only
    assert float(clip_gradients(model, 2.0)) == pytest.approx(math.sqrt(count), rel=1e-5)
    assert float(clip_gradients(model, 100.0)) == pytest.approx(2.0, rel=1e-4)  # below the limit: left alone
    assert float(clip_gradients(model, 0.0)) == pytest.approx(2.0, rel=1e-4)


def test_clipping_shows_a_gradient_that_is_not_a_number() -> None:
    model = new_model()
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    model.head.weight.grad[0, 0] = math.nan
    assert math.isnan(float(clip_gradients(model, 1.0)))

"""The exported weights give the same logits in the `transformers` library."""

import math

import pytest
import torch

from engine.config.schema import heads_of, width_of
from engine.model.gpt import GPT
from engine.model.hf_weights import to_transformers_state_dict, transformers_config
from engine.plan.shape import Shape


@pytest.mark.parametrize(("depth", "vocab_size", "length"), [(1, 50, 16), (2, 300, 64), (3, 100, 40), (4, 266, 33)])
def test_same_logits(depth: int, vocab_size: int, length: int) -> None:
    from transformers import NanoChatConfig, NanoChatForCausalLM

    shape = Shape(depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=vocab_size, max_seq_len=length)
    model = GPT(shape)
    generator = torch.Generator().manual_seed(depth)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.empty(weight.shape).normal_(0, 1.5 / math.sqrt(weight.shape[1]), generator=generator))
    theirs = NanoChatForCausalLM(NanoChatConfig(**transformers_config(shape))).eval()
    theirs.load_state_dict(to_transformers_state_dict(model), strict=True)
    tokens = torch.randint(vocab_size, (2, length), generator=generator)
    with torch.no_grad():
        expected, actual = theirs(tokens).logits, model(tokens)
    assert float(expected.std()) > 0.5  # the comparison is of something
    assert float((actual - expected).abs().max()) < 1e-4

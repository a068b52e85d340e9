"""Sampling of text from the model, one token at a time."""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from engine.errors import UsageError
from engine.model.gpt import GPT


def generate(
    model: GPT,
    tokens: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield the ids that follow `tokens`, as they are drawn: at most `max_new_tokens`, and up to (without) a stop id.

    Temperature 0 takes the likeliest token; `top_k` draws from the k likeliest only. Draws are made on the CPU, so
    `generator` is a CPU generator, and the same one gives the same text for the same logits on every device.
    Raises UsageError for an empty prompt.
    """
    if not tokens:
        raise UsageError("the prompt has no tokens: begin it with the token that begins a document.")
    cache = model.new_cache(len(tokens) + max_new_tokens)
    new = list(tokens)
    for _ in range(max_new_tokens):
        # not inference_mode: rotary tables that grow in there could not be used in training after
        with torch.no_grad():
            hidden = model.trunk(torch.tensor([new], device=model.device), cache)
            drawn = draw(model.logits(hidden[0, -1]).cpu(), temperature, top_k, generator)
        if drawn in stop_ids:
            return
        yield drawn
        new = [drawn]


def draw(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> int:
    """One id drawn from logits (V,) on the CPU."""
    if temperature == 0:
        return int(logits.argmax())
    if top_k is not None:
        kept = logits.topk(min(top_k, len(logits)))
        probabilities = torch.softmax(kept.values / temperature, 0)
        return int(kept.indices[torch.multinomial(probabilities, 1, generator=generator)])
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=generator))

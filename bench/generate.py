"""Compare greedy generation with `transformers.generate` on the same weights: tokens/s, and equal tokens.

Run: python bench/generate.py. It measures on the CPU, or with --device cuda on a GPU, and writes
bench/results/generate.json. The two take turns, and the median round counts for each. On one thread of the CPU the
processor's seconds are counted, to which other work on the machine adds little; else those of the clock on the wall.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from transformers import NanoChatConfig, NanoChatForCausalLM

from engine.config.schema import heads_of, width_of
from engine.device.allocator import settle_allocator
from engine.inference.decoder import Request, generate_all
from engine.inference.sampling_params import Sampling
from engine.model.gpt import GPT
from engine.model.hf_weights import to_transformers_state_dict, transformers_config
from engine.plan.shape import Shape
from engine.run.environment import prepare_this_process

RESULTS = Path(__file__).parent / "results" / "generate.json"
PROMPTS = {1: [32], 8: [12, 64, 33, 20, 48, 32, 57, 25]}  # lengths by batch size

Texts = list[list[int]]


def models(depth: int, device: str) -> tuple[GPT, NanoChatForCausalLM]:
    """nanosolo's and transformers' model with the same weights, none of them zero."""
    shape = Shape(depth=depth, width=width_of(depth), heads=heads_of(depth), vocab_size=16_384, max_seq_len=512)
    ours = GPT(shape, device=device)
    ours.init_weights(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in ours.parameters():
            if not weight.any():
                weight.copy_(torch.empty(weight.shape).normal_(0, weight.shape[1] ** -0.5, generator=generator))
    theirs = NanoChatForCausalLM(NanoChatConfig(**transformers_config(shape)))
    theirs.load_state_dict(to_transformers_state_dict(ours))
    return ours.to(ours.compute_dtype).eval(), theirs.to(device, ours.compute_dtype).eval()


def prompts(lengths: list[int], vocab_size: int) -> Texts:
    """Random tokens of these lengths."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(vocab_size, (length,), generator=generator).tolist() for length in lengths]


def run_ours(model: GPT, texts: Texts, new: int) -> Texts:
    """The new tokens of each text."""
    requests = [Request(None, text, new, Sampling(temperature=0)) for text in texts]
    return [[token.id for token in tokens] for tokens in generate_all(model, requests, len(texts))]


def run_theirs(model: NanoChatForCausalLM, texts: Texts, new: int) -> Texts:
    """The same, padded on the left for transformers."""
    longest = max(map(len, texts))
    padded = torch.tensor([[0] * (longest - len(text)) + text for text in texts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(text)) + [1] * len(text) for text in texts], device=model.device)
    with torch.inference_mode():
        found = model.generate(
            padded, attention_mask=mask, max_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    return [row[longest:] for row in found.tolist()]


def compare(depth: int, batch: int, new: int, rounds: int, device: str, clock: Callable[[], float]) -> dict[str, Any]:
    """One row of the results."""
    ours, theirs = models(depth, device)
    texts = prompts(PROMPTS[batch], ours.shape.vocab_size)
    sides: dict[str, Callable[[], Texts]] = {
        "nanosolo": lambda: run_ours(ours, texts, new),
        "transformers": lambda: run_theirs(theirs, texts, new),
    }
    found = {name: side() for name, side in sides.items()}  # also a warm-up
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            began = clock()
            side()  # returns the tokens to Python, so nothing is still running
            seconds[name].append(clock() - began)
    speed = {name: batch * new / statistics.median(times) for name, times in seconds.items()}
    return {
        "depth": depth,
        "parameters": ours.shape.params.total,
        "batch": batch,
        "new_tokens": new,
        "tokens_per_second": speed,
        "times_faster": speed["nanosolo"] / speed["transformers"],
        "seconds": seconds,
        "same_tokens": found["nanosolo"] == found["transformers"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    prepare_this_process()
    settle_allocator(options.device, print)
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.device == "cpu" and options.threads == 1 else time.perf_counter
    rows = []
    for depth in options.depths:
        for batch in PROMPTS:
            rows.append(compare(depth, batch, options.new_tokens, options.rounds, options.device, clock))
            row = rows[-1]
            speed = row["tokens_per_second"]
            print(
                f"depth {depth}, batch {batch}: {speed['nanosolo']:.1f} against {speed['transformers']:.1f} tokens/s, "
                f"{row['times_faster']:.2f} times, {'the same' if row['same_tokens'] else 'OTHER'} tokens"
            )
    about = {
        **provenance(options.device, ("nanosolo", "torch", "transformers")),
        "clock": clock.__name__,
        "dtype": "float32" if options.device == "cpu" else "bfloat16",
        "rows": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()

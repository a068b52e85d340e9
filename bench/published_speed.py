"""Predict all published training speeds that are known, and keep their table in docs/time.md.

`python bench/published_speed.py` prints the table; `--write` puts the tables into docs/time.md; `--fit` searches the
three shares of the roofline. The rows are other programs' runs: what each program moves through memory is counted
for it, the roofline and its shares are the same for all, and for nanosolo.
"""

import argparse
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.config.layers import from_dict
from engine.hardware.gpu_catalog import by_id
from engine.plan import roofline, work
from engine.plan.plan import make_plan
from engine.plan.presets import load_preset
from engine.plan.roofline import Rates
from engine.plan.shape import Shape
from engine.plan.work import COMPILED, Traffic, Work

DOCS = Path(__file__).parents[1] / "docs" / "time.md"
MARKS = {
    "speeds": ("<!-- published speeds: bench/published_speed.py -->", "<!-- end of published speeds -->"),
    "hours": ("<!-- hours of the presets: bench/published_speed.py -->", "<!-- end of the hours of the presets -->"),
}
PRESETS = ("conservative", "balanced", "aggressive", "maximum")
LIMIT = 0.15


def _program(block_forward: float, block_backward: float, loss: float) -> Traffic:
    return msgspec.structs.replace(
        COMPILED,
        block_forward=block_forward,
        block_backward=block_backward,
        loss_forward=loss / 2,
        loss_backward=loss / 2,
    )


# N d activations moved by a block's pointwise operations forward and backward, and bytes per logit: counted by hand.
NANOCHAT = _program(20, 28, 8)  # compiled, loss in the same graph: bf16 logits, read thrice, overwritten once
LLM_C = _program(16, 29, 6)  # hand-written kernels; the classifier overwrites the logits with their gradient
EAGER_GPT = _program(18, 34, 34)  # two norms, two additions, GELU; cross-entropy in float32 under autocast


class Row(NamedTuple):
    """One published figure."""

    source: str
    gpu: str
    program: Traffic
    depth: int
    width: int
    vocab: int
    seq: int
    rows: int  # sequences per micro-batch
    rate: float  # true tokens per second on one GPU
    verdict: str  # empty: warm, steady, of a comparable program; else why it need not be within the limit
    matrices: tuple[tuple[int, int], ...] | None = None

    @property
    def shape(self) -> Shape:
        return Shape(
            depth=self.depth,
            width=self.width,
            heads=max(1, self.width // 128),
            vocab_size=self.vocab,
            max_seq_len=self.seq,
        )


def _llm_c(name: str, depth: int, width: int, rows: int, mfu: float) -> Row:
    """llm.c counts 6 N + 6 L d T FLOPs per token; N has one table for embedding and head, and positions."""
    params = 12 * depth * width**2 + 13 * depth * width + (50_304 + 1024) * width
    rate = mfu * 312e12 / (6 * params + 6 * depth * width * 1024)
    return Row(f"llm.c {name}, 8 GPUs", "a100-80gb", LLM_C, depth, width, 50_304, 1024, rows, rate, "")


def _mpt(name: str, gpu: str, depth: int, width: int, rows: int, rate: float) -> Row:
    return Row(f"llm-foundry {name}, FSDP on 8", gpu, EAGER_GPT, depth, width, 50_368, 2048, rows, rate, "")


TINY_LLAMA = ((2048, 2048 + 2 * 256), (2048, 2048), (2048, 2 * 5632), (5632, 2048))
LLAMA = _program(22, 34, 8)
D10 = "sliding window through a T x T mask, which full causal attention does not build"

PUBLISHED = (
    Row(
        "nanochat d20, 8 GPUs, 21,400 steps in 7 h", "a100-80gb", NANOCHAT, 20, 1280, 65_536, 2048, 32, 55_654, ""
    ),  # wall clock, with evaluations
    Row("nanochat d24, 8 GPUs, full context", "a100-80gb", NANOCHAT, 24, 1536, 32_768, 2048, 32, 38_600, ""),
    Row("nanochat d20, 8 GPUs", "a100-80gb", NANOCHAT, 20, 1280, 65_536, 2048, 32, 66_000, "the first 10 steps, cold"),
    Row("nanochat d24, sliding window", "a100-80gb", NANOCHAT, 24, 1536, 32_768, 2048, 32, 28_300, D10),
    Row(
        "nanochat d24, sliding window, FA3", "a100-80gb", NANOCHAT, 24, 1536, 32_768, 2048, 32, 39_400,
        "three of four layers attend to a quarter of the context",
    ),
    Row("nanochat d10, sliding window", "a100-80gb", NANOCHAT, 10, 640, 65_536, 2048, 32, 173_000, D10),
    _mpt("125M", "a100-80gb", 12, 768, 32, 141_737),
    _mpt("350M", "a100-80gb", 24, 1024, 32, 58_782),
    _mpt("760M", "a100-80gb", 24, 1536, 24, 32_434),
    _mpt("1B", "a100-80gb", 24, 2048, 14, 20_513),
    _mpt("3B", "a100-80gb", 32, 2560, 10, 10_811),
    _mpt("125M", "a100-40gb", 12, 768, 26, 136_334),
    _mpt("350M", "a100-40gb", 24, 1024, 16, 55_995),
    _mpt("760M", "a100-40gb", 24, 1536, 12, 30_173),
    _mpt("1B", "a100-40gb", 24, 2048, 8, 19_271),
    _mpt("3B", "a100-40gb", 32, 2560, 5, 10_065),
    _llm_c("124M", 12, 768, 64, 0.60),
    _llm_c("350M", 24, 1024, 32, 0.62),
    _llm_c("774M", 36, 1280, 32, 0.64),
    Row("llm.c 124M", "a100-40gb-pcie", LLM_C, 12, 768, 50_304, 1024, 32, 145_000, ""),
    Row("PyTorch 124M, compiled", "a100-40gb-pcie", EAGER_GPT, 12, 768, 50_304, 1024, 32, 115_000, ""),
    Row("TinyLlama 1.1B, FSDP on 16", "a100-40gb", LLAMA, 22, 2048, 32_000, 2048, 8, 24_000, "", TINY_LLAMA),
    Row("nanochat d20", "rtx-4090", NANOCHAT, 20, 1280, 65_536, 2048, 4, 38_050, "sets the factor of its card"),
    Row("nanochat d10", "rtx-5090", NANOCHAT, 10, 640, 65_536, 2048, 8, 227_800, "sets the factor of its card"),
    Row("nanochat d8, 8 GPUs", "h100-80gb", NANOCHAT, 8, 512, 65_536, 2048, 32, 560_137, "sets the factor of its card"),
)  # fmt: skip


def predict(row: Row, rates: Rates = roofline.CUDA) -> float:
    """Tokens/s, without the optimizer, which eight GPUs share."""
    tokens = row.rows * row.seq
    total = Work()
    total += work.blocks(row.shape, tokens, "none", row.program, 2, matrices=row.matrices)
    total += work.head_and_loss(row.shape, tokens, tokens, row.program, 2)
    return tokens / roofline.seconds(total, by_id(row.gpu), rates)


def comparable() -> list[Row]:
    """The rows whose error must be within 15 %."""
    return [row for row in PUBLISHED if not row.verdict]


def table() -> Iterator[str]:
    """The rows as Markdown."""
    yield "| run | GPU | published tokens/s | predicted | error | must be within 15 % |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for row in PUBLISHED:
        rate = predict(row)
        error = 100 * (rate / row.rate - 1)
        held = f"no: {row.verdict}" if row.verdict else "yes"
        yield f"| {row.source} | {row.gpu} | {row.rate:,.0f} | {rate:,.0f} | {error:+.1f} % | {held} |"
    errors = sorted(abs(predict(row) / row.rate - 1) for row in comparable())
    yield ""
    yield (
        f"{len(errors)} rows must be within 15 %: median error {100 * errors[len(errors) // 2]:.1f} %, "
        f"largest {100 * errors[-1]:.1f} % "
        f"(matmul {roofline.CUDA.matmul:g} of the peak, attention {roofline.CUDA.attention:g}, "
        f"bandwidth {roofline.CUDA.bandwidth:g})."
    )


def fit() -> None:
    """Print the shares with the smallest maximum error over a grid, and the next best."""
    found = []
    for matmul, attention, bandwidth in product(
        [x / 100 for x in range(74, 89, 2)], [x / 100 for x in range(30, 61, 5)], [0.8, 0.85, 0.9, 0.95]
    ):
        rates = msgspec.structs.replace(roofline.CUDA, matmul=matmul, attention=attention, bandwidth=bandwidth)
        errors = [math.log(predict(row, rates) / row.rate) for row in comparable()]
        found.append((max(map(abs, errors)), math.sqrt(sum(e * e for e in errors) / len(errors)), rates))
    for worst, mean, rates in sorted(found, key=lambda f: f[:2])[:8]:
        print(f"worst {worst:.3f} rms {mean:.3f} {rates}")


def hours() -> Iterator[str]:
    """The hours of the presets in the strategy document and in the plan, as Markdown."""
    yield "| preset | GPU | tokens | document | plan | tokens/s | tokens/s for the document's hours |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for name in PRESETS:
        config = from_dict(load_preset(name))
        plan = make_plan(config, by_id(config.runtime.gpu))
        low, high = config.about.expected_hours or (math.nan, math.nan)
        ours = f"{plan.time.low_hours:.0f}–{plan.time.high_hours:.0f} h"
        yield (
            f"| {name} | {plan.gpu} | {plan.tokens / 1e9:.2f}B | {low:g}–{high:g} h | {ours} | "
            f"{plan.time.tokens_per_second:,.0f} | "
            f"{plan.tokens / high / 3600:,.0f}–{plan.tokens / low / 3600:,.0f} |"
        )


def with_tables(text: str) -> str:
    """The page with its tables replaced."""
    for name, rows in (("speeds", table()), ("hours", hours())):
        begin, end = MARKS[name]
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n" + "\n".join(rows) + f"\n{end}" + rest.partition(end)[2]
    return text


def main() -> None:
    """Print or write the table, or fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/time.md")
    parser.add_argument("--fit", action="store_true", help="search the shares of the roofline")
    options = parser.parse_args()
    if options.fit:
        fit()
    elif options.write:
        DOCS.write_text(with_tables(DOCS.read_text()))
    else:
        print("\n".join(table()))


if __name__ == "__main__":
    main()

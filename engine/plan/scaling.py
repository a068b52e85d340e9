"""The scaling law by which models are compared before they are trained, with the range in which it was fitted.

L(N, D) = E + A / N^alpha + B / D^beta in nats per token, N parameters with embeddings, D training tokens: the form of
Hoffmann et al. 2022 (Chinchilla, approach 3) with the constants of Besiroglu et al. 2024 (arXiv 2404.10102), who
refitted its data; its optimum lies near 20 tokens per parameter, as Chinchilla itself has it. Text and tokenizer
were others: it compares models, it does not promise a figure. (nanochat's d20, 561M parameters on 11.2B tokens, ended
at 0.812 bits per byte of 4.8 bytes a token, which is 2.70 nats; the law says 2.69.)
"""

import math

CHINCHILLA_TOKENS_PER_PARAM = 20
SMOKE_TEST_TOKENS_PER_PARAM = 1.0

NAME = "Chinchilla, refit of Besiroglu et al. 2024"
E, A, B = 1.8172, 482.01, 2085.43
ALPHA, BETA = 0.3478, 0.3658

# What the fit has seen.
PARAMS = (57e6, 16e9)
COMPUTE = (1.4e18, 1.3e22)  # FLOPs, as 6 N D
FEWEST_TOKENS_PER_PARAM = 0.4


def predicted_loss(params: int, tokens: int) -> float:
    """Nats per token of a model of N parameters after D tokens, trained well."""
    return E + A / params**ALPHA + B / tokens**BETA


def per_param(ratio: float) -> str:
    """`20 tokens per parameter`, `1 token per parameter`."""
    shown = f"{ratio:.2g}"
    return f"{shown} token{'s' * (shown != '1')} per parameter"


def is_smoke_test(ratio: float) -> bool:
    """Whether so few tokens per parameter can only show that the program works: asked for, and no mistake."""
    return ratio < SMOKE_TEST_TOKENS_PER_PARAM


def smoke_test_words(ratio: float) -> str:
    """`smoke test only: 0.16 tokens per parameter, about 20 are needed.`"""
    return f"smoke test only: {per_param(ratio)}, about {CHINCHILLA_TOKENS_PER_PARAM} are needed."


def outside_range(params: int, tokens: int) -> str:
    """What of this lies outside the law's range, in words; empty inside."""
    compute = 6.0 * params * tokens
    if not PARAMS[0] <= params <= PARAMS[1]:
        return f"{params / 1e6:,.0f}M parameters; the law was fitted from 57M to 16B"
    if not COMPUTE[0] <= compute <= COMPUTE[1]:
        return f"{compute:.1e} FLOPs; the law was fitted from {COMPUTE[0]:.1e} to {COMPUTE[1]:.1e}"
    if tokens < FEWEST_TOKENS_PER_PARAM * params:
        return f"{tokens / params:.2f} tokens per parameter; the law was fitted above {FEWEST_TOKENS_PER_PARAM}"
    return ""


def tells_nothing(loss: float, vocab_size: int) -> bool:
    """Whether a loss in nats per token is worse than that of a model which holds all tokens equally likely, ln(V): the
    law, which knows no such bound, has then been asked for far too few tokens."""
    return loss > math.log(vocab_size)

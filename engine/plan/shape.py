"""From the depth dial to the model's shape, its parameter counts and its FLOPs."""

import msgspec

from engine.config.schema import RunConfig, heads_of, width_of


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameter counts."""

    total: int
    embedding: int
    lm_head: int
    matrices: int  # the blocks' weights


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of one nanochat-2025 model."""

    depth: int  # L, blocks
    width: int  # d, features of a token
    heads: int  # h
    vocab_size: int  # V
    max_seq_len: int  # T, tokens

    @property
    def head_size(self) -> int:
        """Features of one attention head, q = d / h."""
        return self.width // self.heads

    @property
    def params(self) -> Params:
        """12 L d^2 in the blocks (4 d^2 attention, 8 d^2 MLP), V d each in embedding and head."""
        table = self.vocab_size * self.width
        matrices = 12 * self.depth * self.width**2
        return Params(total=matrices + 2 * table, embedding=table, lm_head=table, matrices=matrices)

    @property
    def flops_per_token(self) -> int:
        """Training FLOPs of one token: 6 (N - N_embedding) + 12 L h q T, no causal discount (nanochat)."""
        weights = self.params.total - self.params.embedding
        return 6 * weights + 12 * self.depth * self.width * self.max_seq_len

    @property
    def causal_flops_per_token(self) -> int:
        """The same with only the attention that a causal mask needs: half of the second term."""
        return self.flops_per_token - 6 * self.depth * self.width * self.max_seq_len


def shape_of(config: RunConfig) -> Shape:
    """The shape that a configuration asks for."""
    depth = config.model.depth
    return Shape(
        depth=depth,
        width=width_of(depth),
        heads=heads_of(depth),
        vocab_size=config.tokenizer.vocab_size,
        max_seq_len=config.model.max_seq_len,
    )

"""The transformer nanochat-2025: rotary attention with normed queries and keys, squared-ReLU MLP, no biases."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config.schema import CheckpointingMode
from engine.model.cache import Attending, KVCache
from engine.model.checkpointing import run_block
from engine.model.loss import softcapped_logits
from engine.model.pointwise import rms_norm, squared_relu
from engine.plan.shape import Shape

ROTARY_BASE = 10_000.0
MLP_RATIO = 4  # hidden features of the MLP over the width


class Linear(nn.Module):
    """y = x W^T. The weight is a float32 master and is cast to the dtype of the activations (cheaper than autocast)."""

    def __init__(self, inputs: int, outputs: int, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class Attention(nn.Module):
    """Causal self-attention; the rotation comes first, then the norm of queries and keys."""

    def __init__(self, shape: Shape, layer: int, device: torch.device) -> None:
        super().__init__()
        width = shape.width
        self.layer = layer
        self.head_size = shape.head_size
        self.query = Linear(width, width, device)
        self.key = Linear(width, width, device)
        self.value = Linear(width, width, device)
        self.output = Linear(width, width, device)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Attending | None) -> Tensor:
        batch, length, width = x.shape
        heads = (batch, length, -1, self.head_size)
        query = rms_norm(rotate(self.query(x).view(heads), cos, sin)).transpose(1, 2)
        key = rms_norm(rotate(self.key(x).view(heads), cos, sin)).transpose(1, 2)
        value = self.value(x).view(heads).transpose(1, 2)
        if cache is None:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            mixed = cache.attend(self.layer, query, key, value)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    """Two matrices with a squared ReLU between."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        super().__init__()
        self.expand = Linear(shape.width, MLP_RATIO * shape.width, device)
        self.contract = Linear(MLP_RATIO * shape.width, shape.width, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(squared_relu(self.expand(x)))


class Block(nn.Module):
    """Attention, then MLP, each on the normed residual stream and added to it."""

    def __init__(self, shape: Shape, layer: int, device: torch.device) -> None:
        super().__init__()
        self.attention = Attention(shape, layer, device)
        self.mlp = MLP(shape, device)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Attending | None = None) -> Tensor:
        x = x + self.attention(rms_norm(x), cos, sin, cache)
        return x + self.mlp(rms_norm(x))


class GPT(nn.Module):
    """The model. Its weights hold nothing until `init_weights` or `load_state_dict` fills them.

    Matrices are float32 masters. On CUDA the embedding is bfloat16 and with it every activation; on the CPU all is
    float32 (which is several times faster there).
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        shape: Shape,
        activation_checkpointing: CheckpointingMode = "none",
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        """`compute_dtype`: overrides the default of the device, to compute as another device does."""
        super().__init__()
        device = torch.device(device)
        dtype = compute_dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.shape = shape
        self.activation_checkpointing = activation_checkpointing
        embedding = torch.empty(shape.vocab_size, shape.width, device=device, dtype=dtype)
        self.embedding = nn.Embedding(shape.vocab_size, shape.width, _weight=embedding)
        self.blocks = nn.ModuleList(Block(shape, layer, device) for layer in range(shape.depth))
        self.head = Linear(shape.width, shape.vocab_size, device)
        cos, sin = rotary_tables(shape.max_seq_len, shape.head_size)
        # constants, so no part of a checkpoint
        self.register_buffer("cos", cos.to(device, dtype), persistent=False)
        self.register_buffer("sin", sin.to(device, dtype), persistent=False)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of activations: bfloat16 on CUDA, float32 on the CPU."""
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fill all weights; the same seed gives the same model on every device (the numbers come from the CPU).

        Embedding normal(0, 1); head and the two projections into the residual stream zero, so that the model starts as
        the identity; other matrices normal with std min(1, sqrt(out/in)) / sqrt(in) (nanochat; Yang et al. 2023).
        """
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith(("head.weight", "attention.output.weight", "mlp.contract.weight")):
                weight.zero_()
                continue
            outputs, inputs = weight.shape
            std = 1.0 if name == "embedding.weight" else min(1.0, math.sqrt(outputs / inputs)) / math.sqrt(inputs)
            weight.copy_(torch.empty(weight.shape).normal_(0.0, std, generator=generator))

    def trunk(self, tokens: Tensor, cache: Attending | None = None) -> Tensor:
        """Hidden states (B, T, d) of tokens (B, T), after the final norm.

        With a cache the tokens follow those it holds, which are attended to, and are appended to it. `Branches`, too,
        go in its place.
        """
        length = tokens.shape[1]
        cos, sin = self._rotary(*((slice(length), length) if cache is None else cache.begin(length)))
        mode = self.activation_checkpointing if cache is None else "none"  # a second run would append again
        x = rms_norm(self.embedding(tokens))
        for block in self.blocks:
            x = run_block(block, mode, x, cos, sin, cache)
        if cache is not None:
            cache.advance(length)
        return rms_norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Soft-capped float32 logits (..., V) of hidden states (..., d)."""
        return softcapped_logits(hidden, self.head.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of tokens (B, T)."""
        return self.logits(self.trunk(tokens))

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """An empty cache for this model, with room for `capacity` tokens."""
        return KVCache(self.shape, capacity, batch=batch, device=self.device, dtype=self.compute_dtype)

    def _rotary(self, positions: slice | Tensor, end: int) -> tuple[Tensor, Tensor]:
        """The tables' rows of positions below `end`, lengthened where generation goes past max_seq_len."""
        if end > self.cos.shape[0]:
            with torch.inference_mode(False):  # training continues with these tables after a sample
                cos, sin = rotary_tables(max(end, 2 * self.cos.shape[0]), self.shape.head_size)
                self.cos, self.sin = cos.to(self.cos), sin.to(self.sin)
        return self.cos[positions], self.sin[positions]


def rotary_tables(length: int, head_size: int) -> tuple[Tensor, Tensor]:
    """Tables (length, 1, head_size) for `rotate`: cos theta twice, and (sin theta, -sin theta).

    theta = position x base^(-2 i / head_size) (Su et al. 2021), computed in float32.
    """
    frequency = ROTARY_BASE ** (-torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    theta = torch.outer(torch.arange(length, dtype=torch.float32), frequency).unsqueeze(1)
    cos, sin = theta.cos(), theta.sin()
    return torch.cat([cos, cos], -1), torch.cat([sin, -sin], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves (x1, x2) of each head of (B, T, h, q) by -theta: (x1 cos + x2 sin, x2 cos - x1 sin)."""
    first, second = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat([second, first], -1), sin)

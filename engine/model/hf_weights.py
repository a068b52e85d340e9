"""The model in the terms of `transformers`: keys and configuration of its NanoChatForCausalLM."""

from typing import Any

from torch import Tensor

from engine.model.gpt import GPT, MLP_RATIO, ROTARY_BASE
from engine.model.loss import SOFTCAP
from engine.model.pointwise import RMS_EPS
from engine.plan.shape import Shape

_OUTSIDE = {"embedding.weight": "model.embed_tokens.weight", "head.weight": "lm_head.weight"}
_IN_BLOCK = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp.expand": "mlp.fc1",
    "mlp.contract": "mlp.fc2",
}


def to_transformers_state_dict(model: GPT) -> dict[str, Tensor]:
    """The weights (not copies) under the keys of NanoChatForCausalLM, which loads them strictly."""
    return {_transformers_key(name): weight.detach() for name, weight in model.named_parameters()}


def transformers_config(shape: Shape) -> dict[str, Any]:
    """Keyword arguments of NanoChatConfig. The ids of special tokens are the tokenizer's to add."""
    return {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": MLP_RATIO * shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.max_seq_len,
        "hidden_act": "relu2",
        "rms_norm_eps": RMS_EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
        "final_logit_softcapping": SOFTCAP,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def _transformers_key(name: str) -> str:
    """`blocks.3.mlp.expand.weight` -> `model.layers.3.mlp.fc1.weight`."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, layer, module, matrix, _ = name.split(".")
    return f"model.layers.{layer}.{_IN_BLOCK[f'{module}.{matrix}']}.weight"

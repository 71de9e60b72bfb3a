"""A trained model as a Qwen3ForCausalLM directory, as transformers and vLLM load it."""

import json
import shutil
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import save_file

from proxy_models.model import NORM_EPSILON, ModelConfig, Transformer
from proxy_models.shards import Tokens

# Our name -> Qwen3's, outside the blocks and within one; shapes and orientations are the same.
TOP_LEVEL = {
    "embedding.weight": "model.embed_tokens.weight",
    "final_norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
IN_BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.query.weight": "self_attn.q_proj.weight",
    "attention.key.weight": "self_attn.k_proj.weight",
    "attention.value.weight": "self_attn.v_proj.weight",
    "attention.output.weight": "self_attn.o_proj.weight",
    "attention.query_norm.weight": "self_attn.q_norm.weight",
    "attention.key_norm.weight": "self_attn.k_norm.weight",
    "feed_forward_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.gate.weight": "mlp.gate_proj.weight",
    "feed_forward.up.weight": "mlp.up_proj.weight",
    "feed_forward.down.weight": "mlp.down_proj.weight",
}


def export_huggingface(model: Transformer, config: ModelConfig, tokens: Tokens, folder: Path) -> None:
    """Write weights, configuration, generation defaults and the tokenizer of `tokens` to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        _qwen3_name(name): weight.detach().to(torch.float32).contiguous() for name, weight in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokens.tokenizer_path, folder / "tokenizer.json")
    eod = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path)).id_to_token(tokens.eod)
    _write(folder / "config.json", _qwen3_config(config, tokens.eod))
    _write(folder / "generation_config.json", {"eos_token_id": tokens.eod, "do_sample": True})
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eod,
        "model_max_length": config.context,
    }
    _write(folder / "tokenizer_config.json", tokenizer_config)


def _qwen3_name(name: str) -> str:
    if name in TOP_LEVEL:
        return TOP_LEVEL[name]
    _, layer, within = name.split(".", 2)
    return f"model.layers.{layer}.{IN_BLOCK[within]}"


def _qwen3_config(config: ModelConfig, eod: int) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.ffn_width,
        "max_position_embeddings": config.context,
        # transformers 5 reads rope_parameters; transformers 4 and vLLM before it read rope_theta.
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "rope_theta": config.rope_base,
        "rms_norm_eps": NORM_EPSILON,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "tie_word_embeddings": config.tied,
        "initializer_range": 0.02,
        "eos_token_id": eod,
        # Qwen3's defaults are ids of its own vocabulary.
        "bos_token_id": None,
        "pad_token_id": None,
        "torch_dtype": "float32",
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

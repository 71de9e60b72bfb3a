"""A trained model as a Qwen3ForCausalLM or Qwen3MoeForCausalLM directory, as transformers and vLLM load it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor

from proxy_models.model import INITIAL_STD, NORM_EPSILON, ModelConfig, Transformer
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
    "feed_forward.router.weight": "mlp.gate.weight",
}
# All experts' matrices in one of ours -> one for each expert, by its number.
OF_EXPERTS = {
    "feed_forward.gate": "mlp.experts.{}.gate_proj.weight",
    "feed_forward.up": "mlp.experts.{}.up_proj.weight",
    "feed_forward.down": "mlp.experts.{}.down_proj.weight",
}
MAX_FILE_SIZE = "5GB"  # of weights; a larger model has several files and an index


def export_huggingface(
    model: Transformer,
    config: ModelConfig,
    tokens: Tokens,
    folder: Path,
    card: str,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write weights, configuration, generation defaults, the tokenizer of `tokens` and the model card to `folder`.

    card: text of README.md: YAML front matter between lines of ---, then Markdown. dtype: of the weights written.
    Raises ValueError for a card without front matter, before anything is written.
    """
    if not card.startswith("---\n") or "\n---\n" not in card:
        raise ValueError("a model card begins with YAML front matter between lines of ---")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: weight.to(dtype).contiguous()
        for ours, weight in model.state_dict().items()
        for name, weight in _qwen3_weights(ours, weight.detach(), config)
    }
    save_torch_state_dict(weights, folder, max_shard_size=MAX_FILE_SIZE, metadata={"format": "pt"})
    shutil.copyfile(tokens.tokenizer_path, folder / "tokenizer.json")
    eod = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path)).id_to_token(tokens.eod)
    _write(folder / "config.json", _qwen3_config(config, tokens.eod, dtype))
    _write(folder / "generation_config.json", {"eos_token_id": tokens.eod, "do_sample": True})
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eod,
        "model_max_length": config.context,
    }
    _write(folder / "tokenizer_config.json", tokenizer_config)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _qwen3_weights(name: str, weight: Tensor, config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """One of our weights as Qwen3 has it, under its names."""
    if name == "final_norm.weight":
        # Qwen3 does not divide its logits. Not into the head: a tied one is the embedding too.
        weight = weight / config.width_ratio
    if name in TOP_LEVEL:
        yield TOP_LEVEL[name], weight
        return
    _, layer, within = name.split(".", 2)
    block = f"model.layers.{layer}."
    if within in OF_EXPERTS:
        for expert, part in enumerate(weight):
            yield block + OF_EXPERTS[within].format(expert), part.clone()  # a file may hold no view of a larger tensor
    else:
        yield block + IN_BLOCK[within], weight


def _qwen3_config(config: ModelConfig, eod: int, dtype: torch.dtype) -> dict[str, Any]:
    c = config
    entries = {
        "architectures": ["Qwen3MoeForCausalLM" if c.experts else "Qwen3ForCausalLM"],
        "model_type": "qwen3_moe" if c.experts else "qwen3",
        "vocab_size": c.vocabulary,
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "intermediate_size": c.ffn_width,
        "max_position_embeddings": c.context,
        # transformers 5 reads rope_parameters; transformers 4 and vLLM before it read rope_theta.
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_base},
        "rope_theta": c.rope_base,
        "rms_norm_eps": NORM_EPSILON,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": c.sliding_window > 0,
        "sliding_window": c.sliding_window or None,
        "tie_word_embeddings": c.tied,
        "initializer_range": INITIAL_STD,
        "eos_token_id": eod,
        # Qwen3's defaults are ids of its own vocabulary.
        "bos_token_id": None,
        "pad_token_id": None,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    if c.experts:
        return entries | {
            "num_experts": c.experts,
            "num_experts_per_tok": c.experts_per_token,
            "moe_intermediate_size": c.expert_width,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    kinds = ["sliding_attention" if c.window(layer) else "full_attention" for layer in range(c.layers)]
    # max_window_layers: the layers before it see all; layer_types, where it is read, has the last word.
    return entries | {"layer_types": kinds, "max_window_layers": 0 if c.sliding_window else c.layers}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

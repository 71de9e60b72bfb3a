"""An exported model is the same model in transformers."""

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from proxy_models import export
from proxy_models.checkpoints import CheckpointError
from proxy_models.export import export_huggingface
from proxy_models.initial_weights import initial_weights
from proxy_models.model import ModelConfig, Transformer, init_weights
from proxy_models.shards import Tokens

CARD = "---\nlicense: mit\n---\n# A model\n"
DENSE = ModelConfig(257, 24, 3, 4, 2, 10, 40, 32, rope_base=500.0)
EXPERTS = {"experts": 5, "experts_per_token": 2, "expert_width": 12}
CONFIGS = {
    "tied": DENSE,
    "untied": dataclasses.replace(DENSE, tied=False),
    "tied, of another width than its base": dataclasses.replace(DENSE, base_width=16),
    "untied, of another width than its base": dataclasses.replace(DENSE, base_width=7, tied=False),
    "sliding": dataclasses.replace(DENSE, sliding_window=5, full_attention_every=0),
    "each second layer sliding": dataclasses.replace(DENSE, sliding_window=5, full_attention_every=2),
    "experts": dataclasses.replace(DENSE, **EXPERTS),
    "experts, sliding, untied": dataclasses.replace(
        DENSE, **EXPERTS, sliding_window=5, full_attention_every=0, tied=False, base_width=16
    ),
}


def random_config(seed: int) -> ModelConfig:
    rng = random.Random(seed)
    kv_heads = rng.randint(1, 3)
    experts = rng.choice([0, rng.randint(2, 8)])
    slides = rng.random() < 0.5
    return ModelConfig(
        vocabulary=257,
        width=4 * rng.randint(2, 12),  # transformers' experts take multiples of 16 bytes
        layers=rng.randint(1, 4),
        heads=kv_heads * rng.randint(1, 3),
        kv_heads=kv_heads,
        head_width=2 * rng.randint(2, 12),
        ffn_width=rng.randint(8, 64),
        context=32,
        rope_base=rng.choice([100.0, 10_000.0, 1e6]),
        tied=rng.random() < 0.5,
        base_width=rng.choice([0, 16, 32]),
        experts=experts,
        experts_per_token=rng.randint(1, experts) if experts else 0,
        expert_width=4 * rng.randint(1, 6) if experts else 0,
        sliding_window=rng.randint(1, 40) if slides else 0,
        full_attention_every=rng.choice([0] if experts else [0, 2, 3]) if slides else 1,
    )


def started(config: ModelConfig) -> Transformer:
    """A model in whose logits each weight shows."""
    model = Transformer(config)
    init_weights(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif name != "embedding.weight":
                parameter.normal_(std=1.5 * parameter.shape[-1] ** -0.5, generator=generator)
            else:
                parameter.mul_(20)
    return model


def reloaded(model: Transformer, tokens: Tokens, folder: Path) -> PreTrainedModel:
    export_huggingface(model, model.config, tokens, folder, CARD)
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return loaded


def assert_same_logits(model: Transformer, loaded: PreTrainedModel) -> None:
    tokens = torch.randint(0, model.config.vocabulary, (2, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(tokens), loaded(tokens).logits
    assert ours.abs().max() > 1
    assert (ours - theirs).abs().max() <= 1e-5 * ours.abs().max()


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_equal_in_transformers(name: str, tokens: Tokens, tmp_path: Path) -> None:
    model = started(CONFIGS[name])
    loaded = reloaded(model, tokens, tmp_path)
    assert type(loaded).__name__ == ("Qwen3MoeForCausalLM" if model.config.experts else "Qwen3ForCausalLM")
    assert_same_logits(model, loaded)


@pytest.mark.parametrize("seed", range(10))
def test_logits_of_random_configurations_are_equal_in_transformers(seed: int, tokens: Tokens, tmp_path: Path) -> None:
    model = started(random_config(seed))
    assert_same_logits(model, reloaded(model, tokens, tmp_path))


def test_a_large_model_is_written_in_several_files(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_FILE_SIZE", "20KB")
    model = started(CONFIGS["experts"])
    loaded = reloaded(model, tokens, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same_logits(model, loaded)


def test_weights_can_be_written_in_bfloat16(tokens: Tokens, tmp_path: Path) -> None:
    model = started(DENSE)
    export_huggingface(model, DENSE, tokens, tmp_path, CARD, dtype=torch.bfloat16)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(loaded.model.embed_tokens.weight, model.embedding.weight.to(torch.bfloat16))


def test_the_tokenizer_comes_along_and_ends_with_eod(tokens: Tokens, tmp_path: Path) -> None:
    export_huggingface(started(DENSE), DENSE, tokens, tmp_path, CARD)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.eos_token_id == tokens.eod
    assert tokenizer.decode(tokenizer("def x(a):")["input_ids"]) == "def x(a):"


def test_the_card_comes_along(tokens: Tokens, tmp_path: Path) -> None:
    export_huggingface(started(DENSE), DENSE, tokens, tmp_path, CARD)
    assert (tmp_path / "README.md").read_text() == CARD


def test_a_card_without_front_matter_is_refused_before_anything_is_written(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="front matter"):
        export_huggingface(started(DENSE), DENSE, tokens, tmp_path / "model", "# A model\n")
    assert not (tmp_path / "model").exists()


def test_generation_ends_at_the_end_of_a_document(tokens: Tokens, tmp_path: Path) -> None:
    export_huggingface(started(DENSE), DENSE, tokens, tmp_path, CARD)
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == tokens.eod


@pytest.mark.parametrize("name", ["tied", "each second layer sliding", "experts"])
def test_text_can_be_generated(name: str, tokens: Tokens, tmp_path: Path) -> None:
    model = started(CONFIGS[name])
    loaded = reloaded(model, tokens, tmp_path)
    written = loaded.generate(torch.tensor([[5, 9, 4]]), max_new_tokens=8, do_sample=False)
    ours = torch.tensor([[5, 9, 4]])
    while ours.shape[1] < written.shape[1]:
        with torch.no_grad():
            ours = torch.cat([ours, model(ours)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(ours, written)


@pytest.mark.parametrize(("ours", "other"), [("untied", "tied"), ("experts", "tied"), ("tied", "untied")])
def test_weights_of_a_model_of_another_kind_are_no_start(ours: str, other: str, tokens: Tokens, tmp_path: Path) -> None:
    export_huggingface(started(CONFIGS[ours]), CONFIGS[ours], tokens, tmp_path, CARD)
    with pytest.raises(CheckpointError, match="is of another model"):
        initial_weights(tmp_path, Transformer(CONFIGS[other]))


@pytest.mark.parametrize("name", CONFIGS)
def test_an_exported_model_is_a_start(name: str, tokens: Tokens, tmp_path: Path) -> None:
    model = started(CONFIGS[name])
    export_huggingface(model, CONFIGS[name], tokens, tmp_path, CARD)
    found = initial_weights(tmp_path, Transformer(CONFIGS[name])).weights
    assert found.keys() == model.state_dict().keys()
    assert all(torch.allclose(found[key], weight, rtol=1e-6) for key, weight in model.state_dict().items())

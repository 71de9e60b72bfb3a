"""An exported model is the same model in transformers."""

from pathlib import Path

import pytest
import torch
import transformers

from proxy_models.export import export_huggingface
from proxy_models.model import ModelConfig, Transformer, init_weights
from proxy_models.shards import Tokens


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def exported(request: pytest.FixtureRequest, tokens: Tokens, tmp_path: Path) -> tuple[Transformer, Path]:
    config = ModelConfig(tokens.vocabulary, 24, 3, 4, 2, 10, 40, 32, rope_base=500.0, tied=request.param)
    model = Transformer(config)
    init_weights(model, seed=0)
    with torch.no_grad():  # weights large enough that each of them shows in the logits
        for parameter in model.parameters():
            parameter.mul_(5) if parameter.ndim > 1 else parameter.uniform_(0.5, 1.5)
    export_huggingface(model, config, tokens, tmp_path)
    return model, tmp_path


def test_logits_are_equal_in_transformers(exported: tuple[Transformer, Path]) -> None:
    model, folder = exported
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert type(loaded).__name__ == "Qwen3ForCausalLM"
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokens = torch.randint(0, model.config.vocabulary, (2, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = model(tokens), loaded(tokens).logits
    assert ours.abs().max() > 1
    assert (ours - theirs).abs().max() <= 1e-5 * ours.abs().max()


def test_the_tokenizer_comes_along_and_ends_with_eod(exported: tuple[Transformer, Path], tokens: Tokens) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported[1])
    assert tokenizer.eos_token_id == tokens.eod
    assert tokenizer.decode(tokenizer("def x(a):")["input_ids"]) == "def x(a):"


def test_text_can_be_generated(exported: tuple[Transformer, Path]) -> None:
    model, folder = exported
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    start = torch.tensor([[5, 9, 4]])
    written = loaded.generate(start, max_new_tokens=8, do_sample=False)
    ours = start
    while ours.shape[1] < written.shape[1]:
        with torch.no_grad():
            ours = torch.cat([ours, model(ours)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(ours, written)

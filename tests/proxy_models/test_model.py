"""The transformer: counted as it is built, started from a seed, blind to the future."""

import math

import pytest
import torch

from proxy_models.model import (
    SIZES,
    ModelConfig,
    Transformer,
    flops_per_token,
    init_weights,
    parameter_counts,
    sized,
)

TINY = sized("tiny", vocabulary=257)
UNTIED = ModelConfig(257, 24, 3, 4, 2, 10, 40, 12, rope_base=500.0, tied=False)


def started(config: ModelConfig, seed: int = 0) -> Transformer:
    model = Transformer(config)
    init_weights(model, seed)
    return model


@pytest.mark.parametrize("config", [TINY, UNTIED], ids=["tied", "untied"])
def test_parameters_are_counted_as_they_are_built(config: ModelConfig) -> None:
    sizes = {name: parameter.numel() for name, parameter in Transformer(config).named_parameters()}
    embedding, head = sizes.pop("embedding.weight"), sizes.pop("head.weight", 0)
    assert parameter_counts(config) == (sum(sizes.values()), embedding, head)


@pytest.mark.parametrize(("size", "millions"), [("S", 1.2), ("M", 3.9), ("L", 13.8)])
def test_named_trunks_are_as_large_as_stated(size: str, millions: float) -> None:
    assert parameter_counts(sized(size, 8192)).trunk / 1e6 == pytest.approx(millions, abs=0.05)


def test_an_unknown_size_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match=", ".join(SIZES)):
        sized("XL", 100)


def test_flops_by_hand() -> None:
    # tiny: query and output 2*16*16, key and value 2*16*8, feed-forward 3*16*32: 2304 a layer.
    # Head 257*16 = 4112. 6 * (2*2304 + 4112) + 12 * 2 layers * 2 heads * 8 * 16 positions = 52,320 + 6,144.
    assert flops_per_token(TINY) == 58_464


def test_a_fresh_model_is_as_unsure_as_its_vocabulary_is_large() -> None:
    sequences = torch.randint(0, 257, (8, 17), generator=torch.Generator().manual_seed(0))
    assert started(TINY).token_losses(sequences).mean().item() == pytest.approx(math.log(257), abs=0.05)


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = started(TINY, seed=7).state_dict()
    torch.manual_seed(2)
    again, other = started(TINY, seed=7).state_dict(), started(TINY, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_a_prediction_does_not_see_later_tokens() -> None:
    model = started(UNTIED)
    tokens = torch.randint(0, 257, (1, 12), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % 257
    before, after = model(tokens), model(changed)
    assert torch.allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert not torch.allclose(before[:, 7], after[:, 7], atol=1e-6)


def test_attention_depends_on_distance_not_on_place() -> None:
    model = started(TINY)
    tokens = torch.tensor([[5, 9, 4, 9, 5, 4]])
    expected = model(tokens)
    model.cos, model.sin = model.cos.roll(-3, 0), model.sin.roll(-3, 0)  # the tokens now stand at 3..8, not 0..5
    assert torch.allclose(model(tokens), expected, atol=1e-5)


def test_more_tokens_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="context 16"):
        started(TINY)(torch.zeros(1, 17, dtype=torch.int64))


def test_token_losses_are_the_cross_entropy_of_the_logits() -> None:
    model = started(TINY)
    sequences = torch.randint(0, 257, (3, 9), generator=torch.Generator().manual_seed(0))
    probabilities = model(sequences[:, :-1]).softmax(-1)
    expected = -probabilities.gather(2, sequences[:, 1:, None]).log()[..., 0]
    assert torch.allclose(model.token_losses(sequences), expected, atol=1e-5)

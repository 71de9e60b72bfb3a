"""K models in a stack are K models: same losses, gradients and steps, and nothing leaks between them."""

import pytest
import torch
from torch import Tensor

from proxy_models import stacked
from proxy_models.model import ModelConfig, Transformer, init_weights, sized
from proxy_models.optimization import AdamW
from proxy_models.stacked import Stack

TIED = sized("tiny", vocabulary=50)
UNTIED = ModelConfig(50, 24, 3, 4, 2, 10, 40, 12, tied=False)
SEEDS = [3, 1, 4]


def batch_of(config: ModelConfig, models: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocabulary, (models, 2, config.context + 1), generator=generator)


def rates(stack: Stack) -> tuple[Tensor, Tensor]:
    dtype = stack.weights["embedding.weight"].dtype
    models = len(stack.alive)
    return torch.linspace(1e-3, 3e-3, models, dtype=dtype), torch.linspace(0.1, 2.0, models, dtype=dtype)


@pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
@pytest.mark.parametrize("logits_at_once", [150, 1 << 20])  # 3 tokens of 24 or 32 at a time, or all
def test_losses_and_gradients_are_those_of_each_model_alone(
    config: ModelConfig, logits_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "LOGITS_AT_ONCE", logits_at_once)
    stack = Stack(config, SEEDS, torch.float64)
    sequences = batch_of(config, 3)
    losses = stack.losses(sequences)
    losses.sum().backward()
    for k, seed in enumerate(SEEDS):
        model = Transformer(config).double()
        init_weights(model, seed)
        loss = model.token_losses(sequences[k]).mean()
        loss.backward()
        assert losses[k].item() == pytest.approx(loss.item(), abs=1e-13)
        for name, parameter in model.named_parameters():
            assert torch.allclose(stack.weights[name].grad[k], parameter.grad, rtol=0, atol=1e-13), name


def test_total_losses_are_those_of_each_model_alone() -> None:
    stack = Stack(UNTIED, SEEDS, torch.float64)
    sequences = batch_of(UNTIED, 1)[0]
    for k, total in enumerate(stack.total_losses(sequences).tolist()):
        model = Transformer(UNTIED).double()
        init_weights(model, SEEDS[k])
        assert total == pytest.approx(model.token_losses(sequences).sum().item(), abs=1e-11)


def trained(stack: Stack, steps: int, change: dict[int, Tensor] | None = None) -> list[Tensor]:
    """Losses of each step; `change` replaces the batch of a step."""
    learning_rates, clips = rates(stack)
    batches = [batch_of(stack.config, len(stack.alive), seed=step) for step in range(steps)]
    for step, replaced in (change or {}).items():
        batches[step] = replaced
    return [stack.train_step(b, learning_rates, clips, AdamW()) for b in batches]


def test_other_data_for_one_model_leaves_the_others_bit_identical() -> None:
    plain, changed = Stack(TIED, SEEDS), Stack(TIED, SEEDS)
    other = batch_of(TIED, 3, seed=2)
    other[1] = 7
    trained(plain, 5)
    trained(changed, 5, {2: other})
    for name in plain.weights:
        assert torch.equal(plain.weights[name][[0, 2]], changed.weights[name][[0, 2]]), name
    assert not torch.equal(plain.weights["embedding.weight"][1], changed.weights["embedding.weight"][1])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_model_with_poisoned_weights_dies_alone(poison: float) -> None:
    plain, poisoned = Stack(TIED, SEEDS), Stack(TIED, SEEDS)
    poisoned.weights["blocks.0.attention.query.weight"].data[1] = poison
    plain_losses, poisoned_losses = trained(plain, 5), trained(poisoned, 5)
    assert poisoned.alive.tolist() == [True, False, True]
    assert poisoned.steps_alive.tolist() == [5, 0, 5]
    for a, b in zip(plain_losses, poisoned_losses, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    for name in plain.weights:
        assert torch.equal(plain.weights[name][[0, 2]], poisoned.weights[name][[0, 2]]), name


def test_a_dead_model_keeps_the_weights_it_had() -> None:
    stack = Stack(TIED, SEEDS)
    trained(stack, 2)
    stack.alive[0] = False
    before = {name: weight.detach().clone() for name, weight in stack.weights.items()}
    trained(stack, 3)
    assert stack.steps_alive.tolist() == [2, 5, 5]
    for name in before:
        assert torch.equal(before[name][0], stack.weights[name][0]), name


def test_a_restored_stack_continues_with_the_same_bits() -> None:
    whole, before, after = (Stack(TIED, SEEDS) for _ in range(3))
    trained(whole, 5)
    trained(before, 5)
    state = before.state()
    after.load_state(state)
    assert torch.equal(torch.stack(trained(whole, 3)), torch.stack(trained(after, 3)))

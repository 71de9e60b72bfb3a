"""K models in a stack are K models: same losses, gradients and steps, and nothing leaks between them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from proxy_models.model import ModelConfig, Transformer, init_weights, learning_rate_factor, sized
from proxy_models.optimization import AdamW, annealed_schedule
from proxy_models.separate import Separate
from proxy_models.stacked import Models, Stack, joined_states, rows_of_state

TIED = sized("tiny", vocabulary=50)
UNTIED = ModelConfig(50, 24, 3, 4, 2, 10, 40, 12, tied=False)
OTHER_WIDTH = replace(TIED, base_width=24)  # than that which its learning rate is of
BOTH = pytest.mark.parametrize("config", [TIED, UNTIED], ids=["tied", "untied"])
ALL = pytest.mark.parametrize("config", [TIED, UNTIED, OTHER_WIDTH], ids=["tied", "untied", "other width"])
SEEDS = [3, 1, 4]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than these models do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def started(config: ModelConfig, precision: str = "float32", seeds: list[int] = SEEDS, **settings: object) -> Stack:
    stack = Stack(config, len(seeds), AdamW(), precision, **settings)
    stack.start(seeds)
    return stack


def batch_of(config: ModelConfig, models: int, seed: int = 0) -> Tensor:
    """Tokens of which the first are more frequent, so that there is something to learn."""
    drawn = torch.rand(models, 2, config.context + 1, generator=torch.Generator().manual_seed(seed))
    return (drawn**4 * config.vocabulary).long()


def rates(models: int) -> tuple[Tensor, Tensor]:
    return torch.linspace(1e-3, 3e-3, models, dtype=torch.float64), torch.linspace(0.1, 2.0, models)


def split(gradients: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The gradients of a stack under Transformer's names."""
    e = config.head_width
    parts = {}
    for name, gradient in gradients.items():
        if name.endswith("query.weight"):
            sizes, names = [config.heads * e, config.kv_heads * e, config.kv_heads * e], ("query", "key", "value")
            parts |= {name.replace("query", n): g for n, g in zip(names, gradient.split(sizes, dim=1), strict=True)}
        elif name.endswith("gate.weight"):
            parts |= {name.replace("gate", n): g for n, g in zip(("gate", "up"), gradient.chunk(2, dim=1), strict=True)}
        else:
            parts[name] = gradient
    return parts


# 3 tokens of 24 or 32 at a time; all tokens of 1 model; of 2 of 3 models; of all.
@ALL
@pytest.mark.parametrize("logits_at_once", [150, 1600, 3200, 1 << 20])
def test_losses_and_gradients_are_those_of_each_model_alone(config: ModelConfig, logits_at_once: int) -> None:
    stack = started(config, "float64")
    stack.logits_at_once = logits_at_once
    sequences = batch_of(config, 3)
    losses, gradients = stack.gradients(sequences)
    for k, seed in enumerate(SEEDS):
        model = Transformer(config).double()
        init_weights(model, seed)
        loss = model.token_losses(sequences[k]).mean()
        loss.backward()
        assert losses[k].item() == pytest.approx(loss.item(), abs=1e-13)
        for name, gradient in split(gradients, config).items():
            assert torch.allclose(gradient[k], model.get_parameter(name).grad, rtol=0, atol=1e-13), name


@BOTH
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap runs attention once for each model
def test_gradients_are_those_of_vmap_over_one_model(config: ModelConfig) -> None:
    stack = started(config)
    sequences = batch_of(config, 3)
    model = Transformer(config)

    def loss_of(weights: dict[str, Tensor], rows: Tensor) -> Tensor:
        return (
            torch.func.functional_call(model, weights, (rows[:, :-1],))
            .flatten(0, 1)
            .log_softmax(-1)
            .gather(1, rows[:, 1:].reshape(-1, 1))
            .mean()
            .neg()
        )

    expected, oracle = torch.func.vmap(torch.func.grad_and_value(loss_of))(stack.weights, sequences)
    losses, gradients = stack.gradients(sequences)
    assert (losses - oracle).abs().max() <= 1e-6
    for name, gradient in split(gradients, config).items():
        assert (gradient - expected[name]).abs().max() <= 1e-6, name


def alone(config: ModelConfig, precision: str, steps: int, k: int) -> list[float]:
    """Losses of model k of `trained`, from torch alone: its module, its optimizer, its clipping."""
    model = Transformer(config).to(torch.float64 if precision == "float64" else torch.float32)
    init_weights(model, SEEDS[k])
    learning_rates, clips = rates(3)
    factors = [learning_rate_factor(name, config) for name, _ in model.named_parameters()]
    groups = [
        {"params": [p], "weight_decay": 0.1 / factor if p.ndim > 1 else 0.0}
        for p, factor in zip(model.parameters(), factors, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    losses = []
    for step in range(steps):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = learning_rates[k].item() * factor * annealed_schedule(step, steps, 0.05, 0.3)
        loss = model.token_losses(batch_of(config, 3, seed=step)[k]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clips[k].item())
        optimizer.step()
        losses.append(loss.item())
    return losses


def trained(models: Models, steps: int, scheduled: bool = False, change: dict[int, Tensor] | None = None) -> Tensor:
    """Losses of each step, [steps, K], continuing at models.steps_taken; `change` replaces the batch of a step."""
    config, count, first = models.config, len(models.alive), int(models.steps_taken)
    learning_rates, clips = rates(count)
    device = models.device
    losses = []
    for step in range(first, first + steps):
        batch = (change or {}).get(step, batch_of(config, count, seed=step))
        share = annealed_schedule(step, steps, 0.05, 0.3) if scheduled else 1.0
        losses.append(models.train_step(batch.to(device), (learning_rates * share).to(device), clips.to(device)))
    return torch.stack(losses)


@ALL
@pytest.mark.parametrize(("precision", "steps", "apart"), [("float64", 10, 1e-12), ("float32", 50, 5e-6)])
def test_a_stack_trains_each_model_as_torch_does_alone(
    config: ModelConfig, precision: str, steps: int, apart: float
) -> None:
    stacked = trained(started(config, precision), steps, scheduled=True)
    expected = torch.tensor([alone(config, precision, steps, k) for k in range(3)], dtype=torch.float64).T
    assert (expected[0] - expected[-1]).abs().min() > 0.01  # the weights have moved
    assert (stacked - expected).abs().max() <= apart


@ALL
@pytest.mark.parametrize(("precision", "steps", "apart"), [("float64", 10, 1e-12), ("float32", 50, 5e-6)])
def test_the_separate_worker_trains_one_after_another_as_a_stack_does(
    config: ModelConfig, precision: str, steps: int, apart: float
) -> None:
    stack = started(config, precision)
    worker = Separate(config, AdamW(), precision)
    expected = torch.stack([trained_alone_in(worker, k, steps) for k in range(3)], dim=1)
    assert (trained(stack, steps) - expected).abs().max() <= apart


def trained_alone_in(worker: Separate, k: int, steps: int) -> Tensor:
    """Losses of model k of `trained`, [steps]; the worker may have trained another before."""
    worker.start([SEEDS[k]])
    learning_rates, clips = rates(3)
    batches = (batch_of(worker.config, 3, seed=step)[k : k + 1] for step in range(steps))
    return torch.cat([worker.train_step(batch, learning_rates[k : k + 1], clips[k : k + 1]) for batch in batches])


def test_token_losses_are_those_of_each_model_alone() -> None:
    stack = started(UNTIED, "float64")
    for logits_at_once in (150, 1 << 20):
        stack.logits_at_once = logits_at_once
        sequences = batch_of(UNTIED, 1)[0]
        for k, losses in enumerate(stack.token_losses(sequences)):
            model = Transformer(UNTIED).double()
            init_weights(model, SEEDS[k])
            assert torch.allclose(losses, model.token_losses(sequences), rtol=0, atol=1e-13)


def test_weights_decay_alike_whatever_their_learning_rate() -> None:
    optimizer = AdamW(weight_decay=1e28)  # at a rate of 1e-30, the gradients move nothing
    for models in (Stack(OTHER_WIDTH, 1, optimizer, "float64"), Separate(OTHER_WIDTH, optimizer, "float64")):
        models.start([0])
        before = models.rows.clone()
        models.train_step(batch_of(OTHER_WIDTH, 1), torch.full((1,), 1e-30, dtype=torch.float64), torch.ones(1))
        kept = models.rows[:, : models.layout.matrices] / before[:, : models.layout.matrices]
        assert torch.allclose(kept, torch.tensor(0.99, dtype=torch.float64), rtol=1e-12)


@pytest.mark.parametrize(
    "only_in_pretraining",
    [
        {"experts": 2, "experts_per_token": 1, "expert_width": 8},
        {"sliding_window": 4, "full_attention_every": 0},
    ],
    ids=["experts", "sliding window"],
)
def test_what_only_pretraining_has_is_refused(only_in_pretraining: dict[str, int]) -> None:
    config = replace(TIED, **only_in_pretraining)
    for models in (lambda: Stack(config, 2, AdamW()), lambda: Separate(config, AdamW())):
        with pytest.raises(ValueError, match="no experts, no sliding_window"):
            models()


def test_other_data_for_one_model_leaves_the_others_bit_identical() -> None:
    plain, changed = started(TIED), started(TIED)
    other = batch_of(TIED, 3, seed=2)
    other[1] = 7
    trained(plain, 5)
    trained(changed, 5, change={2: other})
    assert torch.equal(plain.rows[[0, 2]], changed.rows[[0, 2]])
    assert not torch.equal(plain.rows[1], changed.rows[1])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_model_with_poisoned_weights_dies_alone(poison: float) -> None:
    plain, poisoned = started(TIED), started(TIED)
    poisoned.weights["blocks.0.attention.query.weight"][1] = poison
    before = poisoned.rows[1].clone()
    plain_losses, poisoned_losses = trained(plain, 5), trained(poisoned, 5)
    assert torch.equal(poisoned.rows[1].nan_to_num(), before.nan_to_num())
    assert poisoned.means[1].abs().max() == 0
    assert poisoned.alive.tolist() == [True, False, True]
    assert poisoned.steps_alive.tolist() == [5, 0, 5]
    assert torch.equal(plain_losses[:, [0, 2]], poisoned_losses[:, [0, 2]])
    for name in ("rows", "means", "squares"):
        assert torch.equal(getattr(plain, name)[[0, 2]], getattr(poisoned, name)[[0, 2]]), name


def test_a_poisoned_model_is_dead_to_the_separate_worker_until_the_next_is_loaded() -> None:
    worker = Separate(TIED, AdamW())
    worker.start([3])
    worker.weights["blocks.0.attention.query.weight"][0] = float("nan")
    before = worker.rows.clone()
    trained(worker, 2)
    assert worker.steps_alive.tolist() == [0]
    assert torch.equal(worker.rows.nan_to_num(7.0), before.nan_to_num(7.0))
    worker.start([3])
    trained(worker, 2)
    assert worker.steps_alive.tolist() == [2]


def test_a_dead_model_keeps_the_weights_it_had() -> None:
    stack = started(TIED)
    trained(stack, 2)
    stack.alive[0] = False
    before = stack.rows.clone()
    trained(stack, 3)
    assert stack.steps_alive.tolist() == [2, 5, 5]
    assert torch.equal(before[0], stack.rows[0])
    assert not torch.equal(before[1], stack.rows[1])


@BOTH
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kept", [[0, 1, 2], [2], [2, 0]])
def test_models_restacked_in_any_number_continue_with_the_same_bits(
    config: ModelConfig, kept: list[int], threads: int
) -> None:
    torch.set_num_threads(threads)
    whole, before = started(config), started(config)
    trained(whole, 8)
    trained(before, 5)
    after = Stack(config, len(kept), AdamW())
    after.load_state(joined_states([rows_of_state(before.state(), [k]) for k in kept]))
    learning_rates, clips = rates(3)
    for step in range(5, 8):
        after.train_step(batch_of(config, 3, seed=step)[kept], learning_rates[kept], clips[kept])
    for name in ("rows", "means", "squares", "steps_alive"):
        assert torch.equal(getattr(after, name), getattr(whole, name)[kept]), name


def test_bfloat16_products_keep_float32_weights_and_nearly_the_same_losses() -> None:
    exact, mixed = started(TIED), started(TIED, "bfloat16")
    exact_losses, mixed_losses = trained(exact, 20), trained(mixed, 20)
    assert mixed.rows.dtype == torch.float32
    assert 0 < (exact_losses - mixed_losses).abs().max() < 0.05


@pytest.mark.slow
@BOTH
def test_a_compiled_stack_without_graph_breaks_gives_the_same_losses(config: ModelConfig) -> None:
    plain, compiled = started(config), started(config, is_compiled=True)  # fullgraph: a break is an error
    assert (trained(plain, 20) - trained(compiled, 20)).abs().max() <= 5e-6


@needs_gpu
@pytest.mark.parametrize("config", [sized("S", 8192)], ids=["S"])
def test_a_stack_on_a_gpu_gives_the_losses_of_the_cpu(config: ModelConfig) -> None:
    on_cpu, on_gpu = started(config), started(config, device="cuda")
    assert (trained(on_cpu, 3) - trained(on_gpu, 3).cpu()).abs().max() <= 1e-4

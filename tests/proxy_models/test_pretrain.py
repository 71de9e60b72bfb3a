"""Pretraining: learns, resumes with the same bits, and outlives a damaged checkpoint."""

import dataclasses
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from proxy_models.batches import Batch, Loader
from proxy_models.checkpoints import CheckpointError, Checkpoints, read_checkpoint
from proxy_models.evaluation import read_answer_set
from proxy_models.export import export_huggingface
from proxy_models.initial_weights import initial_weights
from proxy_models.loader import MixtureError
from proxy_models.model import Transformer, init_weights, sized
from proxy_models.muon import Muon
from proxy_models.optimization import Schedule, warmup_stable_decay
from proxy_models.phases import Phase
from proxy_models.plan import TrainingPhase
from proxy_models.pretrain import DivergenceError, PretrainConfig, PretrainResult, pretrain
from proxy_models.shards import Tokens, open_tokens
from proxy_models.spikes import SpikeRule
from proxy_models.training_log import mfu

CONFIG = PretrainConfig(
    model=sized("tiny", vocabulary=257),
    steps=20,
    batch=2,
    learning_rate=1e-2,
    evaluate_every=8,
    evaluation_sequences=4,
    threads=1,
    checkpoint_every_s=0.0,
)
MIXTURE = {"sums": 0.5, "code": 0.5}


def run(tokens: Tokens, work: Path, stop: int | None = None, config: PretrainConfig = CONFIG) -> PretrainResult:
    return pretrain(tokens, config, MIXTURE, work, lambda done, total: None, stop_after_step=stop)


def test_what_is_trained_on_is_learned(tokens: Tokens, tmp_path: Path) -> None:
    result = run(tokens, tmp_path, config=dataclasses.replace(CONFIG, steps=100, batch=8, evaluate_every=20))
    assert len(result.losses) == result.steps == 100
    assert result.tokens == 100 * 8 * 16
    assert result.tokens_per_s > 0
    assert sum(result.losses[-5:]) / 5 < 0.5 * result.losses[0]
    assert [evaluation["step"] for evaluation in result.evaluations] == [20, 40, 60, 80, 100]
    first, last = result.evaluations[0], result.evaluations[-1]
    assert last["bpb.sums"] < first["bpb.sums"]
    assert last["bpb.sums"] < last["bpb.sentences"]  # sentences are not in the mixture


@pytest.mark.parametrize("stop", [1, 8, 13])
def test_an_interrupted_run_continues_with_the_same_bits(tokens: Tokens, tmp_path: Path, stop: int) -> None:
    whole = run(tokens, tmp_path / "whole")
    assert run(tokens, tmp_path / "parts", stop=stop).steps == stop
    resumed = run(tokens, tmp_path / "parts")
    assert resumed.losses == whole.losses
    assert resumed.evaluations == whole.evaluations
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name


def test_a_damaged_checkpoint_is_passed_over_with_a_message(tokens: Tokens, tmp_path: Path) -> None:
    whole = run(tokens, tmp_path / "whole")
    run(tokens, tmp_path / "parts", stop=7)
    newest = max((tmp_path / "parts").glob("*.checkpoint"))
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    resumed = run(tokens, tmp_path / "parts")
    assert [newest.name in message for message in resumed.messages] == [True]
    assert resumed.losses == whole.losses


def test_only_damaged_checkpoints_stop_the_run(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path, stop=3)
    for path in tmp_path.glob("*.checkpoint"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="every checkpoint"):
        run(tokens, tmp_path)


def test_the_folder_of_another_run_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path, stop=3)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(tokens, tmp_path, config=dataclasses.replace(CONFIG, learning_rate=1e-3))


def test_a_checkpoint_of_another_order_or_of_other_tokens_is_refused(
    tokens: Tokens, token_folder: Path, tmp_path: Path
) -> None:
    run(tokens, tmp_path / "work", stop=3)
    with pytest.raises(CheckpointError, match="of a run with another order than this one, so its slot 6 means other"):
        pretrain(tokens, CONFIG, {"sums": 0.4, "code": 0.6}, tmp_path / "work", lambda done, total: None)
    shutil.copytree(token_folder, tmp_path / "tokens")
    manifest = tmp_path / "tokens" / "tokens.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(CheckpointError, match="of a run with another tokens than this one"):
        run(open_tokens(tmp_path / "tokens"), tmp_path / "work")


def test_the_step_to_go_on_with_is_that_of_the_loaders_state(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path, stop=3)
    path = max(tmp_path.glob("*.checkpoint"))
    checkpoint = read_checkpoint(path)
    assert checkpoint is not None
    assert checkpoint["state"]["loader"]["slot"] == 6
    checkpoint["state"]["loader"]["slot"] = 5  # within a step
    Checkpoints(tmp_path, checkpoint["fingerprint"]).save(3, checkpoint["state"])
    with pytest.raises(CheckpointError, match="no step of this run begins at slot 5"):
        run(tokens, tmp_path)


def test_batches_are_made_beside_the_training(tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, make = set(), Loader._batch

    def watched(*arguments: Any) -> Batch:
        threads.add(threading.current_thread().name)
        time.sleep(0.05)
        return make(*arguments)

    monkeypatch.setattr(Loader, "_batch", watched)
    result = run(tokens, tmp_path, stop=6)
    assert threads == {"prefetch"}
    assert 0.5 < result.loader_share < 1  # a step takes a fraction of 50 ms
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["loader_share"] for line in lines if "loader_share" in line] == [pytest.approx(result.loader_share)]


def test_no_thread_is_left_of_a_run_that_fails(tokens: Tokens, tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(DivergenceError):
        run(tokens, tmp_path, config=dataclasses.replace(CONFIG, learning_rate=1e30))
    assert threading.active_count() == before


def test_the_last_two_checkpoints_are_kept(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path, stop=5)
    kept = sorted(path.name for path in tmp_path.glob("*.checkpoint*"))
    assert kept == ["step-0000000004.checkpoint", "step-0000000005.checkpoint"]


def test_a_checkpoint_cut_off_while_written_is_not_seen(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a run")
    checkpoints.save(3, {"x": 1})
    (tmp_path / "checkpoint.writing").write_bytes(b"half")
    assert checkpoints.latest() == (3, {"x": 1}, [])


def test_a_source_without_tokens_is_named(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="no tokens of poems; the sources are sums, sentences, code"):
        pretrain(tokens, CONFIG, {"poems": 1.0}, tmp_path, lambda done, total: None)


def test_a_run_longer_than_its_epochs_fails_before_the_first_step(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="largest feasible run"):
        run(tokens, tmp_path, config=dataclasses.replace(CONFIG, steps=10_000, max_epochs=2))
    assert not list(tmp_path.iterdir())


def test_a_diverging_run_stops_with_its_step_and_a_remedy(tokens: Tokens, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"the loss of step \d+ is .*lower the learning rate"):
        run(tokens, tmp_path, config=dataclasses.replace(CONFIG, learning_rate=1e30))


def test_the_schedule_by_hand() -> None:
    # 10 steps, 2 up and 3 down: up 1/2 and 1; down 3/4, 2/4, 1/4.
    rates = [warmup_stable_decay(step, 10, warmup=0.2, decay=0.3) for step in range(10)]
    assert rates == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_a_schedule_without_warmup_and_decay_is_flat() -> None:
    assert [warmup_stable_decay(step, 5, warmup=0.0, decay=0.0) for step in range(5)] == [1.0] * 5


PHASES = [
    TrainingPhase({"sums": 1, "code": 1}, share=0.6),
    TrainingPhase({"sentences": 1}, share=0.4, replay=0.3, rates=(0.5, 0.0), context=32, rope_base=50_000.0),
]


def in_phases(
    tokens: Tokens, work: Path, stop: int | None = None, config: PretrainConfig = CONFIG, **others: Any
) -> PretrainResult:
    return pretrain(tokens, config, PHASES, work, lambda done, total: None, stop_after_step=stop, **others)


def test_a_finished_run_of_phases_has_the_last_ones_model_when_it_is_asked_for_again(
    tokens: Tokens, tmp_path: Path
) -> None:
    whole = in_phases(tokens, tmp_path)
    again = in_phases(tokens, tmp_path)
    assert (again.steps, again.losses) == (20, whole.losses)
    assert again.model.config == whole.model.config
    assert torch.equal(again.model.cos, whole.model.cos)


def test_a_phase_of_shorter_context_is_evaluated_on_what_all_phases_can_see(tokens: Tokens, tmp_path: Path) -> None:
    phases = [PHASES[0], TrainingPhase({"sentences": 1}, share=0.4, context=8)]
    found = pretrain(tokens, CONFIG, phases, tmp_path, lambda done, total: None)
    assert [evaluation["step"] for evaluation in found.evaluations] == [8, 16, 20]
    (tmp_path / "answers.jsonl").write_text(json.dumps({"prompt": "1 + 1 = ", "answer": "2, as is known"}))
    answers = read_answer_set(tmp_path / "answers.jsonl", tokens, 16)
    with pytest.raises(ValueError, match="answer set answers is longer than the shortest context of all phases, 8"):
        pretrain(tokens, CONFIG, phases, tmp_path / "2", lambda done, total: None, evaluation_sets=[answers])


def test_the_first_losses_of_another_phase_are_no_spikes(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=40, batch=8, spikes=SpikeRule(window=8, deviations=6, at_most=40))
    phases = [TrainingPhase({"sums": 1}), TrainingPhase({"sentences": 1})]
    found = pretrain(tokens, config, phases, tmp_path, lambda done, total: None)
    assert min(found.losses[20:24]) > max(found.losses[16:20]) + 0.5  # else this tests nothing
    assert found.spikes == []


@pytest.mark.parametrize("stop", [5, 12, 15])
def test_a_run_of_phases_continues_with_the_same_bits(tokens: Tokens, tmp_path: Path, stop: int) -> None:
    whole = in_phases(tokens, tmp_path / "whole")
    assert (whole.model.config.context, whole.model.config.rope_base) == (32, 50_000.0)
    in_phases(tokens, tmp_path / "parts", stop=stop)
    assert in_phases(tokens, tmp_path / "parts").losses == whole.losses


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": Muon()},
        {"schedule": Schedule("cosine")},
        {"accumulate": 2, "z_loss": 1e-4},
        {"products": "bfloat16"},
        {"packing": "best_fit", "masks_documents": True, "accumulate": 2, "z_loss": 1e-4},
        {
            "model": dataclasses.replace(CONFIG.model, experts=4, experts_per_token=2, expert_width=8),
            "balance_loss": 1e-3,
            "packing": "best_fit",
        },
    ],
    ids=lambda change: "-".join(change),
)
def test_each_way_to_train_learns_and_continues_with_the_same_bits(
    tokens: Tokens, tmp_path: Path, change: dict[str, Any]
) -> None:
    config = dataclasses.replace(CONFIG, **change)
    whole = run(tokens, tmp_path / "whole", config=config)
    assert sum(whole.losses[-3:]) / 3 < whole.losses[0] - 0.1
    run(tokens, tmp_path / "parts", stop=7, config=config)
    assert run(tokens, tmp_path / "parts", config=config).losses == whole.losses


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
def test_a_batch_in_parts_is_the_batch(tokens: Tokens, tmp_path: Path, packing: Any) -> None:
    config = dataclasses.replace(CONFIG, batch=4, packing=packing, z_loss=0.01)
    whole = run(tokens, tmp_path / "whole", config=config)
    parts = run(tokens, tmp_path / "parts", config=dataclasses.replace(config, accumulate=4))
    assert parts.losses == pytest.approx(whole.losses, abs=1e-5)


@pytest.mark.parametrize("packing", ["concatenated", "best_fit"])
def test_the_loss_of_a_step_is_the_mean_over_the_targets(tokens: Tokens, tmp_path: Path, packing: Any) -> None:
    config = dataclasses.replace(CONFIG, packing=packing, accumulate=2)
    found = run(tokens, tmp_path, stop=1, config=config)
    model = Transformer(CONFIG.model)
    init_weights(model, CONFIG.seed)
    batch = next(Loader(tokens, [Phase(MIXTURE, 20, 2, 16)], packing=packing).batches())
    losses = model.token_losses(torch.from_numpy(batch.sequences))
    counted = losses if batch.is_target is None else losses[torch.from_numpy(batch.is_target)]
    assert found.losses[0] == pytest.approx(counted.mean().item(), abs=1e-5)


def test_a_run_starts_from_a_checkpoint_or_an_exported_folder(tokens: Tokens, tmp_path: Path) -> None:
    first = run(tokens, tmp_path / "first")
    card = "---\nlibrary_name: transformers\n---\n"
    export_huggingface(first.model, CONFIG.model, tokens, tmp_path / "exported", card)
    nothing = dataclasses.replace(CONFIG, steps=1, learning_rate=0.0)
    for start in (tmp_path / "first", tmp_path / "exported", max((tmp_path / "first").glob("*.checkpoint"))):
        found = pretrain(
            tokens, nothing, MIXTURE, tmp_path / f"from-{start.name}", lambda done, total: None, start=start
        )
        for name, weight in first.model.state_dict().items():
            assert torch.equal(found.model.state_dict()[name], weight), (start, name)
        assert found.losses[0] < first.losses[0] - 0.1


def test_a_damaged_checkpoint_is_passed_over_at_the_start_with_a_message(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path / "first")
    newest = max((tmp_path / "first").glob("*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-1])
    found = in_phases(tokens, tmp_path / "second", stop=1, start=tmp_path / "first")
    assert found.messages == [
        f"{newest} is damaged (its sha256 does not match); the one before it is used, step-0000000019.checkpoint"
    ]


def test_weights_of_another_model_are_refused(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path / "first", stop=1)
    wider = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, ffn_width=64))
    with pytest.raises(
        CheckpointError, match=r"feed_forward.down.weight has shape \(16, 32\), this model's has \(16, 64"
    ):
        in_phases(tokens, tmp_path / "second", config=wider, start=tmp_path / "first")


def test_a_folder_without_weights_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither a checkpoint"):
        in_phases(tokens, tmp_path / "work", start=tmp_path / "empty")


# A first window of steps that jump about less than so many deviations; then a rate at which a step does harm.
SPIKY = dataclasses.replace(
    CONFIG,
    steps=40,
    learning_rate=3e-2,
    spikes=SpikeRule(window=6, deviations=1.5, at_most=40),
    checkpoint_every_steps=4,
)


@pytest.mark.parametrize("response", ["skip", "rewind"])
def test_spikes_are_answered_and_told_the_same_after_a_resume(tokens: Tokens, tmp_path: Path, response: Any) -> None:
    config = dataclasses.replace(SPIKY, spikes=dataclasses.replace(SPIKY.spikes, response=response))
    whole = run(tokens, tmp_path / "whole", config=config)
    assert whole.spikes
    assert len(whole.messages) == len(whole.spikes)
    assert ("resumed_from" in whole.spikes[0]) == (response == "rewind")
    assert len(whole.losses) == 40
    for stop in (9, 22, 33):
        run(tokens, tmp_path / "parts", stop=stop, config=config)
    resumed = run(tokens, tmp_path / "parts", config=config)
    assert resumed.losses == whole.losses
    assert resumed.spikes == whole.spikes


def test_a_skipped_batch_leaves_the_weights_as_they_were(tokens: Tokens, tmp_path: Path) -> None:
    whole = run(tokens, tmp_path / "whole", config=SPIKY)
    step = int(whole.spikes[0]["step"])
    config = dataclasses.replace(SPIKY, checkpoint_every_steps=1)
    weights = []
    for done in (step, step + 1):
        run(tokens, tmp_path / "steps", stop=done, config=config)
        weights.append(initial_weights(tmp_path / "steps", Transformer(CONFIG.model))[0])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_more_spikes_than_are_allowed_end_the_run(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(SPIKY, spikes=dataclasses.replace(SPIKY.spikes, at_most=1))
    with pytest.raises(DivergenceError, match=r"is a spike after 1 others, the last at step \d+"):
        run(tokens, tmp_path, config=config)


def test_a_loss_that_is_not_finite_is_a_spike(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, learning_rate=1e30, spikes=SpikeRule(window=50, at_most=100))
    result = run(tokens, tmp_path, config=config)
    assert len(result.spikes) > 10
    assert result.spikes[0]["step"] > 0


def test_the_log_has_each_step_once_over_a_resume(tokens: Tokens, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, log_every=1, checkpoint_every_steps=5)
    run(tokens, tmp_path, stop=8, config=config)
    result = run(tokens, tmp_path, config=config)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert "6 * matrix parameters" in lines[0]["run"]["mfu"]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 21))
    assert [line["loss"] for line in steps] == result.losses
    assert [line["tokens"] for line in steps] == [step * 32 for step in range(1, 21)]
    assert all(line["mfu"] is None and line["tokens_per_s"] > 0 for line in steps)
    assert [line["step"] for line in lines if "bpb.sums" in line] == [8, 16, 20]


def test_mfu_by_hand() -> None:
    config = sized("1B", 32_768)
    matrices = 20 * (2 * 2048 * 2048 + 2 * 2048 * 1024 + 3 * 2048 * 6144) + 32_768 * 2048
    flops = 6 * matrices + 12 * 20 * 16 * 128 * 2048
    assert mfu(50_000, config, "NVIDIA H200") == pytest.approx(50_000 * flops / 989e12)
    assert mfu(100_000, config, "NVIDIA H200", cards=2) == pytest.approx(50_000 * flops / 989e12)
    assert mfu(50_000, config, "Some CPU") is None


def test_answer_sets_are_measured_during_the_run(tokens: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "capitals.jsonl"
    path.write_text('{"prompt": "1 + 1 =", "answer": " 2"}\n')
    answers = read_answer_set(path, tokens, 16)
    result = pretrain(tokens, CONFIG, MIXTURE, tmp_path / "work", lambda done, total: None, evaluation_sets=[answers])
    assert [evaluation["answers.capitals"] > 0 for evaluation in result.evaluations] == [True] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"products": "int4"}, "no products 'int4'"),
        ({"accumulate": 0}, "must be at least 1"),
        ({"spikes": SpikeRule("rewind")}, "a rewind needs checkpoint_every_steps"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.slow
def test_compiled_blocks_lose_what_others_do(tokens: Tokens, tmp_path: Path) -> None:
    if not shutil.which("g++"):
        pytest.skip("torch.compile needs g++ on a CPU")
    compiled = run(tokens, tmp_path / "compiled", config=dataclasses.replace(CONFIG, is_compiled=True))
    assert compiled.losses == pytest.approx(run(tokens, tmp_path / "plain").losses, abs=1e-5)


def test_spikes_are_judged_by_the_losses_that_were_none(tokens: Tokens, tmp_path: Path) -> None:
    assert SPIKY.spikes is not None
    result = run(tokens, tmp_path, config=SPIKY)
    usual: list[float] = []
    spikes = []
    for step, loss in enumerate(result.losses):
        if loss > SPIKY.spikes.limit(usual):
            spikes.append(step)
        else:
            usual.append(loss)
    assert [spike["step"] for spike in result.spikes] == spikes
    assert len(spikes) > 1


def test_a_rewind_goes_back_to_the_weights_of_the_last_checkpoint(tokens: Tokens, tmp_path: Path) -> None:
    assert SPIKY.spikes is not None
    config = dataclasses.replace(SPIKY, spikes=dataclasses.replace(SPIKY.spikes, response="rewind"))
    spikes = run(tokens, tmp_path / "whole", config=config).spikes
    spike = next(spike for spike in spikes if spike["step"] > spike["resumed_from"])
    stopped = run(tokens, tmp_path / "stopped", stop=int(spike["step"]) + 1, config=config)
    path = tmp_path / "stopped" / f"step-{spike['resumed_from']:010.0f}.checkpoint"
    for name, weight in initial_weights(path, Transformer(CONFIG.model))[0].items():
        assert torch.equal(stopped.model.state_dict()[name], weight), name

"""Pretraining: learns, resumes with the same bits, and outlives a damaged checkpoint."""

import dataclasses
from pathlib import Path

import pytest
import torch

from proxy_models.checkpoints import CheckpointError, Checkpoints
from proxy_models.loader import MixtureError
from proxy_models.model import sized
from proxy_models.optimization import warmup_stable_decay
from proxy_models.pretrain import DivergenceError, PretrainConfig, PretrainResult, pretrain
from proxy_models.shards import Tokens

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


def test_the_last_two_checkpoints_are_kept(tokens: Tokens, tmp_path: Path) -> None:
    run(tokens, tmp_path, stop=5)
    kept = sorted(path.name for path in tmp_path.iterdir())
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

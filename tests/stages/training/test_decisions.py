"""What the stages of the mix decide from rows of runs: when a search ends, which sizes compare, what a check shows."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mixes.mix_file import MixFile
from pipeline.errors import StageError
from stages.training.mix import _confirmed
from stages.training.options import metric_weights
from stages.training.pairs import PairedSwarm, PairedSwarmConfig
from stages.training.pretrain import _weights
from stages.training.swarm import ProxySwarm, ProxySwarmConfig

UNIQUE = {"a": 10_000, "b": 20_000, "c": 30_000}  # tokens


def designed(round_: int = 0, rows: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
    stage = ProxySwarm(ProxySwarmConfig(**options))
    return cast("dict[str, Any]", stage._design(rows or [], 1, UNIQUE, round_, False).summary)


def first_rows(diverged: int) -> list[dict[str, Any]]:
    """Rows of the first round, of which so many diverged."""
    rng = np.random.default_rng(0)
    rows = []
    for i, run in enumerate(designed()["runs"]):
        row = {"run": run["id"], "round": 0, "purpose": run["purpose"], "diverged": i < diverged}
        for ratio, name in zip(run["mixture"], UNIQUE, strict=True):
            loss = 1 + 0.5 * (ratio + 0.1) ** -0.3 + 0.003 * rng.standard_normal()
            row |= {f"mixture.{name}": ratio, f"bpb.{name}": None if i < diverged else loss}
        rows.append(row)
    return rows


# the search


@pytest.mark.parametrize("options", [{"fixed": {"a": 0.0}}, {"bounds": {"a": (0.0, 0.0)}}])
def test_a_source_may_be_left_out_by_its_limits(options: Any) -> None:
    runs = designed(**options)["runs"]
    assert len(runs) == 24
    assert {run["mixture"][0] for run in runs} == {0.0}
    assert len({tuple(run["mixture"]) for run in runs}) >= 20  # four are of the natural mix


def test_ratios_that_are_all_fixed_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(StageError, match="all ratios are fixed"):
        designed(fixed={"a": 0.2, "b": 0.3, "c": 0.5})


def test_a_swarm_that_diverged_says_so() -> None:
    with pytest.raises(StageError, match="24 of 24 proxies diverged: lower learning_rate"):
        designed(1, first_rows(diverged=24))


def test_a_search_with_diverged_proxies_ends_with_its_reason() -> None:
    found = designed(1, first_rows(diverged=2), runs=24)
    assert found["runs"] == []
    assert "more runs are not allowed" in found["told"]["reason"]


# sizes


@pytest.mark.parametrize(("size", "target"), [("tiny", {}), ("nano", {}), ("demo", {"parameters": 100})])
def test_sizes_that_cannot_be_compared_are_refused_before_the_second_is_trained(size: str, target: Any) -> None:
    stage = PairedSwarm(PairedSwarmConfig(size=size, target=target))
    with pytest.raises(StageError, match="cannot be compared"):
        stage._check_sizes(base=55_632)


# the check by further proxies


def checking_row(purpose: str, seed: int, loss: float | None) -> dict[str, Any]:
    return {"size": "S", "purpose": purpose, "seed": seed, "bpb.a": loss, "diverged": loss is None}


def test_a_mix_on_which_a_proxy_diverged_does_not_beat_the_natural_one() -> None:
    found = {
        "size": "S", "metrics": ["bpb.a"], "used_weights": [1.0], "transfer": None,
        "optimum": {"best": {"metrics": [1.0]}, "natural": {"metrics": [1.1]}},
    }  # fmt: skip
    best, natural = {1: None, 2: 1.0, 3: 1.01}, {1: 1.1, 2: 1.1, 3: 1.1}
    rows = [checking_row("best", seed, loss) for seed, loss in best.items()]
    rows += [checking_row("natural", seed, loss) for seed, loss in natural.items()]
    ((check, means),) = _confirmed(rows, found)
    assert not check.beats_natural
    assert "diverged: 1 on the mixture, 0 on the natural mix" in check.verdict
    assert means["diverged"] == {"best": 1, "natural": 0}


# weights


def mix_file_of(weights: dict[str, float]) -> MixFile:
    metrics = {name: SimpleNamespace(weight=weight) for name, weight in weights.items()}
    return cast("MixFile", SimpleNamespace(evidence=SimpleNamespace(metrics=metrics)))


def test_a_pretrained_model_is_weighed_by_what_it_is_measured_on() -> None:
    assert _weights(mix_file_of({"bpb.a": 0.3, "bpb.b": 0.1, "answers.x": 0.6})) == {"bpb.a": 0.3, "bpb.b": 0.1}
    assert _weights(mix_file_of({"bpb.a": 0.0, "bpb.b": 0.0, "answers.x": 1.0})) == {"bpb.a": 0.5, "bpb.b": 0.5}


def test_a_name_that_is_a_source_and_an_answer_set_is_refused() -> None:
    with pytest.raises(StageError, match="code is a source and an answer set"):
        metric_weights({"code": 1.0}, ["code", "web"], ["code"])

"""From token shards to a swarm, from the swarm to a mixture, from the mixture to a model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixes.mix_file import MixFile
from pipeline.artifact import Artifact
from pipeline.errors import StageError
from stages.training.mix import MIX_FILE, OptimizeMix, OptimizeMixConfig
from stages.training.pretrain import Pretrain, PretrainConfig
from stages.training.sources import Size, source_fingerprints, train_tokens
from stages.training.swarm import RUNS_FILE, ProxySwarm, ProxySwarmConfig, Target
from tests.stages.training.conftest import MAX_EPOCHS, TARGET_TOKENS, run_stage

SOURCES = ("code", "sums", "tales")
CONFIG = PretrainConfig(size="tiny", batch=8, evaluations=4)


@pytest.fixture(scope="module")
def caps(tokens: Artifact) -> dict[str, float]:
    unique = train_tokens(tokens.summary["sources"])
    return {source: min(1.0, MAX_EPOCHS * n / TARGET_TOKENS) for source, n in unique.items()}


@pytest.fixture(scope="module")
def model(tokens: Artifact, mix: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage(Pretrain(CONFIG), {"tokens": [tokens], "mix": [mix]}, tmp_path_factory.mktemp("model"))


def test_the_swarm_measures_every_source_after_every_mixture(runs: Artifact, caps: dict[str, float]) -> None:
    rows = pq.read_table(runs.files_folder / RUNS_FILE).to_pylist()
    assert [row["run"] for row in rows] == list(range(12))
    assert caps["code"] < 0.5
    for row in rows:
        shares = {source: row[f"mixture.{source}"] for source in SOURCES}
        assert sum(shares.values()) == pytest.approx(1)
        assert all(shares[source] <= caps[source] + 0.01 for source in SOURCES)  # shares are of whole sequences
        assert all(0 < row[f"bpb.{source}"] < 16 for source in SOURCES)
        assert not row["diverged"]
    assert runs.summary["sources"] == list(SOURCES)
    assert runs.summary["tokens_per_proxy"] == 60 * 8 * 16


def test_more_of_a_source_makes_a_proxy_better_at_it(runs: Artifact) -> None:
    rows = pq.read_table(runs.files_folder / RUNS_FILE).to_pylist()
    shares = np.array([row["mixture.tales"] for row in rows])
    losses = np.array([row["bpb.tales"] for row in rows])
    assert np.corrcoef(shares, losses)[0, 1] < -0.5


def test_a_killed_swarm_gives_the_same_losses(
    tokens: Artifact, runs: Artifact, swarm_config: ProxySwarmConfig, tmp_path: Path
) -> None:
    stage = ProxySwarm(swarm_config.model_copy(update={"checkpoint_every_s": 1e-9}))
    with pytest.raises(KilledError):
        run_stage(stage, {"tokens": [tokens]}, tmp_path, killed_at(37))
    assert list((tmp_path / "work").rglob("*.checkpoint"))
    steps: list[int] = []
    again = run_stage(stage, {"tokens": [tokens]}, tmp_path, lambda done, total: steps.append(done))
    assert steps[0] > 30  # it went on; it did not start anew
    assert (again.files_folder / RUNS_FILE).read_bytes() == (runs.files_folder / RUNS_FILE).read_bytes()


def test_a_single_source_cannot_be_mixed(tokens: Artifact, swarm_config: ProxySwarmConfig, tmp_path: Path) -> None:
    alone = with_sources(tokens, ["tales"])
    with pytest.raises(StageError, match="at least two sources; the tokens have only tales"):
        run_stage(ProxySwarm(swarm_config), {"tokens": [alone]}, tmp_path)


@pytest.mark.parametrize("stage", ["swarm", "mix"])
def test_a_target_beyond_the_tokens_is_refused(
    stage: str, tokens: Artifact, runs: Artifact, swarm_config: ProxySwarmConfig, tmp_path: Path
) -> None:
    beyond = {"target": Target(tokens=10**9, max_epochs=MAX_EPOCHS)}
    made = (
        ProxySwarm(swarm_config.model_copy(update=beyond))
        if stage == "swarm"
        else OptimizeMix(OptimizeMixConfig(**beyond))
    )
    with pytest.raises(StageError, match="target"):
        run_stage(made, {"tokens": [tokens], "runs": [runs]}, tmp_path)


def test_an_unknown_size_is_told_with_those_there_are(
    tokens: Artifact, swarm_config: ProxySwarmConfig, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="no size 'XXL'; the sizes are tiny, "):
        run_stage(ProxySwarm(swarm_config.model_copy(update={"size": "XXL"})), {"tokens": [tokens]}, tmp_path)


def test_the_mix_file_keeps_to_the_caps_and_names_its_data(
    tokens: Artifact, mix: Artifact, caps: dict[str, float]
) -> None:
    file = MixFile.read(mix.files_folder / MIX_FILE)
    assert list(file.sources) == list(SOURCES)
    assert file.target_tokens == TARGET_TOKENS
    assert sum(file.ratios.values()) == pytest.approx(1)
    for source, share in file.sources.items():
        assert share.ratio <= caps[source] + 1e-6
        assert share.epochs <= MAX_EPOCHS + 1e-3
    assert {name: s.fingerprint for name, s in file.sources.items()} == source_fingerprints(tokens.summary["sources"])
    assert [metric.weight for metric in file.evidence.metrics.values()] == pytest.approx([1 / 3] * 3)


def test_the_mixture_follows_what_is_asked_for(tokens: Artifact, runs: Artifact, tmp_path: Path) -> None:
    ratios = {}
    for source in ("sums", "tales"):
        config = OptimizeMixConfig(evaluate={source: 2.0}, target=Target(tokens=TARGET_TOKENS, max_epochs=MAX_EPOCHS))
        made = run_stage(OptimizeMix(config), {"tokens": [tokens], "runs": [runs]}, tmp_path / source)
        file = MixFile.read(made.files_folder / MIX_FILE)
        assert {name: metric.weight for name, metric in file.evidence.metrics.items()} == {
            f"bpb.{name}": float(name == source) for name in SOURCES
        }
        ratios[source] = file.ratios
    assert ratios["sums"]["sums"] > ratios["tales"]["sums"] + 0.2
    assert ratios["tales"]["tales"] > ratios["sums"]["tales"] + 0.2


def test_a_source_that_is_all_that_counts_gets_what_its_tokens_allow_and_no_more(
    tokens: Artifact, runs: Artifact, caps: dict[str, float], tmp_path: Path
) -> None:
    config = OptimizeMixConfig(evaluate={"code": 1.0}, target=Target(tokens=TARGET_TOKENS, max_epochs=MAX_EPOCHS))
    made = run_stage(OptimizeMix(config), {"tokens": [tokens], "runs": [runs]}, tmp_path)
    code = MixFile.read(made.files_folder / MIX_FILE).sources["code"]
    assert code.ratio == pytest.approx(caps["code"], abs=0.02)
    assert code.ratio <= caps["code"] + 1e-6
    assert code.epochs <= MAX_EPOCHS + 1e-3
    assert code.shadow_price > 0  # more tokens of it would help


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"tails": 1.0}, "evaluate names tails, but the tokens have the sources code, sums, tales"),
        ({"tales": 0.0}, "must not be negative or all zero"),
        ({"tales": 1.0, "sums": -1.0}, "must not be negative or all zero"),
    ],
)
def test_weights_that_make_no_sense_are_refused(
    tokens: Artifact, runs: Artifact, tmp_path: Path, weights: dict[str, float], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        run_stage(OptimizeMix(OptimizeMixConfig(evaluate=weights)), {"tokens": [tokens], "runs": [runs]}, tmp_path)


def test_the_same_runs_give_the_same_mix_file(tokens: Artifact, runs: Artifact, mix: Artifact, tmp_path: Path) -> None:
    config = OptimizeMixConfig(target=Target(tokens=TARGET_TOKENS, max_epochs=MAX_EPOCHS))
    again = run_stage(OptimizeMix(config), {"tokens": [tokens], "runs": [runs]}, tmp_path)
    assert (again.files_folder / MIX_FILE).read_bytes() == (mix.files_folder / MIX_FILE).read_bytes()


def test_summaries_can_be_stored(runs: Artifact, mix: Artifact, model: Artifact) -> None:
    for artifact in (runs, mix, model):
        assert json.loads(json.dumps(dict(artifact.summary), allow_nan=False)) == artifact.summary


def test_two_models_are_trained_on_the_target_by_the_optimal_and_the_natural_ratios(
    model: Artifact, mix: Artifact
) -> None:
    file = MixFile.read(mix.files_folder / MIX_FILE)
    steps = TARGET_TOKENS // (8 * 16)
    for name, ratios in (
        ("optimal", file.ratios),
        ("natural", {source: share.natural_ratio for source, share in file.sources.items()}),
    ):
        trained = model.summary["models"][name]
        assert trained["ratios"] == ratios
        assert (trained["steps"], trained["tokens"]) == (steps, steps * 8 * 16)
        assert trained["evaluations"][-1]["step"] == steps
        first, last = trained["losses"][0][1], trained["losses"][-1][1]
        assert last < first - 1


def test_transformers_loads_the_exported_model(model: Artifact) -> None:
    import transformers

    folder = model.files_folder / "optimal"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.num_parameters() == sum(model.summary["models"]["optimal"]["parameters"].values())
    prompt = tokenizer("The cat sees the dog and", return_tensors="pt")
    assert loaded(**prompt, labels=prompt["input_ids"]).loss < np.log(280)  # better than chance


class KilledError(Exception):
    """Stands for the end of the process at a step."""


def killed_at(step: int):
    def progress(done: int, total: int) -> None:
        if done == step:
            raise KilledError

    return progress


@pytest.mark.parametrize(
    "step", [70, TARGET_TOKENS // (8 * 16) + 70], ids=["in the first model", "in the second model"]
)
def test_a_killed_training_ends_with_the_same_losses(
    tokens: Artifact, mix: Artifact, model: Artifact, tmp_path: Path, step: int
) -> None:
    inputs = {"tokens": [tokens], "mix": [mix]}
    stage = Pretrain(CONFIG.model_copy(update={"checkpoint_every_s": 1e-9}))
    with pytest.raises(KilledError):
        run_stage(stage, inputs, tmp_path, killed_at(step))
    seen: list[int] = []
    again = run_stage(stage, inputs, tmp_path, lambda done, total: seen.append(done))
    assert seen[0] == step + 1  # counted over both models
    assert again.summary == model.summary
    for name in ("optimal", "natural"):
        weights = f"{name}/model.safetensors"
        assert (again.files_folder / weights).read_bytes() == (model.files_folder / weights).read_bytes()


def test_a_mix_of_other_data_is_refused_by_source(
    tokens: Artifact, other_tokens: Artifact, mix: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="measured on other data than these shards hold, for code, sums, tales"):
        run_stage(Pretrain(CONFIG), {"tokens": [other_tokens], "mix": [mix]}, tmp_path)


def test_a_source_that_the_mix_does_not_know_is_refused_by_name(
    tokens: Artifact, mix: Artifact, tmp_path: Path
) -> None:
    more = {**tokens.summary["sources"], "papers": tokens.summary["sources"]["tales"]}
    (part,) = tokens.parts
    grown = replace(tokens, parts=(replace(part, summary={**part.summary, "sources": more}),))
    with pytest.raises(StageError, match="measured on other data than these shards hold, for papers"):
        run_stage(Pretrain(CONFIG), {"tokens": [grown], "mix": [mix]}, tmp_path)


def test_shards_that_were_changed_behind_the_back_of_tokens_json_are_refused(
    tokens: Artifact, mix: Artifact, tmp_path: Path
) -> None:
    copy = tmp_path / "copy" / "files"
    shutil.copytree(tokens.files_folder, copy)
    shard = next(copy.glob("tales/train-*.bin"))
    body = bytearray(shard.read_bytes())
    body[100] ^= 1
    shard.write_bytes(body)
    damaged = replace(tokens, folder=copy.parent, parts=(replace(tokens.parts[0], folder="files"),))
    with pytest.raises(StageError, match=r"not the bytes that .*tokens\.json names: .*tales/train-00000\.bin"):
        run_stage(Pretrain(CONFIG), {"tokens": [damaged], "mix": [mix]}, tmp_path)


def test_a_target_of_less_than_one_batch_is_refused(tokens: Artifact, mix: Artifact, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the target of 20000 tokens is less than one batch of 4096 x 16 tokens"):
        run_stage(Pretrain(CONFIG.model_copy(update={"batch": 4096})), {"tokens": [tokens], "mix": [mix]}, tmp_path)


def with_sources(tokens: Artifact, names: list[str]) -> Artifact:
    """The artifact as if it had only these sources."""
    (part,) = tokens.parts
    sources = {name: part.summary["sources"][name] for name in names}
    return replace(tokens, parts=(replace(part, summary={**part.summary, "sources": sources}),))


def test_a_recipe_may_name_every_size_that_the_models_have_and_no_other() -> None:
    from proxy_models.model import SIZES

    assert get_args(Size) == tuple(SIZES)

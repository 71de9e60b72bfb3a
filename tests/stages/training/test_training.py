"""From token shards to a swarm, from the swarm to a mixture, from the mixture to a model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixes.mix_file import MixFile
from mixes.stored_fit import StoredFit
from pipeline.artifact import Artifact
from pipeline.errors import RecipeError, StageError
from pipeline.graph import build_graph
from pipeline.recipe import recipe_of
from pipeline.stage import Context
from stages.training.mix import FIT_FILE, MIX_FILE
from stages.training.pretrain import Pretrain
from stages.training.pretrain_options import PretrainConfig
from stages.training.proxies import RUNS_FILE
from stages.training.sources import Size, source_fingerprints, train_tokens
from stages.training.swarm import ProxySwarm, ProxySwarmConfig
from tests.stages.in_process import run_here
from tests.stages.training.conftest import (
    MAX_EPOCHS,
    MIX,
    PAIRS,
    SWARM,
    TARGET_TOKENS,
    run_stage,
    tokenized,
    write_sources,
)

SOURCES = ("code", "sums", "tales")
CONFIG = PretrainConfig(size="tiny", batch=8, evaluations=4)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def caps(tokens: Artifact) -> dict[str, float]:
    unique = train_tokens(tokens.summary["sources"])
    return {source: min(1.0, MAX_EPOCHS * n / TARGET_TOKENS) for source, n in unique.items()}


@pytest.fixture(scope="module")
def model(tokens: Artifact, mix: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage(Pretrain(CONFIG), {"tokens": [tokens], "mix": [mix]}, tmp_path_factory.mktemp("model"))


def rows_of(runs: Artifact) -> Rows:
    return pq.read_table(runs.files_folder / RUNS_FILE).to_pylist()


# the swarm


def test_the_swarm_measures_every_source_after_every_mixture(runs: Artifact, caps: dict[str, float]) -> None:
    rows = rows_of(runs)
    assert [row["run"] for row in rows] == [f"{i:04d}" for i in range(len(rows))]
    assert caps["code"] < 0.5
    for row in rows:
        shares = {source: row[f"mixture.{source}"] for source in SOURCES}
        assert sum(shares.values()) == pytest.approx(1)
        assert all(shares[source] <= caps[source] + 0.01 for source in SOURCES)  # shares are of whole sequences
        assert all(0 < row[f"bpb.{source}{at}"] < 16 for source in SOURCES for at in ("@25", "@50", ""))
        assert not row["diverged"]
    assert runs.summary["sources"] == list(SOURCES)
    assert runs.summary["tokens_per_proxy"] == 60 * 8 * 16


def test_proxies_repeat_each_source_as_often_as_the_target_would(tokens: Artifact, runs: Artifact) -> None:
    unique = train_tokens(tokens.summary["sources"])
    for row in rows_of(runs):
        for source, n in unique.items():
            expected = row[f"mixture.{source}"] * TARGET_TOKENS / n
            assert row[f"epochs.{source}"] == pytest.approx(expected, rel=0.05, abs=0.02)  # cut to whole sequences


def test_more_of_a_source_makes_a_proxy_better_at_it(runs: Artifact) -> None:
    rows = rows_of(runs)
    shares = np.array([row["mixture.tales"] for row in rows])
    losses = np.array([row["bpb.tales"] for row in rows])
    assert np.corrcoef(shares, losses)[0, 1] < -0.5


def test_rounds_are_chosen_by_the_runs_before_and_end_with_a_reason(runs: Artifact) -> None:
    rows, rounds = rows_of(runs), runs.summary["rounds"]
    by_round = {number: [row for row in rows if row["round"] == number] for number in {row["round"] for row in rows}}
    assert len(by_round[0]) == 12
    assert [row["purpose"] for row in by_round[0]].count("repeat") == 3
    assert [told["round"] for told in rounds] == sorted(by_round)
    assert [told["runs"] for told in rounds] == np.cumsum(
        [len(by_round[number]) for number in sorted(by_round)]
    ).tolist()
    assert len({row["seed"] for row in rows if row["purpose"] != "repeat"}) == 1
    for number, told in enumerate(rounds):
        assert told["reason"]
        assert (told["fresh_within"] is None) == (number == 0)
        if number:
            assert "objective" in {row["purpose"] for row in by_round[number]}


def trained(stage: ProxySwarm, tokens: Artifact, folder: Path, mixtures: list[list[float]], stop_at: int = 0) -> Rows:
    """Rows of runs on these mixtures by the task of one stack, or KilledError at a step."""
    runs = [
        {"id": f"{i}", "mixture": mixture, "seed": 1, "learning_rate": None, "purpose": "drawn", "round": 0}
        for i, mixture in enumerate(mixtures)
    ]
    (task,) = stage.stacks("train 1", tokens, runs, stage.config.size, stage.config.steps)
    (folder / "out").mkdir(parents=True, exist_ok=True)
    progress = killed_at(stop_at) if stop_at else lambda done, total: None
    context = Context(seed=1, work=folder / "work", answers=folder / "answers", progress=progress, cpus=2)
    stage.work(task, folder / "out", context)
    return pq.read_table(folder / "out" / RUNS_FILE).to_pylist()


MIXTURES = [[0.2, 0.4, 0.4], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]]


@pytest.fixture(scope="module")
def stage() -> ProxySwarm:
    options = {name: value for name, value in SWARM.items() if name not in ("stage", "from")}
    return ProxySwarm(ProxySwarmConfig(**options))


def test_a_killed_stack_gives_the_same_rows(stage: ProxySwarm, tokens: Artifact, tmp_path: Path) -> None:
    undisturbed = trained(stage, tokens, tmp_path / "undisturbed", MIXTURES)
    often = ProxySwarm(stage.config.model_copy(update={"checkpoint_every_s": 1e-9}))
    with pytest.raises(KilledError):
        trained(often, tokens, tmp_path / "killed", MIXTURES, stop_at=3 * 37)
    assert list((tmp_path / "killed/answers").rglob("*.checkpoint"))
    assert trained(often, tokens, tmp_path / "killed", MIXTURES) == undisturbed


def test_runs_of_another_plan_are_not_trained_again(stage: ProxySwarm, tokens: Artifact, tmp_path: Path) -> None:
    first = trained(stage, tokens, tmp_path, MIXTURES)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "answers").rglob("*") if path.is_file()}
    smaller = ProxySwarm(stage.config.model_copy(update={"stack": 8}))
    more = trained(smaller, tokens, tmp_path, [*MIXTURES, [0.2, 0.2, 0.6]])
    assert more[:3] == first
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items() if "finished" in str(path))


def test_a_small_vocabulary_changes_neither_the_mixture_nor_its_repetition(
    stage: ProxySwarm, tokens: Artifact, tmp_path: Path
) -> None:
    (whole,) = trained(stage, tokens, tmp_path / "whole", MIXTURES[:1])
    small = ProxySwarm(stage.config.model_copy(update={"vocabulary": 262}))
    (cut,) = trained(small, tokens, tmp_path / "cut", MIXTURES[:1])
    assert (whole["vocabulary"], cut["vocabulary"]) == (280, 262)
    for source in SOURCES:
        assert cut[f"mixture.{source}"] == pytest.approx(whole[f"mixture.{source}"], abs=0.01)
        assert cut[f"epochs.{source}"] == pytest.approx(whole[f"epochs.{source}"], rel=0.2)
        assert cut[f"bpb.{source}"] != whole[f"bpb.{source}"]


def test_a_single_source_cannot_be_mixed(tmp_path: Path) -> None:
    write_sources(tmp_path)
    with pytest.raises(StageError, match="at least two sources; the tokens have only tales"):
        run_here(tmp_path, {**tokenized(["tales"]), "swarm": SWARM})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": {"tokens": 10**9, "max_epochs": MAX_EPOCHS}}, "target"),
        ({"bounds": {"coed": [0.1, 0.2]}}, "limits name coed, but the tokens have the sources code, sums, tales"),
        ({"bounds": {"sums": [0.8, 1.0], "tales": [0.8, 1.0]}}, "sums.*tales|tales.*sums|lower"),
        ({"evaluate": {"tails": 1.0}}, "evaluate names tails, but the tokens have the sources code, sums, tales"),
        ({"evaluate": {"tales": 0.0}}, "must not be negative or all zero"),
        ({"evaluate": {"tales": 1.0, "sums": -1.0}}, "must not be negative or all zero"),
        ({"vocabulary": 5000}, "vocabulary|5000"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    folder: Path, line: dict[str, Artifact], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        run_here(folder, {**tokenized(), "refused": {**SWARM, **changed}})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": "XXL"}, "size"),
        ({"answer_sets": {"adding": "gone.jsonl"}}, r"no such file: adding: .*gone\.jsonl"),
        ({"answer_sets": {"held_out": "adding.jsonl"}}, "give the answer set another name"),
        ({"learning_rate": "tiny"}, "learning_rate"),
    ],
)
def test_what_is_wrong_in_the_recipe_is_told_at_once(folder: Path, changed: dict[str, Any], message: str) -> None:
    values = {"name": "here", "artifacts": {**tokenized(), "swarm": {**SWARM, **changed}}}
    with pytest.raises(RecipeError, match=message):
        build_graph(recipe_of(folder / "recipe.yaml", values))


# the mix


def optimized(folder: Path, name: str, **changed: Any) -> Artifact:
    """Another mix of the same proxies, none trained to confirm it."""
    mix = {**MIX, "from": ["tokens", "swarm"], "confirm": 0, **changed}
    return run_here(folder, {**tokenized(), "swarm": SWARM, name: mix})[name]


def mix_file(mix: Artifact) -> MixFile:
    return MixFile.read(mix.files_folder / MIX_FILE)


def test_the_mix_file_keeps_to_the_caps_and_names_its_data(
    tokens: Artifact, mix: Artifact, caps: dict[str, float]
) -> None:
    file = mix_file(mix)
    assert list(file.sources) == list(SOURCES)
    assert file.target_tokens == TARGET_TOKENS
    assert sum(file.ratios.values()) == pytest.approx(1)
    for source, share in file.sources.items():
        assert share.ratio <= caps[source] + 1e-6
        assert share.epochs <= MAX_EPOCHS + 1e-3
    assert {name: s.fingerprint for name, s in file.sources.items()} == source_fingerprints(tokens.summary["sources"])
    assert [metric.weight for metric in file.evidence.metrics.values()] == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_the_mixture_is_tried_at_both_sizes_under_seeds_of_its_own(mix: Artifact, runs: Artifact) -> None:
    told = mix.summary["confirmation"]
    assert [(check["size"], check["seeds"]) for check in told] == [("tiny", 2), ("nano", 2)]
    for check, kept in zip(told, mix_file(mix).confirmation, strict=True):
        gains = np.subtract(check["natural"], check["best"])
        assert check["gain"] == pytest.approx(gains.mean())
        assert check["beats_natural"] == (check["gain_interval"][0] > 0) == kept.beats_natural
        assert check["verdict"] == kept.verdict
    measured = np.array([row["bpb.tales"] for row in rows_of(runs)])
    assert measured.min() - 1 < told[0]["metrics_best"][2] < measured.max() + 1


def test_pairs_of_sizes_give_slopes_and_a_verdict(mix: Artifact) -> None:
    transfer, file = mix.summary["transfer"], mix_file(mix)
    assert len(transfer["pairs"]) == 5
    assert transfer["base"]["trunk"] < transfer["second"]["trunk"]
    assert transfer["target_parameters"] == transfer["second"]["trunk"]  # none was given
    assert transfer["extrapolated"] == pytest.approx(transfer["slopes"])
    assert not transfer["confirmed"]  # five pairs are too few to say so
    assert file.transfer is not None
    assert file.transfer.verdict == transfer["verdict"]


def test_without_a_second_size_and_confirmation_the_mix_says_so(folder: Path, line: dict[str, Artifact]) -> None:
    mix = optimized(folder, "plain")
    assert mix.summary["transfer"] is None
    assert mix.summary["confirmation"] == []
    file = mix_file(mix)
    assert (file.transfer, file.confirmation) == (None, [])


def test_the_mixture_follows_what_is_asked_for(folder: Path, line: dict[str, Artifact]) -> None:
    ratios = {}
    for source in ("sums", "tales"):
        file = mix_file(optimized(folder, f"for_{source}", evaluate={source: 2.0}))
        assert {name: metric.weight for name, metric in file.evidence.metrics.items()} == {
            f"bpb.{name}": float(name == source) for name in SOURCES
        }
        ratios[source] = file.ratios
    assert ratios["sums"]["sums"] > ratios["tales"]["sums"] + 0.2
    assert ratios["tales"]["tales"] > ratios["sums"]["tales"] + 0.2


def test_a_source_that_is_all_that_counts_gets_what_its_tokens_allow_and_no_more(
    folder: Path, line: dict[str, Artifact], caps: dict[str, float]
) -> None:
    code = mix_file(optimized(folder, "for_code", evaluate={"code": 1.0})).sources["code"]
    assert code.ratio == pytest.approx(caps["code"], abs=0.02)
    assert code.ratio <= caps["code"] + 1e-6
    assert code.epochs <= MAX_EPOCHS + 1e-3
    assert code.worth_of_epoch > 0  # more of it would help


def test_limits_of_the_user_are_kept(folder: Path, line: dict[str, Artifact]) -> None:
    groups = {"prose": {"sources": ["tales"], "highest": 0.2}}
    limited = optimized(folder, "limited", fixed={"code": 0.05}, bounds={"sums": [0.1, 0.9]}, groups=groups)
    ratios = mix_file(limited).ratios
    assert ratios["code"] == pytest.approx(0.05, abs=1e-6)
    assert ratios["tales"] <= 0.2 + 1e-6
    assert 0.1 <= ratios["sums"] <= 0.9


def test_answers_are_a_metric_that_can_be_asked_for(tmp_path: Path, folder: Path) -> None:
    write_sources(tmp_path)
    sets = {"answer_sets": {"adding": str(folder / "adding.jsonl")}, "evaluate": {"adding": 1.0}}
    small = {"runs": 10, "first_runs": 10, "steps": 30}
    made = run_here(
        tmp_path,
        {
            **tokenized(),
            "swarm": {**SWARM, **small, **sets},
            "mix": {**MIX, **sets, "from": ["tokens", "swarm"], "confirm": 0},
        },
    )
    assert all(0 < row["answers.adding"] < 16 for row in rows_of(made["swarm"]))
    metrics = mix_file(made["mix"]).evidence.metrics
    assert {name: metric.weight for name, metric in metrics.items()} == {
        "answers.adding": 1.0,
        **{f"bpb.{name}": 0.0 for name in SOURCES},
    }


def test_the_same_runs_give_the_same_mix_file(folder: Path, line: dict[str, Artifact]) -> None:
    one, other = optimized(folder, "one"), optimized(folder, "other")
    assert (one.files_folder / MIX_FILE).read_bytes() == (other.files_folder / MIX_FILE).read_bytes()


def test_the_stored_fit_answers_for_the_weights_of_the_recipe_as_the_recipe_did(mix: Artifact, tmp_path: Path) -> None:
    from mixes.commands import solve_weights

    stored = StoredFit.load(mix.files_folder / FIT_FILE)
    assert stored.runs.sources == SOURCES
    solve_weights(mix.files_folder / FIT_FILE, out=tmp_path / "mix.yaml")
    assert MixFile.read(tmp_path / "mix.yaml").ratios == pytest.approx(mix_file(mix).ratios, abs=1e-4)


def test_one_entry_of_a_recipe_stands_for_swarm_pairs_and_mix(folder: Path) -> None:
    whole = {**SWARM, "stage": "mix", "second": {"size": "nano", "steps": 40, "pairs": 5}, "confirm": 2}
    graph = build_graph(recipe_of(folder / "recipe.yaml", {"name": "here", "artifacts": {**tokenized(), "mix": whole}}))
    nodes = {node.name: node for node in graph.nodes if node.name.startswith("mix")}
    assert {name: node.steps[0].stage.name for name, node in nodes.items()} == {
        "mix.swarm": "proxy_swarm",
        "mix.second": "paired_swarm",
        "mix": "optimize_mix",
    }
    paired = nodes["mix.second"].steps[0].stage.config
    assert (paired.size, paired.steps, paired.pairs, paired.batch) == ("nano", 40, 5, PAIRS["batch"])


def test_summaries_can_be_stored(line: dict[str, Artifact], model: Artifact) -> None:
    for artifact in (line["swarm"], line["pairs"], line["mix"], model):
        assert json.loads(json.dumps(dict(artifact.summary), allow_nan=False)) == artifact.summary


# the model


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


def test_a_recipe_may_name_every_size_that_the_models_have_and_no_other() -> None:
    from proxy_models.model import SIZES

    assert get_args(Size) == tuple(SIZES)


# what the proxies tell


def test_what_the_proxies_cannot_match_and_what_was_passed_over_is_told(
    stage: ProxySwarm, tokens: Artifact, tmp_path: Path
) -> None:
    """A target so large that a proxy should keep less than a sequence of the code; a checkpoint that is damaged."""
    large = stage.config.target.model_copy(update={"tokens": 10**8})
    often = ProxySwarm(stage.config.model_copy(update={"checkpoint_every_s": 1e-9, "target": large}))
    with pytest.raises(KilledError):
        trained(often, tokens, tmp_path, MIXTURES, stop_at=3 * 37)
    newest = max((tmp_path / "answers").rglob("*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-1])
    runs = [
        {"id": f"{i}", "mixture": mixture, "seed": 1, "learning_rate": None, "purpose": "drawn", "round": 0}
        for i, mixture in enumerate(MIXTURES)
    ]
    (task,) = often.stacks("train 1", tokens, runs, "tiny", 60)
    context = Context(seed=1, work=tmp_path / "work", answers=tmp_path / "answers", cpus=2)
    notes = often.work(task, tmp_path / "out", context).summary["notes"]
    assert any(f"{newest} is damaged" in note for note in notes)
    assert any("source code: " in note and "keeps one" in note for note in notes)


def test_what_the_proxies_tell_comes_to_the_mix(folder: Path, line: dict[str, Artifact], tmp_path: Path) -> None:
    write_sources(tmp_path)
    target = {"target": {"tokens": 2_000, "max_epochs": MAX_EPOCHS}}
    small = {"runs": 10, "first_runs": 10, "steps": 30}
    made = run_here(
        tmp_path,
        {
            **tokenized(),
            "swarm": {**SWARM, **small, **target},
            "mix": {**MIX, **target, "from": ["tokens", "swarm"], "confirm": 0},
        },
    )
    note = "proxies of size tiny: the run has 1.92 times the target's tokens, and repeats every source so much more"
    assert made["swarm"].summary["notes"] == [note]
    assert made["mix"].summary["notes"] == [note]


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_trains_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        ProxySwarmConfig(learning_rate=rate)

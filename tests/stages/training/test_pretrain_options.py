"""What a recipe says of pretraining is what is trained: each option by its effect."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mixes.mix_file import MixFile, MixPhase
from pipeline.artifact import Artifact
from pipeline.errors import RecipeError, StageError
from pipeline.graph import build_graph
from pipeline.recipe import recipe_of
from stages.training.mix import MIX_FILE
from stages.training.pretrain import Pretrain
from stages.training.pretrain_options import AdamWOptions, MuonOptions, PretrainConfig, ScheduleOptions, SpikeOptions
from tests.stages.in_process import run_here
from tests.stages.training.conftest import MIX, PAIRS, SWARM, run_stage, tokenized

BATCH, CONTEXT, STEPS = 8, 16, 24  # of size "tiny"
Train = Callable[..., Artifact]


@pytest.fixture(scope="session")
def short_mix(mix: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_target(mix, STEPS * BATCH * CONTEXT, tmp_path_factory.mktemp("mix") / "mix.yaml")


def of_target(mix: Artifact, tokens: int, path: Path, **changed: Any) -> Path:
    """The mix for a run of so many tokens."""
    file = MixFile.read(mix.files_folder / MIX_FILE)
    sources = {
        name: share.model_copy(
            update={
                "tokens": round(share.ratio * tokens),
                "epochs": round(share.ratio * tokens) / share.unique_tokens,
            }
        )
        for name, share in file.sources.items()
    }
    file.model_copy(update={"target_tokens": tokens, "sources": sources, **changed}).write(path)
    return path


@pytest.fixture
def train(tokens: Artifact, mix: Artifact, short_mix: Path, tmp_path: Path) -> Train:
    """Trains one model of STEPS steps under options of a recipe; the folder of each run is new."""
    made: list[Path] = []

    def trained(progress: Callable[[int, int], None] = lambda done, total: None, **options: Any) -> Artifact:
        made.append(tmp_path / f"run-{len(made)}")
        plain = {"size": "tiny", "batch": BATCH, "evaluations": 1, "log_every": 1, "compare_natural": False}
        config = PretrainConfig.model_validate({**plain, "mix_file": short_mix, **options})
        return run_stage(Pretrain(config), {"tokens": [tokens], "mix": [mix]}, made[-1], progress)

    return trained


@pytest.fixture(scope="session")
def plain_weights(
    tokens: Artifact, mix: Artifact, short_mix: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    config = PretrainConfig(size="tiny", batch=BATCH, evaluations=1, compare_natural=False, mix_file=short_mix)
    made = run_stage(Pretrain(config), {"tokens": [tokens], "mix": [mix]}, tmp_path_factory.mktemp("plain"))
    return weights(made)


def weights(model: Artifact) -> dict[str, Any]:
    return dict(load_file(model.files_folder / "optimal" / "model.safetensors"))


def exported(model: Artifact) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((model.files_folder / "optimal" / "config.json").read_text())
    return values


def told(model: Artifact) -> dict[str, Any]:
    values: dict[str, Any] = model.summary["models"]["optimal"]
    return values


def log_of(model: Artifact, key: str = "work") -> list[dict[str, Any]]:
    path = model.folder / "answers" / "logs" / key / "optimal" / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def rates(model: Artifact, key: str = "work") -> list[float]:
    return [line["learning_rate"] for line in log_of(model, key) if "learning_rate" in line]


# phases


@pytest.mark.slow
def test_a_recipe_has_a_main_mix_and_then_another_with_falling_rates_and_a_longer_context(folder: Path) -> None:
    phases = [
        {"share": 0.75},
        {
            "share": 0.25,
            "mixture": {"tales": 3, "sums": 1},
            "replay": 0.2,
            "rates": [1.0, 0.0],
            "context": 32,
            "rope_base": 50_000,
        },
    ]
    line = {**tokenized(), "swarm": SWARM, "pairs": PAIRS, "mix": MIX}
    model = {"stage": "pretrain", "from": ["tokens", "mix"], "size": "tiny", "batch": 8, "compare_natural": False}
    sealed = run_here(
        folder, {**line, "phased": {**model, "phases": phases, "log_every": 1, "schedule": {"warmup": 0}}}
    )
    phased, ratios = sealed["phased"], MixFile.read(sealed["mix"].files_folder / MIX_FILE).ratios
    first, second = told(phased)["phases"]
    assert (first["steps"], second["steps"]) == (117, 39)  # of 20,000 tokens in steps of 128
    assert (first["context"], first["batch"], first["ratios"]) == (16, 8, ratios)
    assert (second["context"], second["batch"], second["tokens"]) == (32, 4, 39 * 128)
    assert second["ratios"]["tales"] == pytest.approx(0.8 * 0.75 + 0.2 * ratios["tales"])
    assert second["ratios"]["code"] == pytest.approx(0.2 * ratios["code"])
    whole = told(phased)["ratios"]
    assert whole["tales"] == pytest.approx(0.75 * ratios["tales"] + 0.25 * second["ratios"]["tales"])
    assert sum(whole.values()) == pytest.approx(1)
    assert (exported(phased)["max_position_embeddings"], exported(phased)["rope_theta"]) == (32, 50_000)
    falling = rates(phased, phased.parts[0].key)[117:]
    assert falling == pytest.approx([3e-3 * (1 - i / 39) for i in range(39)])
    card = (phased.files_folder / "optimal" / "README.md").read_text()
    assert "## Phases" in card
    assert "| 2 | 39 | 4,992 | 32 | 50,000 |" in card


def test_the_mixture_of_a_phase_is_what_is_learned(train: Train) -> None:
    ends = {
        source: told(train(phases=[{"mixture": {source: 1.0}}], max_epochs=4))["evaluations"][-1]
        for source in ("sums", "tales")
    }
    assert ends["sums"]["bpb.sums"] < ends["tales"]["bpb.sums"]
    assert ends["tales"]["bpb.tales"] < ends["sums"]["bpb.tales"]


def test_a_phase_may_be_natural_or_follow_a_second_mix_file(
    train: Train, mix: Artifact, short_mix: Path, tmp_path: Path
) -> None:
    file = MixFile.read(short_mix)
    moved = dict(zip(file.sources, (0.0, 0.25, 0.75), strict=True))
    shares = {
        name: share.model_copy(
            update={"ratio": moved[name], "lowest": 0.0, "highest": 1.0, "tokens": round(moved[name] * 3072)}
            | {"epochs": round(moved[name] * 3072) / share.unique_tokens}
        )
        for name, share in file.sources.items()
    }
    other = tmp_path / "other.yaml"
    file.model_copy(update={"sources": shares}).write(other)
    natural, second = told(train(phases=[{"mixture": "natural"}, {"mix_file": other}]))["phases"]
    assert natural["ratios"] == {name: share.natural_ratio for name, share in file.sources.items()}
    assert second["ratios"] == moved


def test_a_mix_file_carries_phases_and_those_of_the_recipe_win(train: Train, mix: Artifact, tmp_path: Path) -> None:
    phases = (MixPhase(share=2.0), MixPhase(ratios={"sums": 1.0}, context=32, rates=(0.5, 0.1)))
    file = of_target(mix, STEPS * BATCH * CONTEXT, tmp_path / "phased.yaml", phases=phases)
    assert MixFile.read(file).phases == phases
    first, second = told(train(mix_file=file))["phases"]
    assert (first["steps"], second["steps"]) == (16, 8)
    assert (second["ratios"], second["context"], second["rates"]) == ({"sums": 1.0}, 32, [0.5, 0.1])
    assert len(told(train(mix_file=file, phases=[{}]))["phases"]) == 1


def test_the_natural_model_is_natural_in_all_phases(train: Train, short_mix: Path) -> None:
    file = MixFile.read(short_mix)
    model = train(phases=[{}, {"mixture": {"sums": 1}, "context": 32}], compare_natural=True)
    natural = model.summary["models"]["natural"]["phases"]
    expected = {name: share.natural_ratio for name, share in file.sources.items()}
    assert [phase["ratios"] for phase in natural] == [expected, expected]
    assert natural[1]["context"] == 32


def test_steps_of_different_sizes_stay_within_the_target(train: Train) -> None:
    model = train(phases=[{"mixture": {"sums": 2}}, {"mixture": {"tales": 5}, "batch": 16}])
    assert told(model)["ratios"] == pytest.approx({"sums": 1 / 3, "tales": 2 / 3})
    assert [phase["batch"] for phase in told(model)["phases"]] == [8, 16]
    assert told(model)["steps"] == STEPS * 2 // 3
    assert told(model)["tokens"] == STEPS * BATCH * CONTEXT


def test_a_run_starts_from_a_model_and_replays_what_that_was_trained_on(train: Train, short_mix: Path) -> None:
    first = train()
    start = first.files_folder / "optimal"
    going_on = train(start=start, phases=[{"mixture": {"sums": 1.0}, "replay": 0.25}], schedule={"warmup": 0})
    assert told(going_on)["losses"][0][1] < told(first)["losses"][0][1] - 0.3
    ratios = MixFile.read(short_mix).ratios
    (phase,) = told(going_on)["phases"]
    assert phase["ratios"]["sums"] == pytest.approx(0.75 + 0.25 * ratios["sums"])
    assert phase["ratios"]["tales"] == pytest.approx(0.25 * ratios["tales"])


def test_weights_to_start_from_and_files_are_known_by_their_content(short_mix: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    answers, weights_file = tmp_path / "a.jsonl", tmp_path / "base" / "model.safetensors"

    def identity() -> dict[str, Any]:
        phases = [{"mix_file": tmp_path / "mix.yaml"}]
        options = {"start": tmp_path / "base", "answer_sets": {"a": answers}, "phases": phases}
        return PretrainConfig.model_validate({**options, "mix_file": tmp_path / "mix.yaml"}).identity()

    seen = []
    contents = ["one", "one", "one"]
    for changed in (None, 0, 1, 2):
        if changed is not None:
            contents[changed] = "two"
        for path, content in zip((answers, weights_file, tmp_path / "mix.yaml"), contents, strict=True):
            path.write_text(content)
        assert identity() == identity()
        seen.append(json.dumps(identity()))
    assert len(set(seen)) == 4


# options


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "muon"},
        {"adamw": {"beta2": 0.8}},
        {"schedule": {"kind": "cosine"}},
        {"clip": 0.05},
        {"z_loss": 0.5},
        {"document_masks": True},
        {"precision": "bfloat16"},
        {"learning_rate": 1e-3},
        {"packing": "best_fit"},
        {"model": {"rope_base": 100.0}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_option_changes_what_is_learned(
    train: Train, plain_weights: dict[str, Any], options: dict[str, Any]
) -> None:
    found = weights(train(**options))
    assert found.keys() == plain_weights.keys()
    assert any(not np.array_equal(found[name], weight) for name, weight in plain_weights.items())


def test_an_option_that_is_named_with_its_default_changes_nothing(train: Train, plain_weights: dict[str, Any]) -> None:
    options = {"optimizer": "adamw", "packing": "concatenate", "precision": "float32", "schedule": {"kind": "wsd"}}
    found = weights(train(**options))
    assert all(np.array_equal(found[name], weight) for name, weight in plain_weights.items())


def test_muon_takes_its_own_options_and_those_of_adamw(train: Train) -> None:
    runs = [{}, {"muon": {"momentum": 0.5}}, {"muon": {"weight_decay": 50.0}}, {"adamw": {"beta1": 0.5}}]
    found = [weights(train(optimizer="muon", **options)) for options in runs]
    hidden = "model.layers.0.mlp.up_proj.weight"
    table = "model.embed_tokens.weight"
    assert len({one[hidden].tobytes() for one in found}) == 4
    assert not np.array_equal(found[0][table], found[3][table])


def test_defaults_are_those_of_the_loop() -> None:
    from proxy_models.muon import Muon
    from proxy_models.optimization import AdamW, Schedule
    from proxy_models.spikes import SpikeRule

    for options, kind in (
        (AdamWOptions(), AdamW()),
        (MuonOptions(), Muon()),
        (ScheduleOptions(), Schedule()),
        (SpikeOptions(), SpikeRule()),
    ):
        values = options.model_dump() | ({"kind": "warmup_stable_decay"} if isinstance(kind, Schedule) else {})
        assert values == {f.name: getattr(kind, f.name) for f in fields(kind) if f.name != "adamw"}


def test_a_cosine_falls_to_its_floor_after_its_warmup(train: Train) -> None:
    found = rates(train(schedule={"kind": "cosine", "warmup": 0.25, "floor": 0.5}, learning_rate=1e-2))
    assert found[:6] == pytest.approx([1e-2 * (i + 1) / 6 for i in range(6)])
    assert found[6] == pytest.approx(1e-2)
    assert 0.5e-2 < found[-1] < 0.52e-2


def test_best_fit_pads_and_concatenation_crops_and_both_are_told(train: Train, tokens: Artifact) -> None:
    in_shards = {name: parts["train"]["tokens"] for name, parts in tokens.summary["sources"].items()}
    for packing in ("concatenate", "best_fit"):
        rows = {row["source"]: row for row in told(train(packing=packing))["packing"]}
        assert rows.keys() == in_shards.keys()
        for source, row in rows.items():
            assert row["context"] == CONTEXT
            assert (row["padded"] > 0) == (packing == "best_fit")
            if packing == "concatenate":
                assert row["trained"] + 1 + row["cropped"] == in_shards[source]


def test_epochs_are_those_of_the_reads(train: Train, tokens: Artifact) -> None:
    model = told(train(phases=[{"mixture": {"code": 1.0}}], max_epochs=10))
    sequences = (tokens.summary["sources"]["code"]["train"]["tokens"] - 1) // CONTEXT
    assert model["epochs"] == {"code": pytest.approx(STEPS * BATCH / sequences), "sums": 0.0, "tales": 0.0}


def test_the_model_is_the_size_with_what_is_changed(train: Train) -> None:
    untied = train(model={"tied": False, "context": 32})
    assert (exported(untied)["tie_word_embeddings"], exported(untied)["max_position_embeddings"]) == (False, 32)
    assert "lm_head.weight" in weights(untied)
    sliding = train(model={"sliding_window": 4, "full_attention_every": 2})
    assert exported(sliding)["layer_types"] == ["sliding_attention", "full_attention"]


def test_experts_are_trained_with_a_balance_loss(train: Train) -> None:
    experts = {"experts": 4, "experts_per_token": 2, "expert_width": 16}
    plain, balanced = (weights(train(model=experts, balance_loss=share)) for share in (0.0, 0.1))
    router = "model.layers.0.mlp.gate.weight"
    assert plain[router].shape == (4, 16)
    assert not np.array_equal(plain[router], balanced[router])


def test_a_step_in_parts_is_the_same_step(train: Train, plain_weights: dict[str, Any]) -> None:
    found = weights(train(accumulate=4))
    for name, weight in plain_weights.items():
        assert np.allclose(found[name], weight, atol=2e-3), name
    with pytest.raises(StageError, match=r"a batch of 8 sequences .*multiple of 3"):
        train(accumulate=3)


@pytest.mark.slow
def test_blocks_are_compiled(train: Train) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    train(compile=True)
    assert counters["stats"]["unique_graphs"] > 0


def test_spikes_are_skipped_or_rewound_and_told(train: Train) -> None:
    """By a rule so narrow that losses of steady text stand out."""
    rule = {"deviations": 1.0, "window": 4, "at_most": 100}
    fast = {"learning_rate": 3e-2, "schedule": {"warmup": 0, "decay": 0}}
    skipped = told(train(spikes=rule, **fast))
    assert skipped["spikes"]
    assert all("resumed_from" not in spike for spike in skipped["spikes"])
    assert len(skipped["messages"]) == len(skipped["spikes"])
    first = told(train(spikes={**rule, "response": "rewind"}, checkpoint_every_steps=6, **fast))["spikes"][0]
    assert first["step"] == skipped["spikes"][0]["step"]
    assert first["resumed_from"] == first["step"] // 6 * 6
    with pytest.raises(StageError, match="is a spike after 1 others"):
        train(spikes={**rule, "at_most": 1}, **fast)


def test_losses_that_are_not_finite_are_left_out_of_the_curve() -> None:
    from stages.training.model_run import thinned

    assert thinned([2.0, float("inf"), 4.0]) == [[0, 2.0], [2, 4.0]]
    losses = [3.0] * 400
    losses[1] = float("nan")
    assert thinned(losses) == [[step, 3.0] for step in range(0, 400, 2)]


def test_answer_sets_are_measured_under_the_names_of_the_recipe(train: Train, folder: Path) -> None:
    model = train(answer_sets={"additions": folder / "adding.jsonl"}, evaluations=3)
    found = told(model)["evaluations"]
    assert [evaluation["step"] for evaluation in found] == [8, 16, 24]
    assert found[-1]["answers.additions"] < found[0]["answers.additions"]
    assert "held out, and of answers to prompts;" in (model.files_folder / "optimal" / "README.md").read_text()


def test_held_out_sequences_are_as_many_as_asked_for(train: Train) -> None:
    few, many = (told(train(evaluation_sequences=n))["evaluations"][-1] for n in (2, 64))
    assert few["bpb.sums"] != many["bpb.sums"]


def test_the_log_tells_speed_and_no_file_of_the_model_does(train: Train) -> None:
    model = train()
    lines = [line for line in log_of(model) if "tokens_per_s" in line]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(line["tokens_per_s"] > 0 and 0 <= line["loader_share"] <= 1 for line in lines)
    assert not list(model.files_folder.rglob("log.jsonl"))
    assert "per_s" not in json.dumps(model.summary)


# what cannot be

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU here may multiply in fp8")


def refused_untrained(train: Train, message: str, **options: Any) -> None:
    """Refused with this message before any step of any model."""
    seen: list[int] = []
    with pytest.raises(StageError, match=message):
        train(progress=lambda done, total: seen.append(done), **options)
    assert seen == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phases": [{}, {"mixture": {"papers": 1}}]}, "phase 2: no tokens of papers; the sources are"),
        (
            {"phases": [{"mixture": {"code": 1}}], "max_epochs": 0.5},
            r"24 steps under max_epochs 0.5 cannot be served: source code needs .* The largest feasible run of this "
            r"mixture has \d+ steps, \d+ tokens; or set max_epochs",
        ),
        ({"phases": [{"context": 24}, {"context": 36}]}, "is read at contexts .24, 36., which must divide the longest"),
        ({"phases": [{"share": 1}, {"share": 1e-6}]}, "less than one step"),
        ({"model": {"experts": 4}}, "4 experts need experts_per_token"),
        pytest.param({"precision": "fp8"}, "need a GPU of compute capability 8.9", marks=NO_GPU),
        ({"model": {"sliding_window": 4}}, "full_attention_every"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_what_cannot_be_served_is_refused_before_the_first_step(
    train: Train, options: dict[str, Any], message: str
) -> None:
    refused_untrained(train, message, **options)


def test_a_mixture_of_ones_own_keeps_to_the_epochs_of_the_mix(train: Train, mix: Artifact, tmp_path: Path) -> None:
    long = of_target(mix, 20_000, tmp_path / "long.yaml")
    only_code = [{"mixture": {"code": 1.0}}]
    refused_untrained(train, "under max_epochs 2.0 cannot be served", mix_file=long, phases=only_code)
    assert told(train(mix_file=long, phases=only_code, max_epochs=20))["epochs"]["code"] > 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phases": [{"shar": 1}]}, "unknown option 'phases.0.shar'"),
        ({"phases": [{"mixture": {"sums": 0}}]}, "must not all be zero"),
        ({"phases": [{"mixture": "mix", "mix_file": "adding.jsonl"}]}, "give mixture or mix_file, not both"),
        ({"phases": [{"mix_file": "gone.yaml"}]}, r"no such file: .*gone\.yaml"),
        ({"phases": [{"replay": 0.1}]}, "nothing before it to replay: give `start`"),
        ({"answer_sets": {"adding": "gone.jsonl"}}, r"no such file: adding: .*gone\.jsonl"),
        ({"answer_sets": {"held_out": "adding.jsonl"}}, "give the answer set another name"),
        ({"start": "gone"}, "no such file or folder: .*gone"),
        ({"spikes": {"response": "rewind"}}, "needs checkpoint_every_steps"),
        ({"precision": "int4"}, "precision"),
        ({"schedule": {"warmup": 0.8, "decay": 0.4}}, "shares of one run"),
        ({"optimizer": "adam"}, "optimizer"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_what_is_wrong_in_the_recipe_is_told_at_once(folder: Path, options: dict[str, Any], message: str) -> None:
    mix = {**MIX, "from": ["tokens", "swarm"]}
    model = {"stage": "pretrain", "from": ["tokens", "mix"], **options}
    values = {"name": "here", "artifacts": {**tokenized(), "swarm": SWARM, "mix": mix, "model": model}}
    with pytest.raises(RecipeError, match=message):
        build_graph(recipe_of(folder / "recipe.yaml", values))


def test_an_answer_set_that_has_gone_or_is_broken_is_told_by_its_file(
    train: Train, tokens: Artifact, mix: Artifact, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "2 + 2 ="}\n')
    refused_untrained(train, r"broken\.jsonl:1: each line must be", answer_sets={"sums": broken})
    stage = Pretrain(PretrainConfig(answer_sets={"sums": broken}, size="tiny"))
    broken.unlink()
    with pytest.raises(StageError, match=r"No such file.*broken\.jsonl"):
        run_stage(stage, {"tokens": [tokens], "mix": [mix]}, tmp_path)


def test_weights_of_another_model_are_refused(train: Train) -> None:
    start = train().files_folder / "optimal"
    refused_untrained(train, r"is of another model: head\.weight", start=start, model={"tied": False})


def test_a_phase_mix_of_other_data_is_refused_by_its_file(
    train: Train, other_tokens: Artifact, mix: Artifact, tmp_path: Path
) -> None:
    file = MixFile.read(mix.files_folder / MIX_FILE)
    sources = {name: share.model_copy(update={"fingerprint": "other"}) for name, share in file.sources.items()}
    file.model_copy(update={"sources": sources}).write(tmp_path / "other.yaml")
    message = r"other\.yaml was measured on other data than these shards hold, for code, sums, tales"
    refused_untrained(train, message, phases=[{}, {"mix_file": tmp_path / "other.yaml"}])


def test_checkpoints_of_another_run_are_refused(tokens: Artifact, mix: Artifact, tmp_path: Path) -> None:
    inputs = {"tokens": [tokens], "mix": [mix]}

    def stage(mixture: Any) -> Pretrain:
        phases = [{"mixture": mixture}]
        values = {"size": "tiny", "batch": 8, "checkpoint_every_s": 1e-9, "phases": phases, "max_epochs": 99}
        return Pretrain(PretrainConfig.model_validate({**values, "compare_natural": False}))

    class KilledError(Exception):
        pass

    def killed(done: int, total: int) -> None:
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        run_stage(stage({"sums": 1.0}), inputs, tmp_path, killed)
    with pytest.raises(StageError, match=r"pretraining stopped: .*another"):
        run_stage(stage({"tales": 1.0}), inputs, tmp_path)


def test_a_log_to_a_service_that_is_not_installed_is_told(train: Train) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    refused_untrained(train, "pip install wandb", wandb={"project": "sluice"})


def test_without_torch_the_package_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from pipeline.errors import StageError\n"
        "from pipeline.stage import Context\n"
        "from stages.training.pretrain import Pretrain, PretrainConfig\n"
        "try:\n"
        "    Pretrain(PretrainConfig()).run({}, Path(), Context(seed=1))\n"
        "except StageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "pretraining needs the package torch: pip install torch\n", done.stderr

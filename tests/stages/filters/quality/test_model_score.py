"""Scoring with a sequence classifier of Hugging Face: which model counts, which documents are dropped."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import StageError
from pipeline.stage import Context
from stages.filters.quality.model_score import QualityModelScore, QualityModelScoreConfig
from tests.small_classifier import WORDS, save_classifier
from tests.stages.in_process import texts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DOCUMENTS = {"a": "the model", "b": WORDS, "none": None, "long": WORDS * 10}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("beside_recipe") / "model", num_labels=1)


def config(folder: Path, **options: Any) -> QualityModelScoreConfig:
    """As a recipe beside the model's folder would say it."""
    given = {"model": folder.name, "max_tokens": 64} | options
    return QualityModelScoreConfig.model_validate(given, context={"base": folder.parent})


def ready(folder: Path, **options: Any) -> QualityModelScore:
    stage = QualityModelScore(config(folder, **options))
    stage.setup(Context(seed=1))
    return stage


def test_documents_get_a_score_and_how_much_of_them_was_seen(model: Path) -> None:
    kept = ready(model).process(texts(DOCUMENTS)).kept
    assert [score is None for score in kept["quality_model.score"].to_pylist()] == [False, False, True, False]
    assert kept["quality_model.tokens"].to_pylist() == [2, 24, 0, 62]
    assert kept["quality_model.seen"].to_pylist() == [1, 1, None, pytest.approx(0.26, abs=0.02)]


def test_low_scores_and_documents_without_text_are_dropped_with_evidence(model: Path) -> None:
    scores = ready(model).process(texts(DOCUMENTS)).kept["quality_model.score"].to_pylist()
    worst, *_ = sorted(score for score in scores if score is not None)
    outcome = ready(model, min_score=worst + 1e-4).process(texts(DOCUMENTS))
    low, none = sorted(outcome.removed, key=lambda removed: removed.reason)
    assert (low.reason, low.scores["quality_model.score"]) == ("low_score", pytest.approx(worst, abs=1e-6))
    assert low.evidence == f"{worst:.4g} score < {worst + 1e-4:.4g}"
    assert (none.id, none.reason, none.evidence) == ("none", "no_text", "0 tokens < 1")


def test_the_model_is_known_by_its_content_not_by_its_place(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "lock").write_text("nothing of the model")
    assert config(copy).identity() == config(model).identity()
    (copy / "config.json").write_text((copy / "config.json").read_text().replace("gelu", "relu"))
    assert config(copy).identity() != config(model).identity()


def test_device_and_batches_are_no_part_of_the_identity(model: Path) -> None:
    assert config(model, device="cpu", batch_tokens=7).identity() == config(model).identity()
    assert config(model, dtype="bfloat16").identity() != config(model).identity()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12]])
def test_a_model_of_the_hub_needs_a_commit(tmp_path: Path, revision: str | None) -> None:
    with pytest.raises(ValidationError, match="set the option revision to the commit to use"):
        config(tmp_path / "fineweb-edu-classifier", revision=revision)


def test_a_model_of_the_hub_is_known_by_name_and_commit(tmp_path: Path) -> None:
    identity = config(tmp_path, model="HuggingFaceFW/fineweb-edu-classifier", revision=COMMIT).identity()
    assert (identity["model"], identity["revision"]) == ("HuggingFaceFW/fineweb-edu-classifier", COMMIT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "./no/such/folder"}, "there is no folder ./no/such/folder"),
        ({"revision": COMMIT}, "a model in a folder has no revision"),
        ({"model": "."}, "holds no config.json of a model"),
    ],
)
def test_a_recipe_that_names_no_model_is_refused(model: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(model, **options)


def test_options_of_a_finished_run_are_read_where_its_model_is_gone(tmp_path: Path) -> None:
    """To decide again from stored scores needs no model; to run does."""
    options = QualityModelScoreConfig.model_validate({"model": str(tmp_path / "gone"), "min_score": 3})
    assert options.min_score == 3
    with pytest.raises(StageError, match="there is no folder"):
        options.identity()


def test_a_model_that_does_not_fit_the_options_is_a_stage_error(model: Path) -> None:
    with pytest.raises(StageError, match="quality_model: max_tokens is 512"):
        ready(model, max_tokens=512)


def test_a_model_that_gives_no_number_names_the_document(tmp_path: Path) -> None:
    import safetensors.torch

    model = save_classifier(tmp_path / "model", num_labels=1)
    weights = safetensors.torch.load_file(model / "model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    safetensors.torch.save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StageError, match="no finite score for the document b"):
        ready(model).process(texts({"none": "", "b": "the model"}))

"""Scoring with a fastText classifier and keeping by threshold."""

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.stage import Context, Outcome
from stages.filters.quality.score import ScoreQuality, ScoreQualityConfig
from stages.filters.quality.training import MODEL_FILE
from tests.stages.in_process import texts

DOCUMENTS = {"good": "aaa bbb ccc ddd", "bad": "ggg hhh iii jjj", "none": None, "blank": " \n"}


def scored(classifier: Path, batch: pa.Table, **options: object) -> Outcome:
    stage = ScoreQuality(ScoreQualityConfig.model_validate(options))
    stage.setup(Context(seed=1, side={"classifier": classifier}))
    return stage.process(batch)


def test_low_scores_and_documents_without_text_are_dropped_with_evidence(classifier: Path) -> None:
    outcome = scored(classifier, texts(DOCUMENTS), min_score=0.5)
    assert outcome.kept["id"].to_pylist() == ["good"]
    removed = {r.id: r for r in outcome.removed}
    assert removed["bad"].reason == "low_score"
    assert removed["bad"].evidence == f"{removed['bad'].scores['quality.score']:.4g} score < 0.5"
    assert {removed[i].reason for i in ("none", "blank")} == {"no_text"}
    assert removed["none"].evidence == "0 words < 1"


def test_without_a_threshold_all_documents_stay_with_their_scores(classifier: Path) -> None:
    outcome = scored(classifier, texts(DOCUMENTS))
    assert not outcome.removed
    good, bad, none, blank = outcome.kept["quality.score"].to_pylist()
    assert good > 0.9 > 0.1 > bad >= 0
    assert none is blank is None
    assert outcome.kept["quality.words"].to_pylist() == [4, 4, 0, 0]


def test_documents_without_text_can_be_let_through(classifier: Path) -> None:
    outcome = scored(classifier, texts(DOCUMENTS), min_score=0.5, min_words=None)
    assert outcome.kept["id"].to_pylist() == ["good", "none", "blank"]


def test_a_score_does_not_depend_on_the_other_documents(classifier: Path) -> None:
    together = scored(classifier, texts(DOCUMENTS)).kept["quality.score"].to_pylist()
    alone = [scored(classifier, texts({id_: text})).kept["quality.score"][0].as_py() for id_, text in DOCUMENTS.items()]
    assert together == alone


HOSTILE = {
    "one word": "word",
    "long line": "aaa" * 3_500_000,
    "long words": "aaa " * 2_500_000,
    "control": "aaa\x00\x01\x1f\x7f\x0b bbb\x00",
    "label": "__label__good __label__bad </s> aaa",
    "chinese": "我们喜欢数学",
    "arabic": "\u202bالعربية\u202c",
}


def test_hostile_documents_get_a_score_between_0_and_1(classifier: Path) -> None:
    outcome = scored(classifier, texts(HOSTILE))
    assert all(0 <= score <= 1 for score in outcome.kept["quality.score"].to_pylist())


def test_a_batch_without_rows_has_the_columns_too(classifier: Path) -> None:
    assert scored(classifier, texts({}), min_score=0.5).kept["quality.score"].type == pa.float64()


def test_a_trained_model_is_named_in_the_recipe(classifier: Path) -> None:
    outcome = scored(Path("nowhere"), texts(DOCUMENTS), model=classifier / MODEL_FILE, label="__label__bad")
    assert outcome.kept["quality.score"].to_pylist()[1] > 0.9


def test_the_content_of_a_named_model_is_its_identity(classifier: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.bin"
    copy.write_bytes((classifier / MODEL_FILE).read_bytes())
    configs = [ScoreQualityConfig(model=path) for path in (classifier / MODEL_FILE, copy)]
    assert configs[0].identity() == configs[1].identity()
    copy.write_bytes(copy.read_bytes() + b"x")
    assert configs[0].identity() != configs[1].identity()


def test_a_recipe_that_names_no_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"there is no model .*missing\.bin"):
        ScoreQualityConfig.model_validate({"model": "missing.bin"}, context={"base": tmp_path})

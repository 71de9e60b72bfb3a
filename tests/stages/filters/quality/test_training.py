"""Training a classifier: what it learns from, what it reports, and that equal inputs give equal bytes."""

import random
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.errors import StageError
from stages.filters.quality.classifier import FASTTEXT_EPSILON, Classifier
from stages.filters.quality.evaluation import quality_of
from stages.filters.quality.fasttext_process import train, write_examples
from stages.filters.quality.training import GRID, MODEL_FILE, Example, TrainQualityConfig, tenth_apart
from tests.stages.filters.quality.conftest import Sides, side, trained


def test_the_model_depends_on_the_documents_alone_not_on_their_parts_or_order(tmp_path: Path, sides: Sides) -> None:
    first, _ = trained(tmp_path / "1", side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1]))
    again = [side(tmp_path / "again", name, texts, parts=3) for name, texts in zip(("good", "bad"), sides, strict=True)]
    second, _ = trained(tmp_path / "2", *again)
    assert (first / MODEL_FILE).read_bytes() == (second / MODEL_FILE).read_bytes()


def test_it_tells_held_out_documents_apart_and_counts_them_all(tmp_path: Path, sides: Sides) -> None:
    good, bad = side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1])
    _, summary = trained(tmp_path / "run", good, bad, held_out=0.25)
    assert summary["documents"] == {name: {"training": 150, "held_out": 50} for name in ("positive", "negative")}
    assert summary["auc"] == 1.0
    assert {name: sum(bins) for name, bins in summary["histogram"].items()} == {"positive": 50, "negative": 50}


def test_it_trains_on_the_other_documents_the_sides_mixed(tmp_path: Path, sides: Sides) -> None:
    good, bad = side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1])
    trained(tmp_path / "run", good, bad, held_out=0.25)
    labels = [line.split()[0] for line in (tmp_path / "run/work/examples.txt").read_text().splitlines()]
    assert len(labels) == 300
    assert 50 < labels[:150].count("__label__good") < 100


def test_trials_are_measured_on_a_tenth_of_each_side_that_they_are_not_trained_on() -> None:
    examples = [Example(bytes([i]), i % 3 == 0, f"w{i}") for i in range(90)]
    tenth, rest = tenth_apart(examples)
    assert sorted(tenth + rest, key=lambda example: example.order) == examples
    assert [sum(example.good == good for example in tenth) for good in (True, False)] == [3, 6]
    assert rest == sorted(rest, key=lambda example: example.order)


def test_documents_without_a_difference_are_not_told_apart(tmp_path: Path, sides: Sides) -> None:
    """Held-out documents are not trained on: on two halves of one kind, the area under the curve stays near 1/2."""
    good, bad = side(tmp_path, "good", sides[0][::2]), side(tmp_path, "bad", sides[0][1::2])
    _, summary = trained(tmp_path / "run", good, bad, held_out=0.5)
    assert 0.25 < summary["auc"] < 0.75


def test_no_more_documents_than_wanted_are_used(tmp_path: Path, sides: Sides) -> None:
    good, bad = side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1])
    _, summary = trained(tmp_path / "run", good, bad, max_documents=40)
    assert summary["documents"]["positive"] == {"training": 36, "held_out": 4}


def test_the_larger_side_can_be_cut_to_the_smaller(tmp_path: Path, sides: Sides) -> None:
    good, bad = side(tmp_path, "good", sides[0][:50]), side(tmp_path, "bad", sides[1])
    _, as_they_are = trained(tmp_path / "all", good, bad)
    _, balanced = trained(tmp_path / "balanced", good, bad, balance=True)
    assert as_they_are["documents"]["negative"] == {"training": 180, "held_out": 20}
    assert balanced["documents"]["negative"] == balanced["documents"]["positive"] == {"training": 45, "held_out": 5}


def test_too_few_documents_are_refused_with_the_side_named(tmp_path: Path, sides: Sides) -> None:
    good, bad = side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1][:19] + [""] * 30)
    with pytest.raises(StageError, match=r"negative side \(bad\) has 19 different documents"):
        trained(tmp_path / "run", good, bad)


def test_an_artifact_cannot_be_on_both_sides() -> None:
    with pytest.raises(ValidationError, match="web cannot be positive and negative"):
        TrainQualityConfig(positive=("wiki", "web"), negative=("web",))


def test_trials_find_settings_that_work_and_are_the_same_each_time(tmp_path: Path, sides: Sides) -> None:
    """A step too small to learn anything is given; the trials must get away from it."""
    good, bad = side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1])
    poor = {"learning_rate": 1e-4, "epochs": 1, "trials": 3, "held_out": 0.5}
    first, summary = trained(tmp_path / "1", good, bad, **poor)
    second, _ = trained(tmp_path / "2", good, bad, **poor)
    assert len(summary["trials"]) == 4
    assert summary["trials"][0]["learning_rate"] == 1e-4
    assert summary["settings"] in GRID
    best = min(summary["trials"], key=lambda trial: (-round(trial["auc"], 4), trial["brier"]))
    assert summary["settings"] == {name: best[name] for name in summary["settings"]}
    assert summary["auc"] == 1.0
    assert (first / MODEL_FILE).read_bytes() == (second / MODEL_FILE).read_bytes()


def test_without_trials_the_given_settings_are_used(tmp_path: Path, sides: Sides) -> None:
    _, summary = trained(tmp_path / "run", side(tmp_path, "good", sides[0]), side(tmp_path, "bad", sides[1]))
    assert summary["trials"] == []
    assert summary["settings"] == {"epochs": 20, "learning_rate": 0.5, "word_ngrams": 2, "dimension": 8}


def test_a_training_that_fails_says_what_fasttext_said(tmp_path: Path) -> None:
    write_examples(tmp_path / "examples.txt", [])
    with pytest.raises(StageError, match=r"(?s)fastText ended with status 1 and no model: .*Empty vocabulary"):
        train(tmp_path / "examples.txt", tmp_path / "model.bin", {"epoch": 1})


def test_scores_are_what_fasttext_predicts(classifier: Path, sides: Sides) -> None:
    import fasttext

    lines = [*sides[0][:20], *sides[1][:20], "aaa ggg", "unseen words only"]
    model = fasttext.load_model(str(classifier / MODEL_FILE))
    one_by_one = []
    for line in lines:
        labels, probabilities = model.predict(line, k=2)
        one_by_one.append(probabilities[labels.index("__label__good")] - FASTTEXT_EPSILON)
    assert Classifier(classifier / MODEL_FILE).scores(lines) == pytest.approx(one_by_one, abs=1e-7)


def test_a_label_that_the_model_does_not_have_is_refused_with_those_it_has(classifier: Path) -> None:
    with pytest.raises(
        StageError, match="no label __label__hq; set the option label to one of __label__bad, __label__g"
    ):
        Classifier(classifier / MODEL_FILE, "__label__hq")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(StageError, match=r"notes\.txt is no fastText model"):
        Classifier(tmp_path / "notes.txt")


def test_measures_on_scores_that_one_can_follow() -> None:
    good = np.array([True, True, False, False])
    measured = quality_of(good, np.array([0.9, 0.4, 0.6, 0.1]))
    assert measured["precision"] == 0.5
    assert measured["recall"] == 0.5
    assert measured["auc"] == 0.75  # of the four pairs, 0.4 against 0.6 is the wrong way round
    assert measured["average_precision"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert measured["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert measured["brier_constant"] == 0.25


def test_the_calibration_compares_scores_with_what_was_good_in_ten_bins() -> None:
    good = np.array([True, False, False, False, True, True])
    measured = quality_of(good, np.array([0.22, 0.24, 0.26, 0.28, 1.0, 0.9]))
    assert measured["calibration"] == [
        {"documents": 4, "score": pytest.approx(0.25), "good": 0.25},
        {"documents": 2, "score": pytest.approx(0.95), "good": 1.0},
    ]


def test_copies_of_a_held_out_document_are_not_trained_on(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [" ".join("".join(draw.choices("abcdefghij", k=5)) for _ in range(40)) for _ in range(200)]
    good, bad = side(tmp_path, "good", texts[:100] * 5), side(tmp_path, "bad", texts[100:] * 5)
    _, summary = trained(tmp_path / "made", good, bad, buckets=20_000, dimension=16, epochs=25)
    assert summary["documents"]["positive"] == {"training": 90, "held_out": 10}
    assert summary["auc"] < 0.9  # the sides do not differ


def test_a_model_that_was_cut_off_is_refused(classifier: Path, tmp_path: Path) -> None:
    whole = (classifier / MODEL_FILE).read_bytes()
    (tmp_path / "part.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StageError, match=r"part\.bin.*cut off"):
        Classifier(tmp_path / "part.bin")

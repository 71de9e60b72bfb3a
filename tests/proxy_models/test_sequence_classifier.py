"""Scores of a sequence classifier are those of transformers' own pipeline, text by text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from proxy_models.sequence_classifier import ClassifierError, SequenceClassifier, batches
from tests.small_classifier import WORDS, save_classifier, small_tokenizer

Save = Callable[..., Path]
TEXTS = [
    "the model",
    WORDS,
    "",
    "nobody knows",
    WORDS * 30,
    " \n",
    "a\x00b\x07 text",
    "good " * 61,
    "good " * 62,
    "文本 text",
]


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    return lambda **settings: save_classifier(tmp_path_factory.mktemp("model"), **settings)


def one_by_one(folder: Path, texts: list[str], label: str, **options: Any) -> list[float]:
    """What transformers' pipeline says, a text at a time."""
    pipeline = transformers.pipeline("text-classification", str(folder), device="cpu")
    answers = [pipeline(text, truncation=True, max_length=64, top_k=None, **options) for text in texts]
    return [next(one["score"] for one in answer if one["label"] == label) for answer in answers]


def scores(folder: Path, texts: list[str], **options: Any) -> list[float]:
    return [r.score for r in SequenceClassifier(str(folder), max_tokens=64, **options).readings(texts)]


READABLE = [text for text in TEXTS if text.strip()]


@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_a_regression_gives_its_plain_output_whatever_the_batches(save: Save, batch_tokens: int) -> None:
    folder = save(num_labels=1)
    expected = one_by_one(folder, READABLE, "LABEL_0", function_to_apply="none")
    assert max(expected) - min(expected) > 0.1
    assert scores(folder, READABLE, batch_tokens=batch_tokens) == pytest.approx(expected, abs=1e-5)


def test_of_several_classes_the_probability_of_the_label_is_the_score(save: Save) -> None:
    folder = save(num_labels=3, id2label={0: "poor", 1: "fair", 2: "fine"}, label2id={"poor": 0, "fair": 1, "fine": 2})
    expected = one_by_one(folder, READABLE, "fine", function_to_apply="softmax")
    assert scores(folder, READABLE, label="fine") == pytest.approx(expected, abs=1e-5)
    assert scores(folder, READABLE, label=2) == pytest.approx(expected, abs=1e-5)


def test_classes_that_do_not_exclude_each_other_have_a_probability_each(save: Save) -> None:
    folder = save(num_labels=2, problem_type="multi_label_classification")
    expected = one_by_one(folder, READABLE, "LABEL_1", function_to_apply="sigmoid")
    assert scores(folder, READABLE, label="LABEL_1") == pytest.approx(expected, abs=1e-5)


def test_the_same_texts_give_the_same_scores(save: Save) -> None:
    folder = save(num_labels=1)
    assert scores(folder, READABLE) == scores(folder, READABLE)


def test_it_tells_how_much_of_a_text_the_model_saw(save: Save) -> None:
    texts = ["good text", "good " * 62, "good " * 124, "good " * 124_000, ""]
    readings = SequenceClassifier(str(save(num_labels=1)), max_tokens=64).readings(texts)
    assert [r.tokens for r in readings] == [2, 62, 62, 62, 0]
    assert [r.seen for r in readings] == pytest.approx([1, 1, 0.5, 0.0005, 1], rel=0.01)


@pytest.mark.parametrize(
    "text",
    ["good " * 100_000, "x" * 1_000_000, ("x" * 20_000 + " good") * 50, "文" * 5000, "   " * 100_000 + "good"],
    ids=["words", "one word", "long words", "chinese", "blanks"],
)
def test_a_long_text_scores_as_if_all_of_it_was_tokenized(save: Save, text: str) -> None:
    folder = save(num_labels=1)
    assert scores(folder, [text]) == pytest.approx(
        one_by_one(folder, [text], "LABEL_0", function_to_apply="none"), abs=1e-5
    )


@given(st.lists(st.integers(0, 40)), st.integers(1, 100))
def test_batches_hold_each_text_once_and_no_more_than_fits(lengths: list[int], batch_tokens: int) -> None:
    found = list(batches(lengths, batch_tokens))
    assert sorted(i for rows in found for i in rows) == [i for i, length in enumerate(lengths) if length]
    for rows in found:
        assert len(rows) == 1 or len(rows) * max(lengths[i] for i in rows) <= batch_tokens
        assert 2 * min(lengths[i] for i in rows) >= max(lengths[i] for i in rows)


def test_as_many_similar_texts_as_fit_share_a_batch() -> None:
    assert list(batches([10, 9, 0, 3, 10, 2], 20)) == [[0, 4], [1], [3, 5]]


def test_a_label_must_be_chosen_among_several(save: Save) -> None:
    with pytest.raises(ClassifierError, match=r"no output None: set label to one of 0 \(LABEL_0\), 1 \(LABEL_1\)"):
        SequenceClassifier(str(save(num_labels=2)), max_tokens=64)


def test_more_tokens_than_the_model_can_see_are_refused(save: Save) -> None:
    with pytest.raises(ClassifierError, match=r"max_tokens is 512, but .* can see 64: set max_tokens to 64"):
        SequenceClassifier(str(save(num_labels=1)))


def test_a_model_without_a_trained_head_is_refused(save: Save, tmp_path: Path) -> None:
    small_tokenizer().save_pretrained(tmp_path)
    transformers.BertModel.from_pretrained(save(num_labels=1)).save_pretrained(tmp_path)
    with pytest.raises(ClassifierError, match=r"no trained sequence classifier: it lacks the weights classifier\.bias"):
        SequenceClassifier(str(tmp_path), max_tokens=64)


def test_a_folder_without_a_tokenizer_is_refused(save: Save) -> None:
    folder = save(num_labels=1)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ClassifierError, match=r"tokenizer of .* knows no words: its files are missing"):
        SequenceClassifier(str(folder), max_tokens=64)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(save: Save) -> None:
    with pytest.raises(ClassifierError, match="torch sees no GPU here"):
        SequenceClassifier(str(save(num_labels=1)), max_tokens=64, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_scores_of_the_cpu(save: Save) -> None:
    folder = save(num_labels=1)
    assert scores(folder, READABLE, device="cuda") == pytest.approx(scores(folder, READABLE, device="cpu"), abs=1e-4)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_weights_that_cannot_be_read_are_refused_with_the_model_named(tmp_path: Path, content: bytes) -> None:
    folder = save_classifier(tmp_path / "model", num_labels=1)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ClassifierError, match="model cannot be loaded"):
        SequenceClassifier(str(folder), max_tokens=16)

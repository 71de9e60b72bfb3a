"""The compiled prediction against fastText itself: every kind of model, real texts, and texts made to be difficult."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filters.language import LanguageConfig
from stages.text import language_words
from stages.text.language import LanguageIdentifier

DEFAULT = LanguageConfig().model_path()
DIFFICULT = [
    "",
    " \t\r\v\f\0\n ",
    "a",
    "</s>",
    "before </s> Der Rest zählt nicht mehr.",
    "__label__fr ceci est un texte",
    "__label__unheard Dies ist ein Text",
    "Zeile eins\nZeile zwei\r\nZeile drei",
    "a\0b\x01c\x7f",
    "non-breaking\u00a0space and\u3000wide space end no word",
    "x" * 64 + " " + "y" * 65,  # the longest word that is cached, the shortest that is not
    "漢字かな交じり文" * 400,
    "مرحبا بالعالم، هذا نص عربي قصير. \u200f\u200e",
    "e\u0301\u0301\u0301 \U0001f600\U0001f468\u200d\U0001f469 \ufeff",
    "wort " * 30_000,
]
TRAINING = """
import fasttext, sys
folder, combinations = sys.argv[1], sys.argv[2:]
for combination in combinations:
    loss, shortest, longest, word_ngrams = combination.split("_")
    model = fasttext.train_supervised(
        folder + "/train.txt", loss=loss, minn=int(shortest), maxn=int(longest), wordNgrams=int(word_ngrams),
        bucket=3000, dim=10, epoch=3, thread=1, verbose=0, minCount=1,
    )
    model.save_model(f"{folder}/{combination}.bin")
    for name, options in {
        "quantised": {}, "norms": {"qnorm": True}, "pruned": {"cutoff": 300, "qnorm": True},
        "odd": {"dsub": 3}, "output": {"qout": True, "qnorm": True},
    }.items():
        model = fasttext.load_model(f"{folder}/{combination}.bin")
        model.quantize(input=folder + "/train.txt", **options)
        model.save_model(f"{folder}/{combination}_{name}.ftz")
"""
COMBINATIONS = ["hs_2_4_1", "hs_0_0_2", "softmax_1_3_3", "ns_0_0_1", "ova_2_3_2"]


@pytest.fixture(scope="module")
def default() -> LanguageIdentifier:
    return LanguageIdentifier(DEFAULT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small models of all losses, with and without n-grams, quantised and pruned in all ways."""
    folder = tmp_path_factory.mktemp("models")
    words = {"de": "der die das und Flüsse gehen", "en": "the and rivers go were", "ru": "и реки текут через город"}
    lines = [
        f"__label__{language} {' '.join(chosen)}"
        for language, text in words.items()
        for chosen in itertools.permutations(text.split(), 3)
    ] + [f"__label__l{i} w{i} w{i % 7} common" for i in range(400)]
    (folder / "train.txt").write_text("\n".join(lines))
    subprocess.run(
        [sys.executable, "-c", TRAINING, folder, *COMBINATIONS],
        check=True,
        capture_output=True,
        env={**os.environ, "MALLOC_PERTURB_": "255"},  # fastText trains on memory that it has not set
    )
    return sorted([*folder.glob("*.bin"), *folder.glob("*.ftz")])


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def assert_equal_to_fasttext(
    identifier: LanguageIdentifier, model, texts: list[str], tolerance: float = 0.0
) -> np.ndarray:
    """The scores, once they and the labels are found to be fastText's."""
    labels, scores = identifier.identify(column(texts))
    lines = [text.replace("\n", " ") for text in texts]
    their_labels, their_scores = model.predict(lines, k=1)
    assert labels.to_pylist() == [label[0].removeprefix("__label__") if len(label) else "und" for label in their_labels]
    expected = [score[0] if len(score) else 0 for score in their_scores]
    np.testing.assert_allclose(scores.to_numpy(), expected, rtol=0, atol=tolerance)
    return scores.to_numpy()


def test_real_texts_of_all_kinds_get_fasttexts_label_and_score_to_the_last_bit(default, shared_data):
    texts = []
    for path in sorted((shared_data / "text").glob("*.jsonl.zst")):
        lines = pa.CompressedInputStream(path, "zstd").read().splitlines()
        texts += [json.loads(line)["text"] for line in lines[:: len(lines) // 60 + 1]]
    for path in sorted((shared_data / "langid").glob("lingua_*.jsonl.zst")):
        lines = pa.CompressedInputStream(path, "zstd").read().splitlines()
        texts += [json.loads(line)["text"] for line in lines[::40]]
    scores = assert_equal_to_fasttext(default, fasttext.load_model(str(DEFAULT)), texts)
    assert min((scores < 0.5).sum(), (scores > 0.5).sum()) > 500  # above, one descent could decide


@pytest.mark.parametrize("text", ["", "smoke", "xente para falar pai foron pobo", "foron pobo a para meu e"])
def test_a_label_that_is_not_at_the_end_of_the_likelier_branches_is_found(default, text):
    assert_equal_to_fasttext(default, fasttext.load_model(str(DEFAULT)), [text])


def test_difficult_texts_get_fasttexts_label_and_score(default):
    assert_equal_to_fasttext(default, fasttext.load_model(str(DEFAULT)), DIFFICULT)


def test_every_kind_of_model_predicts_as_by_fasttext(trained):
    assert len(trained) == len(COMBINATIONS) * 6
    texts = [*DIFFICULT, "die Flüsse gehen", "the rivers and w5 common", "реки Flüsse </s> the", "unbekannt"]
    for path in trained:
        assert_equal_to_fasttext(LanguageIdentifier(path), fasttext.load_model(str(path)), texts, tolerance=1e-6)


def test_probabilities_of_all_labels_are_fasttexts(trained):
    texts = ["die Flüsse gehen", "w5 common", ""]
    for path in [*trained, DEFAULT]:
        identifier, model = LanguageIdentifier(path), fasttext.load_model(str(path))
        for ours, text in zip(identifier.probabilities(column(texts)), texts, strict=True):
            theirs = np.zeros(len(identifier.labels))
            for label, score in zip(*model.predict(text, k=-1), strict=True):
                theirs[identifier.labels.index(label.removeprefix("__label__"))] = score
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


PIECES = st.sampled_from(
    [" ", "\n", "\0", "</s>", "__label__en", "<", ">", "the", "der", "naïve", "字", "ы", "e\u0301"]
)


@settings(max_examples=300)
@given(st.lists(st.lists(PIECES | st.text(max_size=30), max_size=12).map("".join), min_size=1, max_size=4))
def test_any_text_gets_fasttexts_label_and_score(texts):
    texts = [text.encode(errors="ignore").decode() for text in texts]  # no lone surrogates: Arrow holds none
    assert_equal_to_fasttext(_IDENTIFIER, _MODEL, texts)


_IDENTIFIER, _MODEL = LanguageIdentifier(DEFAULT), fasttext.load_model(str(DEFAULT))


def test_a_text_of_ten_megabytes_in_one_line_gets_fasttexts_label_and_score(default):
    line = "Der Ausschuss tritt im Frühjahr wieder zusammen. " * 200_000
    unbroken = "x" * 5_000_000
    assert_equal_to_fasttext(default, fasttext.load_model(str(DEFAULT)), [line, unbroken])


def test_results_do_not_depend_on_what_was_seen_before_or_on_a_full_cache(monkeypatch):
    texts = column([f"Wort{i} und noch ein word{i * i} der Sprache" for i in range(3_000)])
    together = LanguageIdentifier(DEFAULT)
    labels, scores = together.identify(texts)
    again = LanguageIdentifier(DEFAULT)
    again._cache.used[1] = language_words.MAX_CACHED_ROWS - len(again._scratch.ngrams.rows) - 50
    reversed_labels, reversed_scores = again.identify(texts.take(pa.array(range(2_999, -1, -1))))
    assert again._cache.used[0] < together._cache.used[0]  # it was emptied on the way
    assert reversed_labels.to_pylist()[::-1] == labels.to_pylist()
    assert reversed_scores.to_pylist()[::-1] == scores.to_pylist()


def test_slices_chunks_and_nulls_are_read_as_what_they_hold(default):
    texts = pa.array(["Dies ist ein deutscher Satz", None, "", "This is an English sentence"], pa.large_string())
    labels = default.identify(texts)[0].to_pylist()
    assert labels[0] == "de"
    assert labels[1] == labels[2]
    assert default.identify(texts.slice(2))[0].to_pylist() == labels[2:]
    assert default.identify(pa.chunked_array([texts.slice(3), texts.slice(0, 1)]))[0].to_pylist() == ["en", "de"]
    assert default.identify(texts.cast(pa.string()))[0].to_pylist() == labels
    assert default.identify(texts.slice(0, 0))[0].to_pylist() == []
    assert len(default.identify(pa.chunked_array([], pa.large_string()))[0]) == 0


def test_bytes_that_are_no_utf_8_get_a_label(default):
    broken = pa.array([b"\x80\x80 \xff\xfe \xe2\x28", b"\xf0"]).cast(pa.large_binary())
    column = pa.Array.from_buffers(pa.large_string(), 2, broken.buffers())
    labels, scores = default.identify(column)
    assert set(labels.to_pylist()) <= set(default.labels)
    assert all(0 < score <= 1.01 for score in scores.to_pylist())

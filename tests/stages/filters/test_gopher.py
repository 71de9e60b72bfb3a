"""Gopher's quality rules, one by one; see test_parity.py for their equality with datatrove's."""

import pytest

from pipeline.stage import Context, documents
from stages.filters.gopher import GopherQuality, GopherQualityConfig

GOOD = "We have to say that the report of the committee was read with care and that it will be printed. " * 4


def filtered(texts, **options):
    stage = GopherQuality(GopherQualityConfig(**options))
    stage.setup(Context(seed=1))
    outcome = stage.process(documents({"id": str(i), "source": "s", "text": t} for i, t in enumerate(texts)))
    assert outcome.kept.num_rows + len(outcome.removed) == len(texts)
    return outcome


def reason(text, **options):
    removed = filtered([text], **options).removed
    return removed[0].reason if removed else None


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (GOOD, {}, None),
        ("only a few words of the text that we have", {}, "too_few_words"),
        ("! " * 100 + "only a few words of the text that we have", {}, "too_few_words"),  # punctuation is no word
        (GOOD, {"max_words": 60}, "too_many_words"),
        (GOOD + "a b c d e f g h i j k " * 20, {}, "words_too_short"),
        (GOOD + "internationalisation " * 100, {}, "words_too_long"),
        (GOOD + "# " * 20, {}, "too_many_hashes"),
        (GOOD + "… " * 20, {}, "too_many_ellipses"),
        ("\n".join("• " + GOOD for _ in range(11)), {}, "too_many_bullets"),
        ("\n".join([GOOD + "...", GOOD]), {}, "too_many_line_ellipses"),
        (GOOD + "1234 " * 40, {}, "too_few_alphabetic_words"),
        ("Wir haben gesagt, dass der Bericht gelesen wird und gedruckt werden soll. " * 8, {}, "too_few_stop_words"),
    ],
)
def test_each_rule_names_its_reason(text, options, expected):
    assert reason(text, **options) == expected


def test_a_rule_can_be_switched_off():
    assert reason("Short text with the words that we have.", min_words=None) is None


def test_measures_are_kept_as_columns():
    """Counted by hand: 14 words, 4 tokens of punctuation (comma, number sign, hyphen, ellipsis), two lines."""
    text = "We have to be with the cat, and that of #\n- it is the end..."
    off = dict.fromkeys(name for name in GopherQualityConfig.model_fields if name.startswith(("min", "max")))
    [row] = filtered([text], **off).kept.to_pylist()
    assert {name: value for name, value in row.items() if name.startswith("gopher_quality.")} == {
        "gopher_quality.words": 14,
        "gopher_quality.mean_word_length": 39 / 14,
        "gopher_quality.hash_ratio": 1 / 18,
        "gopher_quality.ellipsis_ratio": 1 / 18,
        "gopher_quality.bullet_lines": 1 / 2,
        "gopher_quality.ellipsis_lines": 1 / 2,
        "gopher_quality.alphabetic_words": 14 / 18,
        "gopher_quality.stop_words": 8,
    }


def test_evidence_has_the_measure_and_the_threshold():
    [removed] = filtered(["five words are not enough"]).removed
    assert removed.evidence == "5 words < 50"
    assert removed.scores["gopher_quality.words"] == 5


def test_ratios_of_an_empty_text_are_null_and_break_no_rule():
    off = {"min_words": None, "min_stop_words": None}
    [kept] = filtered([None], **off).kept.to_pylist()
    assert kept["gopher_quality.words"] == kept["gopher_quality.stop_words"] == 0
    assert kept["gopher_quality.mean_word_length"] is kept["gopher_quality.bullet_lines"] is None
    assert reason(None) == "too_few_words"


def test_a_batch_without_rows_is_measured():
    outcome = filtered([])
    assert outcome.kept.num_rows == len(outcome.removed) == 0

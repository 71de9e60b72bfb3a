"""Gopher's rules against repetition, one by one; see test_parity.py for their equality with datatrove's."""

import time

import pytest

from pipeline.stage import Context, documents
from stages.filters.gopher_repetition import GopherRepetition, GopherRepetitionConfig

OFF = {rule.option: None for rule in GopherRepetition.rules}
VERSE = "Nine rivers ran past ten grey hills while eleven tired boats went home"


def filtered(texts, **options):
    stage = GopherRepetition(GopherRepetitionConfig(**options))
    stage.setup(Context(seed=1))
    return stage.process(documents({"id": str(i), "source": "s", "text": t} for i, t in enumerate(texts)))


@pytest.mark.parametrize(
    ("text", "reason", "evidence"),
    [
        (None, "empty", "0 characters < 1"),
        ("a b\n\na b\n\na c", "dup_para_frac", "0.3333 of paragraphs are repeated > 0.3"),
        ("aa bb\n\naa bb\n\ncc\n\ndd\n\nee", "dup_para_char_frac", "of characters are in repeated paragraphs > 0.2"),
        ("a b\na b\na c", "dup_line_frac", "0.3333 of lines are repeated > 0.3"),
        ("aa bb\naa bb\ncc\ndd\nee", "dup_line_char_frac", "of characters are in repeated lines > 0.2"),
        ("so far so far so", "top_2_gram", "0.75 of characters are in one run of 2 words > 0.2"),
        ("so far as so far as", "top_3_gram", "of characters are in one run of 3 words > 0.18"),
        ("so far as we so far as we", "top_4_gram", "of characters are in one run of 4 words > 0.16"),
        *((f"{VERSE}. {VERSE}, no", f"dup_{n}_gram", f"in repeated runs of {n} words > 0.1") for n in range(5, 11)),
    ],
)
def test_each_rule_names_its_reason_and_what_it_saw(text, reason, evidence):
    [rule] = [rule for rule in GopherRepetition.rules if rule.reason == reason]
    default = GopherRepetitionConfig.model_fields[rule.option].default
    [removed] = filtered([text], **OFF | {rule.option: default}).removed
    assert removed.reason == reason
    assert evidence in removed.evidence


def test_a_document_without_repetition_stays_and_has_its_measures():
    [row] = filtered([VERSE], **OFF).kept.to_pylist()
    assert row["gopher_repetition.characters"] == len(VERSE)
    assert row["gopher_repetition.top_2_gram"] == len("Nine rivers") / len(VERSE)
    assert {row[f"gopher_repetition.dup_{n}_gram"] for n in range(5, 11)} == {0}


def test_a_text_with_too_few_words_has_no_top_n_gram():
    [row] = filtered(["one word"], **OFF).kept.to_pylist()
    assert row["gopher_repetition.top_2_gram"] == 1
    assert row["gopher_repetition.top_3_gram"] is row["gopher_repetition.top_4_gram"] is None


@pytest.mark.parametrize("text", ["x" * 10_000_000, "x " * 5_000_000, "\n" * 10_000_000, "αβ\n" * 2_000_000])
def test_ten_megabytes_of_one_thing_take_seconds_and_are_repetition(text):
    stage = GopherRepetition(GopherRepetitionConfig())
    stage.setup(Context(seed=1))
    started = time.process_time()
    outcome = stage.process(documents([{"id": "0", "source": "s", "text": text}]))
    assert time.process_time() - started < 20
    assert outcome.kept.num_rows == (1 if text.startswith("xx") else 0)


def test_a_batch_without_rows_is_measured():
    outcome = filtered([])
    assert outcome.kept.num_rows == len(outcome.removed) == 0

"""What the privacy stage does to documents."""

import json
import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.stage import EXCERPT_CHARACTERS, Context, documents
from stages.privacy.masking import TYPES, Span, composed, replaced
from stages.privacy.stage import COUNTS, SPANS, Privacy, PrivacyConfig
from tests.stages.privacy.examples import EXAMPLES, drawn

HEX = "0123456789abcdef"


def ready(**options: Any) -> Privacy:
    stage = Privacy(PrivacyConfig.model_validate(options))
    stage.setup(Context(seed=0))
    return stage


STAGE = ready()


def batch(*texts: str | None, **columns: str) -> pa.Table:
    return documents(
        {"id": str(n), "text": text, "source": "s", "language": "en", **columns} for n, text in enumerate(texts)
    )


def masked(text: str, stage: Privacy = STAGE, **columns: str) -> str:
    return stage.process(batch(text, **columns)).kept["text"][0].as_py()


def marked(text: str, spans: list[dict[str, Any]]) -> str:
    for span in reversed(spans):
        start, end = span["original_start"], span["original_end"]
        text = f"{text[:start]}⟦{text[start:end]}⟧{text[end:]}"
    return text


@pytest.mark.parametrize(("kind", "example"), [(kind, text) for kind, texts in EXAMPLES.items() for text in texts])
def test_what_a_reader_marked_is_found_and_nothing_else(kind: str, example: str) -> None:
    text = example.replace("⟦", "").replace("⟧", "")
    kept = STAGE.process(batch(text)).kept
    spans = kept[SPANS][0].as_py()
    assert marked(text, spans) == example
    assert {span["type"] for span in spans} <= {kind}


def test_each_type_has_its_placeholder() -> None:
    assert masked("a@b.com, +49 561 9804848, 82.44.254.62") == "<EMAIL>, <PHONE>, <IP_ADDRESS>"


def test_placeholders_can_be_chosen() -> None:
    stage = ready(placeholders={"email": "email@example.com"})
    assert masked("a@b.com +49 561 9804848", stage) == "email@example.com <PHONE>"


def test_an_empty_placeholder_is_refused() -> None:
    with pytest.raises(ValidationError, match="the words around it would join"):
        PrivacyConfig.model_validate({"placeholders": {"phone": ""}})


def test_only_chosen_types_are_masked() -> None:
    kept = ready(types="email").process(batch("a@b.com +49 561 9804848")).kept
    assert kept["text"].to_pylist() == ["<EMAIL> +49 561 9804848"]
    assert kept["privacy.emails"].to_pylist() == [1]
    assert kept["privacy.phones"].to_pylist() == [None]


def test_masks_are_counted_by_type_and_document() -> None:
    kept = STAGE.process(batch("a@b.com c@d.com 82.44.254.62", "nothing")).kept
    assert kept["privacy.emails"].to_pylist() == [2, 0]
    assert kept["privacy.ip_addresses"].to_pylist() == [1, 0]
    assert kept["privacy.secrets"].to_pylist() == [0, 0]


def test_spans_say_where_the_placeholder_is_and_where_the_original_was() -> None:
    text = "é a@b.com 字 82.44.254.62!"
    kept = STAGE.process(batch(text)).kept
    new = kept["text"][0].as_py()
    spans = kept[SPANS][0].as_py()
    assert [new[s["start"] : s["end"]] for s in spans] == ["<EMAIL>", "<IP_ADDRESS>"]
    assert [text[s["original_start"] : s["original_end"]] for s in spans] == ["a@b.com", "82.44.254.62"]


def test_no_column_holds_what_was_masked() -> None:
    secrets = ["jane@b.com", f"ghp_{drawn(HEX, 36)}", "+49 561 9804848"]
    stored = json.dumps(STAGE.process(batch(" ".join(secrets))).kept.to_pylist())
    assert [secret for secret in secrets if secret in stored] == []


def test_rows_without_text_or_private_data_stay_as_they_are() -> None:
    texts = [None, "", "one", "字 " * 50, "\x00\x07 \u202e\u05d0"]
    kept = STAGE.process(batch(*texts)).kept
    assert kept["text"].to_pylist() == texts
    assert kept[SPANS].to_pylist() == [[]] * 5


def test_an_empty_batch_has_the_columns() -> None:
    kept = STAGE.process(batch()).kept
    assert set(kept.column_names) >= {*COUNTS.values(), SPANS}


def test_masked_twice_the_first_text_stays_the_original() -> None:
    text = "x a@b.com y +49 561 9804848 z"
    once = ready(types="phone").process(batch(text)).kept
    twice = ready(types="email").process(once).kept
    assert twice[SPANS].to_pylist() == STAGE.process(batch(text)).kept[SPANS].to_pylist()
    assert twice["text"].to_pylist() == ["x <EMAIL> y <PHONE> z"]


def test_what_a_mask_sets_free_is_masked_too() -> None:
    assert masked("+49 561 9804848 04131 12207", language="de") == "<PHONE> <PHONE>"


def test_a_placeholder_that_looks_like_an_address_is_none() -> None:
    stage = ready(placeholders={"email": "someone@firma.de"})
    once = stage.process(batch("a@b.com")).kept.select(["id", "text", "source"])
    assert once["text"].to_pylist() == ["someone@firma.de"]
    assert stage.process(once).kept["privacy.emails"].to_pylist() == [0]


def test_a_secret_wins_over_the_address_in_it() -> None:
    assert masked(f"postgres://u:{'k7Qx9'}@db.host.com/x") == "postgres://u:<SECRET>@db.host.com/x"


def test_public_addresses_only_unless_asked() -> None:
    assert masked("10.200.30.40 fe80::1:2 82.44.254.62") == "10.200.30.40 fe80::1:2 <IP_ADDRESS>"
    assert masked("10.200.30.40 fe80::1:2", ready(only_public_ips=False)) == "<IP_ADDRESS> <IP_ADDRESS>"


def test_national_numbers_need_a_region() -> None:
    number = "04131 12207"
    assert masked(f"x {number}") == f"x {number}"
    assert masked(f"x {number}", language="de") == "x <PHONE>"
    assert masked(f"x {number}", url="https://www.a.de/b") == "x <PHONE>"
    assert masked(f"x {number}", ready(regions="DE")) == "x <PHONE>"
    assert masked(f"x {number} +49 4131 12207", ready(regions=[]), language="de") == f"x {number} <PHONE>"


@pytest.mark.parametrize("date", ["am 03.05.2019 um 12", "Frist 03/04/2012", "04-05-2011", "01.10.2005 15.00"])
def test_dates_are_no_national_numbers(date: str) -> None:
    assert masked(date, language="de") == date


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(ValidationError, match="no region of phone numbers: XX"):
        PrivacyConfig.model_validate({"regions": ["XX"]})


def test_a_cut_excerpt_is_shown_without_its_last_word() -> None:
    text = ("word " * 200)[: EXCERPT_CHARACTERS - 14] + "+49 a@b.com AKIAQ"
    shown = STAGE.redacted(text[:EXCERPT_CHARACTERS])
    assert "@" not in shown
    assert not shown.endswith("AKIA")
    assert STAGE.redacted("mail a@b.com") == "mail <EMAIL>"


pieces = [text.replace("⟦", "").replace("⟧", "") for texts in EXAMPLES.values() for text in texts]
glue = st.sampled_from(["", " ", "\n", ".", "-", ":", "/", "@", "0", "a", "é", "字", "<", ">", "+", "_", "="])
mixed = st.lists(st.one_of(st.sampled_from(pieces), glue, st.text(max_size=5)), max_size=8).map("".join)


@settings(max_examples=300)
@given(mixed, st.sampled_from(["en", "de", "zh", ""]))
def test_masking_masked_text_changes_nothing(text: str, language: str) -> None:
    once = masked(text, language=language)
    assert masked(once, language=language) == once


@settings(max_examples=300)
@given(mixed)
def test_all_outside_the_spans_is_unchanged(text: str) -> None:
    kept = STAGE.process(batch(text)).kept
    new, rebuilt, position = kept["text"][0].as_py(), [], 0
    for span in kept[SPANS][0].as_py():
        rebuilt += [text[position : span["original_start"]], new[span["start"] : span["end"]]]
        assert new[span["start"] : span["end"]] == f"<{span['type'].upper()}>"
        position = span["original_end"]
    assert "".join([*rebuilt, text[position:]]) == new


@given(st.data())
def test_two_maskings_compose_to_one(choices: st.DataObject) -> None:
    placeholders = {name: f"<{name}>" for name in TYPES}
    cuts = sorted(choices.draw(st.lists(st.integers(0, 60), min_size=8, max_size=8, unique=True)))
    text = "".join(chr(97 + n % 26) for n in range(60))
    found = [("email", *cuts[0:2]), ("phone", *cuts[2:4]), ("iban", *cuts[4:6]), ("secret", *cuts[6:8])]
    first = choices.draw(st.sets(st.sampled_from(range(4))))
    middle, earlier = replaced(text, [found[n] for n in sorted(first)], placeholders)  # type: ignore[misc]
    rest = [found[n] for n in range(4) if n not in first]
    moved = [(name, start + _shift(earlier, start), end + _shift(earlier, start)) for name, start, end in rest]
    _, later = replaced(middle, moved, placeholders)  # type: ignore[arg-type]
    assert composed(earlier, later) == replaced(text, found, placeholders)[1]  # type: ignore[arg-type]


def _shift(spans: list[Span], position: int) -> int:
    return sum(s.end - s.start - (s.original_end - s.original_start) for s in spans if s.original_end <= position)


ADVERSARIAL = {
    "addresses cut short": "a@",
    "digits": "7",
    "dots": "1.",
    "a number that never ends": "+49 30 ",
    "keys that never end": "-----BEGIN PRIVATE KEY-----\n",
    "headers": "-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
    "colons": "ab::",
    "base 64": "Ab3+",
    "names": "api_key=",
    "groups": "4111 ",
    "braces": "{a,b}@x",
    "web tokens": "eyJaaaaaaaaaaA1.",
}


@pytest.mark.parametrize("unit", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_time_grows_with_the_length_of_one_line(unit: str) -> None:
    def seconds(size: int) -> float:
        table = batch((unit * size)[:size])
        started = time.process_time()
        STAGE.process(table)
        return time.process_time() - started

    seconds(1000)
    assert seconds(800_000) < 40 * max(seconds(100_000), 0.03)  # linear: 8; quadratic: 64


@pytest.mark.parametrize("number", ["DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "+49 561 9804 848"])
@pytest.mark.parametrize("characters_cut", range(0, 20, 3))
def test_no_group_of_a_number_is_left_at_the_end_of_a_cut_excerpt(number: str, characters_cut: int) -> None:
    text = "x" * (EXCERPT_CHARACTERS - len(number) + characters_cut - 5) + " and " + number
    shown = STAGE.redacted(text[:EXCERPT_CHARACTERS])
    assert not any(character.isdigit() for character in shown)


@pytest.mark.parametrize("number", ["415-555-2671", "04131 12207"])
def test_an_excerpt_hides_national_numbers_whatever_its_language(number: str) -> None:
    assert STAGE.redacted(f"call {number}") == "call <PHONE>"


@pytest.mark.parametrize("behind", ["Phone: 1", "-Thanks", ".Please write"])
def test_an_address_that_runs_into_the_next_word_is_masked(behind: str) -> None:
    assert masked(f"mail ann@firma.com{behind}") == f"mail <EMAIL>{behind}"


def test_an_account_in_groups_that_no_line_breaks_is_masked() -> None:
    assert masked("DE89 3704 0044 0532 0130 00".replace(" ", "\u00a0")) == "<IBAN>"


def test_a_line_that_was_cut_is_masked_where_it_is_quoted():
    field = pa.field("dedup_lines_cut.line", pa.string())
    rows = [
        {"id": "a", "source": "w", "text": "nothing", field.name: "Mail jane.doe@gmail.com"},
        {"id": "b", "source": "w", "text": "x"},
    ]
    stage = Privacy(PrivacyConfig())
    stage.setup(Context(1))
    line, none = stage.process(documents(rows, [field])).kept[field.name].to_pylist()
    assert "jane" not in line
    assert none is None

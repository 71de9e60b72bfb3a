"""FineWeb's rules, one by one; see test_parity.py for their equality with datatrove's."""

import pytest

from pipeline.stage import Context, documents
from stages.filters.fineweb import FineWeb, FineWebConfig

GOOD = "The committee will meet again in the spring of next year.\nUntil then the old rules are to be kept by all."


def filtered(texts, **options):
    stage = FineWeb(FineWebConfig(**options))
    stage.setup(Context(seed=1))
    return stage.process(documents({"id": str(i), "source": "s", "text": t} for i, t in enumerate(texts)))


def reason(text, **options):
    removed = filtered([text], **options).removed
    return removed[0].reason if removed else None


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (GOOD, {}, None),
        (None, {}, "empty"),
        (" \n\t\n", {}, "empty"),
        (" \n\t\n", {"min_lines": None}, None),
        (GOOD.replace(".", ""), {}, "line_punct_ratio"),
        (GOOD.replace(".", ""), {"line_punct_exclude_zero": True}, None),
        (GOOD.replace(".", ". "), {}, "line_punct_ratio"),  # white space at the end is part of the line
        (GOOD.replace(".", "~"), {"stop_chars": ["x~", "r~"]}, None),
        ("Go.\nStop.\n" + GOOD.partition("\n")[0] + "\nGo on.", {}, "short_line_ratio"),
        ("Go.\nStop.\n" + GOOD.partition("\n")[0] + "\nGo on.", {"short_line_length": 4, "max_list_ratio": 1}, None),
        (f"{GOOD}\n{GOOD}", {}, "char_dup_ratio"),
        (f"{GOOD}\n{GOOD}", {"max_char_dup_ratio": None}, None),
        (GOOD.replace("\n", "\n" * 20), {}, "list_ratio"),
    ],
)
def test_each_rule_names_its_reason(text, options, expected):
    assert reason(text, **options) == expected


def test_measures_are_kept_as_columns():
    """Counted by hand: 3 lines with text, 8 of 59 characters in a repeated one, 4 newlines, 14 words with the stop."""
    text = "So it is\n\nSo it is\nThis line is longer than thirty characters.\n"
    off = {rule.option: None for rule in FineWeb.rules}
    [row] = filtered([text], **off).kept.to_pylist()
    assert {name: row[name] for name in FineWeb.measures} == {
        "fineweb.lines": 3,
        "fineweb.line_punct_ratio": 1 / 3,
        "fineweb.short_line_ratio": 2 / 3,
        "fineweb.char_dup_ratio": 8 / 59,
        "fineweb.list_ratio": 4 / 14,
    }


def test_an_empty_stop_character_is_refused():
    with pytest.raises(ValueError, match="stop_chars"):
        FineWebConfig(stop_chars=("",))


def test_a_batch_without_rows_is_measured():
    outcome = filtered([])
    assert outcome.kept.num_rows == len(outcome.removed) == 0

"""C4's rules, one by one; see test_parity.py for their equality with datatrove's."""

import pyarrow as pa
import pytest

from pipeline.stage import Context, documents
from stages.filters.c4 import C4, WORD_COUNTS, C4Config
from stages.filters.fineweb import FineWeb, FineWebConfig
from stages.text.words import words_of

GOOD = "The first report was read. It was long! Was it good? They said so. Then all went home."


def filtered(texts, **options):
    stage = C4(C4Config(**options))
    stage.setup(Context(seed=1))
    return stage.process(documents({"id": str(i), "source": "s", "text": t} for i, t in enumerate(texts)))


def left_of(line, **options):
    """What is left of a line in a document that stays."""
    [row] = filtered([f"{GOOD}\n{line}"], **options).kept.to_pylist()
    assert row["text"].startswith(GOOD)
    return row["text"][len(GOOD) :].lstrip("\n"), {
        name for name in C4.measures if name.endswith("_lines") and row[name]
    }


@pytest.mark.parametrize(
    ("line", "counted", "switch"),
    [
        (f"A word of {'x' * 1001} characters.", "c4.long_word_lines", {"max_word_length": None}),
        ("This line has no end", "c4.unpunctuated_lines", {"remove_unpunctuated_lines": False}),
        ("This line goes on...", "c4.unpunctuated_lines", {"remove_unpunctuated_lines": False}),
        ("Two words.", "c4.short_lines", {"min_words_per_line": None}),
        ("Please turn JavaScript on.", "c4.javascript_lines", {"remove_javascript_lines": False}),
        ("This site uses Coo\u212aies, as all do.", "c4.policy_lines", {"remove_policy_lines": False}),
        ("Read our Privacy Policy today.", "c4.policy_lines", {"remove_policy_lines": False}),
    ],
)
def test_lines_are_removed_and_counted_by_reason(line, counted, switch):
    assert left_of(line) == ("", {counted, "c4.kept_lines"})
    assert left_of(line, **switch) == (line, {"c4.kept_lines"})


def test_citations_are_removed_from_lines():
    assert left_of("It is so[1] and not[citation needed] else[edit].")[0] == "It is so and not else."
    assert left_of("It is so[1] indeed.", remove_citations=False)[0] == "It is so[1] indeed."


@pytest.mark.parametrize(
    ("text", "reason", "evidence"),
    [
        (f"{GOOD}\nLorem Ipsum dolor sit.", "lorem_ipsum", "1 lines with lorem ipsum > 0"),
        (f"{GOOD}\nint main() {{ it.", "curly_bracket", "1 lines with { > 0"),
        (f"{GOOD}\nLorem Ipsum dolor sit.\nA {{ comes second.", "lorem_ipsum", "1 lines with lorem ipsum > 0"),
        (f"{GOOD}\nA {{ comes first.\nLorem Ipsum dolor sit.", "curly_bracket", "1 lines with { > 0"),
        ("One is here. Two is here. Three is here. Four is here.", "too_few_sentences", "4 sentences < 5"),
        (None, "too_few_sentences", "0 sentences < 5"),
    ],
)
def test_documents_are_dropped_with_their_first_reason(text, reason, evidence):
    [removed] = filtered([text]).removed
    assert (removed.reason, removed.evidence) == (reason, evidence)


def test_what_comes_first_counts_only_among_the_rules_that_are_on():
    text = f"{GOOD}\nA {{ comes first.\nLorem Ipsum dolor sit."
    assert [r.reason for r in filtered([text], max_curly_bracket_lines=None).removed] == ["lorem_ipsum"]
    assert [r.reason for r in filtered([text], max_curly_bracket_lines=1).removed] == ["lorem_ipsum"]
    assert not filtered([text], max_curly_bracket_lines=1, max_lorem_ipsum_lines=1).removed


def test_sentences_of_edited_lines_are_those_of_what_is_left():
    """The citation glues two sentences: without it there are two."""
    [row] = filtered(["He left.[2]Then she spoke to all."], min_sentences=None).kept.to_pylist()
    assert row["text"] == "He left.Then she spoke to all."
    [plain] = filtered([row["text"]], min_sentences=None).kept.to_pylist()
    assert row["c4.sentences"] == plain["c4.sentences"]


def test_rules_can_look_at_sentences():
    text = "This one stays here. Not so. This one has JavaScript. This one stays too."
    [row] = filtered([text], split_by="sentences", min_sentences=2).kept.to_pylist()
    assert row["text"] == "This one stays here. This one stays too."
    assert row["c4.sentences"] == 2


def test_other_languages_are_split_by_their_own_rules():
    text = "Das ist ein Satz. Dies ist z.B. noch einer. Und hier kommt der dritte."
    [row] = filtered([text], language="de", min_sentences=None).kept.to_pylist()
    assert row["c4.sentences"] == 3
    [row] = filtered([text], language="de", min_sentences=None, split_by="sentences").kept.to_pylist()
    assert (row["text"], row["c4.lines"]) == (text, 3)


@pytest.mark.parametrize(
    "text", ["x" * 10_000_000, "x. " * 3_000_000, "[1]" * 3_000_000, "{" * 5_000_000, "x.\n" * 3_000_000]
)
def test_ten_megabytes_of_one_thing_have_a_verdict(text):
    outcome = filtered([text])
    assert outcome.kept.num_rows + len(outcome.removed) == 1


def measured(batch, **options):
    stage = C4(C4Config(**options))
    stage.setup(Context(seed=1))
    return stage.measure(batch)


TEXTS = [
    GOOD,
    f"{GOOD}\nNo end here",
    f"{GOOD}\nIt[1]is so[edit].",
    "Dropped as it is",
    None,
    "",
    f"  {GOOD}\x85{GOOD}\n\n",
]


def test_words_of_what_is_left_are_counted_for_the_filters_that_follow():
    table = measured(documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(TEXTS)))
    firsts = words_of(table["text"]).firsts
    assert table[WORD_COUNTS].to_pylist() == (firsts[1:] - firsts[:-1]).tolist()
    stage = FineWeb(FineWebConfig())
    stage.setup(Context(seed=1))
    assert stage.measure(table).select(list(stage.measures)) == stage.measure(table.drop([WORD_COUNTS])).select(
        list(stage.measures)
    )


def test_batches_without_rows_and_parts_of_batches_are_measured_alike():
    batch = documents({"id": str(i), "source": "s", "text": text} for i, text in enumerate(TEXTS))
    whole = measured(batch)
    assert measured(batch.slice(0, 0)).num_rows == 0
    parts = pa.concat_tables([measured(batch.slice(0, 2)), measured(batch.slice(2))])
    assert parts.combine_chunks() == whole.combine_chunks()

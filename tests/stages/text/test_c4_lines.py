"""Kernels that edit lines as C4 does, against plain Python."""

import sys
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stage import Context, documents
from stages.filters.c4 import C4
from stages.text import reference
from stages.text.c4_lines import POLICY_PHRASES
from stages.text.reference import LineRules
from stages.text.words import words_of
from tests.stages.text.nasty import texts

MADE: dict[LineRules, C4] = {}


def edited(batch, rules):
    """Text and counts of each document, by the stage with no rule that drops documents."""
    if rules not in MADE:
        options = {name: getattr(rules, name) for name in LineRules.__dataclass_fields__}
        options["split_by"] = "sentences" if options.pop("by_sentences") else "lines"
        options = {name: None if value == -1 else value for name, value in options.items()}
        off = {"max_lorem_ipsum_lines": None, "max_curly_bracket_lines": None, "min_sentences": None}
        MADE[rules] = C4(C4.config_type.model_validate(options | off))
        MADE[rules].setup(Context(seed=1))
    measured = MADE[rules].measure(documents({"id": str(i), "source": "s", "text": t} for i, t in enumerate(batch)))
    return [
        (row["text"], {name.partition(".")[2]: row[name] for name in MADE[rules].measures})
        for row in measured.to_pylist()
    ]


def split(text):
    import pyarrow as pa

    return reference.sentences(text, words_of(pa.array([text], pa.large_string())).of(0))


variants = st.sampled_from(
    [
        LineRules(),
        LineRules(remove_unpunctuated_lines=False, min_words_per_line=-1),
        LineRules(remove_unpunctuated_lines=False, max_word_length=3),
        LineRules(max_word_length=-1, min_words_per_line=1, remove_javascript_lines=False),
        LineRules(remove_citations=False, remove_policy_lines=False),
        LineRules(strip_after_citations=True, min_words_per_line=1),
        LineRules(by_sentences=True),
        LineRules(by_sentences=True, remove_unpunctuated_lines=False, min_words_per_line=-1),
    ]
)


@settings(max_examples=300)
@given(st.lists(texts(), min_size=1, max_size=4), variants)
def test_texts_and_counts_are_those_of_the_reference(batch, rules):
    assert edited(batch, rules) == [reference.c4(text, rules, split) for text in batch]


def test_the_kelvin_sign_is_the_only_other_letter_of_the_phrases():
    """Phrases are found in ``line.lower()``, which the kernel does not make."""
    letters = set("".join([*POLICY_PHRASES, "lorem ipsum", "javascript"]))
    others = {chr(c) for c in range(128, sys.maxunicode + 1) if set(chr(c).lower()) <= letters}
    assert others == {"\u212a"}


def test_a_dotted_capital_i_is_two_characters_in_lower_case():
    assert "javascript" not in "JAVASCRİPT".lower()
    [(_, counts)] = edited(["This page needs JAVASCRİPT to be read."], LineRules())
    assert counts["javascript_lines"] == 0


def test_a_citation_before_the_end_hides_it_unless_what_it_leaves_is_stripped():
    text = "It is known to all. [1]"
    [(left, counts)] = edited([text], LineRules())
    assert (left, counts["unpunctuated_lines"]) == ("", 1)
    [(left, counts)] = edited([text], replace(LineRules(), strip_after_citations=True))
    assert (left, counts["unpunctuated_lines"]) == ("It is known to all.", 0)


def test_lengths_of_words_are_in_characters():
    rules = LineRules(max_word_length=5, remove_unpunctuated_lines=False, min_words_per_line=-1)
    lines = ["ééééé ok", "éééééé ok", "ok ok ok ok ok ok ok ok", "ok\u3000ééééé ok", "ok ok ok abcdef"]
    [(left, counts)] = edited(["\n".join(lines)], rules)
    assert left == "\n".join([lines[0], lines[2], lines[3]])
    assert counts["long_word_lines"] == 2

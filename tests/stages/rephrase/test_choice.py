"""Which documents are rephrased, in which styles, and why others are left alone."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.rephrase.choice import (
    Choice,
    Chooser,
    SelectionOptions,
    draw_of,
    expected_ratio,
    has_numbers,
    has_table,
    left_alone,
    may_be_chosen,
    styled,
)
from stages.rephrase.styles import Style, read_styles
from tests.stages.rephrase.small_styles import batch, count_words, style

ALL = {"web": 1.0, "books": 1.0}
SCORED = {"tier": {"column": "quality.score", "low": 0.3, "high": 0.7}}


def options(**values: Any) -> SelectionOptions:
    return SelectionOptions.model_validate(values)


def chosen(
    table: pa.Table, *styles: Style, shares: dict[str, float] = ALL, seed: int = 1, **values: Any
) -> list[Choice]:
    return Chooser(options(**values), styles or (style(),), shares, seed).choices(table, count_words)


def reasons(table: pa.Table, *styles: Style, **values: Any) -> list[str]:
    return [choice.reason for choice in chosen(table, *styles, **values)]


def test_a_document_is_written_in_a_style_that_suits_it() -> None:
    (choice,) = chosen(batch({"text": "one two three"}))
    assert ([s.name for s in choice.styles], choice.tokens, choice.reason) == (["plain"], 3, "")


def test_what_was_rephrased_is_not_rephrased_again() -> None:
    (choice,) = chosen(batch({"parent": "web/9"}))
    assert (choice.reason, choice.evidence) == ("synthetic", "it was itself written from web/9")


def test_other_sources_and_languages_are_left_alone() -> None:
    table = batch({"source": "books"}, {"language": "de"}, {"language": None}, {"language": "en"})
    assert reasons(table, sources="web", languages="en") == ["other_source", "other_language", "other_language", ""]


def test_scores_must_lie_within_their_bounds() -> None:
    table = batch({}, {}, {}, {}, quality__score=[0.1, 0.5, 0.9, None])
    found = chosen(table, scores={"quality.score": {"min": 0.2, "max": 0.5}})
    assert [choice.evidence for choice in found] == [
        "quality.score 0.1 < 0.2",
        "",
        "quality.score 0.9 > 0.5",
        "quality.score is not known",
    ]
    assert [choice.reason for choice in found] == ["score", "", "score", "score"]
    assert reasons(table, scores={"quality.score": {}}) == ["", "", "", "score"]


def test_a_batch_without_the_column_has_no_scores() -> None:
    assert reasons(batch({}), scores={"quality.score": {"min": 0.2}}) == ["score"]
    assert reasons(batch({}), **SCORED) == [""]


def test_a_document_without_text_has_nothing_to_rephrase() -> None:
    assert reasons(batch({"text": None}, {"text": " \n"})) == ["no_text", "no_text"]


def test_length_is_bounded_by_the_options_and_by_the_styles() -> None:
    table = batch(*({"text": "word " * n} for n in (1, 3, 5, 7, 9)))
    styles = style(tokens=(3, 8)), style("other", tokens=(4, 7))
    found = [(c.reason, c.evidence) for c in chosen(table, *styles, min_tokens=2, max_tokens=6)]
    assert found == [
        ("too_short", "1 tokens < 2"),
        ("", ""),
        ("", ""),
        ("too_long", "7 tokens > 6"),
        ("too_long", "9 tokens > 6"),
    ]
    assert reasons(table, *styles) == ["too_short", "", "", "", "too_long"]


def test_tiers_are_told_by_the_score_and_an_unknown_one_suits_all() -> None:
    table = batch({}, {}, {}, {}, {}, quality__score=[0.29, 0.3, 0.69, 0.7, None])
    low, high = style("low", tiers=["low"]), style("high", tiers=["high"])
    found = chosen(table, low, high, variants_per_parent=2, **SCORED)
    names = [sorted(s.name for s in choice.styles) for choice in found]
    assert names == [["low"], [], [], ["high"], ["high", "low"]]
    assert (found[1].reason, found[1].evidence) == ("no_style", "2 tokens, medium tier: it suits none of low, high")


def test_a_style_may_need_numbers_or_a_table() -> None:
    table = batch({"text": "no figures at all"}, {"text": "3 of 4 rows, 5 columns"}, {"text": "a\tb\tc\n" * 4})
    by_need = [reasons(table, style(needs=need)) for need in ("numbers", "table")]
    assert by_need == [["no_style", "", "no_style"], ["no_style", "no_style", ""]]


def test_the_share_of_its_source_decides_about_a_suitable_document() -> None:
    table = batch(*({"id": str(i), "source": ("web", "books")[i % 2]} for i in range(4000)))
    found = chosen(table, shares={"web": 0.25, "books": 0.0})
    assert sum(not choice.reason for choice in found[1::2]) == 0
    assert sum(not choice.reason for choice in found[0::2]) == pytest.approx(500, abs=60)
    assert {choice.reason for choice in found} == {"", "not_in_share"}


def test_a_larger_share_adds_documents_to_those_of_a_smaller_one() -> None:
    table = batch(*({"id": str(i)} for i in range(500)))
    small, large = (
        {i for i, choice in enumerate(chosen(table, shares={"web": share})) if not choice.reason}
        for share in (0.2, 0.5)
    )
    assert small < large


def test_a_source_without_a_share_is_an_error() -> None:
    with pytest.raises(KeyError, match="forum"):
        chosen(batch({"source": "forum"}))


def test_tokens_are_counted_only_of_texts_that_may_be_chosen() -> None:
    counted: list[str] = []

    def count(texts: Any) -> list[int]:
        counted.extend(texts)
        return count_words(texts)

    table = batch({"text": "a", "parent": "p"}, {"text": "b"}, {"text": ""}, {"text": "c", "source": "books"})
    Chooser(options(), [style()], {"web": 1.0, "books": 0.0}, 1).choices(table, count)
    assert counted == ["b"]


def test_styles_are_drawn_evenly_among_those_that_suit() -> None:
    styles = [style(name) for name in ("one", "two", "three")]
    table = batch(*({"id": str(i)} for i in range(900)))
    drawn = [choice.styles[0].name for choice in chosen(table, *styles)]
    assert {name: drawn.count(name) for name in drawn} == {name: pytest.approx(300, abs=60) for name in drawn}


def test_each_parent_has_as_many_different_variants_as_asked_for() -> None:
    styles = [style(name) for name in ("one", "two", "three")]
    for variants, expected in ((2, 2), (3, 3), (5, 3)):
        (choice,) = chosen(batch({}), *styles, variants_per_parent=variants)
        assert len({s.name for s in choice.styles}) == len(choice.styles) == expected


@given(st.integers(0, 2**32), st.text(max_size=20))
def test_one_more_style_keeps_the_order_of_the_others(seed: int, document_id: str) -> None:
    styles = [style(name) for name in ("one", "two", "three")]
    three = options(variants_per_parent=3)
    drawn = styled(document_id, "a b", 2, None, styles, three, seed).styles
    fewer = styled(document_id, "a b", 2, None, styles[:2], three, seed).styles
    assert [s for s in drawn if s in fewer] == list(fewer)


@given(st.text(max_size=20), st.integers(0, 2**32))
def test_draws_lie_below_one(document_id: str, seed: int) -> None:
    assert 0 <= draw_of(document_id, seed) < 1


def test_another_seed_draws_other_documents() -> None:
    table = batch(*({"id": str(i)} for i in range(200)))
    one, other = (reasons(table, shares={"web": 0.5}, seed=seed) for seed in (1, 2))
    assert one != other


SOURCES, LANGUAGES, SCORES = (
    st.sampled_from(["web", "books"]),
    st.sampled_from(["en", "de", None]),
    st.none() | st.floats(0, 1),
)


@given(st.lists(st.tuples(SOURCES, LANGUAGES, st.sampled_from([None, "p"]), SCORES), max_size=8))
def test_the_plan_and_the_choice_agree_about_columns(
    rows: list[tuple[str, str | None, str | None, float | None]],
) -> None:
    table = batch(
        *({"source": source, "language": language, "parent": parent} for source, language, parent, _ in rows),
        quality__score=[score for *_, score in rows],
    )
    some = options(sources="web", languages=["en"], scores={"quality.score": {"max": 0.5}})
    assert may_be_chosen(table, some).tolist() == [reason is None for reason in left_alone(table, some)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In 1990 it had 3,400 people, in 2000 about 4 100.", True),
        ("Chapter 1. " + "Nothing but words here. " * 50, False),
        ("There are two of them and three of those.", False),
        ("1 2 3 " + "word " * 200, False),
        ("", False),
    ],
)
def test_texts_with_numbers(text: str, expected: bool) -> None:
    assert has_numbers(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Results:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", True),
        ("Name\tYear\tPlace\nAda\t1815\tLondon\nEmmy\t1882\tErlangen\n", True),
        ("A line with a\ttab.\nAnd prose.\n", False),
        ("Either | or.\n\n---\n\nThat is all.", False),
        ("a | b\nplain\nc | d\n", False),
    ],
)
def test_texts_with_tables(text: str, expected: bool) -> None:
    assert has_table(text) is expected


def test_the_expected_length_of_an_answer_is_the_middle_of_what_its_gate_allows() -> None:
    assert expected_ratio(style(gates={"length_ratio": {"min": 0.4, "max": 1.2}})) == pytest.approx(0.8)
    assert expected_ratio(style(gates={"length_ratio": {"min": 0.4, "max": 2.0}}, output_ratio=1.0)) == 1.0
    assert expected_ratio(style(gates={}, output_ratio=1.2)) == pytest.approx(0.6)


def test_every_style_that_comes_with_sluice_suits_some_document() -> None:
    text = "In 1815, 1843 and 1852 something happened, they say.\n" * 40 + "\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    for one in read_styles().values():
        choice = styled("web/1", text, 500, None, [one], options(), 1)
        assert choice.styles == (one,), choice


def test_tiers_must_be_in_order() -> None:
    with pytest.raises(ValidationError, match="must not exceed"):
        options(tier={"column": "quality.score", "low": 3, "high": 2})

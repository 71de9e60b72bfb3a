"""The heuristic filters keep, drop, name the reason and edit as datatrove 0.10.1 does."""

import json
import random
from pathlib import Path

import pytest
import zstandard

from stages.filters.c4 import C4
from stages.filters.fineweb import FineWeb
from stages.filters.gopher import GopherQuality
from stages.filters.gopher_repetition import GopherRepetition
from tests.real_pages import real_pages
from tests.real_texts import real_texts
from tests.stages.filters.datatrove_filters import CRASHED, FILTERS, ours, theirs

pytestmark = pytest.mark.filterwarnings("ignore:(Mean of empty slice|invalid value):RuntimeWarning")  # datatrove's

CHANGED = [
    (GopherQuality, {"min_words": 10, "max_words": 400, "max_symbol_ratio": 0.01, "min_stop_words": 6}),
    (
        GopherQuality,
        {"min_words": None, "max_bullet_lines": 0.1, "max_ellipsis_lines": 0.05, "stop_words": ["of", "€"]},
    ),
    (GopherRepetition, {"max_dup_line_frac": None, "max_top_2_gram": 0.05, "max_dup_9_gram": 0.01}),
    (GopherRepetition, {f"max_top_{n}_gram": None for n in (2, 3, 4)} | {"max_dup_5_gram": None}),
    (C4, {"remove_unpunctuated_lines": False, "min_words_per_line": None, "min_sentences": None}),
    (C4, {"remove_unpunctuated_lines": False, "max_curly_bracket_lines": None, "max_word_length": 12}),
    (C4, {"remove_citations": False, "max_lorem_ipsum_lines": None, "remove_javascript_lines": False}),
    (C4, {"split_by": "sentences", "remove_policy_lines": False, "min_sentences": 3}),
    (C4, {"split_by": "sentences", "remove_unpunctuated_lines": False, "min_words_per_line": None}),
    (FineWeb, {"line_punct_exclude_zero": True, "short_line_length": 60, "max_char_dup_ratio": 0.1}),
    (FineWeb, {"stop_chars": [".", "the", "…"], "min_line_punct_ratio": 0.5, "max_list_ratio": 0.1}),
]


def sample(folder: Path, count: int, seed: int = 0, max_characters: int = 8_000) -> list[str]:
    """About ``count`` real documents, drawn from all files of texts alike, and some of them made worse."""
    draw = random.Random(seed)
    by_set: dict[str, list[str]] = {}
    for text in real_texts(folder, max_characters=max_characters):
        by_set.setdefault(text.set, []).append(text.text)
    texts = [text for all_ in by_set.values() for text in draw.sample(all_, min(len(all_), count // len(by_set)))]
    return texts + [worse(text, draw) for text in texts[::4]] + NASTY


def worse(text: str, draw: random.Random) -> str:
    """A real document with what web pages have and the files of texts seldom do."""
    return draw.choice(
        [
            lambda: text.replace(". ", ". [1] ").replace(".\n", "[edit].\n"),
            lambda: text.replace(" ", "  ").replace(".", ".\u2028"),
            lambda: text.replace(",", " {"),
            lambda: f"{text}\n{text}",
            lambda: f"{text}\n\n{text}",
            lambda: text.replace(" ", "\n\n"),
            lambda: text.replace(".", "...\n- "),
            lambda: "• " + text.replace("\n", "\n• "),
            lambda: text.replace("\n", "\x85") + "Lorem  ipsum. Here is Lorem Ipsum.",
            lambda: text.replace("a", "#"),
            lambda: text.replace(".", " we use cooKies on javaScript.\n"),  # with the Kelvin sign
            lambda: " ".join(text.split()[:20] * 9),
            lambda: text.replace("e", "é"),
            lambda: text.upper(),
        ]
    )()


NASTY = [
    *(
        "",
        " ",
        "\n",
        "\u3000\n\n\x1f",
        "a",
        "a b",
        ". . . .",
        "{",
        "[1] [2] [٣].",
        "\ufeffa",
        "!!!\n???\n...",
        "#",
        "…",
    ),
    "word " * 3000,
    "word\n" * 300,
    "The report was read by all.\n" * 6 + "Lorem Ipsum dolor sit amet.",
    "• a bullet with words that we have to read\n" * 12,
    "x" * 100_000,
    "\x00\x01\x02 \x7f.\x9f" * 40,
    "قال الرئيس إن اللجنة ستجتمع مرة أخرى في الربيع. " * 12,
    "委员会将在春天再次开会。报告已经读完！" * 12,
    "a nother day. " * 30 + "an other day. " * 30,
]


@pytest.fixture(scope="module")
def some_texts(shared_data):
    return sample(shared_data, 90, max_characters=4_000)


def assert_equal(stage, options, texts):
    mine, reference = ours(stage, options, texts), theirs(stage, options, texts)
    differing = [
        (text[:80], found[0], expected[0])
        for text, found, expected in zip(texts, mine, reference, strict=True)
        if found != expected and expected[0] != CRASHED
    ]
    assert differing == []
    return {reason for reason, _ in mine}


@pytest.mark.parametrize("stage", FILTERS, ids=lambda stage: stage.name)
def test_decisions_reasons_and_texts_are_datatroves(stage, some_texts):
    reasons = assert_equal(stage, {}, some_texts)
    assert None in reasons
    assert len(reasons) > 3


@pytest.mark.parametrize(("stage", "options"), CHANGED)
def test_also_with_other_settings(stage, options, some_texts):
    assert len(assert_equal(stage, options, some_texts[::3])) > 1


RULES = [pytest.param(stage, rule, id=f"{stage.name}-{rule.reason}") for stage in FILTERS for rule in stage.rules]


EMPTY = ("min_characters", "min_lines")  # datatrove has no switch for them
STRICTER = {  # rules that no text of the sample breaks at the default
    "too_many_words": {"max_words": 500},
    "words_too_short": {"min_mean_word_length": 3.9},
}


@pytest.mark.parametrize(("stage", "rule"), RULES)
def test_each_rule_alone_drops_what_datatroves_does(stage, rule, some_texts):
    others_off = dict.fromkeys({other.option for other in stage.rules} - {rule.option, *EMPTY})
    reasons = assert_equal(stage, others_off | STRICTER.get(rule.reason, {}), some_texts[1::3] + NASTY)
    assert rule.reason in reasons


@pytest.mark.slow
@pytest.mark.parametrize("stage", FILTERS, ids=lambda stage: stage.name)
def test_on_thousands_of_real_documents_nothing_differs(stage, shared_data):
    texts = sample(shared_data, 2_400, seed=1)
    for file in (
        "quality_labels/dclm_majority_data",
        "quality_labels/dclm_agreement_data",
        "langid/udhr_unicode_paragraphs",
    ):
        with (shared_data / f"{file}.jsonl.zst").open("rb") as source:
            lines = zstandard.ZstdDecompressor().stream_reader(source).read().splitlines()
        texts += [json.loads(line)["text"][:8_000] for line in lines[:400]]
    assert len(texts) > 3_000
    assert_equal(stage, {}, texts)


@pytest.mark.slow
@pytest.mark.parametrize("stage", FILTERS, ids=lambda stage: stage.name)
def test_on_the_text_of_real_pages_nothing_differs(stage, shared_data):
    from stages.extract.decoding import decoded
    from stages.extract.engines import ENGINES, storable
    from stages.extract.pages import ExtractionOptions

    engine = ENGINES["fast"](ExtractionOptions(engine="fast"))
    texts = []
    for page in real_pages(shared_data):
        tree = engine.parsed(decoded(page.html, None))
        if tree is not None:
            texts.append(storable(engine.main_text(tree, page.url, engine.facts(tree, page.url)))[:20_000])
    assert len(texts) > 500
    assert_equal(stage, {}, texts)

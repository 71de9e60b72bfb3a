"""Sound answers, and the same with planted defects: what the bounds of the styles are held to."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import zstandard

from stages.rephrase.answers import ParsedAnswer
from stages.rephrase.gates import GateContext, failure, scores
from stages.rephrase.styles import Bound, read_styles
from tests.real_texts import real_texts
from tests.stages.rephrase.gates import defects

GENRES = (
    "books_gutenberg",
    "general_brown",
    "gov_us_presidential_speeches",
    "legal_us_code",
    "news_abc_australia",
    "news_reuters21578",
    "qa_stackexchange",
    "science_arxiv_abstracts",
    "web_commoncrawl",
    "wikipedia_en_wikitext2",
)
OTHER_LANGUAGES = ("reviews_books_de_fr_nl", "wikipedia_zh")
FORM = frozenset(("copied", "length_ratio"))  # how much of the source an answer takes over: no question of its truth


@dataclass(frozen=True)
class Sound:
    """A text that somebody could have written from a source without adding to it."""

    name: str
    source: str
    answer: str


def bounds(style: str, without: frozenset[str] = frozenset()) -> Mapping[str, Bound]:
    """The bounds of a style as it is delivered, some left out."""
    return {name: bound for name, bound in read_styles()[style].gates.items() if name not in without}


def rejection(case: Sound, answer: str, limits: Mapping[str, Bound], finish: str = "stop") -> tuple[str, str] | None:
    """Why a text written from the source of a case would be rejected, if it would."""
    context = GateContext("encyclopaedic", "text", finish, "en", "Rewrite the passage below.", "-----4f1c")
    return failure(scores(case.source, ParsedAnswer(answer.strip()), context), limits)


def human_paraphrases(data: Path) -> list[Sound]:
    """Answers of students who were asked to revise a source text heavily or lightly (Clough and Stevenson, 2011).

    Level 3, cut and paste, is no paraphrase; a quarter of it comes from other parts of the article than the source.
    """
    rows = _rows(data / "dedup" / "clough_stevenson_plagiarism_levels.jsonl.zst")
    return [Sound(row["id"], row["source"], row["answer"]) for row in rows if row["level"] in (1, 2)]


def revised_abstracts(data: Path) -> list[Sound]:
    """Abstracts of papers, and what their authors made of them later: with other results, often."""
    versions: dict[str, list[str]] = {}
    for row in _rows(data / "dedup" / "arxiv_records_two_harvests.jsonl.zst"):
        if row["kind"] == "revised":
            versions.setdefault(row["cluster"], []).append(row["text"])
    return [Sound(name, *texts[:2]) for name, texts in versions.items()]


def faithful_cuts(data: Path, per_genre: int, rng: Random) -> list[Sound]:
    """Real texts of 150 to 500 words, and the same without some of their sentences."""
    texts = [text for text in real_texts(data, english_only=True, max_characters=6000) if len(text.text.split()) > 120]
    cases: list[Sound] = []
    for genre in GENRES:
        found = [text for text in texts if text.set == genre]
        for text in rng.sample(found, min(per_genre, len(found))):
            source = defects.cut_to(" ".join(defects.sentences(text.text)), rng.choice((150, 300, 500)))
            cases.append(Sound(text.id, source, defects.faithful_cut(source, rng)))
    return cases


def foreign_texts(data: Path) -> list[str]:
    """The beginnings of texts in German, French, Dutch and Chinese."""
    texts = [text.text for text in real_texts(data, max_characters=3000) if text.set in OTHER_LANGUAGES]
    return [text[:1500] for text in texts if len(text) > 600][::30]


Planter = Callable[[Sound, Random], tuple[str, str] | None]  # the spoilt text and why the model stopped


def planters(others: list[str], foreign: list[str]) -> dict[str, Planter]:
    """Each kind of defect that gates must see."""

    def stopped(text: str | None) -> tuple[str, str] | None:
        return None if text is None else (text, "stop")

    def other(case: Sound, rng: Random) -> str:
        return rng.choice([text for text in others if text[:100] != case.source[:100]])

    def half_foreign(case: Sound, rng: Random) -> str:
        return f"{case.answer[: len(case.answer) // 2]}\n\n{rng.choice(foreign)[: len(case.answer) // 2]}."

    return {
        "a tenth of the numbers changed": lambda c, rng: stopped(defects.changed_numbers(c.answer, c.source, rng)),
        "names replaced": lambda c, rng: stopped(defects.replaced_names(c.answer, rng)),
        "names inserted": lambda c, rng: stopped(defects.inserted_names(c.answer, rng)),
        "off topic": lambda c, rng: stopped(defects.cut_to(other(c, rng), len(c.answer.split()))),
        "half off topic": lambda c, rng: stopped(defects.half_off_topic(c.answer, other(c, rng), rng)),
        "broken off": lambda c, rng: stopped(defects.broken_off(c.answer, rng)),
        "stopped by the limit": lambda c, rng: (c.answer, "length"),
        "wrong language": lambda c, rng: stopped(rng.choice(foreign)),
        "half in the wrong language": lambda c, rng: stopped(half_foreign(c, rng)),
    }


@dataclass(frozen=True)
class Share:
    """Of how many cases how many were rejected."""

    rejected: int
    cases: int

    def __float__(self) -> float:
        return self.rejected / self.cases if self.cases else 0.0


def rejected(cases: list[Sound], limits: Mapping[str, Bound]) -> list[tuple[str, str, str]]:
    """Name, reason and evidence of each sound case that is rejected."""
    found = [(case.name, rejection(case, case.answer, limits)) for case in cases]
    return [(name, *why) for name, why in found if why]


def caught(cases: list[Sound], limits: Mapping[str, Bound], plant: Planter, rng: Random) -> Share:
    """How many of the cases that a defect can be planted in are rejected with it."""
    spoilt = [(case, planted) for case in cases if (planted := plant(case, rng))]
    verdicts = [rejection(case, text, limits, finish) for case, (text, finish) in spoilt]
    return Share(sum(verdict is not None for verdict in verdicts), len(verdicts))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8"):
            yield json.loads(line)

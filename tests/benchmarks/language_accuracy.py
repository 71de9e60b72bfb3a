"""How often the default model names the right language: `python -m tests.benchmarks.language_accuracy [FOLDER]`.

FOLDER holds labelled texts (../shared/data/langid): sentences, word pairs and single words in 75 languages (lingua),
and paragraphs of the Universal Declaration of Human Rights. For each set: recall by language, the number of texts and
the label most often given instead; the share of right labels over all texts, and by length and score.

Labels are compared as languages: the sets' codes become the model's by ``langcodes`` (ISO 639-3 to 639-1, and to the
macrolanguage where the model knows only that, as Bokmål to Norwegian). Texts in languages that the model has no label
for are counted and left out.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import langcodes
import pyarrow as pa

from stages.filters.language import LanguageConfig
from stages.text.language import LanguageIdentifier

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "langid"
SETS = {  # file: column of the language
    "lingua_sentences": "lang",
    "lingua_word_pairs": "lang",
    "lingua_single_words": "lang",
    "udhr_unicode_paragraphs": "lang_file",
}
LENGTHS = (10, 20, 50, 100, 200, 500)  # characters
NORWEGIAN = {"nb": "no", "nob": "no"}  # langcodes prefers Bokmål to its macrolanguage
MIN_SCORE = 0.65  # the language filter's


class Answer(NamedTuple):
    """What the model says of a text."""

    language: str
    found: str
    score: float
    characters: int


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    identifier = LanguageIdentifier(LanguageConfig().model_path())
    for name, column in SETS.items():
        rows = read_rows(folder / f"{name}.jsonl.zst")
        languages = {code: label_of(code, identifier.labels) for code in {row[column] for row in rows}}
        known = [row for row in rows if languages[row[column]]]
        texts = [row["text"] for row in known]
        labels, scores = identifier.identify(pa.array(texts, pa.large_string()))
        answers = [
            Answer(languages[row[column]] or "", found, score, len(row["text"]))
            for row, found, score in zip(known, labels.to_pylist(), scores.to_pylist(), strict=True)
        ]
        unknown = sorted(code for code, label in languages.items() if not label)
        print(
            f"\n{name}: {len(answers)} texts; {len(rows) - len(known)} left out, as the model has no label for", end=" "
        )
        print(f"{len(unknown)} of {len(languages)} languages: {', '.join(unknown[:20])}{' ...' * (len(unknown) > 20)}")
        print("\n".join(report(answers)))


def read_rows(path: Path) -> list[Mapping[str, str]]:
    with pa.CompressedInputStream(path, "zstd") as stream:
        return [json.loads(line) for line in stream.read().splitlines()]


def label_of(code: str, labels: Iterable[str]) -> str | None:
    """The model's label for a language code such as ``deu``, ``nb`` or ``deu_1996``; None if it has none."""
    known = set(labels)
    subtag = code.split("_")[0].split("-")[0]
    try:
        language = langcodes.Language.get(subtag)
    except langcodes.LanguageTagError:
        return None
    candidates = [subtag, language.language, language.prefer_macrolanguage().language, NORWEGIAN.get(subtag)]
    return next((found for found in candidates if found in known), None)


def report(answers: list[Answer]) -> Iterator[str]:
    by_language = defaultdict(list)
    for answer in answers:
        by_language[answer.language].append(answer)
    yield f"  {'language':<10}{'texts':>7}{'recall':>8}  most often taken for"
    for language, own in sorted(by_language.items(), key=lambda pair: (-share_right(pair[1]), pair[0])):
        wrong = Counter(answer.found for answer in own if answer.found != language).most_common(1)
        confusion = f"{wrong[0][0]} ({wrong[0][1] / len(own):.1%})" if wrong else ""
        yield f"  {language:<10}{len(own):>7}{share_right(own):>8.1%}  {confusion}"
    sure = [answer for answer in answers if answer.score >= MIN_SCORE]
    macro = sum(map(share_right, by_language.values())) / len(by_language)
    yield f"  overall {share_right(answers):.1%} of {len(answers)} texts right, mean over languages {macro:.1%}"
    share_sure = len(sure) / len(answers)
    yield f"  with a score of {MIN_SCORE} or more {share_sure:.1%}, right of these {share_right(sure):.1%}"
    for least, below in zip((0, *LENGTHS), (*LENGTHS, sys.maxsize), strict=True):
        some = [answer for answer in answers if least <= answer.characters < below]
        if some:
            most = f"to {below - 1}" if below < sys.maxsize else "or more"
            yield f"  {least} {most} characters: {share_right(some):.1%} of {len(some)}"


def share_right(answers: list[Answer]) -> float:
    return sum(answer.found == answer.language for answer in answers) / max(1, len(answers))


if __name__ == "__main__":
    main()

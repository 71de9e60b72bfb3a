"""Which documents are rephrased, and in which styles: by their columns, a draw, their length and what they hold.

The draw is a hash of the document's id under a salt of its own, so that it has nothing to do with the hash that holds
documents out from training. A document is chosen if its draw lies below the share of its source: a larger share adds
documents to those of a smaller one, whose answers stand already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.stage import Options
from stages.rephrase.styles import Bound, ContentTest, Style, Tier

CountTokens = Callable[[Sequence[str]], Sequence[int]]

LEAST_NUMBERS = 3  # for a text to be about numbers
WORDS_TO_A_NUMBER = 60  # at most, on average
LEAST_TABLE_LINES = 3

_NUMBER = re.compile(r"(?<![^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])(?<![.,])[+-]?\d+(?:[.,]\d+)*")
_MARKDOWN_RULE = re.compile(r"^\s*\|?\s*:?-{3,}:?\s*(?:\|\s*:?-{3,}:?\s*)+\|?\s*$", re.MULTILINE)
_COLUMNS = re.compile(r"[^\t\n]+\t[^\t\n]+\t.*|\s*\|[^|\n]+\|[^|\n]+\|.*")


class TierOptions(Options):
    """By which score a document is of the low, medium or high tier."""

    column: str = Field(pattern=r"\.")
    """A column that a stage before has measured, such as quality.score; higher is better."""
    low: float
    """Documents that score less are of the low tier."""
    high: float
    """Documents with at least this score are of the high tier; those in between of the medium one."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("the low tier ends above the begin of the high one: 'low' must not exceed 'high'")
        return self


class SelectionOptions(Options):
    """Which documents may be rephrased."""

    sources: tuple[str, ...] = ()
    """Documents of these sources; all if empty."""
    languages: tuple[str, ...] = ()
    """Documents in these languages; all if empty, those of unknown language among them."""
    scores: dict[str, Bound] = Field(default_factory=dict)
    """Documents whose measured columns lie within these bounds, such as {quality.score: {max: 0.4}}; one without such a
    score is left alone."""
    tier: TierOptions | None = None
    """Which documents are of low, medium or high quality, for styles that suit some of these. One without a score suits
    all."""
    min_tokens: int = Field(0, ge=0)
    """Shorter documents are left alone; each style has limits of its own as well."""
    max_tokens: int | None = Field(None, ge=1)
    """Longer documents are left alone."""
    variants_per_parent: int = Field(1, ge=1)
    """Styles, of those asked for, in which one document is written at most, drawn among those that suit it."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The measured columns that the choice depends on."""
        return tuple(dict.fromkeys((*self.scores, *([self.tier.column] if self.tier else []))))


COLUMNS = ("id", "source", "language", "parent")
"""What of a document is looked at, besides its text and the measures."""


def draw_of(document_id: str, seed: int) -> float:
    """A number from 0 up to but not 1, evenly spread over ids."""
    return (xxhash.xxh3_64_intdigest(f"rephrase {document_id}", seed=seed) >> 11) / 2**53


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to become of one document: it is written in these styles, or left alone for a reason."""

    styles: tuple[Style, ...] = ()
    tokens: int = 0  # of its text; 0 where the reason was found before they were counted
    reason: str = ""
    evidence: str = ""


def left_alone(batch: pa.Table, options: SelectionOptions) -> list[tuple[str, str] | None]:
    """For each row the reason and evidence for which it is left alone, as far as its columns tell without its text.

    A measured column that a batch lacks is null throughout.
    """
    found: list[tuple[str, str] | None] = [None] * batch.num_rows
    for reason, mask, evidence in _column_tests(batch, options):
        for row in np.flatnonzero(mask).tolist():
            found[row] = found[row] or (reason, evidence(row))
    return found


def may_be_chosen(batch: pa.Table, options: SelectionOptions) -> NDArray[np.bool_]:
    """Which rows ``left_alone`` has nothing against: the same tests without a word of evidence."""
    allowed = np.ones(batch.num_rows, np.bool_)
    for _, mask, _ in _column_tests(batch, options):
        allowed &= ~mask
    return allowed


def _column_tests(
    batch: pa.Table, options: SelectionOptions
) -> list[tuple[str, NDArray[np.bool_], Callable[[int], str]]]:
    """Reason, the rows that it holds for, and what is to be said of one."""
    parent, source, language = batch["parent"], batch["source"], batch["language"]
    tests: list[tuple[str, NDArray[np.bool_], Callable[[int], str]]] = [
        ("synthetic", _flags(parent.is_valid()), lambda row: f"it was itself written from {parent[row]}")
    ]
    if options.sources:
        is_other = ~_flags(pc.is_in(source, value_set=pa.array(options.sources, pa.string())))
        tests.append(("other_source", is_other, lambda row: f"{source[row]} is not among sources"))
    if options.languages:
        is_other = ~_flags(pc.is_in(language, value_set=pa.array(options.languages, pa.string())))
        tests.append(
            ("other_language", is_other, lambda row: f"{language[row].as_py() or 'unknown'} is not among languages")
        )
    for name, bounds in options.scores.items():
        values = _scores(batch, name)
        is_out = np.isnan(values)
        if bounds.min is not None:
            is_out |= ~(values >= bounds.min)
        if bounds.max is not None:
            is_out |= ~(values <= bounds.max)
        tests.append(("score", is_out, _score_evidence(name, values, bounds)))
    return tests


def _score_evidence(name: str, values: NDArray[np.float64], bounds: Bound) -> Callable[[int], str]:
    def told(row: int) -> str:
        if np.isnan(values[row]):
            return f"{name} is not known"
        if bounds.min is not None and values[row] < bounds.min:
            return f"{name} {values[row]:g} < {bounds.min:g}"
        return f"{name} {values[row]:g} > {bounds.max:g}"

    return told


def _flags(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = values.to_numpy().astype(np.bool_)
    return flags


def _scores(batch: pa.Table, name: str) -> NDArray[np.float64]:
    """A measured column as numbers, NaN where there is none."""
    if name not in batch.column_names:
        return np.full(batch.num_rows, np.nan)
    numbers: NDArray[np.float64] = batch[name].cast(pa.float64()).to_numpy()
    return numbers


class Chooser:
    """Chooses among the documents of a batch."""

    def __init__(
        self, options: SelectionOptions, styles: Sequence[Style], shares: Mapping[str, float], seed: int
    ) -> None:
        """``shares``: of the suitable documents of each source, the share that is chosen."""
        self._options = options
        self._styles = tuple(styles)
        self._shares = shares
        self._seed = seed

    def choices(self, batch: pa.Table, count_tokens: CountTokens) -> list[Choice]:
        """What is to become of each row. Tokens are counted only where nothing else has decided.

        Raises:
            KeyError: a source that ``shares`` says nothing of.
        """
        reasons = left_alone(batch, self._options)
        ids, sources = batch["id"].to_pylist(), batch["source"].to_pylist()
        texts = batch["text"].to_pylist()
        choices = [Choice(reason=reason[0], evidence=reason[1]) if reason else None for reason in reasons]
        for row, choice in enumerate(choices):
            if choice is None:
                choices[row] = self._by_text_and_draw(ids[row], sources[row], texts[row])
        rest = [row for row, choice in enumerate(choices) if choice is None]
        tiers = tiers_of(batch, self._options.tier)
        counts = count_tokens([texts[row] for row in rest]) if rest else []
        for row, tokens in zip(rest, counts, strict=True):
            choices[row] = styled(ids[row], texts[row], tokens, tiers[row], self._styles, self._options, self._seed)
        return [choice for choice in choices if choice is not None]

    def _by_text_and_draw(self, document_id: str, source: str, text: str | None) -> Choice | None:
        if not (text or "").strip():
            return Choice(reason="no_text", evidence="it has no text")
        share = self._shares[source]
        if draw_of(document_id, self._seed) >= share:
            return Choice(reason="not_in_share", evidence=f"the share of {source} is {share:.4g}")
        return None


def tiers_of(batch: pa.Table, tier: TierOptions | None) -> list[Tier | None]:
    """The tier of each row; None where it is not known."""
    if tier is None:
        return [None] * batch.num_rows
    found: list[Tier | None] = []
    for score in _scores(batch, tier.column).tolist():
        found.append(
            None if score != score else "low" if score < tier.low else "high" if score >= tier.high else "medium"
        )
    return found


def styled(
    document_id: str,
    text: str,
    tokens: int,
    tier: Tier | None,
    styles: Sequence[Style],
    options: SelectionOptions,
    seed: int,
) -> Choice:
    """The styles in which a document of so many tokens is written, or why it is in none.

    Of those that suit it, the ones whose hashes with the document's id are least: a style more or less does not change
    the order of the others.
    """
    if tokens < options.min_tokens:
        return Choice((), tokens, "too_short", f"{tokens} tokens < {options.min_tokens}")
    if options.max_tokens is not None and tokens > options.max_tokens:
        return Choice((), tokens, "too_long", f"{tokens} tokens > {options.max_tokens}")
    least, most = min(style.tokens[0] for style in styles), max(style.tokens[1] for style in styles)
    if tokens < least:
        return Choice((), tokens, "too_short", f"{tokens} tokens < {least}, the least that a style suits")
    if tokens > most:
        return Choice((), tokens, "too_long", f"{tokens} tokens > {most}, the most that a style suits")
    suitable = [style for style in styles if suits(style, text, tokens, tier)]
    if not suitable:
        names = ", ".join(style.name for style in styles)
        return Choice((), tokens, "no_style", f"{tokens} tokens, {tier or 'unknown'} tier: it suits none of {names}")
    drawn = sorted(suitable, key=lambda style: xxhash.xxh3_64_intdigest(f"{style.name} {document_id}", seed=seed))
    return Choice(tuple(drawn[: options.variants_per_parent]), tokens)


def suits(style: Style, text: str, tokens: int, tier: Tier | None) -> bool:
    """Whether a style is made for a document of this length, quality and content."""
    least, most = style.tokens
    return least <= tokens <= most and (tier is None or tier in style.tiers) and NEEDS[style.needs](text)


def has_numbers(text: str) -> bool:
    """Whether a text speaks of numbers throughout: some, and one in every WORDS_TO_A_NUMBER words on average."""
    numbers = len(_NUMBER.findall(text))
    return numbers >= LEAST_NUMBERS and numbers * WORDS_TO_A_NUMBER >= len(text.split())


def has_table(text: str) -> bool:
    """Whether a text holds a table: Markdown's rule, or lines in columns one after another."""
    if _MARKDOWN_RULE.search(text):
        return True
    run = 0
    for line in text.splitlines():
        run = run + 1 if _COLUMNS.match(line) else 0
        if run >= LEAST_TABLE_LINES:
            return True
    return False


NEEDS: Mapping[ContentTest, Callable[[str], bool]] = {"": lambda text: True, "numbers": has_numbers, "table": has_table}
"""By the name that a style gives it, the test of what a text must hold."""


def expected_ratio(style: Style) -> float:
    """Tokens of an answer for each token of the document, as the style says, or else the middle of what its gate
    of length allows, or half of its limit where no gate says anything."""
    if style.expected_ratio is not None:
        return style.expected_ratio
    bound = style.gates.get("length_ratio")
    if bound is None or bound.max is None:
        return style.output_ratio / 2
    return min(style.output_ratio, ((bound.min or 0.0) + bound.max) / 2)

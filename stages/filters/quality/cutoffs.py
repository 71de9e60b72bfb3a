"""From which score on a document belongs to the best share of its source and language, over all parts together.

The cutoffs are exact quantiles. Neither texts nor scores are held: scores become integers of the same order, and each
pass over the columns of the committed parts settles eight bits of every group's cutoff. That takes 2 KB a group,
whatever the number of documents (holding the scores of 1e9 documents would take 8 GB), and up to eight passes over
three columns after the one that counts; five where the scores were computed in 32 bits, as fastText's are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Result, StageConfig

CUTOFFS_FILE = "cutoffs.json"
ROWS = 1 << 16
DIGIT_BITS = 8
SIGN = np.uint64(1 << 63)

Keys = NDArray[np.uint64]
Group = tuple[str | None, ...]  # values of the columns that group documents, in their order


class TopShareConfig(StageConfig):
    """Which share of the documents to keep, and of which documents."""

    top_share: float | dict[str, float] | None = None
    """Share of the documents with a score to keep, the best ones, above 0 and up to 1; or the share for each source.
    Documents that score the same are kept or dropped together: the share is then passed by as little as possible."""

    per: tuple[Literal["source", "language"], ...] = ("source", "language")
    """Columns whose values each get a cutoff of their own; empty: one cutoff for all."""

    @field_validator("top_share")
    @classmethod
    def _shares_are_shares(cls, value: float | dict[str, float] | None) -> float | dict[str, float] | None:
        shares = value.values() if isinstance(value, dict) else [value] if value is not None else []
        if not all(0 < share <= 1 for share in shares):
            raise ValueError("a share must be above 0 and at most 1")
        return value

    @model_validator(mode="after")
    def _sources_are_apart(self) -> Self:
        if isinstance(self.top_share, dict) and "source" not in self.per:
            raise ValueError("shares by source need 'source' in the option per")
        return self


class CutoffsConfig(TopShareConfig):
    """Options of quality_cutoffs."""

    score: str = Field("quality.score", pattern=r"\.")
    """The measured column to rank by; higher is better."""

    top_share: float | dict[str, float]
    """Share of the documents with a score to keep, the best ones, above 0 and up to 1; or the share for each source."""


@dataclass(frozen=True)
class Cutoff:
    """One group of documents and where the line is drawn through it."""

    source: str | None  # None also where documents are not grouped by it
    language: str | None
    documents: int
    scored: int
    share: float  # wanted, of the scored ones
    score: float | None  # the least score that is kept; None if no document has one
    kept: int  # documents with this score or a higher one


class QualityCutoffs(Global[CutoffsConfig]):
    """Find the scores from which on documents belong to the best share of their source and language."""

    name = "quality_cutoffs"
    config_type = CutoffsConfig
    produces = "cutoffs"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        """Write ``cutoffs.json``.

        Raises:
            StageError: a source has no share, or a score is no number.
        """
        columns = [*self.config.per, self.config.score]

        def batches() -> Iterator[pa.Table]:
            for artifact in inputs["documents"]:
                yield from artifact.tables(columns, rows=ROWS)

        cutoffs = cutoffs_of(batches, self.config)
        shares = self.config.top_share
        written = {"top_share": shares, "per": self.config.per, "cutoffs": [asdict(cutoff) for cutoff in cutoffs]}
        (out / CUTOFFS_FILE).write_text(json.dumps(written, indent=1, allow_nan=False))
        absent = sorted(set(shares) - {c.source for c in cutoffs}) if isinstance(shares, dict) else []
        return Result({"score": self.config.score, "cutoffs": [asdict(c) for c in cutoffs], "absent_sources": absent})


class Cutoffs:
    """Cutoffs, for batches of documents."""

    def __init__(self, per: Sequence[str], cutoffs: Iterable[Cutoff]) -> None:
        self._per = tuple(per)
        self._scores = {tuple(getattr(cutoff, name) for name in per): cutoff.score for cutoff in cutoffs}

    @staticmethod
    def read(path: Path, config: TopShareConfig) -> Cutoffs | None:
        """Cutoffs as quality_cutoffs wrote them; None if they are those of other shares or groups."""
        written = json.loads(path.read_bytes())
        if (written["top_share"], tuple(written["per"])) != (config.top_share, tuple(config.per)):
            return None
        return Cutoffs(config.per, (Cutoff(**cutoff) for cutoff in written["cutoffs"]))

    def of(self, batch: pa.Table) -> pa.Array:
        """The cutoff of each row's group; null where no document of the group has a score.

        Raises:
            KeyError: a group that was not there when the cutoffs were found.
        """
        groups, rows = groups_of(batch, self._per)
        return pa.array([self._scores[group] for group in groups], pa.float64()).take(pa.array(rows))


def cutoffs_of(batches: Callable[[], Iterable[pa.Table]], config: CutoffsConfig) -> list[Cutoff]:
    """The cutoff of each group that occurs, sorted by source and language.

    A group's cutoff is the highest score that at least ``share x scored documents`` reach, rounded up to a whole
    document: it depends on the scores alone, not on ids, parts or their order.

    Args:
        batches: reads all documents' scores and the columns that group them, the same at each call.

    Raises:
        StageError: a source has no share, or a score is no number.
    """
    documents: Counter[Group] = Counter()
    with_score: Counter[Group] = Counter()
    for batch in batches():
        groups, rows = groups_of(batch, config.per)
        scores = batch.column(config.score)
        if pc.any(pc.is_nan(scores)).as_py():
            raise StageError(f"quality_cutoffs: {config.score} holds values that are no numbers; it cannot be ranked")
        documents.update(_counted(groups, rows))
        with_score.update(_counted(groups, rows[scores.is_valid().to_numpy()]))
    order = {group: number for number, group in enumerate(sorted(documents, key=lambda g: [(v is None, v) for v in g]))}
    shares = [_share(config.top_share, dict(zip(config.per, group, strict=True)).get("source")) for group in order]
    scored = [with_score[group] for group in order]

    def keys() -> Iterator[tuple[NDArray[np.int64], Keys]]:
        for batch in batches():
            ranked = batch.filter(batch.column(config.score).is_valid())
            groups, rows = groups_of(ranked, config.per)
            numbers = np.array([order[group] for group in groups], np.int64)
            yield numbers[rows], ordered_keys(ranked.column(config.score).to_numpy().astype(np.float64))

    wanted = np.array([ceil(share * n) for share, n in zip(shares, scored, strict=True)], np.int64)
    found, kept = kth_largest(keys, wanted)
    least = scores_of(found).tolist()
    return [
        Cutoff(
            source=dict(zip(config.per, group, strict=True)).get("source"),
            language=dict(zip(config.per, group, strict=True)).get("language"),
            documents=documents[group],
            scored=scored[i],
            share=float(shares[i]),
            score=least[i] if scored[i] else None,
            kept=int(kept[i]),
        )
        for group, i in order.items()
    ]


def _counted(groups: Sequence[Group], rows: NDArray[np.int64]) -> dict[Group, int]:
    return dict(zip(groups, np.bincount(rows, minlength=len(groups)).tolist(), strict=True))


def _share(shares: float | Mapping[str, float], source: str | None) -> Fraction:
    """The share of a source as the exact decimal that was written: 3 of 30 are a tenth, not a little less."""
    share = shares.get(source or "") if isinstance(shares, Mapping) else shares
    if share is None:
        raise StageError(
            f"quality_cutoffs: top_share says nothing of the source '{source}': add it (1 keeps all of it)"
        )
    return Fraction(str(share))


def groups_of(batch: pa.Table, per: Sequence[str]) -> tuple[list[Group], NDArray[np.int64]]:
    """The groups that occur in a batch, and for each row the number of its group."""
    combined = np.zeros(batch.num_rows, np.int64)
    values: list[list[str | None]] = []
    for name in per:
        encoded = batch.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        values.append(encoded.dictionary.to_pylist())
        combined = combined * max(1, len(values[-1])) + encoded.indices.to_numpy().astype(np.int64)
    present, rows = np.unique(combined, return_inverse=True)
    groups: list[Group] = []
    for code in present.tolist():
        group: list[str | None] = []
        for choices in reversed(values):
            code, index = divmod(code, max(1, len(choices)))
            group.insert(0, choices[index])
        groups.append(tuple(group))
    return groups, rows.astype(np.int64)


def ordered_keys(scores: NDArray[np.float64]) -> Keys:
    """Integers in the order of the scores: equal for equal scores, -0.0 and 0.0 among them."""
    bits = (scores + 0.0).view(np.uint64)
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def scores_of(keys: Keys) -> NDArray[np.float64]:
    """The scores of ``ordered_keys``."""
    return np.where(keys & SIGN, keys ^ SIGN, ~keys).view(np.float64)


def kth_largest(
    blocks: Callable[[], Iterator[tuple[NDArray[np.int64], Keys]]], ranks: NDArray[np.int64]
) -> tuple[Keys, NDArray[np.int64]]:
    """For each group g, its key number ``ranks[g]`` from above, counted from 1, and how many are at least as large.

    Args:
        blocks: reads group numbers and keys, the same at each call; called once or more.
        ranks: [groups], at most the number of the group's keys; groups with rank 0 get key 0.
    """
    groups = np.arange(len(ranks))
    prefix = np.zeros(len(ranks), np.uint64)
    above = np.zeros(len(ranks), np.int64)  # keys known to be larger than the one looked for
    tied = np.zeros(len(ranks), np.int64)  # keys with the prefix settled so far
    used = np.uint64(0)  # bits that are set in some key
    for shift in range(64 - DIGIT_BITS, -1, -DIGIT_BITS):
        digit_of = np.uint64(shift)
        settled = np.uint64((1 << 64) - (1 << (shift + DIGIT_BITS)))
        if shift + DIGIT_BITS < 64 and not (int(used) >> shift) & ((1 << DIGIT_BITS) - 1):
            continue  # no key has a bit here
        counts = np.zeros((len(ranks), 1 << DIGIT_BITS), np.int64)
        for numbers, keys in blocks():
            used |= np.bitwise_or.reduce(keys, initial=np.uint64(0))
            inside = (keys & settled) == prefix[numbers]
            digits = (keys[inside] >> digit_of) & np.uint64((1 << DIGIT_BITS) - 1)
            np.add.at(counts, (numbers[inside], digits.astype(np.int64)), 1)
        reached = above[:, None] + counts[:, ::-1].cumsum(axis=1)  # keys whose digit is at least 255, 254, ...
        place = (reached >= ranks[:, None]).argmax(axis=1)
        digit = (1 << DIGIT_BITS) - 1 - place
        tied = counts[groups, digit]
        above = reached[groups, place] - tied
        prefix |= digit.astype(np.uint64) << digit_of
    none = ranks == 0
    return np.where(none, np.uint64(0), prefix), np.where(none, 0, above + tied)

"""How well a tokenizer fits: tokens a word, bytes a token, bits a byte, of each source and language."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stages.kernel import kernel

UNKNOWN_LANGUAGE = "unknown"
UNIGRAMS_SCHEMA = pa.schema(
    [("kind", pa.string()), ("name", pa.string()), ("token", pa.uint32()), ("count", pa.int64())]
)
_COUNTED = ("documents", "tokens", "bytes", "words")


class Fertility:
    """Counts over batches of encoded documents.

    The end-of-document token is left out of all of them. Frequencies of tokens are counted for each source and for each
    language, not for their pairs, each of which would take memory for a vocabulary.
    """

    def __init__(self, vocabulary: int) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()  # by source, language and what is counted
        self._unigrams = {"source": _Unigrams(vocabulary), "language": _Unigrams(vocabulary)}

    def add(
        self,
        sources: pa.Array,
        languages: pa.Array,
        documents: Mapping[str, pa.Array],
        ids: NDArray[np.unsignedinteger],
    ) -> None:
        """Count a batch.

        Args:
            documents: "tokens", "bytes" and "words" of each; the last of the tokens is the end-of-document token.
            ids: those of all documents.
        """
        lengths = documents["tokens"].to_numpy()
        languages = pc.fill_null(languages, UNKNOWN_LANGUAGE)
        table = pa.table(
            {
                "source": sources,
                "language": languages,
                **documents,
                "documents": pa.array(np.ones(len(sources), np.int64)),
            }
        )
        table = table.set_column(table.column_names.index("tokens"), "tokens", pa.array(lengths - 1))
        grouped = table.group_by(["source", "language"]).aggregate([(name, "sum") for name in _COUNTED])
        for row in grouped.to_pylist():
            for name in _COUNTED:
                self._counts[row["source"], row["language"], name] += row[f"{name}_sum"]
        for kind, names in (("source", sources), ("language", languages)):
            self._unigrams[kind].add(names, lengths, ids)

    def counts(self) -> list[list[Any]]:
        """Rows of source, language, documents, tokens, bytes and words."""
        pairs = sorted({key[:2] for key in self._counts})
        return [[*pair, *(self._counts[*pair, name] for name in _COUNTED)] for pair in pairs]

    def write_unigrams(self, path: Path) -> None:
        """How often each token occurs (UNIGRAMS_SCHEMA)."""
        tables = [unigrams.table(kind) for kind, unigrams in self._unigrams.items()]
        pq.write_table(pa.concat_tables(tables), path, compression="zstd")


class _Unigrams:
    def __init__(self, vocabulary: int) -> None:
        self._rows: dict[str, int] = {}
        self._counts = np.zeros((0, vocabulary), np.int64)

    def add(self, names: pa.Array, lengths: NDArray[np.int64], ids: NDArray[np.unsignedinteger]) -> None:
        encoded = names.dictionary_encode()
        rows = [self._rows.setdefault(name, len(self._rows)) for name in encoded.dictionary.to_pylist()]
        if len(self._rows) > len(self._counts):
            more = np.zeros((len(self._rows) - len(self._counts), self._counts.shape[1]), np.int64)
            self._counts = np.concatenate([self._counts, more])
        _count(np.array(rows)[encoded.indices.to_numpy()], lengths, ids, self._counts)

    def table(self, kind: str) -> pa.Table:
        names = np.array(list(self._rows), dtype=object)
        row, token = np.nonzero(self._counts)
        columns = [pa.repeat(kind, len(row)), names[row], token, self._counts[row, token]]
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, UNIGRAMS_SCHEMA, strict=True)], UNIGRAMS_SCHEMA)


@kernel
def _count(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], ids: NDArray[np.unsignedinteger], counts: NDArray[np.int64]
) -> None:
    at = 0
    for i in range(len(rows)):
        of_row = counts[rows[i]]
        for token in range(at, at + lengths[i] - 1):
            of_row[ids[token]] += 1
        at += lengths[i]


def fertility_table(counts: Iterable[Sequence[Any]], unigrams: Iterable[Path]) -> list[dict[str, Any]]:
    """What is told of each source, of each language, and of each language of a source.

    Args:
        counts: rows of ``Fertility.counts`` of all batches.
        unigrams: the files written beside them.

    Returns:
        Dictionaries of source (None: of all), language (None: of all), documents, tokens, bytes, words, and
        unigram_bits_per_byte, None of pairs: what a model that knows how often each token occurs there, and nothing
        else, needs for a byte of text. Unlike tokens a byte it can be compared between sizes of vocabulary.
    """
    sums: dict[tuple[str | None, str | None], list[int]] = defaultdict(lambda: [0] * len(_COUNTED))
    for source, language, *numbers in counts:
        for key in ((source, None), (None, language), (source, language)):
            sums[key] = [a + b for a, b in zip(sums[key], numbers, strict=True)]
    bits = _unigram_bits(unigrams)
    table = []
    for (source, language), numbers in sorted(sums.items(), key=lambda entry: [part or "" for part in entry[0]]):
        counted = dict(zip(_COUNTED, numbers, strict=True))
        kind, name = ("source", source) if language is None else ("language", language)
        is_pair = source is not None and language is not None
        per_byte = None if is_pair or not counted["bytes"] else bits.get((kind, name), 0.0) / counted["bytes"]
        table.append({"source": source, "language": language, **counted, "unigram_bits_per_byte": per_byte})
    return table


def _unigram_bits(paths: Iterable[Path]) -> dict[tuple[str, str | None], float]:
    """Bits of all tokens of each source and language under their own frequencies."""
    counts: dict[tuple[str, str | None], NDArray[np.int64]] = {}
    for path in paths:
        table = pq.read_table(path)
        for key in table.group_by(["kind", "name"]).aggregate([]).to_pylist():
            of_one = (pc.field("kind") == key["kind"]) & (pc.field("name") == key["name"])
            found = table.filter(of_one)
            tokens, added = found["token"].to_numpy(), found["count"].to_numpy()
            sums = counts.get((key["kind"], key["name"]), np.zeros(0, np.int64))
            sums = np.pad(sums, (0, max(0, int(tokens.max()) + 1 - len(sums))))
            sums[tokens] += added
            counts[key["kind"], key["name"]] = sums
    return {key: float(np.sum(c[c > 0] * np.log2(c.sum() / c[c > 0]))) for key, c in counts.items()}

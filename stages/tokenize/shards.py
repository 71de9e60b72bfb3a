"""Token shards: the documents of each source in a seeded order, as headless bodies of token ids.

tokens.json                              counts, digests, tokenizer, per source and split of the data
tokenizer.json
<source>/train-00000.bin                 token ids, little-endian, uint16 (uint32 from 65,537 entries on)
<source>/train-00000.documents.parquet   which document stands where: id, start, tokens; parent and bytes of text
<source>/held_out-00000.bin              documents that no training ever sees

They are made by many tasks in phases:

    spread   a task some parts     documents to partitions by a hash of their ids; what there is of each source
    sort     a task a partition    the partition's documents in their order
    cut      a task a shard        the shard's documents, out of the sorted partitions that it lies in
    seal     one task              all shards in one folder, behind tokens.json
"""

from __future__ import annotations

import json
import shutil
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from pipeline import storage
from pipeline.artifact import Artifact, DocumentPart, Phase, document_parts
from pipeline.errors import LedgerError, StageError
from pipeline.exchange import partitions_for
from pipeline.ledger import Counts
from pipeline.stage import Context, Result, Shuffle, StageConfig, Task
from pipeline.storage import sha256_of
from stages.tokenize import shuffling
from stages.tokenize.fertility import fertility_table
from stages.tokenize.tokenizer import TOKENIZER_FILE, dtype_of

SPLITS = ("train", "held_out")
TOKENS_FILE = "tokens.json"

# Bytes of memory for each byte of compressed documents in a task that sorts, measured (docs/benchmarks.md), rounded up.
SORT_FACTOR = 4


class TokenShardsConfig(StageConfig):
    """Size of shards and the share of documents held out."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"task_memory_mb"})

    shard_tokens: int = Field(100_000_000, gt=0)
    """Tokens after which a new file begins, with the first document that begins at a multiple of them or beyond:
    documents are never split over files."""
    held_out: float = Field(0.02, gt=0, lt=1)
    """Share of documents that is kept from training, at least one of each source. The choice is by a hash of the id, so
    more documents do not change it; a rephrased document goes where the one that it was written from goes."""
    task_memory_mb: int = Field(1000, ge=64)
    """Memory that a task takes, about; a larger corpus makes more tasks."""

    @property
    def task_memory_bytes(self) -> int:
        """Memory of a task."""
        return self.task_memory_mb << 20


class TokenShards(Shuffle[TokenShardsConfig]):
    """Shuffle the encoded documents of each source and write them as shards."""

    name = "token_shards"
    read_by_ranges = frozenset(("spread", "bodies", "indexes", "shards"))
    version = 3
    config_type = TokenShardsConfig
    accepts = ("documents", "tokenizer")
    produces: ClassVar[str] = "tokens"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        (tokenizer,) = inputs["tokenizer"]
        vocabulary = {"vocabulary": tokenizer.summary["vocabulary"]}
        if not phases:
            return self._spread(document_parts(inputs["documents"]), vocabulary)
        last = phases[-1]
        if last.name == "spread":
            return self._sort(last, vocabulary)
        if last.name == "sort":
            return self._cut(last, vocabulary)
        return [self._seal(tokenizer, phases)] if last.name == "cut" else []

    def _spread(self, parts: Sequence[DocumentPart], vocabulary: Mapping[str, Any]) -> list[Task]:
        if not parts:
            raise StageError("there are no documents to tokenize: everything was dropped before")
        size_bytes = sum(part.size_bytes for part in parts)
        partitions = partitions_for(size_bytes * SORT_FACTOR, self.config.task_memory_bytes)
        return [
            Task(
                "spread",
                f"documents of {len(group)} parts from {group[0].name} on",
                tuple(part.digest for part in group),
                {"documents": tuple(part.path for part in group)},
                {**vocabulary, "partitions": partitions},
            )
            for group in _groups(parts, self.config.task_memory_bytes // 4)
        ]

    def _sort(self, spread: Phase, vocabulary: Mapping[str, Any]) -> list[Task]:
        draws: dict[str, list[float]] = defaultdict(list)
        for part in spread.parts:
            for source, found in part.summary["draws"].items():
                draws[source] = shuffling.extreme_draws([*draws[source], *found])
        below = {source: self._held_out_below(source, draws[source]) for source in sorted(draws)}
        partitions = spread.parts[0].summary["partitions"]
        return [
            Task(
                "sort",
                f"partition {i} of {partitions}",
                (spread.digest,),
                {"spread": spread.paths(shuffling.SPREAD_FILE)},
                {**vocabulary, "partition": i, "below": below},
            )
            for i in range(partitions)
        ]

    def _held_out_below(self, source: str, draws: Sequence[float]) -> float:
        """The draw up to which documents are held out, so that there is at least one on either side."""
        if len(draws) < len(SPLITS):
            raise StageError(
                f"source {source} has only {len(draws)} document left: it needs one to train on and one to hold "
                "out. See the report for where its documents went"
            )
        return min(max(self.config.held_out, draws[0]), draws[-2])

    def _cut(self, sort: Phase, vocabulary: Mapping[str, Any]) -> list[Task]:
        digests = [part.digest for part in sort.parts]
        bodies, indexes = sort.paths(shuffling.BODY_FILE), sort.paths(shuffling.INDEX_FILE)
        return [
            Task(
                "cut",
                f"{source}/{split}-{number:05d}",
                tuple(digests[piece.partition] for piece in pieces),
                {
                    "bodies": tuple(bodies[piece.partition] for piece in pieces),
                    "indexes": tuple(indexes[piece.partition] for piece in pieces),
                },
                {
                    **vocabulary,
                    **{"source": source, "split": split, "number": number},
                    **{"begin": number * self.config.shard_tokens, "end": (number + 1) * self.config.shard_tokens},
                    "pieces": [[piece.row_group, piece.at, piece.base] for piece in pieces],
                },
            )
            for (source, split), found in sorted(_pieces(sort).items())
            for number, pieces in self._shards(found)
        ]

    def _shards(self, pieces: Sequence[_Piece]) -> Iterator[tuple[int, Sequence[_Piece]]]:
        """Numbers of the shards of a split, each with the pieces that its documents may begin in."""
        bases, ends = [piece.base for piece in pieces], [piece.base + piece.tokens for piece in pieces]
        for number, begin in enumerate(range(0, ends[-1], self.config.shard_tokens)):
            yield number, pieces[bisect_right(ends, begin) : bisect_left(bases, begin + self.config.shard_tokens)]

    def _seal(self, tokenizer: Artifact, phases: Sequence[Phase]) -> Task:
        spread, cut = phases[0], phases[-1]
        shards = [part for part in cut.parts if part.summary["path"]]
        files = [(cut.folder / part.folder / file.path, file) for part in shards for file in part.files]
        return Task(
            "seal",
            "all shards",
            (spread.digest, cut.digest, tokenizer.digest),
            {
                "tokenizer": (tokenizer.committed_folder / TOKENIZER_FILE,),
                "unigrams": spread.paths(shuffling.UNIGRAMS_FILE),
                "shards": tuple(path for path, _ in files),
            },
            {
                "vocabulary": tokenizer.summary["vocabulary"],
                "eod": tokenizer.summary["eod"],
                "counts": [row for part in spread.parts for row in part.summary["counts"]],
                "shards": [dict(part.summary) for part in shards],
                "links": [[file.path, file.sha256] for _, file in files],
            },
            is_kept=True,
        )

    def work(self, task: Task, out: Path, context: Context) -> Result:
        vocabulary = task.arguments["vocabulary"]
        if task.phase == "spread":
            found = shuffling.spread(task, out, context, self.config.task_memory_bytes // 8)
            return Result({**found, "partitions": task.arguments["partitions"]})
        if task.phase == "sort":
            return Result(shuffling.sort(task, out, vocabulary))
        if task.phase == "cut":
            return Result(shuffling.cut(task, out, vocabulary))
        return _sealed(task, out)


class _Piece(NamedTuple):
    """The documents of one source and split in one sorted partition."""

    partition: int
    row_group: int
    tokens: int
    at: int  # tokens before it in the partition's body
    base: int  # tokens before it in the whole split


def _groups(parts: Sequence[DocumentPart], size_bytes: int) -> Iterator[Sequence[DocumentPart]]:
    """Parts that follow one another, up to a size."""
    begin, size = 0, 0
    for i, part in enumerate(parts):
        if i > begin and size + part.size_bytes > size_bytes:
            yield parts[begin:i]
            begin, size = i, 0
        size += part.size_bytes
    yield parts[begin:]


def _pieces(sort: Phase) -> dict[tuple[str, str], list[_Piece]]:
    """By source and split, its pieces in order."""
    pieces: dict[tuple[str, str], list[_Piece]] = defaultdict(list)
    for partition, part in enumerate(sort.parts):
        for row_group, (source, split, _, tokens, _, at) in enumerate(part.summary["groups"]):
            before = pieces[source, split]
            base = before[-1].base + before[-1].tokens if before else 0
            before.append(_Piece(partition, row_group, tokens, at, base))
    return pieces


def _sealed(task: Task, out: Path) -> Result:
    """Links to all shards, in one folder, behind tokens.json."""
    a = task.arguments
    for path, (name, _) in zip(task.files["shards"], a["links"], strict=True):
        link = out / name
        link.parent.mkdir(exist_ok=True)
        storage.link(path, link)
    (tokenizer,) = task.files["tokenizer"]
    shutil.copyfile(tokenizer, out / TOKENIZER_FILE)
    digests = dict(a["links"])
    sources: dict[str, dict[str, Any]] = {}
    for shard in a["shards"]:
        splits = sources.setdefault(shard["source"], {})
        contents = splits.setdefault(shard["split"], {"files": [], "tokens": 0, "documents": 0, "bytes": 0})
        contents["files"].append({"path": shard["path"], "tokens": shard["tokens"], "sha256": digests[shard["path"]]})
        for name in ("tokens", "documents", "bytes"):
            contents[name] += shard[name]
    fertility = fertility_table(a["counts"], task.files["unigrams"])
    _check_complete(sources, fertility)
    contents = {
        "vocabulary": a["vocabulary"],
        "dtype": dtype_of(a["vocabulary"]).name,
        "eod": a["eod"],
        "tokenizer_sha256": sha256_of(tokenizer),
        "sources": sources,
    }
    (out / TOKENS_FILE).write_text(json.dumps(contents, indent=1, sort_keys=True))
    documents = {name: sum(split["documents"] for split in splits.values()) for name, splits in sources.items()}
    counts = {name: Counts(received=n, kept=n) for name, n in documents.items()}
    summary = {**{key: contents[key] for key in ("vocabulary", "dtype", "sources")}, "fertility": fertility}
    return Result(summary, counts, digests)


def _check_complete(sources: Mapping[str, Mapping[str, Any]], fertility: Sequence[Mapping[str, Any]]) -> None:
    """Raises LedgerError unless the shards hold what was spread."""
    for row in fertility:
        if row["language"] is None:
            splits = sources.get(row["source"], {}).values()
            found = [sum(split[name] for split in splits) for name in ("documents", "tokens", "bytes")]
            expected = [row["documents"], row["tokens"] + row["documents"], row["bytes"]]
            if found != expected:
                raise LedgerError(
                    f"source {row['source']}: its shards hold {found} documents, tokens and bytes, but {expected} came "
                    "in. This is a bug of the stage; nothing was sealed"
                )

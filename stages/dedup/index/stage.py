"""Adds the documents that a dedup has kept to an index, for later runs to be compared with.

    parts     a task a part        its kept documents with their signatures and shingles: a file of the index
    publish   one task             the manifest that makes all of them a generation

Files that no manifest names do not count, so a run that is killed before ``publish`` has added nothing, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.artifact import Artifact, Phase
from pipeline.stage import Context, Result, Shuffle, Task
from pipeline.storage import shown
from stages.dedup.duplicates.corpus import Corpus
from stages.dedup.duplicates.members import SIGNATURE_COLUMNS, MemberOptions, members_of
from stages.dedup.index.folder import Generation, Indexed, IndexPart, add_part, check_published, publish
from stages.dedup.remove import DUPLICATES_FILE
from stages.dedup.signatures import CONTENT_HASH_BYTES, Signatures, SignaturesConfig
from stages.text.signatures import SEED, WordKind

ENCODING = {"shingles.list.element": "DELTA_BINARY_PACKED"}  # they ascend: 18 % less than plain, for as much CPU


def signature_options(ngram: int, words: WordKind, bands: int, rows: int) -> dict[str, Any]:
    """What the signatures of documents that are compared must have in common."""
    kind = {"ngram": ngram, "words": words, "bands": bands, "rows": rows}
    return {**kind, "version": Signatures.version, "seed": SEED}


def index_schema(bands: int) -> pa.Schema:
    """Columns of a document in an index: those of its signature, its shingles, and the beginning of its text."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("source", pa.string()),
            ("language", pa.string()),
            ("parent", pa.string()),
            ("dedup.content_hash", pa.binary(CONTENT_HASH_BYTES)),
            ("dedup.url_hash", pa.uint64()),
            ("dedup.audit", pa.uint64()),
            ("dedup.bands", pa.list_(pa.uint64(), bands)),
            ("shingles", pa.list_(pa.uint32())),
            ("excerpt", pa.string()),
        ]
    )


class IndexConfig(SignaturesConfig):
    """What is added to which index."""

    indexed: Indexed
    """The generations that the documents were compared with."""
    add_as: str = Field(min_length=1)
    """Name of what is added."""

    def identity(self) -> dict[str, Any]:
        folder, digest = shown(self.indexed.folder), self.indexed.digest  # another folder is another index to write to
        return {**super().identity(), "indexed": [folder, digest]}


class AddToIndex(Shuffle[IndexConfig]):
    """Add the documents that are kept to an index of earlier runs.

    The first input of kind documents holds the signatures, the others the documents themselves.
    """

    name = "dedup_index"
    config_type = IndexConfig
    accepts: ClassVar[tuple[str, ...]] = ("documents", "duplicates")
    produces: ClassVar[str] = "index"
    not_in_samples: ClassVar[str] = "it adds to an index outside the run"

    def note(self) -> str | None:
        if self.config.indexed.generation:
            return None
        return f"begins the index {shown(self.config.indexed.folder)}: documents were compared with no earlier ones"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        signatures, *originals = inputs["documents"]
        (duplicates,) = inputs["duplicates"]
        corpus = Corpus.of(signatures, originals)
        if not phases and corpus.parts:
            return [_part_task(corpus, i, duplicates) for i in range(len(corpus.parts))]
        if phases and phases[-1].name == "publish":
            return []
        added = [part.summary for phase in phases for part in phase.parts if part.summary["rows"]]
        arguments = {"parts": added, "duplicates": duplicates.fingerprint}
        return [Task("publish", "publish", (), arguments=arguments, is_kept=True)]

    def check_sealed(self, summary: Mapping[str, Any]) -> None:
        check_published(self.config.indexed.folder, self.config.add_as)

    def work(self, task: Task, out: Path, context: Context) -> Result:
        c = self.config
        if task.phase == "parts":
            return Result(self._add_part(task, out, context))
        added = Generation(
            number=c.indexed.generation + 1,
            name=c.add_as,
            signatures=signature_options(c.ngram, c.words, c.bands, c.rows),
            parts=tuple(IndexPart(**part) for part in task.arguments["parts"]),
            duplicates=task.arguments["duplicates"],
        )
        publish(c.indexed, added)
        return Result({"generation": added.number, "documents": sum(part.rows for part in added.parts)})

    def _add_part(self, task: Task, out: Path, context: Context) -> dict[str, Any]:
        c = self.config
        signatures, documents, duplicates = (task.files[role][0] for role in ("signatures", "documents", "duplicates"))
        ids = pq.read_table(signatures, columns=["id"])["id"]
        lost = pq.read_table(duplicates, columns=["id"])["id"].combine_chunks()
        rows = np.flatnonzero(~np.asarray(pc.is_in(ids, value_set=lost)))
        if not len(rows):
            return vars(IndexPart("", 0, 0))
        path, schema = out / "part.parquet", index_schema(c.bands)
        written = 0
        options = MemberOptions(c.ngram, c.words, c.bands, score=None)
        with pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=["source"], column_encoding=ENCODING
        ) as writer:
            for table in members_of(signatures, documents, rows, options):
                table = table.rename_columns({**{name: name for name in table.column_names}, **SIGNATURE_COLUMNS})
                writer.write_table(table.select(schema.names).cast(schema))
                written += table.num_rows
                context.progress(written, len(rows))
        return vars(add_part(c.indexed.folder, path, written))


def _part_task(corpus: Corpus, number: int, duplicates: Artifact) -> Task:
    part = corpus.parts[number]
    slice_ = duplicates.part_named(part.documents.name)
    return Task(
        "parts",
        part.documents.name,
        (part.signatures.digest, part.documents.digest, slice_.digest),
        {
            "signatures": (part.signatures.path,),
            "documents": (part.documents.path,),
            "duplicates": (duplicates.folder / slice_.folder / DUPLICATES_FILE,),
        },
    )

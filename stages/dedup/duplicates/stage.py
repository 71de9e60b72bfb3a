"""Which documents are duplicates, over all parts at once: the phases of dedup between signatures and removal.

    keys      a task some parts    records (key, location) of their documents, by partition of the key
    links     a task a partition   documents that share a key, linked
    round n   a task an owner      connected components of all links, in rounds until nothing changes
    members   a task a range       documents of the components with the shingles of their texts, by partition of these
    verdicts  a task a partition   true similarity, winners and losers
    slices    a task a part        the part's documents that go
    summary   one task             what happened, for the report; the alarm

Links only bring together what is compared: nothing is removed that a verdict has not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifact import Artifact, Phase
from pipeline.exchange import partitions_for, read_partition
from pipeline.stage import Context, Result, Shuffle, Task
from stages.dedup.duplicates import rounds
from stages.dedup.duplicates.corpus import ROW_BITS, Corpus, ranges_of_part
from stages.dedup.duplicates.keys import RECORDS_FILE, write_keys
from stages.dedup.duplicates.members import MEMBERS_FILE, MemberOptions, write_members
from stages.dedup.duplicates.options import DuplicatesConfig
from stages.dedup.duplicates.summary import largest_clusters, summary_of
from stages.dedup.duplicates.verdicts import DECIDED_FILE, write_decided
from stages.dedup.index.folder import check_part, indexed_parts
from stages.dedup.losses import check, told_anew
from stages.dedup.remove import DUPLICATES_FILE

AUDITED_DOCUMENTS = 20_000  # about as many, or all of a smaller corpus, take part in the estimate of recall

# Memory that a task takes for each row of its partition, measured (docs/benchmarks.md) and rounded up.
RECORD_BYTES = 64  # a key of a document
WRITTEN_BYTES = 16  # the same in a file
KEYS_FILES = 4  # in the memory of a task: few large files, for each task of the next phase opens all of them
VERTEX_BYTES = 130  # a document, for its links: about three
MEMBER_BYTES = 1000  # a document that may be a duplicate, its shingles apart
SHINGLE_FACTOR = 8  # memory for shingles, in bytes of compressed text


class Duplicates(Shuffle[DuplicatesConfig]):
    """Find the documents that go, and for which other one.

    The first input holds the signatures, the others the documents, most wanted first.
    """

    name = "dedup_duplicates"
    read_by_ranges = frozenset(("keys", "messages", "labels", "members", "decided"))
    version = 2
    config_type = DuplicatesConfig
    produces: ClassVar[str] = "duplicates"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        signatures, *originals = inputs["documents"]
        indexed = self.config.indexed
        corpus = Corpus.of(signatures, originals, indexed_parts(indexed) if indexed else ())
        if not corpus.new_parts:
            return [] if phases else [self._summary(corpus, ())]
        last = phases[-1] if phases else None
        if last is None:
            return self._keys(corpus)
        if last.name == "keys":
            return self._links(corpus, last)
        if last.name == "links" or (last.name.startswith("round ") and not rounds.is_over(last)):
            return self._round(corpus, last, len(phases) - 1)
        if last.name.startswith("round "):
            return self._members(corpus, last)
        if last.name == "members":
            return self._verdicts(corpus, last)
        if last.name == "verdicts":
            return self._slices(corpus, last)
        return [self._summary(corpus, phases)] if last.name == "slices" else []

    def _keys(self, corpus: Corpus) -> list[Task]:
        keys = 2 + self.config.by_url + self.config.fuzzy * (self.config.bands + 1)
        arguments = {
            "partitions": self._partitions(corpus.rows * keys * RECORD_BYTES),
            "sample_bits": _sample_bits(corpus),
        }
        groups = corpus.groups(max(1, self.config.task_memory_bytes // KEYS_FILES // (keys * WRITTEN_BYTES)))
        return [
            Task(
                "keys",
                f"keys of {group[0].documents.name} and {len(group) - 1} more",
                tuple(part.signatures.digest for part in group),
                {"signatures": tuple(part.signatures.path for part in group)},
                {**arguments, "parts": [[part.number, part.is_indexed] for part in group]},
            )
            for group in groups
        ]

    def _partitions(self, size_bytes: float) -> int:
        return partitions_for(int(size_bytes), self.config.task_memory_bytes)

    def _borders(self, corpus: Corpus) -> list[int]:
        return corpus.borders(self._partitions(corpus.rows * VERTEX_BYTES))

    def _links(self, corpus: Corpus, keys: Phase) -> list[Task]:
        files, owners = {"keys": keys.paths(RECORDS_FILE)}, len(self._borders(corpus)) + 1
        arguments = {"owners": owners, "index_begins": len(corpus.new_parts) << ROW_BITS}
        return [
            Task("links", f"links, partition {i}", (keys.digest,), files, {**arguments, "partition": i})
            for i in range(keys.parts[0].summary["partitions"])
        ]

    def _round(self, corpus: Corpus, last: Phase, number: int) -> list[Task]:
        messages, borders, name = last.paths(rounds.MESSAGES_FILE), self._borders(corpus), f"round {number}"
        owners = len(borders) + 1
        before = last.paths(rounds.POINTERS_FILE)  # none of the links
        return [
            Task(
                name,
                f"{name}, owner {owner}",
                (last.digest,),
                {"messages": messages, "pointers": before[owner : owner + 1]},
                {"owner": owner, "owners": owners, "borders": borders},
            )
            for owner in range(owners)
        ]

    def _members(self, corpus: Corpus, last: Phase) -> list[Task]:
        borders = self._borders(corpus)
        linked = sum(part.summary["vertices"] for part in last.parts)
        sizes = (p.documents.size_bytes * (1 if p.is_indexed else SHINGLE_FACTOR) for p in corpus.parts)
        partitions = self._partitions(linked * (MEMBER_BYTES + sum(sizes) / corpus.rows))
        tasks = []
        for i in range(len(borders) + 1):
            parts = corpus.parts_in(borders, i)
            files = {
                "labels": last.paths(rounds.POINTERS_FILE),
                "signatures": tuple(part.signatures.path for part in parts),
                "documents": tuple(part.documents.path for part in parts),
            }
            content = (last.digest, *(digest for p in parts for digest in (p.signatures.digest, p.documents.digest)))
            arguments = {
                "range": i,
                "parts": [[p.number, p.input, p.is_indexed] for p in parts],
                "partitions": partitions,
                "index_begins": len(corpus.new_parts) << ROW_BITS,
            }
            tasks.append(Task("members", f"members, range {i}", content, files, arguments))
        return tasks

    def _verdicts(self, corpus: Corpus, members: Phase) -> list[Task]:
        files, borders = {"members": members.paths(MEMBERS_FILE)}, self._borders(corpus)
        arguments = {"borders": borders, "sample_bits": _sample_bits(corpus)}
        return [
            Task("verdicts", f"verdicts, partition {i}", (members.digest,), files, {**arguments, "partition": i})
            for i in range(members.parts[0].summary["partitions"])
        ]

    def _slices(self, corpus: Corpus, decided: Phase) -> list[Task]:
        files, borders = {"decided": decided.paths(DECIDED_FILE)}, self._borders(corpus)
        return [
            Task(
                "slices",
                part.documents.name,
                (decided.digest,),
                files,
                {"part": part.number, "ranges": list(ranges_of_part(part.number, part.documents.rows, borders))},
                is_kept=True,
            )
            for part in corpus.new_parts
        ]

    def _summary(self, corpus: Corpus, phases: Sequence[Phase]) -> Task:
        facts = {phase.name: [part.summary for part in phase.parts] for phase in phases}
        indexed = sum(part.documents.rows for part in corpus.parts if part.is_indexed)
        arguments = {**summary_of(facts, self.config.max_loss), "indexed": indexed}
        return Task("summary", "summary", (), arguments=arguments, is_kept=True)

    def check_sealed(self, summary: Mapping[str, Any]) -> None:
        facts = told_anew(summary, self.config.max_loss)
        check(facts, self.config.max_loss, self.config.alarm, largest_clusters(facts))

    def work(self, task: Task, out: Path, context: Context) -> Result:
        config, arguments = self.config, dict(task.arguments)
        context.progress(0, 1)
        if task.phase == "keys":
            for (_, is_indexed), path, digest in zip(
                arguments["parts"], task.files["signatures"], task.content, strict=True
            ):
                if is_indexed:
                    check_part(path, digest)
            found = write_keys(task, out, context, config)
        elif task.phase == "links":
            found = rounds.write_links(task, out)
        elif task.phase.startswith("round "):
            found = rounds.write_round(task, out)
        elif task.phase == "members":
            options = MemberOptions(
                config.ngram, config.words, config.bands, config.prefer.score, config.task_memory_bytes // 8
            )
            found = write_members(task, out, context, options)
        elif task.phase == "verdicts":
            found = write_decided(task, out, context, config)
        elif task.phase == "slices":
            found = write_slice(task, out)
        else:
            found = arguments
            check(found, config.max_loss, config.alarm, largest_clusters(found))
        return Result(found)


def write_slice(task: Task, out: Path) -> dict[str, Any]:
    """The documents of one part that go, in the order of its rows."""
    tables = [read_partition(task.files["decided"], i) for i in task.arguments["ranges"]]
    table = pa.concat_tables(tables)
    parts = pc.shift_right(table["location"], pa.scalar(ROW_BITS, pa.uint64()))
    table = table.filter(pc.equal(parts, task.arguments["part"])).sort_by("location")
    pq.write_table(table.drop_columns(["location"]), out / DUPLICATES_FILE, compression="zstd")
    return {"documents": table.num_rows}


def _sample_bits(corpus: Corpus) -> int:
    rows = sum(part.documents.rows for part in corpus.new_parts)
    return max(0, (rows // AUDITED_DOCUMENTS).bit_length())

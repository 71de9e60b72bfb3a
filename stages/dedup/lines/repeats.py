"""First half of dedup_lines: which lines repeat, and from which documents they are cut.

Phases, all of whose tasks read and write partitions, so that no task sees more than its share:

    units    a task a part of the documents: each distinct unit of each document, partitioned by its hash
    domains  a task a partition of domains: how many documents each has (only with per_domain)
    counts   a task a partition of hashes: counts documents; what is to be cut, partitioned by part of the documents
    slices   a task a part of the documents: what to cut from which document, for ``dedup_lines_cut``
    summary  one task: the most repeated lines with their texts, and the domains that repeat most

Units are compared by 63 bits of a hash: among 1e10 different ones about 5 pairs are expected to be taken for the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifact import DOCUMENTS_FILE, Artifact, DocumentPart, Phase, document_parts
from pipeline.errors import StageError
from pipeline.exchange import PartitionedWriter, partitions_for, read_partition
from pipeline.stage import Context, Result, Shuffle, Task
from stages.dedup.lines import bloom
from stages.dedup.lines.cuts import (
    CUTS_BY_DOMAIN_FILE,
    CUTS_FILE,
    CutsWriter,
    group_of,
    make_slice,
    most_repeated,
)
from stages.dedup.lines.domains import DomainLimits, domain_hashes
from stages.dedup.lines.evidence import add_samples, most_cut_domains
from stages.dedup.lines.kernels import LONG, Hashes, is_first_in_text, pair_keys
from stages.dedup.lines.options import LineCountsConfig
from stages.dedup.lines.reading import batches, ranks
from stages.dedup.lines.tally import BYTES_PER_HASH, Tally
from stages.dedup.lines.units import are_looked_at, units_of

UNITS_FILE = "units.parquet"
DOMAINS_FILE = "domains.parquet"

UNITS_SCHEMA = pa.schema([("unit", pa.uint64()), ("domain", pa.uint64()), ("rank", pa.uint64()), ("row", pa.uint32())])
BLOOM_UNITS_SCHEMA = pa.schema([("unit", pa.uint64()), ("row", pa.uint32())])
DOMAINS_SCHEMA = pa.schema([("domain", pa.uint64()), ("documents", pa.uint32()), ("name", pa.string())])

BYTES_PER_UNIT = 14  # least, of a compressed file of documents, per unit counted: laws and LaTeX; web pages have 59
INPUT_SHIFT = 52  # the place of a document's input in its rank
MAX_INPUTS = 1 << 12


class LineCounts(Shuffle[LineCountsConfig]):
    """Count in how many documents each line or paragraph stands, by registered domain and over the corpus.

    With ``counts: exact`` the result depends on nothing but the documents. So it does with ``counts: bloom``, whose
    counters only ever add up (see ``stages.dedup.lines.bloom``), as long as partitions are not tiny.
    """

    name = "dedup_line_counts"
    read_by_ranges = frozenset(("units",))
    config_type = LineCountsConfig
    produces: ClassVar[str] = "repeated_lines"

    @cached_property
    def _is_exact(self) -> bool:
        return self.config.counts == "exact"

    def plan(self, inputs: Mapping[str, Sequence[Artifact]], phases: Sequence[Phase]) -> list[Task]:
        artifacts = inputs["documents"]
        if len(artifacts) > MAX_INPUTS:
            raise StageError(f"dedup_lines: {len(artifacts)} inputs, at most {MAX_INPUTS} can be ranked: join some")
        parts = document_parts(artifacts)
        done = {phase.name: phase for phase in phases}
        if "units" not in done and parts:
            partitions = self._partitions(artifacts)
            return [_units_task(part, partitions) for part in parts]
        if "domains" not in done and parts and self.config.per_domain:
            return _domains_tasks(done["units"])
        if "counts" not in done and parts:
            return self._counts_tasks(artifacts, done)
        if "slices" not in done and parts:
            return [_slice_task(part, number, len(parts), done["counts"]) for number, part in enumerate(parts)]
        if "summary" not in done:
            return [self._summary_task(parts, done)]
        return []

    def _partitions(self, artifacts: Sequence[Artifact]) -> int:
        sizes = (f.size_bytes for a in artifacts for p in a.parts for f in p.files if f.path == DOCUMENTS_FILE)
        units = sum(sizes) // BYTES_PER_UNIT
        bytes_per_unit = BYTES_PER_HASH * (2 if self.config.per_domain and self.config.over_corpus else 1)
        if not self._is_exact:
            bytes_per_unit = math.ceil(1.5 * -math.log2(self.config.error_rate))
        return partitions_for(units * bytes_per_unit, self.config.task_memory_mb << 20)

    def _counts_tasks(self, artifacts: Sequence[Artifact], done: Mapping[str, Phase]) -> list[Task]:
        units = done["units"]
        partitions = units.parts[0].summary["partitions"]
        files = {"units": units.paths(UNITS_FILE)}
        content = [units.digest]
        if "domains" in done:
            files["domains"] = done["domains"].paths(DOMAINS_FILE)
            content.append(done["domains"].digest)
        parts_of_inputs = [len(document_parts([artifact])) for artifact in artifacts]
        total = sum(part.summary["units"] for part in units.parts)
        return [
            Task(
                "counts",
                f"partition {partition} of {partitions}",
                tuple(content),
                files,
                {"partition": partition, "partitions": partitions, "parts": parts_of_inputs, "units": total},
            )
            for partition in range(partitions)
        ]

    def _summary_task(self, parts: Sequence[DocumentPart], done: Mapping[str, Phase]) -> Task:
        counted = [part.summary for part in done["counts"].parts] if parts else []
        lines = most_repeated(line for summary in counted for line in summary["top"])
        needed = sorted({line["part"] for line in lines})
        totals = {
            "documents": sum(part.summary["documents"] for part in done["units"].parts) if parts else 0,
            "units": sum(part.summary["units"] for part in done["units"].parts) if parts else 0,
            "to_cut": sum(summary["to_cut"] for summary in counted),
        }
        if counted and self._is_exact:
            totals["repeated_units"] = sum(summary["repeated_units"] for summary in counted)
        elif counted:
            totals |= {measure: counted[0][measure] for measure in ("error_rate", "filter_bytes")}
        return Task(
            "summary",
            "summary",
            tuple(phase.digest for phase in done.values()) + tuple(parts[number].digest for number in needed),
            {
                "documents": tuple(parts[number].path for number in needed),
                "cuts": done["counts"].paths(CUTS_BY_DOMAIN_FILE) if parts else (),
                "domains": done["domains"].paths(DOMAINS_FILE) if "domains" in done else (),
            },
            {"totals": totals, "lines": [{**line, "part": needed.index(line["part"])} for line in lines]},
            is_kept=True,
        )

    def work(self, task: Task, out: Path, context: Context) -> Result:
        if task.phase == "units":
            return self._find_units(task, out, context)
        if task.phase == "domains":
            return self._count_domains(task, out, context)
        if task.phase == "counts":
            return self._count_exactly(task, out, context) if self._is_exact else self._estimate(task, out, context)
        if task.phase == "slices":
            return make_slice(task, out)
        return self._sum_up(task, context)

    def _find_units(self, task: Task, out: Path, context: Context) -> Result:
        partitions = task.arguments["partitions"]
        (path,) = task.files["documents"]
        schema = UNITS_SCHEMA if self._is_exact else BLOOM_UNITS_SCHEMA
        buffer_bytes = (self.config.task_memory_mb << 20) // 8
        on_domains: dict[int, int] = {}
        names: dict[int, str] = {}
        documents, found, row = 0, 0, 0
        with PartitionedWriter(out / UNITS_FILE, schema, partitions, min(128 << 20, buffer_bytes)) as writer:
            for batch, total in batches(path):
                context.progress(row, total)
                looked_at = np.flatnonzero(are_looked_at(batch, self.config))
                rows = row + looked_at
                row += batch.num_rows
                if len(looked_at) < batch.num_rows:
                    batch = batch.take(pa.array(looked_at))
                domains = self._domains_of(batch, on_domains, names)
                table = self._units_table(batch, rows, domains)
                documents += batch.num_rows
                found += table.num_rows
                writer.write(table.select(schema.names), _partition_of(table["unit"].to_numpy(), partitions))
        if self.config.per_domain:
            hashes = np.array(sorted(on_domains), np.uint64)
            counts = [on_domains[domain] for domain in hashes.tolist()]
            table = pa.table([hashes, counts, [names[d] for d in hashes.tolist()]], schema=DOMAINS_SCHEMA)
            with PartitionedWriter(out / DOMAINS_FILE, DOMAINS_SCHEMA, _domain_partitions(partitions)) as writer:
                writer.write(table, _partition_of(hashes, _domain_partitions(partitions)))
        return Result({"documents": documents, "units": found, "partitions": partitions})

    def _domains_of(self, batch: pa.Table, counts: dict[int, int], names: dict[int, str]) -> Hashes:
        """Hash of each document's domain, all 0 if domains do not matter; adds to the documents of each."""
        if not self.config.per_domain:
            return np.zeros(batch.num_rows, np.uint64)
        domains, named = domain_hashes(batch["url"])
        names |= named
        for domain, count in zip(*map(np.ndarray.tolist, np.unique(domains, return_counts=True)), strict=True):
            if domain:
                counts[domain] = counts.get(domain, 0) + count
        return domains

    def _units_table(self, batch: pa.Table, rows: NDArray[np.int64], domains: Hashes) -> pa.Table:
        """Each distinct unit of each document of a batch."""
        units = units_of(batch["text"], self.config)
        chosen = np.flatnonzero(is_first_in_text(units.hashes, units.firsts))
        of_row = units.rows()[chosen]
        return pa.table(
            [units.hashes[chosen], domains[of_row], ranks(batch)[of_row], rows[of_row].astype(np.uint32)],
            names=UNITS_SCHEMA.names,
        )

    def _count_domains(self, task: Task, out: Path, context: Context) -> Result:
        """Documents of each domain that has enough of them."""
        assert self.config.per_domain
        table = read_partition(task.files["domains"], task.arguments["partition"])
        summed = table.group_by("domain").aggregate([("documents", "sum"), ("name", "min")])
        large = summed.filter(pc.field("documents_sum") >= self.config.per_domain.min_documents).sort_by("domain")
        columns = [large["domain"], large["documents_sum"].cast(pa.uint32()), large["name_min"]]
        pq.write_table(pa.table(columns, schema=DOMAINS_SCHEMA), out / DOMAINS_FILE, compression="zstd")
        return Result({"domains": large.num_rows})

    def _count_exactly(self, task: Task, out: Path, context: Context) -> Result:
        """Two passes over the partition: the first counts, the second says what is above the limits.

        Memory grows with the distinct units of the partition, however many documents have them, and with 16 bytes for
        each domain of ``per_domain.min_documents``.
        """
        corpus, domain = self.config.over_corpus, self.config.per_domain
        paths = task.files["units"]
        tally = Tally()
        for number, units in _units_by_part(task):
            context.progress(number, 2 * len(paths))
            if corpus:
                tally.add(_long_only(units["unit"]), units["rank"])
            if domain:
                tally.add(pair_keys(units["unit"], units["domain"]), units["rank"])
        limits = DomainLimits(task.files["domains"], domain.min_share) if domain else None
        repeated = 0
        cuts = CutsWriter(task, out)
        with cuts:
            for number, units in _units_by_part(task):
                context.progress(len(paths) + number, 2 * len(paths))
                rank = units["rank"]
                is_cut = np.zeros(len(rank), np.bool_)
                evidence = np.zeros(len(rank), np.uint32)
                on_domain = np.zeros(len(rank), np.bool_)
                if corpus:
                    documents, best = tally.look_up(_long_only(units["unit"]))
                    is_over = documents >= corpus.min_documents
                    is_first = is_over & (rank == best)
                    repeated += int(is_first.sum())
                    cuts.note(number, units, is_first, documents, None)
                    is_cut = is_over & (rank != best) if self.config.keep_first else is_over
                    evidence[is_cut] = documents[is_cut]
                if domain and limits:
                    documents, best = tally.look_up(pair_keys(units["unit"], units["domain"]))
                    is_over = (documents >= domain.min_documents) & (documents >= limits.of(units["domain"]))
                    is_first = is_over & (rank == best)
                    repeated += int(is_first.sum())
                    cuts.note(number, units, is_first, documents, units["domain"])
                    on_domain = is_over & (rank != best) if self.config.keep_first else is_over
                    evidence[on_domain] = documents[on_domain]
                    is_cut |= on_domain
                cuts.add(number, units, is_cut, evidence, on_domain)
        result = cuts.result()
        result.summary["repeated_units"] = repeated
        return result

    def _estimate(self, task: Task, out: Path, context: Context) -> Result:
        """The same with a Bloom filter in place of the table."""
        assert self.config.over_corpus
        paths = task.files["units"]
        partition, partitions = task.arguments["partition"], task.arguments["partitions"]
        partition_bits = partitions.bit_length() - 1
        measures = bloom.filter_for(task.arguments["units"], self.config.error_rate, partition_bits)
        segments = 1 << (measures.segment_bits - partition_bits)
        counters = np.zeros(segments * measures.segment_bytes, np.uint8)
        where = (counters, partition * segments, measures.segment_bits, measures.segment_bytes, measures.probes)
        for number, units in _units_by_part(task):
            context.progress(number, 2 * len(paths))
            bloom.add_units(units["unit"], *where)
        cuts = CutsWriter(task, out)
        with cuts:
            for number, units in _units_by_part(task):
                context.progress(len(paths) + number, 2 * len(paths))
                documents = bloom.counts_of(units["unit"], *where)
                is_cut = documents >= self.config.over_corpus.min_documents
                cuts.note(number, units, _first_of_each(units["unit"], is_cut), documents, None)
                cuts.add(number, units, is_cut, documents, np.zeros(len(is_cut), np.bool_))
        result = cuts.result()
        result.summary.update(error_rate=measures.error_rate, filter_bytes=measures.size_bytes)
        return result

    def _sum_up(self, task: Task, context: Context) -> Result:
        lines = [dict(line) for line in task.arguments["lines"]]
        for number, path in enumerate(task.files["documents"]):
            add_samples(path, [line for line in lines if line["part"] == number], self.config)
        shown = [line["domain"] for line in lines]
        names, domains = most_cut_domains(task.files["cuts"], task.files["domains"], shown)
        told = [
            {"text": line["text"], "documents": line["documents"], "domain": names.get(line["domain"])}
            for line in lines
        ]
        return Result({**task.arguments["totals"], "lines": told, "domains": domains})


def _units_task(part: DocumentPart, partitions: int) -> Task:
    return Task("units", part.name, (part.digest,), {"documents": (part.path,)}, {"partitions": partitions})


def _domain_partitions(partitions: int) -> int:
    """Domains are far fewer than units."""
    return max(1, partitions // 8)


def _domains_tasks(units: Phase) -> list[Task]:
    partitions = _domain_partitions(units.parts[0].summary["partitions"])
    files = {"domains": units.paths(DOMAINS_FILE)}
    return [
        Task("domains", f"partition {n} of {partitions}", (units.digest,), files, {"partition": n})
        for n in range(partitions)
    ]


def _slice_task(part: DocumentPart, number: int, parts: int, counts: Phase) -> Task:
    files = {"documents": (part.path,), "cuts": counts.paths(CUTS_FILE)}
    arguments = {"part": number, "group": group_of(number, parts)}
    return Task("slices", part.name, (counts.digest, part.digest), files, arguments, is_kept=True)


def _partition_of(hashes: Hashes, partitions: int) -> NDArray[np.uint64]:
    """By the first bits: the segments of a Bloom filter lie in one partition each."""
    bits = partitions.bit_length() - 1
    return hashes >> np.uint64(64 - bits) if bits else np.zeros(len(hashes), np.uint64)


def _first_of_each(units: Hashes, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first place of each different unit."""
    places = np.flatnonzero(among)
    _, first = np.unique(units[places], return_index=True)
    is_first = np.zeros(len(units), np.bool_)
    is_first[places[first]] = True
    return is_first


def _long_only(units: Hashes) -> Hashes:
    """Units that count over the corpus; 0 for others."""
    return np.where(units & LONG, units, np.uint64(0))


def _units_by_part(task: Task) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """The units of a partition, one part of the documents after the other, ranked by their input too."""
    inputs = np.repeat(np.arange(len(task.arguments["parts"])), task.arguments["parts"])
    for number, path in enumerate(task.files["units"]):
        table = read_partition([path], task.arguments["partition"])
        units = {name: table[name].to_numpy() for name in table.column_names}
        if "rank" in units:
            units["rank"] = units["rank"] | (np.uint64(inputs[number]) << np.uint64(INPUT_SHIFT))
        yield number, units

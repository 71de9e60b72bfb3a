"""What each artifact of a whole run comes to, from the artifacts that a run on a sample has left.

Documents are followed to *anchors*: the sources, whose input files' bytes are known, and the stages that remove
duplicates, how many of whose documents stay is told from what the sample's files have in common. What is made part by
part grows as the anchors before it do, with an interval for how its parts differ. What sees documents whole grows with
the documents it is given.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, Artifact, Part, Phase, document_parts, read_tables
from pipeline.errors import StageError
from pipeline.explain import DUPLICATES_FILE
from pipeline.forecast.estimates import Interval, distinct_total, ratio_total
from pipeline.graph import Graph, Node
from pipeline.run import split_name
from pipeline.stage import Split

BYTES_PER_TOKEN = Interval(
    3.5, 4.3, 5.0
)  # where the recipe makes no tokens: English, vocabularies of 50,000 to 250,000
CPU_DRIFT = 0.25  # by so much the CPU seconds of equal work differ from run to run on a busy machine
ROWS = 65536  # read at a time


@dataclass(frozen=True)
class NodeForecast:
    """What one artifact of the whole run comes to."""

    name: str
    documents_in: Interval | None
    documents_out: Interval | None  # None: it holds none
    tokens: Interval | None
    core_hours: Interval
    gpu_hours: Interval
    stored_bytes: Interval
    is_start_up_apart: bool  # False: core-hours of starting processes could not be told from those that grow


@dataclass(frozen=True)
class _Anchor:
    """Clusters of documents, with a size each, and what the whole run has of them."""

    sizes: Mapping[str, float]  # of those of the sample, by the name of their parts
    clusters: int  # of the whole run
    total: Interval  # of all their sizes


class Forecaster:
    """Forecasts nodes in graph order.

    Args:
        graph: of the whole run.
        sampled: the graph that was run.
        sealed: what it has left.
        level: of the intervals.
    """

    def __init__(self, graph: Graph, sampled: Graph, sealed: Mapping[str, Artifact], level: float) -> None:
        self._whole = {node.name: node for node in graph.nodes}
        self._sampled, self._sealed, self._level = sampled, sealed, level
        self._anchors: dict[str, _Anchor] = {}
        self._anchors_of: dict[str, frozenset[str]] = {}  # of each node, those that its parts are followed to
        self._growth: dict[str, Interval] = {}  # documents of the whole run for each of the sample's
        self._distinct: dict[str, Interval] = {}  # documents that stay, by the artifact that tells of duplicates
        self._bytes_per_token = self._measured_bytes_per_token()

    def all(self) -> list[NodeForecast]:
        """The forecast of each node of the sample."""
        return [self._wide(node) if node.is_global else self._by_parts(node) for node in self._sampled.nodes]

    def _measured_bytes_per_token(self) -> Interval:
        """Of the recipe's own tokenizer, if it has one."""
        splits = [split for a in self._sealed.values() if a.kind == "tokens" for split in _token_splits(a)]
        tokens = sum(split["tokens"] for split in splits)
        return Interval.exactly(sum(split["bytes"] for split in splits) / tokens) if tokens else BYTES_PER_TOKEN

    def _by_parts(self, node: Node) -> NodeForecast:
        """A node that is made part by part."""
        artifact = self._sealed[node.name]
        if node.is_source:
            self._anchors[node.name] = self._source(node)
        self._anchors_of[node.name] = frozenset((node.name,)) if node.is_source else self._anchors_before(node)
        received, gpu_seconds = self._total(artifact, _received), self._total(artifact, _gpu_seconds)
        core_seconds, is_apart = self._cpu(artifact)
        told_by = next((name for name in node.steps[0].side.values() if name in self._distinct), None)
        if told_by:
            kept = self._distinct[told_by]
            clusters = sum(self._anchors[name].clusters for name in self._anchors_of[node.name])
            self._anchors[node.name] = _Anchor(_by_name(artifact.parts), clusters, kept)
            self._anchors_of[node.name] = frozenset((node.name,))
        else:
            kept = self._total(artifact, _kept)
        had = _documents(artifact)
        self._growth[node.name] = kept.scaled(1 / had) if had else Interval.exactly(1.0)
        texts = self._total(artifact, lambda part: _text_bytes(artifact, part))
        return NodeForecast(
            node.name,
            received,
            kept,
            _divided(texts, self._bytes_per_token) if texts.value else None,
            core_seconds.widened(CPU_DRIFT).scaled(1 / 3600),
            gpu_seconds.scaled(1 / 3600),
            self._total(artifact, lambda part: part.size_bytes),
            is_apart,
        )

    def _anchors_before(self, node: Node) -> frozenset[str]:
        return frozenset[str]().union(*(self._anchors_of[name] for name in node.inputs))

    def _source(self, node: Node) -> _Anchor:
        whole, drawn = _sizes(self._whole[node.name].splits), _sizes(node.splits)
        return _Anchor(drawn, len(whole), Interval.exactly(sum(whole.values())))

    def _total(self, artifact: Artifact, amount: Callable[[Part], float]) -> Interval:
        """An amount of the whole run: a sum over the anchors that the artifact's parts are followed to."""
        by_cluster: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for part in artifact.parts:
            anchor, cluster = self._origin(artifact.name, part.name)
            by_cluster[anchor][cluster] += amount(part)
        return Interval.sum(
            self._of_anchor(self._anchors[anchor], by_cluster[anchor]) for anchor in self._anchors_of[artifact.name]
        )

    def _of_anchor(
        self, anchor: _Anchor, amounts: Mapping[str, float], measured: Sequence[str] | None = None
    ) -> Interval:
        names = list(anchor.sizes) if measured is None else measured
        sizes = [anchor.sizes[name] for name in names]
        total = anchor.total
        found = ratio_total(
            sizes, [amounts.get(name, 0.0) for name in names], anchor.clusters, total.value, self._level
        )
        if not total.value:
            return found
        return Interval(found.low * total.low / total.value, found.value, found.high * total.high / total.value)

    def _cpu(self, artifact: Artifact) -> tuple[Interval, bool]:
        """CPU seconds, and whether those of starting processes were told apart: the first part of each process of the
        sample pays for loading, once whatever the corpus."""
        spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        cold: dict[str, set[str]] = defaultdict(set)  # clusters that have a first part
        for part in artifact.parts:
            anchor, cluster = self._origin(artifact.name, part.name)
            spent[anchor][cluster] += part.cpu_seconds
            if part.is_first:
                cold[anchor].add(cluster)
        names = self._anchors_of[artifact.name]
        found = [self._cpu_of_anchor(self._anchors[name], spent[name], cold[name]) for name in names]
        return Interval.sum(seconds for seconds, _ in found), all(is_apart for _, is_apart in found)

    def _cpu_of_anchor(self, anchor: _Anchor, spent: Mapping[str, float], cold: Set[str]) -> tuple[Interval, bool]:
        warm = [cluster for cluster in anchor.sizes if cluster not in cold]
        if cold and len(warm) < 2:
            grown = self._of_anchor(anchor, spent)
            return Interval(min(sum(spent.values()), grown.value), grown.value, grown.high), False
        grows = self._of_anchor(anchor, spent, warm)
        size = sum(anchor.sizes[cluster] for cluster in warm)
        rate = sum(spent.get(cluster, 0.0) for cluster in warm) / size if size else 0.0
        start_up = max(0.0, sum(spent.get(cluster, 0.0) - rate * anchor.sizes[cluster] for cluster in cold))
        return Interval(grows.low, grows.value + start_up, grows.high + 2 * start_up), True

    def _origin(self, artifact: str, name: str) -> tuple[str, str]:
        """The anchor and the cluster of a part: "clean/pages/a.warc" is one of "pages", read from "a.warc"."""
        anchors, at, rest = self._anchors_of[artifact], artifact, name
        while at not in anchors or rest not in self._anchors[at].sizes:
            if at in anchors and (first := re.sub(r" and \d+ more$", "", rest)) in self._anchors[at].sizes:
                return at, first  # gathered: all of it counts as the first one's
            at, _, rest = rest.partition("/")
            if at not in self._sealed:
                raise StageError(f"part {artifact}/{name} comes of no source of the sample: a bug of the forecast")
        return at, rest

    def _wide(self, node: Node) -> NodeForecast:
        """A node that sees its input whole."""
        artifact = self._sealed[node.name]
        removal = next((n for n in self._sampled.nodes if node.name in n.steps[0].side.values()), None)
        is_dedup = removal is not None and artifact.kind == "duplicates"
        inputs = removal.inputs if removal and is_dedup else node.inputs  # signatures are the same documents again
        holding = [name for name in inputs if self._sealed[name].kind == "documents"]
        received, had = self._coming_from(holding), sum(_documents(self._sealed[name]) for name in holding)
        others = (self._growth[name] for name in node.inputs)
        growth = received.scaled(1 / had) if had else max(others, key=lambda g: g.value, default=Interval.exactly(1.0))
        self._growth[node.name] = growth
        phases = artifact.phases or [Phase("", artifact.folder, artifact.parts).costs()]
        seconds = [_phase_seconds(phase, growth) for phase in phases]
        core_seconds = Interval.sum(one for one, _ in seconds)
        size = sum(float(phase["size_bytes"]) for phase in phases)
        written, tokens = growth.scaled(size), None
        if removal and is_dedup:
            written = self._removed_growth(removal, artifact, growth).scaled(size)
        elif artifact.kind == "tokens":
            tokens = growth.scaled(sum(split["tokens"] for split in _token_splits(artifact)))
        elif not node.is_shuffle:
            core_seconds = _up_to(core_seconds, sum(phase["cpu_seconds"] for phase in phases))
            written = _up_to(written, size)
        return NodeForecast(
            node.name,
            received if holding else None,
            None,
            tokens,
            core_seconds.widened(CPU_DRIFT).scaled(1 / 3600),
            growth.scaled(sum(phase["gpu_seconds"] for phase in phases) / 3600),
            written,
            all(is_apart for _, is_apart in seconds),
        )

    def _coming_from(self, names: Iterable[str]) -> Interval:
        """How many documents artifacts hold in the whole run."""
        return Interval.sum(self._growth[name].scaled(_documents(self._sealed[name])) for name in names)

    def _removed_growth(self, node: Node, duplicates: Artifact, growth: Interval) -> Interval:
        """By how much what is written about duplicates grows: some of it with the documents, some with those that go;
        and notes how many stay."""
        received, kept = self._coming_from(node.inputs), self._kept_of(node, duplicates)
        self._distinct[duplicates.name] = kept
        had = sum(_documents(self._sealed[name]) for name in node.inputs)
        removed = max(1.0, had - _documents(self._sealed[node.name]))
        most = max(growth.high, (received.high - kept.low) / removed)
        likely = max(growth.value, (received.value - kept.value) / removed)
        return Interval(growth.low, (growth.value + likely) / 2, most)

    def _kept_of(self, node: Node, duplicates: Artifact) -> Interval:
        """How many documents stay where a node removes duplicates."""
        artifact, received = self._sealed[node.name], self._coming_from(node.inputs)
        self._anchors_of[node.name] = self._anchors_before(node)
        origins = {
            part.name: self._origin(part.artifact, part.part)
            for part in document_parts(self._sealed[name] for name in node.inputs)
        }
        met: dict[str, set[tuple[str, str]]] = defaultdict(set)  # by winner, the clusters in which its losers lie
        for slice_ in duplicates.parts:
            for winner in _column(duplicates, slice_, DUPLICATES_FILE, "winner").to_pylist():
                met[winner].add(origins[slice_.name])
        winners, spread = pa.array(list(met), pa.large_string()), list[int]()
        for part in artifact.parts:
            ids, here = _column(artifact, part, DOCUMENTS_FILE, "id"), self._origin(artifact.name, part.name)
            met_here = [len(met[id_] | {here}) for id_ in ids.filter(pc.is_in(ids, winners)).to_pylist()]
            spread += met_here + [1] * (len(ids) - len(met_here))
        had = sum(_documents(self._sealed[name]) for name in node.inputs)
        files = sum(len(self._anchors[name].sizes) for name in self._anchors_of[node.name])
        if not had:
            return received
        found = distinct_total(spread, files, min(1.0, had / received.value), self._level)
        low, high = received.low / received.value, received.high / received.value
        return Interval(found.low * low, found.value, min(found.high * high, received.high))


def _phase_seconds(phase: Mapping[str, Any], growth: Interval) -> tuple[Interval, bool]:
    """CPU seconds of a phase of a shuffle, and whether those of starting processes were told apart."""
    seconds, tasks = phase["cpu_seconds"], phase["parts"]
    warm = tasks - phase["first_parts"]
    if not warm:
        grown = growth.scaled(seconds)
        return Interval(min(seconds, grown.value), grown.value, grown.high), False
    grows = tasks * (seconds - phase["first_cpu_seconds"]) / warm
    start_up = max(0.0, seconds - grows)
    grown = growth.scaled(grows)
    return Interval(grown.low, grown.value + start_up, growth.high * seconds), True


def _up_to(grown: Interval, sampled: float) -> Interval:
    """Of what need not grow with the corpus, because it looks at so many of its documents and no more."""
    return Interval(min(sampled / 2, grown.low), grown.value, grown.high)


def _divided(amount: Interval, by: Interval) -> Interval:
    return Interval(amount.low / by.high, amount.value / by.value, amount.high / by.low)


def _sizes(splits: Iterable[Split]) -> dict[str, float]:
    """Bytes by the name of the file; 1 each where servers were not asked."""
    sizes: dict[str, float] = defaultdict(float)
    for split in splits:
        sizes[split_name(split)] += sum(file.size_bytes or 0 for file in split.files)
    return sizes if all(sizes.values()) else dict.fromkeys(sizes, 1.0)


def _by_name(parts: Iterable[Part]) -> dict[str, float]:
    kept: dict[str, float] = defaultdict(float)
    for part in parts:
        kept[part.name] += _kept(part)
    return kept


def _documents(artifact: Artifact) -> float:
    return sum(map(_kept, artifact.parts))


def _gpu_seconds(part: Part) -> float:
    return part.seconds * part.gpus


def _received(part: Part) -> float:
    return float(sum(c.received + c.created for c in part.ledger.first()[1].values()))


def _kept(part: Part) -> float:
    return float(sum(c.kept for c in part.ledger.last().values()))


def _column(artifact: Artifact, part: Part, file: str, column: str) -> pa.ChunkedArray:
    """A column of strings of one of a part's files; empty without that file or column."""
    chunks = [table[column].cast(pa.large_string()) for table in _tables(artifact, part, file, column)]
    return pa.chunked_array([c for chunked in chunks for c in chunked.chunks], pa.large_string())


def _text_bytes(artifact: Artifact, part: Part) -> float:
    tables = _tables(artifact, part, DOCUMENTS_FILE, "text")
    return float(sum(pc.sum(pc.binary_length(table["text"])).as_py() or 0 for table in tables))


def _tables(artifact: Artifact, part: Part, file: str, column: str) -> Iterator[pa.Table]:
    if any(one.path == file for one in part.files):
        path = artifact.file_of(part, file)
        if column in pq.read_schema(path).names:
            yield from read_tables(path, [column], ROWS)


def _token_splits(artifact: Artifact) -> Iterator[Mapping[str, Any]]:
    for splits in artifact.summary.get("sources", {}).values():
        yield from splits.values()

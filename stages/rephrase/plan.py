"""How much is rephrased: for each source the share of its suitable documents that stays within the budgets.

Columns tell which documents may be chosen; how long they are, which styles suit them and how long their answers are
likely to be, is measured on the texts of a sample, those of least draw, which are the first to be chosen. The bytes of
each source follow from what the files record of their row groups: of texts no more is read than the row groups in which
samples lie. Memory is that of the samples, whatever the number of documents.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from pipeline import storage
from pipeline.artifact import Artifact, document_parts
from pipeline.errors import StageError
from pipeline.stage import Context, Global, Options, RecipePath, Result, StageConfig
from stages.rephrase.choice import (
    COLUMNS,
    CountTokens,
    SelectionOptions,
    draw_of,
    expected_ratio,
    may_be_chosen,
    styled,
    tiers_of,
)
from stages.rephrase.styles import STYLES_FILE, Style, read_styles
from stages.rephrase.tokens import TokenCounter

PLAN_FILE = "plan.json"
SAMPLE = 1000  # documents of a source whose texts are measured, and as many of those that may be chosen


class BudgetOptions(Options):
    """How much may be rephrased."""

    share: float | dict[str, float] = 1.0
    """Share of the suitable documents that is asked about at most, or the share by source."""
    budget_tokens: int | None = Field(None, ge=0)
    """Tokens that the model is to write at most, as expected from a sample, retries apart; sources give way to it
    evenly. None: no limit."""
    max_synthetic_share: float | dict[str, float] = 0.5
    """Share of a source's text, in the end product, that may be of rephrased documents, or that share by source; below
    1. Published mixtures go up to 0.8. The plan aims at it in tokens; what comes out above it, in bytes, is removed."""

    @field_validator("share", "max_synthetic_share")
    @classmethod
    def _shares_are_shares(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        if not all(0 <= share <= 1 for share in (value.values() if isinstance(value, dict) else [value])):
            raise ValueError("a share is from 0 to 1")
        return value

    @field_validator("max_synthetic_share")
    @classmethod
    def _some_is_not_synthetic(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        if any(share == 1 for share in (value.values() if isinstance(value, dict) else [value])):
            raise ValueError("the share of synthetic tokens is below 1: the documents that they come from stay")
        return value

    def share_of(self, source: str) -> float:
        """The share of a source's suitable documents that may be asked about.

        Raises:
            StageError: the option says nothing of it.
        """
        return _of_source("share", self.share, source)

    def synthetic_factor(self, source: str) -> float:
        """How much may be synthetic for each token or byte of a source that is not: s / (1 - s) of the share s.

        Raises:
            StageError: the option says nothing of it.
        """
        share = _of_source("max_synthetic_share", self.max_synthetic_share, source)
        return share / (1 - share)


def _of_source(option: str, value: float | Mapping[str, float], source: str) -> float:
    if not isinstance(value, Mapping):
        return value
    if source not in value:
        raise StageError(
            f"rephrase: {option} says nothing of the source '{source}': add it, or leave it out of sources"
        )
    return value[source]


class PlanConfig(SelectionOptions, BudgetOptions, StageConfig):
    """Options of rephrase_plan."""

    style: tuple[str, ...] = Field(("clean",), min_length=1)
    """Names of styles."""
    styles: RecipePath | None = None
    """YAML file of styles; that of Sluice if absent."""
    tokenizer: RecipePath | None = None
    """The model's tokenizer.json; without it tokens are estimated."""

    model_files: ClassVar[frozenset[str]] = frozenset({"tokenizer"})

    def identity(self) -> dict[str, Any]:
        """Of the file of styles, those that are used count."""
        styles = {style.name: style.fingerprint for style in chosen_styles(self.style, self.styles)}
        return {**super().identity(), "styles": styles}


@dataclass
class SourcePlan:
    """What is known of one source, and what follows from it. Estimates are those of a sample."""

    documents: int = 0  # that are not synthetic
    size_bytes: int = 0  # of their texts
    tokens: int = 0  # estimated
    allowed: int = 0  # documents that their columns say nothing against
    sampled: int = 0  # of these, documents whose texts were measured
    suitable: int = 0  # of the sampled, documents that a style suits
    expected_tokens: float = 0.0  # of answers, were all suitable documents chosen
    repeated_tokens: float = 0.0  # of the sources that stand in the new documents before those answers
    share: float = 0.0  # of the suitable documents that is chosen: those of a lesser draw
    limit: str = ""  # the option that keeps it from being more, or "nothing_suitable"
    synthetic_factor: float = 0.0  # tokens that may be synthetic for each one that is not

    @property
    def planned_tokens(self) -> float:
        """Tokens of answers that are expected."""
        return self.share * self.expected_tokens


class RephrasePlan(Global[PlanConfig]):
    """Decide which share of each source is rephrased, within the budgets."""

    name = "rephrase_plan"
    config_type = PlanConfig
    produces: ClassVar[str] = "rephrase_plan"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        """Write ``plan.json``.

        Raises:
            StageError: no artifact has a column that the options name, or an option says nothing of a source.
        """
        config, seed = self.config, context.seed
        styles = chosen_styles(config.style, config.styles)
        files = _Files(inputs["documents"], config)
        survey = _surveyed(files, config, context)
        measured = _measured(files, survey.places(), styles, config, TokenCounter(config.tokenizer).count, seed)
        allowed = {place for least in survey.allowed.values() for place in least.places()}
        sources, by_style = _estimated(survey, measured), _by_style([measured[place] for place in allowed], styles)
        settle(sources, config)
        plan: dict[str, Any] = {
            "sources": {name: asdict(source) for name, source in sources.items()},
            "styles": by_style,
            "budget_tokens": config.budget_tokens,
            "planned_tokens": round(sum(source.planned_tokens for source in sources.values())),
            "warnings": _warnings(sources, by_style, config),
        }
        (out / PLAN_FILE).write_text(json.dumps(plan, indent=1, allow_nan=False))
        return Result(plan)


def chosen_styles(names: Sequence[str], path: Path | None) -> list[Style]:
    """The styles of these names, from the file that comes with Sluice if none is given.

    Raises:
        StageError: the file has no such style, or cannot be read.
    """
    path = path or STYLES_FILE
    try:
        styles = read_styles(path)
    except (OSError, ValueError) as error:
        raise StageError(f"rephrase: {error}") from error
    unknown = [name for name in names if name not in styles]
    if unknown:
        raise StageError(f"rephrase: {path} has no style '{unknown[0]}'; it has {', '.join(sorted(styles))}")
    return [styles[name] for name in names]


def read_shares(folder: Path) -> dict[str, float]:
    """By source, the share of suitable documents that the plan in this folder chooses."""
    plan = json.loads((folder / PLAN_FILE).read_bytes())
    return {name: source["share"] for name, source in plan["sources"].items()}


def settle(sources: Mapping[str, SourcePlan], options: BudgetOptions) -> None:
    """Set share and limit of each source: as much as its own limits allow, and no more than a common level for all, the
    highest at which the budget suffices.

    Raises:
        StageError: an option by source says nothing of one that has suitable documents.
    """
    for name, source in sources.items():
        if not source.expected_tokens:
            source.share, source.limit = 0.0, "nothing_suitable"
            continue
        source.share = options.share_of(name)
        source.limit = "share" if source.share < 1 else ""
        source.synthetic_factor = options.synthetic_factor(name)
        most = source.tokens * source.synthetic_factor
        synthetic = source.expected_tokens + source.repeated_tokens
        if source.share * synthetic > most:
            source.share, source.limit = most / synthetic, "max_synthetic_share"
    if options.budget_tokens is None:
        return
    order = sorted((s for s in sources.values() if s.expected_tokens), key=lambda source: source.share)
    # of each source, the tokens of it and of all behind it, which get no less
    rising = reversed(list(accumulate(source.expected_tokens for source in reversed(order))))
    left = float(options.budget_tokens)
    for source, expected in zip(order, rising, strict=True):
        level = max(0.0, left) / expected
        if source.share > level:
            source.share, source.limit = level, "budget_tokens"
        left -= source.planned_tokens


Place = tuple[int, int, int]  # file, row group, row
Kind = tuple[str, bool]  # source, and whether it is synthetic


class _Files:
    """The committed files of documents, read by row group."""

    def __init__(self, artifacts: Sequence[Artifact], options: SelectionOptions) -> None:
        self.paths = [storage.fetched(part.path) for part in document_parts(artifacts)]
        self._names = {*COLUMNS, *options.measures}
        known = {name for path in self.paths for name in pq.read_schema(path).names}
        if self.paths and (absent := sorted(set(options.measures) - known)):
            raise StageError(f"rephrase: no stage before has measured {', '.join(absent)}, by which to choose")

    def groups(self, number: int) -> Iterator[tuple[pa.Table, int]]:
        """Of one file, each row group's columns and about how many bytes of text it holds."""
        with pq.ParquetFile(self.paths[number]) as file:
            names = [name for name in file.schema_arrow.names if name in self._names]
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=names), _text_bytes(file.metadata.row_group(group))

    def rows(self, places: Iterable[Place]) -> Iterator[tuple[list[Place], pa.Table]]:
        """The rows at these places with their texts, by row group."""
        for (number, group), wanted in groupby(sorted(set(places)), key=lambda place: place[:2]):
            found = list(wanted)
            with pq.ParquetFile(self.paths[number]) as file:
                names = [name for name in file.schema_arrow.names if name in self._names | {"text"}]
                yield found, file.read_row_group(group, columns=names).take(pa.array([row for _, _, row in found]))


def _text_bytes(group: pq.RowGroupMetaData) -> int:
    """Bytes of the texts of a row group: Parquet puts four before each, and little else."""
    columns = (group.column(i) for i in range(group.num_columns))
    size = next(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")
    return max(0, int(size) - 4 * int(group.num_rows))


class _Least:
    """The SAMPLE documents of least draw, whatever the order in which they come."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, Place]] = []
        self.seen = 0

    def add(self, draw: float, place: Place) -> None:
        self.seen += 1
        if len(self._heap) < SAMPLE:
            heapq.heappush(self._heap, (-draw, place))
        elif -draw > self._heap[0][0]:
            heapq.heapreplace(self._heap, (-draw, place))

    def places(self) -> set[Place]:
        return {place for _, place in self._heap}


@dataclass
class _Survey:
    """What the columns of all documents tell."""

    texts: dict[Kind, _Least] = field(default_factory=lambda: defaultdict(_Least))  # to measure bytes and tokens on
    allowed: dict[str, _Least] = field(default_factory=lambda: defaultdict(_Least))  # to measure what is chosen on
    groups: dict[tuple[Kind, ...], _Group] = field(default_factory=lambda: defaultdict(_Group))

    def places(self) -> set[Place]:
        return set().union(*(least.places() for least in (*self.texts.values(), *self.allowed.values())))


@dataclass
class _Group:
    """Row groups that hold documents of the same sources."""

    size_bytes: int = 0
    rows: Counter[Kind] = field(default_factory=Counter)


def _surveyed(files: _Files, config: PlanConfig, context: Context) -> _Survey:
    survey = _Survey()
    for number in range(len(files.paths)):
        context.progress(number, len(files.paths) + 1)
        for group, (columns, size_bytes) in enumerate(files.groups(number)):
            kinds = list(zip(columns["source"].to_pylist(), columns["parent"].is_valid().to_pylist(), strict=True))
            draws = [draw_of(document_id, context.seed) for document_id in columns["id"].to_pylist()]
            allowed = may_be_chosen(columns, config).tolist()
            for row, (kind, draw, is_allowed) in enumerate(zip(kinds, draws, allowed, strict=True)):
                survey.texts[kind].add(draw, (number, group, row))
                if is_allowed:
                    survey.allowed[kind[0]].add(draw, (number, group, row))
            rows = Counter(kinds)
            of_these = survey.groups[tuple(sorted(rows))]
            of_these.size_bytes += size_bytes
            of_these.rows.update(rows)
    return survey


@dataclass(frozen=True, slots=True)
class _Measured:
    """One sampled document."""

    size_bytes: int
    tokens: int
    styles: tuple[Style, ...]  # in which it would be written


def _measured(
    files: _Files, places: set[Place], styles: Sequence[Style], config: PlanConfig, count: CountTokens, seed: int
) -> dict[Place, _Measured]:
    found: dict[Place, _Measured] = {}
    for wanted, rows in files.rows(places):
        texts = [text or "" for text in rows["text"].to_pylist()]
        tiers, ids = tiers_of(rows, config.tier), rows["id"].to_pylist()
        for i, (place, tokens) in enumerate(zip(wanted, count(texts), strict=True)):
            chosen = styled(ids[i], texts[i], tokens, tiers[i], styles, config, seed).styles if texts[i].strip() else ()
            found[place] = _Measured(len(texts[i].encode()), tokens, chosen)
    return found


def _estimated(survey: _Survey, measured: Mapping[Place, _Measured]) -> dict[str, SourcePlan]:
    """The plan of each source without shares, as the samples let expect."""
    sizes = _sizes(survey, measured)
    sources: dict[str, SourcePlan] = {}
    for source in sorted({source for source, _ in survey.texts}):
        plan = sources[source] = SourcePlan()
        if (kind := (source, False)) in survey.texts:
            sample = [measured[place] for place in survey.texts[kind].places()]
            plan.documents, plan.size_bytes = survey.texts[kind].seen, round(sizes[kind])
            sampled_bytes = sum(m.size_bytes for m in sample)
            plan.tokens = round(sizes[kind] * sum(m.tokens for m in sample) / sampled_bytes) if sampled_bytes else 0
        if source in survey.allowed:
            sample = [measured[place] for place in survey.allowed[source].places()]
            plan.allowed, plan.sampled = survey.allowed[source].seen, len(sample)
            plan.suitable = sum(bool(m.styles) for m in sample)
            answers = sum(m.tokens * expected_ratio(style) for m in sample for style in m.styles)
            repeated = sum(m.tokens for m in sample for style in m.styles if style.append_to_source)
            plan.expected_tokens = plan.allowed * answers / len(sample)
            plan.repeated_tokens = plan.allowed * repeated / len(sample)
    return sources


def _sizes(survey: _Survey, measured: Mapping[Place, _Measured]) -> dict[Kind, float]:
    """Bytes of the texts of each kind: counted where all are in the sample, else what files say of their row groups,
    shared out among the kinds in one by rows times mean size."""
    totals, means, sizes = {}, {}, dict.fromkeys(survey.texts, 0.0)
    for kind, least in survey.texts.items():
        places = least.places()
        totals[kind] = sum(measured[place].size_bytes for place in places)
        means[kind] = totals[kind] / len(places)
    for group in survey.groups.values():
        weights = {kind: rows * means[kind] for kind, rows in group.rows.items()}
        whole = sum(weights.values())
        for kind, weight in weights.items():
            sizes[kind] += group.size_bytes * weight / whole if whole else 0.0
    return {kind: totals[kind] if survey.texts[kind].seen <= SAMPLE else size for kind, size in sizes.items()}


def _by_style(measured: Iterable[_Measured], styles: Sequence[Style]) -> dict[str, dict[str, float]]:
    """Of each style, how many sampled documents it was drawn for, and the ratio that is expected of it."""
    drawn = Counter(style.name for m in measured for style in m.styles)
    return {s.name: {"sampled": drawn[s.name], "expected_ratio": expected_ratio(s)} for s in styles}


def _warnings(sources: Mapping[str, SourcePlan], by_style: Mapping[str, Any], config: PlanConfig) -> list[str]:
    absent = [
        f"sources names {name}, but no document is of that source" for name in config.sources if name not in sources
    ]
    if not any(source.suitable for source in sources.values()):
        return [*absent, "no document is rephrased: none of the sample is allowed, and suits a style"]
    unused = [name for name, style in by_style.items() if not style["sampled"]]
    return absent + [f"no document of the sample is written in the style {name}: none suits it" for name in unused]

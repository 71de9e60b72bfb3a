"""Filters: stages that measure documents, and rules that compare what was measured with the options.

What was measured stays in columns, so the rules can decide again under other options with no text read
(pipeline.rethreshold), and say of one document how near it was to each threshold (pipeline.explain).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, decide

C = TypeVar("C", bound=StageConfig)

Comparison = Literal["<", "<=", ">", ">=", "==", "in", "not in"]

_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "in": lambda values, limit: pc.is_in(values, value_set=pa.array(limit, values.type), skip_nulls=True),
    "not in": lambda values, limit: pc.and_not(
        pc.is_valid(values), pc.is_in(values, value_set=pa.array(limit, values.type), skip_nulls=True)
    ),
}


@dataclass(frozen=True)
class Rule:
    """A document is dropped for ``reason`` where ``measure`` compares so with its limit; an unmeasured one never is."""

    reason: str  # short and stable, e.g. "too_few_words": the ledger counts by it
    measure: str  # full name of a measured column, or a column that every document has
    drops: Comparison
    option: str  # holds the limit; null or an empty list there switches the rule off
    unit: str = ""  # for the evidence "12 words < 50"; the measure's own name if empty

    def shown(self, value: Any, limit: Any) -> str:
        """What was measured against what, e.g. "12 words < 50"."""
        return f"{_shown(value)} {self.named()} {self.drops} {_shown(limit)}"

    def named(self) -> str:
        """What is measured, in words."""
        return self.unit or self.measure.rpartition(".")[2].replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value))
    return str(value)


def _of_row(limit: Any, i: int) -> Any:
    return limit[i].as_py() if isinstance(limit, pa.Array | pa.ChunkedArray) else limit


class Filter(Map[C]):
    """Measures documents and drops those that break a rule; the first broken one is the reason."""

    measures: ClassVar[Mapping[str, pa.DataType]] = {}  # the columns that ``measure`` adds, by full name
    rules: ClassVar[tuple[Rule, ...]] = ()
    limits_by: ClassVar[tuple[str, ...]] = ()  # other text columns on which limits depend, e.g. "source"
    edits_by: ClassVar[frozenset[str]] = frozenset()  # options of rules that texts are edited by: no mere thresholds
    measures_dropped: ClassVar[bool] = True  # False where measuring is costly: then what is dropped already is left out

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "measures" in cls.__dict__ and "provides" not in cls.__dict__:
            cls.provides = tuple(cls.measures)

    @abstractmethod
    def measure(self, batch: pa.Table) -> pa.Table:
        """The same rows in the same order with the measured columns; the text may be edited."""

    @classmethod
    def looks_at(cls) -> dict[str, pa.DataType]:
        """The columns from which verdicts follow."""
        if not cls.rules:
            return {}
        others = (*(rule.measure for rule in cls.rules), *cls.limits_by)
        return {**dict.fromkeys(others, pa.string()), **cls.measures}

    def load_limits(self, context: Context, documents: Callable[[], Iterable[pa.Table]]) -> None:
        """Load what ``limit`` needs, and nothing else: called in place of ``setup`` to decide from stored scores.

        Args:
            documents: reads what this filter looks at of all documents, for limits that depend on all of them.
        """

    def limit(self, rule: Rule, measured: pa.Table) -> Any:
        """What the rule's measure is compared with: the option, unless a filter's limits depend on the document.

        Returns:
            None for no limit, one value, or an array of one limit a row (null: none for that row).
        """
        return getattr(self.config, rule.option)

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """What was measured against what in a row that breaks a rule."""
        return rule.shown(row[rule.measure], limit)

    def noted(self, batch: pa.Table, measured: pa.Table) -> Mapping[str, Mapping[str, int]]:
        """For the ledger, by source: what measuring ``batch`` did inside its documents."""
        return {}

    def process(self, batch: pa.Table) -> Outcome:
        """Measure, then decide."""
        measured = self.measure(batch)
        outcome = decide(measured, self.verdicts(measured))
        return replace(outcome, noted=self.noted(batch, measured))

    def verdicts(
        self, measured: pa.Table, among: NDArray[np.bool_] | None = None
    ) -> list[tuple[Verdict, str, str] | None]:
        """Verdict, reason and evidence for each row, from measured columns alone; None where it is kept.

        Args:
            among: the rows to decide about, all if absent; the others get None.
        """
        limits = [self.limit(rule, measured) for rule in self.rules]
        first = np.full(measured.num_rows, len(self.rules), np.int64)
        for number in reversed(range(len(self.rules))):
            first[self._broken(self.rules[number], measured, limits[number])] = number
        verdicts: list[tuple[Verdict, str, str] | None] = [None] * measured.num_rows
        dropped = np.flatnonzero(first < len(self.rules) if among is None else among & (first < len(self.rules)))
        if len(dropped):
            rows = measured.select(list(self.looks_at())).take(pa.array(dropped)).to_pylist()
            for i, row in zip(dropped.tolist(), rows, strict=True):
                rule, limit = self.rules[first[i]], limits[first[i]]
                shown = _of_row(limit, i)
                verdicts[i] = ("dropped", rule.reason, self.evidence(rule, row, shown))
        return verdicts

    def broken(self, measured: pa.Table) -> Iterator[tuple[Rule, NDArray[np.bool_]]]:
        """Each rule and the rows that break it, whatever other rules say."""
        for rule in self.rules:
            yield rule, self._broken(rule, measured, self.limit(rule, measured))

    def threshold_of(self, rule: Rule) -> str:
        """The rule's condition as its option says it, e.g. "words < 50 (min_words)"."""
        if self.is_off(rule):
            return f"{rule.option} is off"
        return f"{rule.named()} {rule.drops} {_shown(getattr(self.config, rule.option))} ({rule.option})"

    def is_off(self, rule: Rule) -> bool:
        """Whether the rule's option switches it off, for every document."""
        return getattr(self.config, rule.option) in (None, ())

    def told(self, row: Mapping[str, Any]) -> Iterator[str]:
        """For each rule a line: what was measured of one document against what, and whether that drops it."""
        measured = pa.table({name: pa.array([row.get(name)], kind) for name, kind in self.looks_at().items()})
        for rule in self.rules:
            limits = self.limit(rule, measured)
            value, limit = row.get(rule.measure), _of_row(limits, 0)
            measure = "not measured" if value is None else f"{_shown(value)} {rule.named()}"
            condition = f"drops {rule.drops.removeprefix('==')} {_shown(limit)}".replace("  ", " ")
            if self.is_off(rule):
                condition = "off"
            elif limit is None or limit == ():
                condition = "does not apply"
            verdict = "drops " if self._broken(rule, measured, limits)[0] else "passes"
            yield f"{verdict} {rule.reason}: {measure} ({condition}, {rule.option})"

    @staticmethod
    def _broken(rule: Rule, measured: pa.Table, limit: Any) -> NDArray[np.bool_]:
        if limit is None or (isinstance(limit, tuple | list) and not limit):
            return np.zeros(measured.num_rows, np.bool_)
        compared = _COMPARED[rule.drops](measured.column(rule.measure).combine_chunks(), limit)
        if isinstance(compared, pa.ChunkedArray):
            compared = compared.combine_chunks()
        result: NDArray[np.bool_] = pc.fill_null(compared, False).to_numpy(zero_copy_only=False)
        return result

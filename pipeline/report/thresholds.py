"""How near documents are to each threshold: what filters have measured, and what each rule drops alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.artifact import Artifact, Part
from pipeline.filter import Rule
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, breakable, element, number, percent, rounded, section, table
from pipeline.report.what_if import Sample, what_if
from pipeline.rethreshold import DecidedStep, decided_steps, says_its_stages, seen

DOCUMENTS = 50_000  # about how many are looked at for each artifact
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Measured:
    """What one rule has seen."""

    values: list[NDArray[np.float64]] = field(default_factory=list)
    broken: int = 0
    broken_alone: int = 0


def thresholds_section(facts: Facts) -> Markup | None:
    """A table for each artifact with filters; None without any."""
    tables = [made for artifact in facts.of_kind("documents") if (made := _table(facts, artifact)) is not None]
    if not tables:
        return None
    return section(
        "thresholds",
        "Thresholds",
        element(
            "p",
            "What the filters measured, of kept and dropped documents alike. “Break it” are the documents that a rule "
            "would drop by itself, “only it” those that no other rule would drop: what is gained by switching it off. ",
            element("code", "sluice rethreshold RUN ARTIFACT --set STAGE.OPTION=VALUE"),
            " tells what other thresholds would keep.",
        ),
        tables,
    )


def _table(facts: Facts, artifact: Artifact) -> Markup | None:
    if not says_its_stages(artifact):
        return None
    steps = [step for step in decided_steps(facts.run, artifact) if step.filter is not None and step.filter.rules]
    if not steps:
        return None
    parts = list(_sampled(artifact))
    found: dict[tuple[str, str], Measured] = {}
    documents = 0
    sample = Sample(steps)
    for rows, endings in seen(artifact, steps, parts):
        documents += rows.num_rows
        _add(found, steps, rows)
        sample.add(rows, endings)
    whole = sum(counts.received + counts.created for counts in artifact.ledger.first()[1].values())
    columns = ("rule", "drops where", *(f"#{100 * share:g} %" for share in SHARES), "#break it", "#only it")
    return element(
        "div",
        element("h3", artifact.name),
        element("p", f"From {number(documents)} of {number(whole)} documents, in whole parts.", class_="small"),
        table(
            f"Measures and thresholds of {artifact.name}",
            columns,
            (
                _row(step, rule, found[step.label, rule.reason], documents)
                for step in steps
                for rule in step.filter.rules  # type: ignore[union-attr]
                if (step.label, rule.reason) in found
            ),
        ),
        what_if(facts, artifact, sample),
    )


def _sampled(artifact: Artifact) -> Iterator[Part]:
    """Parts in an order that says nothing about their contents, until they hold enough documents."""
    documents = 0
    for part in sorted(artifact.parts, key=lambda part: hashlib.blake2b(part.key.encode()).digest()):
        if documents >= DOCUMENTS:
            return
        documents += sum(file.rows or 0 for file in part.files)
        yield part


def _add(found: dict[tuple[str, str], Measured], steps: list[DecidedStep], rows: pa.Table) -> None:
    broken: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for step in steps:
        assert step.filter is not None
        for rule, breaks in step.filter.broken(rows):
            broken[step.label, rule.reason] = breaks
            measured = found.setdefault((step.label, rule.reason), Measured())
            column = rows.column(rule.measure)
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                measured.values.append(column.drop_null().to_numpy().astype(np.float64))
    together = np.sum([breaks.astype(np.int64) for breaks in broken.values()], axis=0)
    for key, breaks in broken.items():
        found[key].broken += int(breaks.sum())
        found[key].broken_alone += int((breaks & (together == 1)).sum())


def _row(step: DecidedStep, rule: Rule, measured: Measured, documents: int) -> list[Node]:
    values = np.concatenate([np.empty(0), *measured.values])
    quantiles: list[Node] = [None] * len(SHARES)
    if len(values):
        quantiles = [
            rounded(value) if value >= 1e4 else f"{value:.4g}" for value in np.quantile(values, SHARES).tolist()
        ]
    assert step.filter is not None
    return [
        breakable(f"{step.label}: {rule.reason}"),
        step.filter.threshold_of(rule),
        *quantiles,
        f"{number(measured.broken)} ({percent(measured.broken / max(1, documents))})",
        number(measured.broken_alone),
    ]

"""Rephrasing: what was asked for and why no more, what the gates let pass, what it cost, and texts to judge it by."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifact import DOCUMENTS_FILE, REMOVED_FILE, Artifact, Part, document_parts, read_tables
from pipeline.registry import stage_class
from pipeline.report.charts import share_bar
from pipeline.report.duplicates import marked, side_by_side
from pipeline.report.facts import Facts
from pipeline.report.markup import (
    Markup,
    Node,
    breakable,
    cards,
    element,
    note,
    number,
    percent,
    plural,
    rounded,
    section,
    table,
)
from pipeline.stage import EXCERPT_CHARACTERS, Context, Map

SAMPLES = 3  # of each style that passed, and of each gate that refused
MOST_SAMPLES = 24  # of either kind, for each of them costs a look into a part of the documents
SOURCES_SHOWN = 40  # those with most answers planned

PREFIX = "rephrase."
STYLE, PARENT_SOURCE = PREFIX + "style", PREFIX + "parent_source"
LEFT_ALONE = "synthetic"  # the reason by which documents that are themselves rephrased are not rephrased again

LIMITS = {
    "": "all that suit a style",
    "share": "the option share",
    "max_synthetic_share": "the option max_synthetic_share",
    "budget_tokens": "the option budget_tokens",
    "nothing_suitable": "no document suits a style",
}

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class _Sample:
    """A document that was written, and its part, which is named after the part of the documents it comes from."""

    row: Mapping[str, Any]  # id, style, source of the parent, reason, evidence, scores; the text or its beginning
    part: Part


@dataclass
class _Refused:
    """Documents that did not pass a gate."""

    by_gate: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # reason -> style
    by_source: Counter[str] = field(default_factory=Counter)  # of their parents
    samples: list[_Sample] = field(default_factory=list)

    def of_style(self, style: str) -> int:
        return sum(styles[style] for styles in self.by_gate.values())

    @property
    def total(self) -> int:
        return sum(styles.total() for styles in self.by_gate.values())


@dataclass(frozen=True)
class _Rephrasing:
    """One rephrasing of the run: the artifacts it consists of, as far as they are there."""

    name: str
    plan: Artifact
    written: Artifact | None
    monitor: Artifact | None
    kept: Artifact | None
    parents: _Parents
    seed: str
    options: Mapping[str, Any]  # of the recipe

    @property
    def cost(self) -> float:
        """Of all answers, by the prices of a million tokens that the recipe gives today."""
        prompts = self.noted["rephrase_prompt_tokens"] * float(self.options.get("price_in", 0))
        return (prompts + self.noted["rephrase_completion_tokens"] * float(self.options.get("price_out", 0))) / 1e6

    @cached_property
    def noted(self) -> Counter[str]:
        """What was asked and answered."""
        found: Counter[str] = Counter()
        for sources in self.written.ledger.steps.values() if self.written else ():
            for counts in sources.values():
                found.update({n: v for n, v in counts.noted.items() if n.startswith("rephrase_")})
        return found

    @cached_property
    def refused(self) -> _Refused:
        return _refused(self.written, self.seed) if self.written else _Refused()

    def watched(self, what: str) -> Summary:
        """What the monitor says of each style or source."""
        return self.monitor.summary[what] if self.monitor else {}


def rephrasing_section(facts: Facts) -> Markup | None:
    """For each rephrasing its plan, the gates, the monitor and samples; None without any."""
    made = [_described(_rephrasing(facts, plan)) for plan in facts.of_kind("rephrase_plan")]
    return section("rephrasing", "Rephrasing", made) if made else None


def _rephrasing(facts: Facts, plan: Artifact) -> _Rephrasing:
    name = plan.name.removesuffix(".plan")
    written, monitor, kept = (facts.artifacts.get(name + private) for private in (".written", ".monitor", ""))
    upstream = [facts.artifacts[i] for i in (written or plan).inputs if i in facts.artifacts]
    parents = _Parents(upstream, _hiding(written) if written else [])
    return _Rephrasing(name, plan, written, monitor, kept, parents, facts.seed, facts.options_of(name))


def _described(one: _Rephrasing) -> Node:
    warnings = [*one.plan.summary["warnings"], *(one.monitor.summary["warnings"] if one.monitor else ())]
    return [
        element("h3", one.name),
        [note(f"{warning[0].upper()}{warning[1:]}.", kind="warning") for warning in warnings],
        _headline(one) if one.written else note("Nothing is written yet: this is the plan."),
        _sources(one),
        _styles(one) if one.monitor else None,
        _gates(one.refused) if one.refused.total else None,
        _openings(one.watched("styles")),
        _samples(one) if one.written else None,
    ]


def _headline(one: _Rephrasing) -> Node:
    noted = one.noted
    accepted = sum(counts.kept for counts in one.written.ledger.last().values()) if one.written else 0
    answered = accepted + one.refused.total
    kept = sum(counts.kept for counts in one.kept.ledger.last().values()) if one.kept else None
    requests, cost = noted["rephrase_requests"], one.cost
    facts: list[tuple[str, Node]] = [
        ("documents written", number(answered)),
        ("passed the gates", f"{number(accepted)} ({percent(accepted / answered)})" if answered else "0"),
        *([("kept", number(kept))] if kept is not None else []),
        ("tokens in", rounded(noted["rephrase_prompt_tokens"])),
        ("tokens out", rounded(noted["rephrase_completion_tokens"])),
        *([("cost", f"{cost:,.2f}" if cost >= 1 else f"{cost:.2g}")] if cost else []),
    ]
    spent, budget = noted["rephrase_completion_tokens"], one.plan.summary["budget_tokens"]
    return [
        note(f"The answers took {rounded(spent)} tokens, more than the budget of {rounded(budget)}.", kind="warning")
        if budget is not None and spent > budget
        else None,
        cards(facts),
        element(
            "p",
            f"{plural(requests, 'request')}, of which {number(noted['rephrase_retries'])} asked again about what a "
            f"gate had refused; {plural(noted['rephrase_reused'], 'answer')} "
            f"{'was' if noted['rephrase_reused'] == 1 else 'were'} there from before: tokens and cost are those of the "
            "answers as a whole, whenever they were asked for."
            + (" The cost is in the currency of the prices that the recipe gives." if cost else ""),
        ),
    ]


def _sources(one: _Rephrasing) -> Node:
    summary, watched = one.plan.summary, one.watched("sources")
    planned, budget, shown = summary["planned_tokens"], summary["budget_tokens"], _shown_sources(summary)
    rest = len(summary["sources"]) - len(shown)
    more = f"; {plural(rest, 'source')} with fewer tokens not shown" if rest else ""
    of_budget = f" of a budget of {rounded(budget)}" if budget is not None else ""
    plans = table(
        f"What was planned, from the columns of all documents and the texts of a sample{more}",
        (
            "source",
            "#documents",
            "#allowed by columns",
            "#that a style suits",
            "#share chosen",
            "limited by",
            "#tokens",
        ),
        [
            (
                name,
                number(plan["documents"]),
                number(plan["allowed"]),
                percent(plan["suitable"] / plan["sampled"]) if plan["sampled"] else "–",
                percent(plan["share"]),
                LIMITS.get(plan["limit"], plan["limit"]),
                rounded(plan["share"] * plan["expected_tokens"]),
            )
            for name, plan in shown.items()
        ],
    )
    told = element("p", f"About {rounded(planned)} tokens of answers{of_budget} were planned.")
    return [told, plans, _shares(one, watched) if watched else None]


def _shown_sources(plan: Summary) -> dict[str, Summary]:
    """The plans of the sources with most tokens planned, in the order of their names."""
    order = sorted(
        plan["sources"].items(), key=lambda entry: (-entry[1]["share"] * entry[1]["expected_tokens"], entry[0])
    )
    return dict(sorted(order[:SOURCES_SHOWN]))


def _shares(one: _Rephrasing, watched: Summary) -> Markup:
    rows = []
    for name in _shown_sources(one.plan.summary):
        found = watched[name]
        refused, natural, kept = one.refused.by_source[name], found["natural_bytes"], found["kept_bytes"]
        answered = found["documents"] + refused
        if not answered:
            continue
        factor = one.plan.summary["sources"][name]["synthetic_factor"]
        whole = max(natural + kept, 1)
        rows.append(
            (
                name,
                number(answered),
                f"{number(refused)} ({percent(refused / answered)})",
                number(found["duplicates"]),
                percent(1 - kept / found["synthetic_bytes"]) if found["synthetic_bytes"] else "–",
                f"{percent(kept / whole)} of at most {percent(factor / (1 + factor))}",
                share_bar(
                    [("natural", natural, "dropped"), ("synthetic", kept, "kept")],
                    whole,
                    f"{name}: {percent(kept / whole)} of its bytes are synthetic",
                ),
            )
        )
    columns = (
        "source",
        "#written",
        "#refused by a gate",
        "#near-duplicates",
        "#removed over the share",
        "#synthetic share of bytes",
        "~natural and synthetic bytes",
    )
    return table("What came of the documents of each source", columns, rows)


def _styles(one: _Rephrasing) -> Markup | None:
    watched, plans = one.watched("styles"), one.plan.summary["styles"]
    rows = []
    for name in sorted({*watched, *plans, *(s for styles in one.refused.by_gate.values() for s in styles)}):
        found, refused = watched.get(name, {}), one.refused.of_style(name)
        passed = found.get("documents", 0)
        answered = passed + refused
        if answered:
            rows.append(
                (
                    name,
                    number(answered),
                    number(passed),
                    percent(passed / answered),
                    share_bar(
                        [("passed", passed, "kept"), ("refused", refused, "failed")],
                        answered,
                        f"{name}: {number(passed)} of {number(answered)} passed",
                    ),
                    rounded(found.get("prompt_tokens", 0)),
                    rounded(found.get("completion_tokens", 0)),
                    percent(found["duplicates"] / passed) if passed else "–",
                )
            )
    columns = ("style", "#written", "#passed", "#share", "~passed", "#tokens in", "#tokens out", "#near-duplicates")
    return table("Acceptance by style; tokens are those of what passed", columns, rows) if rows else None


def _gates(refused: _Refused) -> Markup:
    rows = [
        (
            element("code", breakable(gate)),
            number(styles.total()),
            percent(styles.total() / refused.total),
            share_bar([(gate, styles.total(), "failed")], refused.total, f"{gate}: {number(styles.total())}"),
            ", ".join(f"{style} {n:,}" for style, n in styles.most_common()),
        )
        for gate, styles in sorted(refused.by_gate.items(), key=lambda found: (-found[1].total(), found[0]))
    ]
    columns = ("gate", "#documents", "#share", "~share of all refused", "by style")
    return table("What was refused: by the first gate that it did not pass, or why there was no answer", columns, rows)


def _openings(styles: Summary) -> Markup | None:
    rows = [
        (
            name,
            f"{opening['opening']} …",
            number(opening["documents"]),
            percent(opening["documents"] / style["documents"]),
            element("code", opening["examples"][0]),
        )
        for name, style in styles.items()
        for opening in style["openings"]
        if opening["documents"] > 1
    ]
    if not rows:
        return None
    columns = ("style", "opening", "#documents", "#share of the style", "for example")
    shown = element("summary", "Commonest openings", element("small", f" {len(rows)}"))
    return element("details", shown, table("Documents that begin with the same words", columns, rows))


def _refused(written: Artifact, seed: str) -> _Refused:
    """What the gates refused: removed documents that have a style; the others are parents, which stay elsewhere. So do
    documents that were rephrased before, which have a style and are left alone."""
    found, drawn = _Refused(), _Drawn(seed)
    for part in written.parts:
        if not any(file.path == REMOVED_FILE for file in part.files):
            continue
        for rows in read_tables(written.file_of(part, REMOVED_FILE), rows=65_536):
            has_style = pc.match_substring(rows["scores"], f'"{STYLE}"')
            for row in rows.filter(pc.and_(has_style, pc.not_equal(rows["reason"], LEFT_ALONE))).to_pylist():
                row["scores"] = json.loads(row["scores"])
                found.by_gate[row["reason"]][row["scores"][STYLE]] += 1
                found.by_source[row["scores"][PARENT_SOURCE]] += 1
                drawn.add(row["reason"], row["id"], _Sample(row, part))
    found.samples = drawn.samples()
    return found


class _Drawn:
    """The same samples of each group however the run was split into parts: those whose hashes are smallest."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._heaps: dict[str, list[tuple[int, str, _Sample]]] = defaultdict(list)

    def add(self, group: str, document_id: str, sample: _Sample) -> None:
        heap = self._heaps[group]
        digest = hashlib.blake2b(f"{self._seed}:{document_id}".encode(), digest_size=8).digest()
        entry = (-int.from_bytes(digest, "big"), document_id, sample)
        if len(heap) < SAMPLES:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)

    def samples(self) -> list[_Sample]:
        """MOST_SAMPLES in all, in the order of the groups."""
        found = [sample for _, heap in sorted(self._heaps.items()) for *_, sample in sorted(heap, reverse=True)]
        return found[:MOST_SAMPLES]


def _samples(one: _Rephrasing) -> Node:
    assert one.written is not None
    passed = [_compared(sample, one.parents) for sample in _passed(one.written, one.seed)]
    refused = [_compared(sample, one.parents) for sample in one.refused.samples]
    if not (passed or refused):
        return None
    return [
        element(
            "p",
            "Below, the beginning of a document stands beside that of what was written from it. Words that only the "
            "source has are ",
            element("del", "struck through"),
            ", words that only the result has are ",
            element("ins", "underlined"),
            ".",
            class_="small",
        ),
        _fold("Documents that passed, drawn at random", passed),
        _fold("Documents that a gate refused, drawn at random", refused),
    ]


def _fold(title: str, pairs: list[Markup]) -> Markup | None:
    if not pairs:
        return None
    return element("details", element("summary", title, element("small", f" {len(pairs)}")), pairs, class_="pairs")


def _passed(written: Artifact, seed: str) -> Iterator[_Sample]:
    """Some documents of each style that the gates let pass, with their texts and scores."""
    drawn = _Drawn(seed)
    for part in written.parts:
        if any(file.path == DOCUMENTS_FILE for file in part.files):
            for rows in read_tables(written.file_of(part, DOCUMENTS_FILE), ["id", STYLE], rows=65_536):
                for row in rows.to_pylist():
                    drawn.add(row[STYLE], row["id"], _Sample(row, part))
    for sample in drawn.samples():
        row = _row_of(written.file_of(sample.part, DOCUMENTS_FILE), sample.row["id"])
        assert row is not None
        scores = {name: value for name, value in row.items() if name.startswith(PREFIX)}
        told = {"id": row["id"], "reason": "", "evidence": "", "excerpt": row["text"], "scores": scores}
        yield _Sample(told, sample.part)


def _row_of(path: Path, document_id: str) -> dict[str, Any] | None:
    """One document: ids are read first, and texts of its own row group alone."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            place = pc.index(file.read_row_group(group, columns=["id"])["id"], document_id).as_py()
            if place >= 0:
                row: dict[str, Any] = file.read_row_group(group).slice(place, 1).to_pylist()[0]
                return row
    return None


class _Parents:
    """Looks up the documents that others were written from."""

    def __init__(self, upstream: Sequence[Artifact], hiding: Sequence[Map[Any]]) -> None:
        """``hiding``: stages between these documents and the model, which hide something in texts."""
        self._hiding = hiding
        self._paths: dict[str, list[Path]] = defaultdict(list)
        for part in document_parts(upstream):
            self._paths[f"{part.artifact}/{part.part}"].append(part.path)

    def text_of(self, sample: _Sample) -> str:
        """The begin of the document that a sample was written from; empty if it is not to be found."""
        parent = sample.row["id"].rpartition("~")[0]
        for path in self._paths[sample.part.name]:
            if row := _row_of(path, parent):
                text: str = (row["text"] or "")[:EXCERPT_CHARACTERS]
                for stage in self._hiding:
                    text = stage.redacted(text, row["language"], row["url"])
                return text
        return ""


def _hiding(artifact: Artifact) -> list[Map[Any]]:
    """The artifact's stages that hide something in texts, such as private data, ready to do so."""
    found = []
    for step in artifact.steps:
        kind = stage_class(str(step["class"]))
        if issubclass(kind, Map) and kind.redacted is not Map.redacted:
            stage = kind(kind.config_type.model_validate(step["options"]))
            stage.setup(Context(0))
            found.append(stage)
    return found


def _compared(sample: _Sample, parents: _Parents) -> Markup:
    row, scores = sample.row, sample.row["scores"]
    source, result = parents.text_of(sample), (row["excerpt"] or "")[:EXCERPT_CHARACTERS]
    left, right = marked(source, result) if result else ([source], ["(its text was not kept)"])
    gates = ((name.removeprefix(PREFIX), value) for name, value in sorted(scores.items()) if isinstance(value, float))
    measured = ", ".join(f"{name} {value:.3g}" for name, value in gates)
    refused = [element("code", row["reason"]), f" {row['evidence']}; "] if row["reason"] else None
    return element(
        "div",
        element("p", refused, f"in the style {scores[STYLE]}", class_="evidence"),
        element("p", measured, class_="small") if measured else None,
        side_by_side(("source", row["id"].rpartition("~")[0], left), ("result", row["id"], right)),
        class_="compared",
    )

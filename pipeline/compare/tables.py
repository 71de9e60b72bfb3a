"""A comparison as sections of words and tables, most important first: both the text and the page are made of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.compare.comparison import Comparison, Side
from pipeline.compare.counts import Change, StepChange
from pipeline.compare.documents import Ended, Membership, OneSided, to_read
from pipeline.compare.recipes import InputChange, OptionChange
from pipeline.compare.training import MixChange, ModelChange
from pipeline.compare.words import (
    NONE,
    count,
    ending_words,
    many,
    more,
    more_share,
    share,
)
from pipeline.report.facts import metric_label
from pipeline.report.markup import duration, number, percent, plural, signed, size

NAMES_SHOWN = 5
ROWS_SHOWN = 200


@dataclass(frozen=True)
class Grid:
    """A table. Columns whose names start with "#" hold numbers; ``pairs``: A's and B's number of each row, to draw."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    pairs: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Told:
    """A section."""

    anchor: str
    title: str
    words: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()


def sections(comparison: Comparison) -> list[Told]:
    """Those that have something to tell, in the order of their weight."""
    found = (
        _recipe(comparison),
        _counts(comparison),
        _documents(comparison),
        _filters(comparison),
        _mixes(comparison),
        _tokens(comparison),
        _models(comparison),
        _costs(comparison),
    )
    return [told for told in found if told.words or told.grids]


def remarks(comparison: Comparison) -> Iterator[str]:
    """What must be known before reading on: what is compared only in part, or not at all."""
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        yield from _unfinished(letter, side)
    for letter, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            yield f"Only in {letter}: {', '.join(names)}."
    if comparison.other_kinds:
        yield f"Not compared, because they are not of one kind in both runs: {', '.join(comparison.other_kinds)}."


def _unfinished(letter: str, side: Side) -> Iterator[str]:
    if side.unfinished:
        state = {"running": "still running, or was killed"}.get(side.status, side.status)
        yield (
            f"{letter} is not complete ({state}), so the runs are compared as far as both go. "
            f"{letter} has not yet: {_names(side.unfinished)}."
        )
    if side.message:
        yield f"{letter} stopped: {side.message}"


def _recipe(comparison: Comparison) -> Told:
    grids = [
        _options("What the recipes ask for", "option", comparison.recipe),
        _options("Versions", "package", comparison.versions),
    ]
    words = [_input_words(change) for change in comparison.inputs]
    return Told("recipe", "What was asked", tuple(words), tuple(grid for grid in grids if grid.rows))


def _options(caption: str, heading: str, changes: Sequence[OptionChange]) -> Grid:
    def shown(value: str | None) -> str:
        return NONE if value is None else value

    rows = tuple((change.place, shown(change.a), shown(change.b)) for change in changes)
    return Grid(caption, (heading, "A", "B"), rows)


def _input_words(change: InputChange) -> str:
    found = (
        ("read by A alone", change.only_a),
        ("read by B alone", change.only_b),
        ("with another content", change.edited),
    )
    told = [f"{plural(len(names), 'file')} {what} ({_names(names)})" for what, names in found if names]
    return f"Input of {change.artifact}: {', '.join(told)}."


def _names(names: Sequence[str]) -> str:
    more_names = f" and {number(len(names) - NAMES_SHOWN)} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more_names


def _counts(comparison: Comparison) -> Told:
    changed = [step for step in comparison.steps if step.is_different]
    if not changed:
        return Told("counts", "Documents at each step")
    same = len(comparison.steps) - len(changed)
    words = (f"Left out: {plural(same, 'line')} of the ledger that both have alike.",) if same else ()
    columns: tuple[str, ...] = ("step", "source", "#kept A", "#kept B", "#B less A", "#of A", "#in A", "#in B")
    columns += ("#dropped A", "#dropped B")
    seldom = [
        name for name in ("failed", "joined") if any(getattr(step, name).a or getattr(step, name).b for step in changed)
    ]
    columns += tuple(f"#{name} {run}" for name in seldom for run in "AB")
    rows = tuple(tuple(_count_cells(step, seldom)) for step in changed)
    pairs = tuple((step.kept.a or 0, step.kept.b or 0) for step in changed)
    caption = "Steps and sources that differ; the bars show what is kept"
    return Told("counts", "Documents at each step", words, (Grid(caption, columns, rows, pairs),))


def _count_cells(step: StepChange, seldom: Sequence[str]) -> Iterator[str]:
    yield from (step.step, step.source, count(step.kept.a), count(step.kept.b), more(step.kept), more_share(step.kept))
    for change in (step.received, step.dropped, *(getattr(step, name) for name in seldom)):
        yield from (count(change.a), count(change.b))


def _documents(comparison: Comparison) -> Told:
    if not comparison.memberships:
        return Told("documents", "Documents lost and gained")
    rows = tuple(
        (one.artifact, one.told_apart_by, number(one.in_both), number(one.lost.documents), number(one.gained.documents))
        for one in comparison.memberships
    )
    grid = Grid(
        "By artifact: lost are those that A keeps and B does not, gained those that B alone keeps",
        ("artifact", "told apart by", "#in both", "#lost", "#gained"),
        rows,
    )
    grids = [_endings_grid(one, said, side, other) for one, said, other, side, _ in to_read(comparison.memberships)]
    words = tuple(membership_words(comparison.memberships))
    return Told("documents", "Documents lost and gained", words, (grid, *(g for g in grids if g.rows)))


def membership_words(memberships: Sequence[Membership]) -> Iterator[str]:
    """Doubts about ids, and texts that differ under one id."""
    if by_text := [one.artifact for one in memberships if one.told_apart_by == "text"]:
        yield (
            f"{_names(by_text)}: the ids of the two runs do not agree, as when inputs were moved or renamed: an id is "
            "made of source, file and place. So documents are told apart by their texts, each text counts once, and "
            "nothing tells by which rule the other run dropped one."
        )
    for one in memberships:
        if one.lost.absent and one.gained.absent:
            yield (
                f"{one.artifact}: {number(one.lost.absent)} ids of A never came to it in B, and "
                f"{number(one.gained.absent)} of B never in A. Where inputs were moved or renamed, one document counts "
                "as lost and as gained."
            )
        if one.edited is not None and one.edited.edited:
            yield (
                f"{one.artifact}: of {number(one.edited.looked_at)} documents looked at that both keep, "
                f"{number(one.edited.edited)} have another text ({share(one.edited.edited / one.edited.looked_at)})."
            )


def _endings_grid(one: Membership, said: str, side: OneSided, other: str) -> Grid:
    rows = tuple(
        (ending_words(ended.ending, other), number(ended.documents), percent(ended.documents / side.documents))
        for ended in side.endings
    )
    sources = ", ".join(f"{source} {n:,}" for source, n in side.by_source.items())
    caption = f"{one.artifact}: {plural(side.documents, 'document')} {said} ({sources})"
    return Grid(caption, (f"what became of it in {other}", "#documents", "#of those " + said), rows)


def ended_title(ended: Ended, other: str) -> str:
    """Heading of the samples of one ending."""
    return f"{ending_words(ended.ending, other)}: {number(ended.documents)}"


def _filters(comparison: Comparison) -> Told:
    rules = comparison.moved_rules
    rows = tuple(
        (
            f"{rule.step}: {rule.reason}{' (failed)' if rule.verdict == 'failed' else ''}",
            *_threshold_cells(rule.threshold_a, rule.threshold_b),
            count(rule.removed.a),
            count(rule.removed.b),
            more(rule.removed),
            _of(rule.removed.a, rule.decided.a),
            _of(rule.removed.b, rule.decided.b),
        )
        for rule in rules[:ROWS_SHOWN]
    )
    words = []
    if len(rules) > ROWS_SHOWN:
        words.append(f"The {ROWS_SHOWN} that moved most, of {number(len(rules))}; --json tells all.")
    if comparison.untold_thresholds:
        words.append(
            f"Thresholds of {', '.join(comparison.untold_thresholds)} cannot be told: this Sluice has no such stage "
            "with the options that were used."
        )
    if not rows:
        return Told("filters", "Filters that moved", tuple(words))
    columns: tuple[str, ...] = ("rule", "drops where, A", "drops where, B", "#removed A", "#removed B", "#B less A")
    columns += ("#of what came A", "#of what came B")
    pairs = tuple((rule.removed.a or 0, rule.removed.b or 0) for rule in rules[:ROWS_SHOWN])
    caption = "Reasons by which documents were removed, most moved first"
    return Told("filters", "Filters that moved", tuple(words), (Grid(caption, columns, rows, pairs),))


def _threshold_cells(a: str | None, b: str | None) -> tuple[str, str]:
    return a or NONE, "the same" if b is not None and a == b else b or NONE


def _of(part: float | None, whole: float | None) -> str:
    return share(part / whole) if part is not None and whole else NONE


def _mixes(comparison: Comparison) -> Told:
    changed = [mix for mix in comparison.mixes if mix.is_different]
    grids = [grid for mix in changed for grid in _mix_grids(mix)]
    words = (*map(_mix_words, changed), *_doubt(comparison, changed))
    return Told("mix", "Mixes that moved", words, tuple(grids))


def _mix_words(mix: MixChange) -> str:
    law = "The fitted law is the same" if mix.law_is_same else "Another law was fitted"
    error = mix.left_out_error
    assert error.a is not None
    assert error.b is not None
    return (
        f"{mix.artifact}: {law}. It misses proxies that it was not fitted to by {error.a:.4f} in A and {error.b:.4f} "
        f"in B (root mean square, on average over the metrics); it was fitted to {count(mix.proxies.a)} proxies in A "
        f"and {count(mix.proxies.b)} in B. "
        f"Gain over the natural mix, predicted: {_loss(mix.gain.a)} and {_loss(mix.gain.b)}; measured on proxies: "
        f"{_loss(mix.measured_gain.a)} and {_loss(mix.measured_gain.b)}. Gains are in bits per byte; above zero is "
        "better."
    )


def _mix_grids(mix: MixChange) -> Iterator[Grid]:
    rows = tuple(
        (
            source,
            share(ratio.a),
            share(ratio.b),
            _points(ratio),
            _interval(mix.intervals_a.get(source)),
            _interval(mix.intervals_b.get(source)),
            share(mix.natural[source].a),
            share(mix.natural[source].b),
        )
        for source, ratio in mix.best.items()
    )
    columns: tuple[str, ...] = (
        "source",
        "#best A",
        "#best B",
        "#B less A",
        "#interval A",
        "#interval B",
        "#natural A",
        "#natural B",
    )
    pairs = tuple((ratio.a or 0, ratio.b or 0) for ratio in mix.best.values())
    yield Grid(f"{mix.artifact}: ratios of the best mix", columns, rows, pairs)
    losses = tuple((metric_label(metric), *_losses(change)) for metric, change in mix.predicted.items())
    caption = f"{mix.artifact}: predicted loss of each run's best mix; lower is better"
    yield Grid(caption, ("metric", "#loss A", "#loss B", "#B less A"), losses)


def _points(change: Change) -> str:
    """Percentage points."""
    value = change.difference
    return NONE if value is None else f"{signed(100 * value, 1)} points"


def _interval(interval: tuple[float, float] | None) -> str:
    return NONE if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def _loss(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}".replace("-", "−")


def _losses(change: Change) -> tuple[str, str, str]:
    value = change.difference
    return _loss(change.a), _loss(change.b), NONE if value is None else signed(value, 4)


def _tokens(comparison: Comparison) -> Told:
    changed = [tokens for tokens in comparison.token_shards if tokens.is_different]
    rows = tuple(
        (
            f"{tokens.artifact}: {tokens.source}",
            count(tokens.tokens.a),
            count(tokens.tokens.b),
            more(tokens.tokens),
            more_share(tokens.tokens),
            count(tokens.documents.a),
            count(tokens.documents.b),
            count(tokens.held_out.a),
            count(tokens.held_out.b),
            count(tokens.shards.a),
            count(tokens.shards.b),
        )
        for tokens in changed
    )
    columns: tuple[str, ...] = (
        "source",
        "#tokens A",
        "#tokens B",
        "#B less A",
        "#of A",
        "#documents A",
        "#documents B",
    )
    columns += ("#held-out tokens A", "#held-out tokens B", "#shards A", "#shards B")
    pairs = tuple((tokens.tokens.a or 0, tokens.tokens.b or 0) for tokens in changed)
    grids = (Grid("Token shards that differ; the bars show tokens", columns, rows, pairs),) if rows else ()
    return Told("tokens", "Tokens", (), grids)


def _models(comparison: Comparison) -> Told:
    changed = [model for model in comparison.models if model.is_different]
    words = (*map(_model_words, changed), *_doubt(comparison, changed))
    return Told("models", "Pretraining", words, tuple(map(_model_grid, changed)))


def _doubt(comparison: Comparison, changed: Sequence[object]) -> tuple[str, ...]:
    if comparison.held_out_is_same or not changed:
        return ()
    return (
        "The two runs hold out different documents, so losses of A and B are not of the same texts: compare gains over "
        "the natural mix of the same run.",
    )


def _model_words(model: ModelChange) -> str:
    return (
        f"{model.artifact}, {model.model} mix: {many(model.parameters.a)} parameters trained on {many(model.tokens.a)} "
        f"tokens in A, {many(model.parameters.b)} on {many(model.tokens.b)} in B."
    )


def _model_grid(model: ModelChange) -> Grid:
    rows = [(metric_label(metric), *_losses(change)) for metric, change in model.losses.items()]
    rows.append(("weighted mean", *_losses(model.objective)))
    caption = f"{model.artifact}, {model.model} mix: held-out bits per byte at the end; lower is better"
    return Grid(caption, ("held-out source", "#loss A", "#loss B", "#B less A"), tuple(rows))


def _costs(comparison: Comparison) -> Told:
    changed = [cost for cost in comparison.costs if cost.is_different]
    if not changed:
        return Told("cost", "Cost")
    with_gpus = any(cost.gpu_seconds.a or cost.gpu_seconds.b for cost in changed)
    rows = tuple(
        (
            cost.artifact,
            *_seconds(cost.seconds),
            *_seconds(cost.cpu_seconds),
            *(_seconds(cost.gpu_seconds) if with_gpus else ()),
            *_sizes(cost.peak_memory_bytes),
            *_sizes(cost.size_bytes),
        )
        for cost in changed
    )
    columns: tuple[str, ...] = ("artifact", "#wall A", "#wall B", "#CPU A", "#CPU B", *("#GPU A", "#GPU B") * with_gpus)
    columns += ("#peak memory A", "#peak memory B", "#files A", "#files B")
    pairs = tuple((cost.cpu_seconds.a or 0, cost.cpu_seconds.b or 0) for cost in changed)
    caption = "Time, memory and bytes of files by artifact, each in the run that made it; the bars show CPU time"
    return Told("cost", "Cost", (), (Grid(caption, columns, rows, pairs),))


def _seconds(change: Change) -> tuple[str, ...]:
    return tuple(NONE if value is None else duration(value) for value in (change.a, change.b))


def _sizes(change: Change) -> tuple[str, ...]:
    return tuple(NONE if value is None else size(value) for value in (change.a, change.b))

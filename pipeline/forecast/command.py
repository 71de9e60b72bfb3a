"""What `sluice plan` does: sample, run, forecast, tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import storage
from pipeline.errors import RecipeError, SluiceError
from pipeline.executors import OnRay
from pipeline.forecast.estimates import Interval
from pipeline.forecast.forecasts import Forecaster, NodeForecast
from pipeline.forecast.prices import Prices, read_prices
from pipeline.forecast.sample import sampled_graph
from pipeline.graph import build_graph
from pipeline.progress import Display
from pipeline.recipe import load_recipe
from pipeline.run import InputDigests, Run
from pipeline.runner import Scheduler, installed_versions, sealed_artifacts, stage_progress

LEVEL = 0.9
AMOUNTS = ("documents_in", "documents_out", "tokens", "core_hours", "gpu_hours", "stored_bytes")


@dataclass(frozen=True)
class Forecast:
    """What a recipe comes to."""

    share: float  # of the input files, that was asked for
    nodes: Sequence[NodeForecast]
    left_out: Mapping[str, str]  # artifacts that are not forecast, and why
    prices: Prices | None

    def total(self, amount: str) -> Interval:
        """Of all artifacts."""
        return Interval.sum(getattr(node, amount) for node in self.nodes)

    def price(self, node: NodeForecast) -> Interval | None:
        return self.prices.of(node.core_hours, node.gpu_hours, node.stored_bytes) if self.prices else None


def share_of(text: str) -> float:
    """0.001 of "0.1%" or of "0.001".

    Raises:
        RecipeError: it is no share.
    """
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise RecipeError(f"--sample {text}: expected a share, for example 0.1%") from error


def plan(
    recipe: str | Path,
    overrides: Sequence[str],
    sample: str,
    out: Path | None,
    address: str | None,
    prices: Path | None,
    console: Console,
    is_verbose: bool = False,
) -> Forecast:
    """Run the sample, or what of it is missing, and forecast.

    Raises:
        RecipeError: the recipe, the share or the file of prices is wrong; nothing was started.
        SluiceError: the sample's run stopped; giving the same command again goes on from there.
    """
    share, known = share_of(sample), read_prices(prices) if prices else None
    graph = build_graph(load_recipe(recipe, overrides))
    sampled, left_out = sampled_graph(graph, share)
    run = Run((out or Path("runs") / f"{graph.recipe.name}.plan").resolve())
    storage.check(run.folder)
    with run.at_work():
        digests = InputDigests(run.folder)
        sealed = sealed_artifacts(run, sampled, digests)
        if len(sealed) < len(sampled.nodes):
            run.begin(sampled, installed_versions())
            run.state.artifacts.update((name, artifact.fingerprint) for name, artifact in sealed.items())
            run.state.status = "interrupted"  # unless it ends otherwise
            display = Display(console, stage_progress(sampled, sealed), is_verbose)
            try:
                with display.shown():
                    Scheduler(run, sampled, sealed, digests, display).execute(OnRay(address, graph.recipe.supervision))
                run.state.status = "done"
            except SluiceError as error:
                run.state.status, run.state.message = "failed", str(error)
                raise
            finally:
                run.save_state()
        return Forecast(share, Forecaster(graph, sampled, sealed, LEVEL).all(), left_out, known)


def as_json(forecast: Forecast) -> str:
    """The forecast, every amount as {low, value, high}."""
    told: dict[str, dict[str, Any]] = {}
    for node in forecast.nodes:
        told[node.name] = {amount: _bounds(getattr(node, amount)) for amount in AMOUNTS}
        told[node.name]["price"] = _bounds(forecast.price(node))
        told[node.name]["is_start_up_apart"] = node.is_start_up_apart
    total = {amount: _bounds(forecast.total(amount)) for amount in AMOUNTS[3:]}
    if forecast.prices:
        total["price"] = _bounds(forecast.prices.of(*map(forecast.total, AMOUNTS[3:])))
    return json.dumps(
        {
            "sample": forecast.share,
            "level": LEVEL,
            "artifacts": told,
            "total": total,
            "currency": forecast.prices.currency if forecast.prices else None,
            "not_forecast": dict(forecast.left_out),
        },
        indent=1,
    )


def _bounds(interval: Interval | None) -> dict[str, Any] | None:
    """Without infinity, for which JSON has no word: null says that the sample sets no bound."""
    if interval is None:
        return None
    return {name: None if value == float("inf") else value for name, value in vars(interval).items()}


def as_table(forecast: Forecast) -> Table:
    """A row an artifact: each amount, and below it its interval."""
    with_gpus = forecast.total("gpu_hours").high > 0
    headings = ["artifact", "documents in", "kept", "tokens", "core-hours"]
    headings += ["GPU-hours"] * with_gpus + ["written"] + ([forecast.prices.currency] if forecast.prices else [])
    table = Table(box=None, padding=(0, 1), title=f"forecast, {LEVEL:.0%} intervals", title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "artifact" else "right", overflow="fold")
    for node in forecast.nodes:
        cells = [_cell(node.documents_in), _cell(node.documents_out), _cell(node.tokens), _cell(node.core_hours)]
        cells += [_cell(node.gpu_hours)] * with_gpus + [_cell(node.stored_bytes, "B")]
        cells += [_cell(forecast.price(node))] * bool(forecast.prices)
        table.add_row(node.name if node.is_start_up_apart else f"{node.name} *", *cells)
    return table


def _cell(interval: Interval | None, unit: str = "") -> str:
    if interval is None:
        return ""
    low, high = told(interval.low, unit), told(interval.high, unit)
    if low.partition(" ")[2] == high.partition(" ")[2]:
        low = low.partition(" ")[0]
    return f"{told(interval.value, unit)}\n{low}–{high}"


def told(number: float, unit: str = "") -> str:
    """A number in three digits: 1.23 k, 4.56 M, 78.9 GB."""
    if number == float("inf"):
        return "?"
    if 0 < number < 0.001:
        return "<0.001"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size * 0.9995:
            return f"{number / size:.3g} {letter}{unit}"
    return f"{number:.3g}{' ' * bool(unit)}{unit}"


def sentences(forecast: Forecast) -> list[str]:
    """What all comes to, and what is not in it."""
    cores, gpus, stored = map(forecast.total, AMOUNTS[3:])
    said = f"{_range(cores)} core-hours, "
    said += f"{_range(gpus)} GPU-hours, " if gpus.high else ""
    said += f"{_range(stored, 'B')} written"
    if forecast.prices:
        said += f"; {_range(forecast.prices.of(cores, gpus, stored))} {forecast.prices.currency}"
    lines = [f"In all: {said}."]
    if any(not node.is_start_up_apart for node in forecast.nodes):
        lines.append(
            "* In so small a sample the start of processes is not told apart from work: core-hours are too high rather "
            "than too low. A larger --sample mends that."
        )
    lines += [f"Not forecast: {name}: {why}." for name, why in forecast.left_out.items()]
    return lines


def _range(interval: Interval, unit: str = "") -> str:
    return f"{told(interval.value, unit)} ({told(interval.low, unit)} to {told(interval.high, unit)})"

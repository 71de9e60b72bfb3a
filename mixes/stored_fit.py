"""A fit on disk, with all that is needed to solve it for new weights in under a second.

Two lines of JSON: what surrounds the fit, then the fit itself, so that each is parsed once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixes.regression import Evidence, Fit
from mixes.runs import Runs
from mixes.signal import Signal
from mixes.target import Target
from mixes.transfer import Transfer

Floats = NDArray[np.float64]

KIND = "sluice fit"
FORMAT = 2


class StoredFitError(ValueError):
    """A file that is no stored fit of this format; the message names it and what to do."""


@dataclass(frozen=True)
class Scores:
    """How well runs left out of the fit were predicted, by family; all arrays [M]."""

    runs: int
    spearman: dict[str, Floats]
    rmse: dict[str, Floats]
    region_rmse: dict[str, Floats]  # where whole regions of mixtures were left out
    family_weights: dict[str, Floats]
    noise: Floats | None

    @classmethod
    def of(cls, evidence: Evidence) -> Scores:
        return cls(
            runs=len(next(iter(evidence.left_out.values()))),
            spearman=dict(evidence.spearman),
            rmse=dict(evidence.rmse),
            region_rmse=dict(evidence.region_rmse),
            family_weights=dict(evidence.weights),
            noise=evidence.noise,
        )

    def to_plain(self) -> dict[str, Any]:
        names = ("spearman", "rmse", "region_rmse", "family_weights")
        tables = {name: {key: row.tolist() for key, row in getattr(self, name).items()} for name in names}
        return {"runs": self.runs, **tables, "noise": None if self.noise is None else self.noise.tolist()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Scores:
        names = ("spearman", "rmse", "region_rmse", "family_weights")
        tables = {name: {key: np.array(row, dtype=np.float64) for key, row in plain[name].items()} for name in names}
        noise = plain["noise"]
        return cls(runs=plain["runs"], **tables, noise=None if noise is None else np.array(noise, dtype=np.float64))


@dataclass(frozen=True)
class StoredFit:
    """A fit and the runs behind it, as they were given: the fit keeps its rows in an order of its own."""

    fit: Fit
    runs: Runs
    scores: Scores
    seed: int
    target: Target | None = None
    signal: Signal | None = None
    transfer: Transfer | None = None
    gone: tuple[str, ...] = ()
    """Sources that were removed since the runs: no mixture may have any of them."""

    @property
    def natural(self) -> Floats:
        """The mix in proportion to the tokens; the mean of the runs where no tokens are known."""
        if self.target is not None:
            return self.target.natural(self.runs.sources)
        return np.asarray(self.runs.mixtures.mean(axis=0))

    def save(self, path: Path) -> None:
        """Write the file; whoever reads it while it is written finds the old one or the new one whole."""
        around = {
            "kind": KIND,
            "format": FORMAT,
            "seed": self.seed,
            "runs": {
                "sources": self.runs.sources,
                "metrics": self.runs.metrics,
                "ids": self.runs.ids,
                "mixtures": self.runs.mixtures.tolist(),
                "values": self.runs.values.tolist(),
            },
            "scores": self.scores.to_plain(),
            "target": None if self.target is None else self.target.model_dump(mode="json", exclude_unset=True),
            "gone": self.gone,
            "signal": None if self.signal is None else self.signal.to_plain(),
            "transfer": None if self.transfer is None else self.transfer.to_plain(),
        }
        with replacing(path) as temporary:
            temporary.write_text(f"{json.dumps(around, allow_nan=False)}\n{self.fit.to_json()}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> StoredFit:
        """Raises StoredFitError for anything but a whole file of this format."""
        try:
            first, _, rest = path.read_text(encoding="utf-8").partition("\n")
        except OSError as error:
            raise StoredFitError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise StoredFitError(f"{path}: is no stored fit (not text)") from error
        try:
            plain = json.loads(first)
        except ValueError as error:
            raise StoredFitError(f"{path}: is no stored fit; write one with `sluice mix fit`") from error
        if not isinstance(plain, dict) or plain.get("kind") != KIND:
            raise StoredFitError(f"{path}: is no stored fit; write one with `sluice mix fit`")
        if plain.get("format") != FORMAT:
            raise StoredFitError(
                f"{path}: is of format {plain.get('format')}, this version reads {FORMAT}; fit the runs again"
            )
        try:
            runs = plain["runs"]
            return cls(
                fit=Fit.from_json(rest),
                runs=Runs(
                    sources=tuple(runs["sources"]),
                    metrics=tuple(runs["metrics"]),
                    ids=tuple(runs["ids"]),
                    mixtures=np.array(runs["mixtures"], dtype=np.float64),
                    values=np.array(runs["values"], dtype=np.float64),
                ),
                scores=Scores.from_plain(plain["scores"]),
                seed=plain["seed"],
                gone=tuple(plain.get("gone", ())),
                target=None if plain["target"] is None else Target.model_validate_json(json.dumps(plain["target"])),
                signal=None if plain["signal"] is None else Signal.from_plain(plain["signal"]),
                transfer=None if plain["transfer"] is None else Transfer.from_plain(plain["transfer"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoredFitError(f"{path}: is damaged ({type(error).__name__}: {error}); fit the runs again") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place at the end; on an error `path` stays as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

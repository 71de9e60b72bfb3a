"""Documents that a selection names: what `sluice rethreshold` has written, or a list of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray
from pydantic import ValidationInfo, field_validator

from pipeline.errors import InputError
from pipeline.stage import Context, Map, Outcome, RecipePath, StageConfig, Verdict, decide


class SelectConfig(StageConfig):
    """Options of select."""

    selection: RecipePath
    """A Parquet file with a column ``id`` and, as `sluice rethreshold` writes it, a column ``verdict``: those that are
    ``kept`` count."""

    model_files: ClassVar[frozenset[str]] = frozenset({"selection"})

    @field_validator("selection")
    @classmethod
    def _exists(cls, selection: Path, info: ValidationInfo) -> Path:
        # asked of a recipe only: what a finished run was made with may be gone
        if info.context and not selection.is_file():
            raise ValueError(f"there is no selection {selection}")
        return selection


class Select(Map[SelectConfig]):
    """Keep the documents that a selection names."""

    name = "select"
    config_type = SelectConfig
    requires = ()

    def setup(self, context: Context) -> None:
        """Read the ids.

        Raises:
            InputError: the file is no Parquet file, or has no column ``id``.
        """
        path = self.config.selection
        hashes: list[NDArray[np.uint64]] = []
        try:
            with pq.ParquetFile(path) as file:
                names = [name for name in ("id", "verdict") if name in file.schema_arrow.names]
                for batch in file.iter_batches(65536, columns=names):
                    kept = batch
                    if "verdict" in names:
                        kept = batch.filter(pc.equal(batch.column("verdict"), "kept"))
                    hashes.append(_hashes(kept.column("id").to_pylist()))
        except (OSError, pa.ArrowException, KeyError, TypeError) as error:
            raise InputError(
                f"select: {path} is no Parquet file with a column id of texts, and verdict of texts if at all: {error}"
            ) from error
        self._selected = np.sort(np.concatenate([np.empty(0, np.uint64), *hashes]))

    def process(self, batch: pa.Table) -> Outcome:
        named = np.isin(_hashes(batch.column("id").to_pylist()), self._selected)
        gone: tuple[Verdict, str, str] = ("dropped", "not_selected", f"not kept by {self.config.selection.name}")
        return decide(batch, [None if is_named else gone for is_named in named.tolist()])


def _hashes(ids: list[str]) -> NDArray[np.uint64]:
    """64-bit hashes: of 1e9 selected ids, one foreign id in 1.8e10 is taken for one of them."""
    return np.array([xxhash.xxh3_64_intdigest(id_) for id_ in ids], np.uint64)

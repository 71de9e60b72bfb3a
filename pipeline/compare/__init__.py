"""`sluice compare`: what two runs differ in, as text, as JSON and as one page."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import storage
from pipeline.compare.comparison import compare
from pipeline.compare.page import page
from pipeline.compare.text import lines
from pipeline.errors import RecipeError
from pipeline.progress import working


def compared(folder_a: Path, folder_b: Path, out: Path | None, as_json: bool, is_quiet: bool = False) -> str:
    """Compare two runs, and write the page if a file is named for it.

    Args:
        out: HTML file, or the path in a mirror of one in an object store.

    Returns:
        The text for the terminal, or JSON.

    Raises:
        RecipeError: one of them is no run, or ``out`` is a folder.
        SluiceError: a run is damaged, or a disk is full.
    """
    if out is not None and out.is_dir():
        raise RecipeError(f"--out {out} is a folder: name a file, such as {out / 'compare.html'}")
    with working("comparing documents", is_quiet) as tick:
        comparison = compare(folder_a, folder_b, tick)
    if out is not None:
        storage.replace(out, page(comparison).encode())
    if as_json:
        return json.dumps(comparison.to_json(), indent=1, allow_nan=False)
    told = [*lines(comparison), *(["", f"Page: {storage.shown(out)}"] if out is not None else [])]
    return "\n".join(told)

"""Jupyter notebooks as Markdown: prose as it stands, code in fences, outputs left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Notebook:
    """The cells of a notebook."""

    language: str  # of its kernel, e.g. "python"
    text: str  # Markdown
    code: str  # the code cells alone


def parsed_notebook(text: str) -> Notebook:
    """Read a notebook of format 3 or 4.

    Raises:
        ValueError: not JSON, or not a notebook; the message says which.
    """
    try:
        notebook = json.loads(text)
        if "\\u" in text:  # half a surrogate pair has no UTF-8
            json.dumps(notebook, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    cells = _cells(notebook)
    language = _language(notebook.get("metadata"))
    shown, code = [], []
    for cell in cells:
        source = _source(cell)
        if not source.strip():
            continue
        if cell.get("cell_type") == "code":
            code.append(source)
            shown.append(f"```{language}\n{source}\n```")
        else:
            shown.append(source)
    return Notebook(language, "\n\n".join(shown) + "\n" * bool(shown), "\n".join(code))


def _cells(notebook: Any) -> list[dict[str, Any]]:
    if isinstance(notebook, dict):
        cells = notebook.get("cells")  # format 4
        if cells is None and isinstance(sheets := notebook.get("worksheets"), list):  # format 3
            parts = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
            cells = [cell for part in parts if isinstance(part, list) for cell in part]
        if isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells):
            return cells
    raise ValueError("it has no list of cells")


def _language(metadata: Any) -> str:
    """The kernel's language; notebooks of format 3 and many of format 4 that name none are Python."""
    for part, key in (("language_info", "name"), ("kernelspec", "language")):
        value = metadata.get(part) if isinstance(metadata, dict) else None
        if isinstance(value, dict) and isinstance(name := value.get(key), str) and name:
            return name.lower()
    return "python"


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input")) or ""
    return "".join(map(str, source)) if isinstance(source, list) else str(source)

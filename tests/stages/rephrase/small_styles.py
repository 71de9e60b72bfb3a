"""Styles and documents for the tests of choice, plan, monitor and what is kept."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pipeline.stage import documents
from stages.rephrase.styles import Style

TEMPLATES = ("Say it again.", "Tell it anew.", "Put it in other words.")


def fields_of(**fields: Any) -> dict[str, Any]:
    """A style's fields, as a styles file has them: answers are expected to be half as long as the documents."""
    needed = {"format": "text", "chunk_tokens": 500, "output_ratio": 1.0, "reminder": "Now.", "templates": TEMPLATES}
    return {**needed, "gates": {"length_ratio": {"min": 0.25, "max": 0.75}}, **fields}


def style(name: str = "plain", **fields: Any) -> Style:
    """A style that suits all documents, but for what the fields say."""
    return Style.model_validate({"name": name, **fields_of(**fields)})


def write_styles(path: Path, **styles: dict[str, Any]) -> Path:
    """A styles file."""
    values = {name: {**fields_of(**fields), "templates": list(TEMPLATES)} for name, fields in styles.items()}
    path.write_text(yaml.safe_dump({"styles": values}))
    return path


def batch(*rows: dict[str, Any], **measures: list[float | None]) -> pa.Table:
    """Documents of the source "web", but for what the rows say, with measured columns (``__`` is a dot)."""
    table = documents([{"id": f"web/{i}", "source": "web", "text": "some words", **row} for i, row in enumerate(rows)])
    for name, values in measures.items():
        table = table.append_column(name.replace("__", "."), pa.array(values, pa.float64()))
    return table


def count_words(texts: Any) -> list[int]:
    """A word is a token."""
    return [len(text.split()) for text in texts]

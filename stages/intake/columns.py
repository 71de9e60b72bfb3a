"""Which field of the origin becomes what of a document: the same options for lines of JSON and rows of tables."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.stage import Removal, StageConfig, removal
from stages.intake.files import FilesConfig

Row = dict[str, Any]

COLUMNS = ("url", "date", "language")
TO_META = ("licence", "id")
_ABSENT = object()


class Columns(StageConfig):
    """From ours to the origin's: the field that holds each of these. A dot leads into nested fields.

    A field that a row does not have leaves a document without it, but for the text.
    """

    text: tuple[str, ...] = Field(("text",), min_length=1)
    """Field with the text; of several, those that are there are joined by a blank line."""

    url: str | None = "url"
    """Field with the address of the document."""

    date: str | None = "date"
    """Field with the date of the document."""

    language: str | None = "language"
    """Field with the code of the language."""

    licence: str | None = "license"
    """Field with the licence, kept as meta["licence"]."""

    id: str | None = "id"
    """Field with the origin's own id, kept as meta["id"]; the document's id is file and place."""

    @cached_property
    def fields(self) -> dict[str, str]:
        """The origin's field for each of ours but the text."""
        fields = {name: getattr(self, name) for name in (*COLUMNS, *TO_META)}
        return {name: field for name, field in fields.items() if field is not None}


class ColumnsConfig(FilesConfig):
    """Options of the stages whose input has fields."""

    columns: Columns = Columns()
    """From our columns to the origin's fields: {text: [title, body.en], url: link, date: created}. Those not given:
    text, url, date, language and id from the fields of these names, licence from "license"."""

    meta: tuple[str, ...] | Literal["all", "none"] = "all"
    """Other fields to keep in the document's meta: "all" (text, numbers and truth values at the top), "none", or a
    list of fields, of which nested and listed values are kept as JSON."""

    @field_validator("meta", mode="before")
    @classmethod
    def _one_field_is_a_list_of_one(cls, meta: object) -> object:
        return (meta,) if isinstance(meta, str) and meta not in ("all", "none") else meta

    def document(self, row: Row, fields: Mapping[str, Any], where: str) -> Row | Removal:
        """``row`` (id, source, origin) with the text and what else ``fields`` hold, or why there is none.

        Args:
            where: names file and place, for the evidence.
        """
        texts = [value for name in self.columns.text if (value := _value(fields, name)) not in (_ABSENT, None)]
        if not texts or not all(isinstance(text, str) for text in texts):
            return removal(row, "failed", "no_text_field", f"{where}: {self._no_text(fields, texts)}")
        text = "\n\n".join(text for text in texts if text.strip())
        if not text:
            return removal(row, "dropped", "empty", "no visible character")
        meta: dict[str, str] = {}
        for name, field in self.columns.fields.items():
            value = _value(fields, field)
            if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
                value = ", ".join(value)
            if (value := plain(value)) is not None:
                (row if name in COLUMNS else meta)[name] = value
        for name, value in self._others(fields):
            if value is not None:
                meta.setdefault(name, value)
        return row | {"text": text, "meta": meta}

    def _others(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        if self.meta == "all":
            yield from ((name, plain(value)) for name, value in fields.items() if name not in self._taken)
        elif self.meta != "none":
            for name in self.meta:
                value = _value(fields, name)
                text = plain(value)
                if text is None and value not in (_ABSENT, None):
                    text = json.dumps(value, ensure_ascii=False, default=str)
                yield name, text

    @cached_property
    def _taken(self) -> frozenset[str]:
        return frozenset((*self.columns.text, *self.columns.fields.values()))

    def _no_text(self, fields: Mapping[str, Any], found: list[Any]) -> str:
        wanted = " or ".join(map(repr, self.columns.text))
        if found:
            return f"in {wanted} no string but {', '.join(type(value).__name__ for value in found)}"
        others = ", ".join(sorted(set(map(str, fields)) - set(self.columns.text))) or "none"
        return f"no string in the field {wanted}; other fields: {others}"


def plain(value: Any) -> str | None:
    """A single value as text: numbers and truth values as in JSON, dates as in ISO 8601; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    return None


def _value(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field: that of this very name, else the one to which the dots lead."""
    if name in fields:
        return fields[name]
    value: Any = fields
    for step in name.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _ABSENT
        value = value[step]
    return value

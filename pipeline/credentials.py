"""Credentials in the URLs of a recipe: passwords, and queries such as signatures. What a run keeps of its recipe holds
none, so a copy from which one was left out cannot be run until it is given again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.locations.location import QUERY, USER

LEFT_OUT = "LEFT-OUT"  # stands in a copy where a credential was

_VALUE = re.compile(r"(?<=[?&#])([^=&#]*=)?[^&#]*")


def without_credentials(values: Any) -> Any:
    """A copy of plain values in which no URL holds a user, a password, or a value of a query: any name may be that of
    a signature or a key, so all values are left out, and the names stay."""
    if isinstance(values, Mapping):
        return {key: without_credentials(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_credentials(value) for value in values]
    if not isinstance(values, str) or "://" not in values:
        return values
    without_user = USER.sub(lambda found: f"{found[1] or found[2]}{LEFT_OUT}@", values)
    return QUERY.sub(_left_out_of_query, without_user)


def _left_out_of_query(found: re.Match[str]) -> str:
    address = found[1] or ""
    return address + _VALUE.sub(lambda value: f"{value[1] or ''}{LEFT_OUT}", found[0][len(address) :])


def places_left_out(values: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Keys and list indexes that lead to the strings from which a credential was left out."""
    if isinstance(values, str):
        if "://" in values and LEFT_OUT in values:
            yield place
    elif isinstance(values, Mapping | list):
        steps = values.items() if isinstance(values, Mapping) else enumerate(values)
        for step, value in steps:
            yield from places_left_out(value, (*place, step))

"""What the page computes by itself: its scripts, allowed by their digest alone, and the data they read."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

from pipeline.report.markup import Markup, clean, element

SCRIPTS = ("mix/solver.js", "mix/explorer.js", "thresholds.js")


def script() -> Markup:
    """One script element. The page is XML as well, in which the code is character data."""
    return Markup(f"<script>{_code()}</script>")


def script_source() -> str:
    """For the policy: nothing but this very script may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(_code().encode()).digest()).decode()}'"


def _code() -> str:
    root = files("pipeline.report")
    code = "\n".join(root.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f"//<![CDATA[\n{code}//]]>"


def data_block(anchor: str, value: Any) -> Markup:
    """JSON for the script under an id; its strings hold nothing that could end the element or hide on a screen."""
    text = json.dumps(_cleaned(value), separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return element("script", Markup(text), type="application/json", id=anchor)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _cleaned(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(one) for one in value]
    return value

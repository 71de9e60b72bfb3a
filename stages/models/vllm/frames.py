"""How host and worker talk over their socket: frames of JSON, each behind its length in four bytes.

To the worker go ``{"ask": [[key, prompt, max_tokens, temperature, top_p, seed], ...]}``, each with its picture behind
it if it has one (PNG in base64), and ``{"abort": [key, ...]}``. From it come ``{"ready": max_model_len}``, once, 0 if
it does not know; ``{"tokens": made so far}``, every second;
``{"answer": [key, text, finish_reason, prompt_tokens, completion_tokens]}``; ``{"failed": [key, reason, evidence]}``;
``{"given_up": why no request is worth making}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

LENGTH_BYTES = 4


def framed(message: dict[str, Any]) -> bytes:
    """The bytes of one message.

    Raises:
        TypeError: a text holds half a surrogate pair.
    """
    content = orjson.dumps(message)
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


class Frames:
    """Messages out of bytes that come in pieces of any length."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def fed(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """The messages that this piece completes."""
        self._bytes += piece
        begin = 0
        while len(self._bytes) - begin >= LENGTH_BYTES:
            end = begin + LENGTH_BYTES + int.from_bytes(self._bytes[begin : begin + LENGTH_BYTES], "big")
            if len(self._bytes) < end:
                break
            yield orjson.loads(memoryview(self._bytes)[begin + LENGTH_BYTES : end].tobytes())
            begin = end
        del self._bytes[:begin]

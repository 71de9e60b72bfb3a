"""A client of any OpenAI-compatible chat server: retries what may pass, refuses what will not."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from pipeline.errors import MachineError

MAX_TRIES = 6
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REFUSES_ALL = {
    401: "see that the key is right",
    403: "see that the key is right",
    404: "see the URL and the model's name",
}


class RequestRefusedError(Exception):
    """The server will not answer this request, however often it is asked."""


@dataclass(frozen=True)
class Answer:
    """A model's answer and why it ended ("stop" when the model was done)."""

    text: str
    finish_reason: str


class Endpoint:
    """One server. Safe to use from several threads."""

    def __init__(self, base_url: str, api_key_variable: str, timeout_s: float) -> None:
        key = os.environ.get(api_key_variable)
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._client = httpx.Client(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=None),
        )

    def chat(self, model: str, prompt: str, max_tokens: int, temperature: float) -> Answer:
        """Ask once, and again after timeouts, lost connections, 408, 429 and 5xx, with growing, jittered waits.

        Raises:
            RequestRefusedError: the server refuses this very request (another 4xx), or sends no chat completion.
            MachineError: the server did not answer in ``MAX_TRIES`` tries, or refuses whatever it is asked.
        """
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        problem, wait = "", 0.0
        for attempt in range(MAX_TRIES):
            time.sleep(wait)
            wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                response = self._client.post(self._url, json=body)
            except httpx.RequestError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            status = response.status_code
            if status in (408, 429) or status >= 500:
                problem = f"status {status}"
                wait = max(wait, min(LONGEST_WAIT_S, _retry_after_s(response)))
                continue
            if status in REFUSES_ALL:
                raise MachineError(
                    f"the endpoint {self._url} answers status {status}: {response.text[:200]}; {REFUSES_ALL[status]}"
                )
            if status != 200:
                raise RequestRefusedError(f"status {status}: {response.text[:200]}")
            return _answer(response)
        raise MachineError(
            f"the endpoint {self._url} did not answer in {MAX_TRIES} tries ({problem}). See that it is up, then give "
            "the same command again"
        )


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def _answer(response: httpx.Response) -> Answer:
    try:
        choice: dict[str, Any] = response.json()["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str | None):
            raise TypeError("the content is not text")
        return Answer(text or "", str(choice["finish_reason"]))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RequestRefusedError(f"the answer is not a chat completion: {response.text[:200]}") from error

"""An engine behind OpenAI's chat protocol: any server that speaks it, one or several of the same model."""

from __future__ import annotations

import base64
import io
import os
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx
import orjson

from pipeline.errors import MachineError
from pipeline.locations.location import shown
from stages.pdf.vision.endpoints import LONGEST_PAUSE_S, Endpoints, Server, Turn, pause_s
from stages.pdf.vision.engine import Answer, RequestFailedError

MAX_FAILURES = 4
"""Times that a request about one picture may be left without an answer."""

FAILURES_OF_A_SUSPECT = 2
"""Failures from which on the picture may be the cause."""

MAX_BODY_BYTES = 8 << 20
"""Longest answer that is read: a page has less than 100 KB."""

PROBE_TOKENS = 8

REFUSES_ALL = {
    401: "see that the key is right",
    403: "see that the key is right",
    404: "see the URL and the model's name",
}


class ChatEngine:
    """Asks one of several servers, and again after what may pass. Safe to use from several threads."""

    def __init__(
        self,
        servers: Sequence[Server],
        model: str,
        *,
        most_at_once: int,
        timeout_s: float,
        max_outage_s: float,
        api_key_variable: str = "",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            most_at_once: requests under way at once, per server.
            timeout_s: time limit of one request.
            max_outage_s: seconds without any answer after which all servers count as down for good.
            api_key_variable: environment variable with the key, if the servers want one.
            extra_body: further fields of each request.
        """
        # with the line end that files of secrets have, a client would refuse the header, and show the key
        key = os.environ.get(api_key_variable, "").strip() if api_key_variable else ""
        self._endpoints = Endpoints(servers, most_at_once, max_outage_s)
        self._model, self._extra, self._timeout_s = model, dict(extra_body or {}), timeout_s
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 30.0)),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=None),
            verify=_certificates(),
        )
        self._suspects = threading.Lock()
        self._has_answered = False

    @property
    def most_at_once(self) -> int:
        """Requests that may be under way at once."""
        return self._endpoints.most_at_once

    def ask(self, image_png: bytes, prompt: str, max_tokens: int, temperature: float) -> Answer:
        """The model's answer about one picture; see ``Engine.ask``.

        Where no connection can be made, and after status 429, the request waits, for ``max_outage_s`` at most. After
        what may be the picture's doing (timeouts, lost connections, garbled answers, 408, 5xx) it is made up to
        ``MAX_FAILURES`` times. The last of these are made one suspected picture after another, each once a server has
        answered about a small picture of our own: so a picture is blamed only for what it does to a sound server, and
        one that brings the server down does not take with it those that were under way beside it.
        """
        body = self._body(image_png, prompt, max_tokens, temperature)
        problem = ""
        for failures in range(MAX_FAILURES):
            if failures:
                time.sleep(pause_s(failures - 1))
            if failures < FAILURES_OF_A_SUSPECT:
                answer = self._try(body)
            else:
                with self._suspects:
                    self._await_answer(prompt, problem)
                    answer = self._try(body)
            if isinstance(answer, Answer):
                self._has_answered = True
                return answer
            if isinstance(answer, RequestFailedError):
                if not self._has_answered:  # it may refuse whatever it is asked
                    self._await_answer(prompt, str(answer))
                raise answer
            problem = answer
        raise RequestFailedError("unavailable", f"no answer in {MAX_FAILURES} tries: {problem}")

    def _body(self, image_png: bytes, prompt: str, max_tokens: int, temperature: float) -> bytes:
        url = "data:image/png;base64," + base64.b64encode(image_png).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
        message = {"role": "user", "content": content}
        body = {"model": self._model, "messages": [message], "max_tokens": max_tokens, "temperature": temperature}
        return orjson.dumps(self._extra | body)

    def _await_answer(self, prompt: str, problem: str) -> None:
        """Wait until a server answers about a small picture of our own.

        Raises:
            MachineError: none does within ``max_outage_s``, or it refuses this picture too.
        """
        body = self._body(_probe_picture(), prompt, PROBE_TOKENS, 0.0)
        while not isinstance(answer := self._try(body), Answer):
            if isinstance(answer, RequestFailedError):
                raise MachineError(
                    f"the server of the vision-language model {self._model} refuses whatever it is asked: {answer}; "
                    f"before: {problem}. See its own messages and whether the model reads pictures, then give the same "
                    "command again"
                )
            time.sleep(pause_s(0))
        self._has_answered = True

    def _try(self, body: bytes) -> Answer | RequestFailedError | str:
        """The answer to one request, or a refusal of this very request, or what went wrong that may pass.

        Raises:
            MachineError: the servers are down for good, or refuse whatever they are asked.
        """
        while True:
            turn = self._endpoints.turn()
            try:
                url = turn.endpoint.server.url() + "/chat/completions"
                status, headers, content = self._post(url, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                self._endpoints.failed(turn, f"{shown(url)}: {error}")
                continue
            except (httpx.RequestError, _AnswerTooLongError) as error:
                problem = f"{shown(url)}: {type(error).__name__}: {error}"
                self._endpoints.failed(turn, problem)
                return problem
            except BaseException:
                self._endpoints.given_up(turn)
                raise
            if status == 429 or (status == 503 and "Retry-After" in headers):
                wait_s = min(LONGEST_PAUSE_S, retry_after_s(headers.get("Retry-After", "")) or pause_s(0))
                self._endpoints.is_busy(turn, wait_s, f"{shown(url)} answers status {status}")
                continue
            return self._judged(turn, url, status, content)

    def _judged(self, turn: Turn, url: str, status: int, content: bytes) -> Answer | RequestFailedError | str:
        words = content[:300].decode("utf-8", "replace")
        if status == 408 or status >= 500:
            problem = f"{shown(url)} answers status {status}: {words}"
            self._endpoints.failed(turn, problem)
            return problem
        if status in REFUSES_ALL:
            self._endpoints.given_up(turn)
            raise MachineError(f"{shown(url)} answers status {status}: {words}; {REFUSES_ALL[status]}")
        if status != 200:
            self._endpoints.answered(turn)
            return RequestFailedError("refused", f"status {status}: {words}")
        try:
            answer = _answer(content)
        except (ValueError, KeyError, IndexError, TypeError):
            problem = f"{shown(url)} does not answer with a chat completion: {words}"
            self._endpoints.failed(turn, problem)
            return problem
        self._endpoints.answered(turn)
        return answer

    def _post(self, url: str, body: bytes) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and content, all of it within the time limit: the client's own limit is of each read, so
        that a server which sends a byte now and then would never meet it.

        Raises:
            httpx.RequestError: no whole answer came in time.
            _AnswerTooLongError: it is longer than ``MAX_BODY_BYTES``.
        """
        ends = time.monotonic() + self._timeout_s
        content = bytearray()
        with self._client.stream("POST", url, content=body, headers={"Content-Type": "application/json"}) as response:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MAX_BODY_BYTES:
                    raise _AnswerTooLongError(f"more than {MAX_BODY_BYTES} bytes")
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout(f"not complete after {self._timeout_s:g} s")
            return response.status_code, response.headers, bytes(content)


class _AnswerTooLongError(Exception):
    pass


def _answer(content: bytes) -> Answer:
    choice = orjson.loads(content)["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str | None):
        raise TypeError("the content is not text")
    return Answer(text or "", str(choice["finish_reason"]))


def retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header, which holds a number or a date (RFC 9110, 10.2.3); 0 if it holds neither."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return 0.0


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()  # takes 50 ms


@cache
def _probe_picture() -> bytes:
    """A white square with a dark bar: no less than what image processors of vision-language models ask for."""
    from PIL import Image

    picture = Image.new("RGB", (224, 224), "white")
    picture.paste("black", (40, 100, 184, 124))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()

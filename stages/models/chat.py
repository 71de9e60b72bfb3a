"""An engine behind OpenAI's chat protocol: any server that speaks it, one or several of the same model."""

from __future__ import annotations

import base64
import io
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import orjson

from pipeline.errors import MachineError
from pipeline.locations.location import shown
from stages.models.connections import Connections, ExchangeError, NotConnectedError, Reply, TooLateError
from stages.models.endpoints import LONGEST_PAUSE_S, Endpoint, Endpoints, RunningServer, Turn, pause_s
from stages.models.engine import Answer, Request, RequestFailedError
from stages.models.pace import FIRST_LIMIT

MAX_FAILURES = 4
"""Times that a request may be left without an answer."""

FAILURES_OF_A_SUSPECT = 2
"""Failures from which on the request may be the cause."""

MIN_FAILED_REQUESTS = 100
"""Requests that may fail before it matters whether as many are answered."""

PROBE_PROMPT = "Say yes."
PROBE_TOKENS = 8

_REFUSES_ALL = {
    401: "see that the key is right",
    403: "see that the key is right",
    404: "see the URL, and that the option 'model' is a name of which {url}/models tells",
}
_NO_SUCH_MODEL = re.compile(rb"model\b.{0,200}(?:does not exist|not found|unknown)|unknown model|model_not_found", re.I)


class ChatEngine:
    """Asks one of several servers, and again after what may pass. Safe to use from several threads."""

    def __init__(
        self,
        servers: Sequence[RunningServer],
        model: str,
        *,
        most_at_once: int,
        timeout_s: float,
        max_outage_s: float,
        first_limit: int = FIRST_LIMIT,
        api_key_variable: str = "",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            most_at_once: requests under way at once, per server.
            timeout_s: time limit of one request.
            max_outage_s: seconds without any answer after which all servers count as down for good.
            first_limit: requests under way at once, per server, until it is known how it does; ``most_at_once`` for a
                server that is known to stand as many.
            api_key_variable: environment variable with the key, if the servers want one.
            extra_body: further fields of each request.
        """
        # with the line end that files of secrets have, a client would refuse the header, and show the key
        key = os.environ.get(api_key_variable, "").strip() if api_key_variable else ""
        if not (key.isascii() and key.isprintable()):
            raise MachineError(
                f"the environment variable {api_key_variable} holds no key: a line break, or such, is in it"
            )
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._endpoints = Endpoints(servers, model, most_at_once, max_outage_s, first_limit)
        self._connections = Connections()
        self._model, self._extra, self._timeout_s = model, dict(extra_body or {}), timeout_s
        self._suspects = threading.Lock()
        self._under_way: dict[int, Endpoint] = {}  # where a request is, by its identity
        self._ended = threading.Lock()
        self._answered = self._failed = 0  # requests
        self._has_answered = False  # requests of our own too

    @property
    def most_at_once(self) -> int:
        """Requests that may be under way at once."""
        return self._endpoints.most_at_once

    def close(self) -> None:
        """Give up what is under way; who waits for an answer, and who asks later, gets an error."""
        self._endpoints.close()
        self._connections.close()

    def ask(self, request: Request) -> Answer:
        """The model's answer to one request; see ``Engine.ask``.

        Where no connection can be made, and after status 429, the request waits, for ``max_outage_s`` at most. After
        what may be the request's own doing (timeouts, lost connections, garbled answers, 408, 5xx) it is made up to
        ``MAX_FAILURES`` times. The last of these are made one suspect after another, each once a server has answered a
        short request of our own: so a request is blamed only for what it does to a sound server, and one that brings
        the server down does not take with it those that were under way beside it. The same object asked about a second
        time while it is under way goes to another server, if there is one.

        Raises:
            RequestFailedError: there is no answer to this request.
            MachineError: there is none to any; or more requests fail than are answered, beyond the first
                ``MIN_FAILED_REQUESTS``.
        """
        try:
            answer = self._asked(request)
        except RequestFailedError as error:
            self._count_failure(error)
            raise
        with self._ended:
            self._answered += 1
        return answer

    def _asked(self, request: Request) -> Answer:
        body, problem = self._body(request), ""
        for failures in range(MAX_FAILURES):
            if failures:
                time.sleep(pause_s(failures - 1))
            if failures < FAILURES_OF_A_SUSPECT:
                answer = self._try(body, request)
            else:
                with self._suspects:
                    self._await_answer(request, problem)
                    answer = self._try(body, request)
            if isinstance(answer, Answer):
                return answer
            if isinstance(answer, RequestFailedError):
                if not self._has_answered:  # it may refuse whatever it is asked
                    self._await_answer(request, str(answer))
                raise answer
            problem = answer
        raise RequestFailedError("unavailable", f"no answer in {MAX_FAILURES} tries: {problem}")

    def _count_failure(self, error: RequestFailedError) -> None:
        with self._ended:
            self._failed += 1
            failed, answered = self._failed, self._answered
        if failed > max(MIN_FAILED_REQUESTS, answered):
            raise MachineError(
                f"the model {self._model} has left {failed} requests without an answer and answered {answered}; the "
                f"last: {error}. See what its server says and whether it fits the requests (length of the context, "
                "fields of the request), then give the same command again: what is answered is not asked for again"
            ) from error

    def _body(self, request: Request) -> bytes:
        content: Any = request.prompt
        if request.image_png:
            url = "data:image/png;base64," + base64.b64encode(request.image_png).decode()
            content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": request.prompt}]
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
        }
        if request.seed is not None:
            body["seed"] = request.seed
        return orjson.dumps(self._extra | body)

    def _await_answer(self, request: Request, problem: str) -> None:
        """Wait until a server answers a short request of our own, of the same kind.

        Raises:
            MachineError: none does within ``max_outage_s``, or it refuses this one too.
        """
        probe = _probe(request)
        body = self._body(probe)
        while not isinstance(answer := self._try(body, probe), Answer):
            if isinstance(answer, RequestFailedError):
                kind = "and whether the model reads pictures" if request.image_png else "and what kind of model it is"
                raise MachineError(
                    f"the server of the model {self._model} refuses whatever it is asked: {answer}; before: {problem}. "
                    f"See its own messages {kind}, then give the same command again"
                )
            time.sleep(pause_s(0))

    def _try(self, body: bytes, request: Request) -> Answer | RequestFailedError | str:
        """The answer to one request, or a refusal of this very request, or what went wrong that may pass.

        Raises:
            MachineError: the servers are down for good, or refuse whatever they are asked.
        """
        while True:
            turn = self._endpoints.turn(avoided=self._under_way.get(id(request)))
            self._under_way[id(request)] = turn.endpoint
            try:
                url = turn.endpoint.server.url()
                reply = self._connections.post(f"{url}/chat/completions", body, self._headers, self._timeout_s)
            except NotConnectedError as error:
                self._endpoints.failed(turn, f"{shown(url)}: {error}")
                continue
            except ExchangeError as error:
                problem = f"{shown(url)}: {error}"
                self._endpoints.failed(turn, problem, isinstance(error, TooLateError))
                return problem
            except BaseException:
                self._endpoints.given_up(turn)
                raise
            finally:
                self._under_way.pop(id(request), None)
            if reply.status == 429 or (reply.status == 503 and "Retry-After" in reply.headers):
                wait_s = min(LONGEST_PAUSE_S, retry_after_s(reply.headers.get("Retry-After", "")) or pause_s(0))
                self._endpoints.is_busy(turn, wait_s, f"{shown(url)} answers status {reply.status}")
                continue
            return self._judged(turn, url, reply)

    def _judged(self, turn: Turn, url: str, reply: Reply) -> Answer | RequestFailedError | str:
        status, words = reply.status, reply.body[:300].decode("utf-8", "replace")
        if status == 408 or status >= 500:
            problem = f"{shown(url)} answers status {status}: {words}"
            self._endpoints.failed(turn, problem)
            return problem
        remedy = _REFUSES_ALL.get(404 if status == 400 and _NO_SUCH_MODEL.search(reply.body) else status)
        if remedy:
            self._endpoints.given_up(turn)
            raise MachineError(
                f"{shown(url)} answers status {status} for the model {self._model}: {words}; "
                + remedy.format(url=shown(url))
            )
        if status != 200:
            self._endpoints.declined(turn)
            return RequestFailedError("refused", f"status {status}: {words}")
        try:
            answer = _answer(reply.body)
        except (ValueError, KeyError, IndexError, TypeError):
            problem = f"{shown(url)} does not answer with a chat completion: {words}"
            self._endpoints.failed(turn, problem)
            return problem
        self._has_answered = True
        self._endpoints.answered(turn, answer.completion_tokens or len(answer.text) // 4)
        return answer


def _answer(content: bytes) -> Answer:
    completion = orjson.loads(content)
    choice = completion["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str | None):
        raise TypeError("the content is not text")
    usage = completion.get("usage")
    tokens = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    prompt_tokens, completion_tokens = (count if isinstance(count, int) else 0 for count in tokens)
    return Answer(text or "", str(choice["finish_reason"]), prompt_tokens, completion_tokens)


def retry_after_s(value: str) -> float:
    """Seconds of a Retry-After header, which holds a number or a date (RFC 9110, 10.2.3); 0 if it holds neither."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return 0.0


def _probe(request: Request) -> Request:
    """A short request of our own, with a picture if this one has one."""
    if request.image_png:
        return Request(request.prompt, PROBE_TOKENS, image_png=probe_picture())
    return Request(PROBE_PROMPT, PROBE_TOKENS)


@cache
def probe_picture() -> bytes:
    """A white square with a dark bar: no less than what image processors of vision-language models ask for."""
    from PIL import Image

    picture = Image.new("RGB", (224, 224), "white")
    picture.paste("black", (40, 100, 184, 124))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()

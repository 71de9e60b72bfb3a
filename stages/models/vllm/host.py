"""The owner of one engine: takes requests of many clients, keeps the engine full, and replaces it when it dies.

Requests flow: whenever one ends, the next is given to the engine; there are no batches. What runs is watched by the
tokens that it makes, since an engine may hang with its health check still well (vllm-project/vllm#45414).
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import itertools
import math
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.errors import MachineError
from stages.models.engine import Answer, Request, RequestFailedError
from stages.models.vllm.engine_process import LOOK_S, EngineProcess
from stages.models.vllm.options import VllmOptions
from stages.models.vllm.schedule import Client, Held, Schedule

WORKER = (sys.executable, "-m", "stages.models.vllm.worker")

WINDOW = 1.75
"""Requests under way over those that the engine computes at once: the others have their turn prepared meanwhile."""

LEASE_S = 120.0
"""Work that a client may leave here, measured in time; and the time after which one that is silent is forgotten."""

START_DEADLINE_S = 1800.0
"""Loading a large model from a slow disk and compiling it takes minutes; a small one on a CPU took 90 s."""

STALL_S = 120.0
"""Seconds without a new token, of requests that run, after which an engine hangs."""

MAX_SEED_BITS = 63

MAX_FAILED_STARTS = 3
"""In a row, of an engine that has started before: the memory of its GPU may not be free at once."""

START_PAUSE_S = 5.0

MAX_DEATHS_IN_VAIN = 16
"""Deaths without an answer between them. One deadly request among 1000 causes 13 at most: two that make suspects, ten
that halve them, and its last."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a client gets for a call."""

    finished: Sequence[tuple[int, Answer | RequestFailedError]]  # the numbers are the client's own
    room: int  # requests that are worth having here at once
    record: str  # another one than before: what the client had left here is not known any more


@dataclass(slots=True)
class HostStats:
    """What a host has done since it was made."""

    prompt_tokens: int = 0  # of answered requests
    completion_tokens: int = 0
    answers: int = 0
    busy_s: float = 0.0  # with requests under way
    full_s: float = 0.0  # of these: with as many as the engine computes at once
    idle_s: float = 0.0  # ready, without requests under way
    starting_s: float = 0.0
    starts: int = 0


class _EngineEndedError(Exception):
    """Why the engine is to be replaced."""


class VllmHost:
    """One engine, started when first needed. Safe to use from several threads."""

    def __init__(
        self,
        options: VllmOptions,
        *,
        program: Sequence[str] = WORKER,
        reads_pictures: bool = False,
        stall_s: float = STALL_S,
        start_deadline_s: float = START_DEADLINE_S,
        lease_s: float = LEASE_S,
    ) -> None:
        """
        Args:
            program: the worker; it is given the path of a socket, and the options as JSON.
            reads_pictures: whether it can be given requests with pictures.
            stall_s: time that requests under way may go without a new token.
            start_deadline_s: time until the engine must have answered a first request.
            lease_s: time after which the requests of a client that does not call are forgotten.
        """
        self._options, self._program, self._reads_pictures = options, tuple(program), reads_pictures
        self._stall_s, self._start_deadline_s, self._lease_s = stall_s, start_deadline_s, lease_s
        self._window = math.ceil(WINDOW * options.max_num_seqs)
        self._lock = threading.RLock()  # guards all that follows
        self._changed = threading.Condition(self._lock)  # requests have come, or the host is closed
        self._schedule = Schedule(self._window)
        self._clients: dict[str, Client] = {}
        self._keys = itertools.count()
        self._answer_times: deque[float] = deque(maxlen=4096)  # since it last had nothing to do
        self._stats = HostStats()
        self._tokens = 0  # as the engine last said
        self._deaths_in_vain = self._failed_starts = 0
        self._is_ready = self._has_been_ready = False
        self._noted = time.monotonic()
        self._error: MachineError | None = None  # of an engine that is given up
        self._is_closed = False
        self._engine: EngineProcess | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (as long as this lives)
        self._thread: threading.Thread | None = None

    def exchange(self, client: str, requests: Sequence[tuple[int, Request]], wait_s: float) -> Exchanged:
        """Leave requests, and get what has finished of those left before, each once.

        Waits, for ``wait_s`` at most, until something has finished. Requests are known by their client's number: one
        that is here already is not taken again. A client that does not call for ``lease_s`` is forgotten.

        Raises:
            MachineError: the engine cannot be had.
        """
        deadline = time.monotonic() + wait_s
        with self._lock:
            caller = self._clients.get(client) or Client(time.monotonic(), changed=threading.Condition(self._lock))
            self._clients[client] = caller
            self._take(caller, requests)
            caller.calls += 1
            while not (caller.finished or caller.is_gone or self._error):
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                caller.changed.wait(left_s)
            caller.calls -= 1
            caller.called = time.monotonic()
            if self._error is not None:
                raise self._error
            finished, caller.finished = caller.finished, []
            return Exchanged(finished, self._room(caller), caller.record)

    def leave(self, client: str) -> None:
        """Forget a client and its requests."""
        with self._lock:
            caller = self._clients.pop(client, None)
            if caller is not None:
                caller.is_gone = True
                caller.changed.notify_all()
        self._wake()

    def stats(self) -> HostStats:
        with self._lock:
            self._note_time()
            return dataclasses.replace(self._stats)

    @property
    def pid(self) -> int | None:
        """Process group of the engine, if it runs."""
        with self._lock:
            return self._engine.pid if self._engine else None

    def close(self) -> None:
        """End the engine; who waits, and who calls later, gets an error."""
        with self._lock:
            self._is_closed = True
            self._give_up(MachineError("the engine has been closed"))
            thread = self._thread
        self._wake()
        if thread is not None:
            thread.join()

    # -- on the threads of the callers, under the lock

    def _take(self, caller: Client, requests: Sequence[tuple[int, Request]]) -> None:
        known = caller.numbers.union(number for number, _ in caller.finished)
        new = []
        for number, request in requests:
            if number in known:
                continue
            if problem := _unfit(request, self._reads_pictures):
                caller.finish(number, RequestFailedError("refused", problem))
            else:
                new.append(Held(next(self._keys), caller, number, request))
        if not new or self._error:
            return
        caller.numbers.update(held.number for held in new)
        self._schedule.add(new)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="vllm host", daemon=True)
            self._thread.start()
        self._changed.notify_all()
        self._wake()

    def _wake(self) -> None:
        engine = self._engine
        if engine is not None:
            engine.wake()

    def _room(self, caller: Client) -> int:
        """A fair share of what is worth having here in all, or of what is free, if that is more.

        Worth having is what the engine can do in ``LEASE_S``, within bounds: it must stay full while calls come and go.
        """
        slots, clients = self._options.max_num_seqs, max(1, len(self._clients))
        in_all = 2 * self._window
        if len(self._answer_times) >= slots:
            per_s = len(self._answer_times) / max(1e-3, time.monotonic() - self._answer_times[0])
            in_all = min(in_all, max(slots + slots // 8 + 1, int(per_s * LEASE_S)))
        free = max(0, in_all - len(self._schedule))
        return max(-(-in_all // clients), len(caller.numbers) + free // clients)

    # -- on the thread that has the engine

    def _run(self) -> None:
        try:
            while self._is_needed():
                self._live_through_one_engine()
        except MachineError as error:
            self._give_up(error)
        except BaseException as error:
            self._give_up(MachineError(f"the engine's keeper has failed: {error!r}"))
            raise

    def _is_needed(self) -> bool:
        """Wait until there are requests, or the host is closed."""
        with self._lock:
            self._changed.wait_for(lambda: len(self._schedule) > 0 or self._is_closed)
            return not self._is_closed

    def _live_through_one_engine(self) -> None:
        """
        Raises:
            MachineError: it does not start, or dies again and again.
        """
        engine = self._started()
        try:
            self._await_ready(engine)
            with self._lock:
                self._note_time()
                self._is_ready = True
            self._serve(engine)
        except _EngineEndedError as error:
            problem = str(error)
        finally:
            with self._lock:
                self._note_time()
                was_ready, self._is_ready, self._engine = self._is_ready, False, None
            engine.kill()
        if self._is_closed:
            return
        if was_ready:
            self._has_been_ready, self._failed_starts = True, 0
            self._note_death(problem)
        else:
            self._note_failed_start(problem)

    def _started(self) -> EngineProcess:
        if self._program == WORKER and importlib.util.find_spec("vllm") is None:
            raise MachineError("engine: vllm needs vLLM on the machines that run it: pip install 'sluice[vllm]'")
        self._log.seek(0)
        self._log.truncate()
        arguments = [orjson.dumps(dataclasses.asdict(self._options)).decode()]
        engine = EngineProcess(self._program, arguments, self._log)
        with self._lock:
            self._note_time()
            self._engine = engine
            self._stats.starts += 1
        return engine

    def _await_ready(self, engine: EngineProcess) -> None:
        """
        Raises:
            _EngineEndedError: it has not answered its first request in time.
        """
        while not self._is_closed:
            if any("ready" in message for message in engine.received(LOOK_S)):
                return
            with self._lock:
                self._forget_silent_clients()
                self._schedule.forgotten()
            if engine.has_ended:
                raise _EngineEndedError("ended before it was ready")
            if time.monotonic() - engine.started > self._start_deadline_s:
                raise _EngineEndedError(f"was not ready after {self._start_deadline_s:g} s")

    def _serve(self, engine: EngineProcess) -> None:
        """Give it requests and take its answers until the host is closed.

        Raises:
            _EngineEndedError: it has ended, or hangs.
            MachineError: it can do nothing with what it is asked.
        """
        progressed = time.monotonic()
        while not self._is_closed:
            with self._lock:
                self._note_time()
                self._forget_silent_clients()
                aborted = self._schedule.forgotten()
                if not self._schedule.under_way:
                    progressed = time.monotonic()
                admitted = self._schedule.admitted()
            if aborted:
                engine.send({"abort": aborted})
            if admitted:
                engine.send({"ask": [_told(held) for held in admitted]})
            messages = engine.received(LOOK_S)
            now = time.monotonic()
            with self._lock:
                self._note_time()
                for message in messages:
                    if self._take_message(message):
                        progressed = now
            if engine.has_ended:
                raise _EngineEndedError("died")
            if now - progressed > self._stall_s:
                raise _EngineEndedError(f"made no token for {self._stall_s:g} s")

    # -- on that thread, under the lock

    def _take_message(self, message: dict[str, Any]) -> bool:
        """Returns whether the message shows that the engine gets on.

        Raises:
            MachineError: it can do nothing with what it is asked.
        """
        if "tokens" in message:
            tokens, self._tokens = self._tokens, message["tokens"]
            return bool(self._tokens != tokens)
        if "answer" in message:
            key, text, finish_reason, prompt_tokens, completion_tokens = message["answer"]
            self._finish(key, Answer(text, finish_reason, prompt_tokens, completion_tokens))
            self._stats.prompt_tokens += prompt_tokens
            self._stats.completion_tokens += completion_tokens
        elif "failed" in message:
            key, reason, evidence = message["failed"]
            self._finish(key, RequestFailedError(reason, evidence))
        elif "given_up" in message:
            raise MachineError(message["given_up"])
        return True

    def _finish(self, key: int, answer: Answer | RequestFailedError) -> None:
        self._deaths_in_vain = 0
        self._stats.answers += 1
        self._answer_times.append(time.monotonic())
        held = self._schedule.ended(key)
        if held is not None:
            held.client.finish(held.number, answer)

    def _forget_silent_clients(self) -> None:
        now = time.monotonic()
        silent = [
            name for name, client in self._clients.items() if not client.calls and now - client.called > self._lease_s
        ]
        for name in silent:
            self._clients.pop(name).is_gone = True

    def _note_time(self) -> None:
        """Count the time since this was last noted; to be called before the number of requests under way changes."""
        now = time.monotonic()
        elapsed_s, self._noted = now - self._noted, now
        under_way = self._schedule.under_way
        if not self._is_ready:
            self._stats.starting_s += elapsed_s if self._engine else 0.0
        elif under_way:
            self._stats.busy_s += elapsed_s
            self._stats.full_s += elapsed_s if under_way >= self._options.max_num_seqs else 0.0
        else:
            self._stats.idle_s += elapsed_s
            self._answer_times.clear()

    # -- on that thread

    def _note_death(self, problem: str) -> None:
        """
        Raises:
            MachineError: it has died too often without an answer between.
        """
        with self._lock:
            self._answer_times.clear()
            self._deaths_in_vain += 1
            deadly = self._schedule.died()
            if deadly is not None:
                evidence = f"vLLM's engine {problem} at {deadly.deaths} runs of this request, the last of it alone"
                deadly.client.finish(deadly.number, RequestFailedError("deadly", f"{evidence}; {self._said()[-300:]}"))
            if self._deaths_in_vain == MAX_DEATHS_IN_VAIN:
                raise MachineError(
                    f"vLLM's engine {problem}, for the {MAX_DEATHS_IN_VAIN}th time without an answer between. "
                    f"{self._last_words()}"
                )

    def _note_failed_start(self, problem: str) -> None:
        """
        Raises:
            MachineError: it never started, or has not for several times.
        """
        self._failed_starts += 1
        if not self._has_been_ready or self._failed_starts == MAX_FAILED_STARTS:
            raise MachineError(f"vLLM's engine {problem}. {self._last_words()}")
        with self._lock:
            self._changed.wait_for(lambda: self._is_closed, self._failed_starts * START_PAUSE_S)

    def _last_words(self) -> str:
        said = self._said()
        return f"The last that it said:\n{said}\nRemedy that (memory of the GPU, name of the model), then run again"

    def _said(self) -> str:
        end = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 2000, max(0, end - 2000)).decode("utf-8", "replace").strip()

    def _give_up(self, error: MachineError) -> None:
        with self._lock:
            self._error = self._error or error
            self._changed.notify_all()
            for client in self._clients.values():
                client.changed.notify_all()


def _told(held: Held) -> list[Any]:
    """A request as the worker is told it."""
    asked = held.request
    told = [held.key, asked.prompt, asked.max_tokens, asked.temperature, asked.top_p, asked.seed]
    return [*told, base64.b64encode(asked.image_png).decode()] if asked.image_png else told


def _unfit(request: Request, reads_pictures: bool) -> str:
    """Why the engine cannot be given this request, if so."""
    if request.image_png and not reads_pictures:
        return "this engine reads no pictures: have a server read them"
    if request.seed is not None and request.seed.bit_length() > MAX_SEED_BITS:
        return f"the seed {request.seed} is longer than {MAX_SEED_BITS} bits"
    try:
        request.prompt.encode()
    except UnicodeEncodeError as error:
        return f"the prompt is no text: {error}"
    return ""

"""Where parts are made: as tasks on Ray, or one after another in this process.

Ray's own retries are off (``max_retries=0``): how often a part is tried, and what becomes of one that kills its worker,
is decided here alone.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from pipeline.artifact import Part
from pipeline.errors import MachineError, SluiceError, StageError
from pipeline.isolation import Allowance, Poison, find_poison, is_divisible
from pipeline.services import LocalProcess, RayProcess, started_on_ray
from pipeline.supervision import Supervision
from pipeline.task import PartSpec, run_part

MAX_ATTEMPTS = 3  # of a part whose worker dies
MAX_VANISHED = 20  # machines that may vanish under one part: spot machines do, but not all of them, all the time
POLL_S = 0.25
LOOK_EVERY_S = 5.0  # at the machines of the cluster
HEAD_S = 60.0  # for which the head of the cluster may be away: it may be started again, with all that it knew
RAY_ENDS_S = 180  # after so long without it Ray ends the driver's process without a word, which is not waited for
STOP_S = 5.0  # for tasks to remove what they were writing
CONNECT_S = 10.0
JOIN_TRIES = 3


@dataclass(frozen=True)
class Failure:
    """Why a task ended without a part; crosses Ray in place of an exception, which may not unpickle."""

    message: str
    exit_code: int
    trace: str


def attempt_part(spec: PartSpec, deadline_s: float = 0.0) -> Part | Failure:
    """``run_part``, with errors as values.

    Args:
        deadline_s: after which the kernel ends this process, whatever it does; 0 for none.
    """
    if deadline_s:
        signal.setitimer(signal.ITIMER_REAL, deadline_s)
    try:
        return run_part(spec)
    except Exception as error:
        return _failure(spec, error)
    finally:
        if deadline_s:
            signal.setitimer(signal.ITIMER_REAL, 0.0)


def isolate(spec: PartSpec, allowance: Allowance) -> tuple[Poison, ...] | Failure:
    """``find_poison``, with errors as values."""
    try:
        return find_poison(spec, allowance)
    except Exception as error:
        return _failure(spec, error)


def _failure(spec: PartSpec, error: Exception) -> Failure:
    if isinstance(error, SluiceError):
        message = str(error)
        if spec.artifact not in message:
            message = f"{spec.artifact}, part {spec.name}: {message}"
        return Failure(message, error.exit_code, "")
    message = f"{spec.artifact}, part {spec.name}: {type(error).__name__}: {error}"
    return Failure(message, StageError.exit_code, "".join(traceback.format_exception(error)))


class InProcess:
    """Runs parts one after another in this process, for `sluice try` on a few files."""

    slots = 1

    def __init__(self) -> None:
        self._waiting: deque[PartSpec] = deque()
        self.retried: deque[tuple[PartSpec, str]] = deque()  # none ever: a part that kills this process ends it
        self._services: dict[str, tuple[LocalProcess, ...]] = {}  # by artifact

    def submit(self, spec: PartSpec) -> None:
        if spec.service and spec.artifact not in self._services:
            self._services[spec.artifact] = (LocalProcess(spec.service.make),)
        self._waiting.append(replace(spec, processes=self._services.get(spec.artifact, ())))

    def end_service(self, artifact: str) -> None:
        """End the processes that have served the tasks of an artifact, if there are any."""
        for process in self._services.pop(artifact, ()):
            process.close()

    def results(self) -> list[tuple[PartSpec, Part | Failure]]:
        """The next finished part."""
        spec = self._waiting.popleft()
        return [(spec, attempt_part(spec))]

    def stop(self) -> None:
        self._waiting.clear()
        for artifact in list(self._services):
            self.end_service(artifact)


def _probe(address: str) -> None:
    """Ray itself waits for minutes when nothing answers at an address.

    Raises:
        MachineError: nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise MachineError(
            f"cannot reach Ray at {address}: {error}. See that the cluster is up, or leave --address out to use this "
            "machine alone"
        ) from error


def _start_or_join(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Behind ray://, Ray forks a process of many threads for each driver, and now and then the child dies at birth
    (seen once in some hundreds of joins): Ray then aborts the connection, and another try gets another child."""
    for tries_left in reversed(range(JOIN_TRIES)):
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
            return
        except ConnectionAbortedError as error:
            if not tries_left:
                raise
            first_line, *_ = str(error).splitlines() or [type(error).__name__]  # the rest is the server's own traceback
            print(f"Ray at {address} refused: {first_line.rstrip(':. ')}. Trying again", file=sys.stderr)


@dataclass(frozen=True)
class _Handed:
    """A task that Ray has."""

    spec: PartSpec
    since: float
    isolates: bool = False


class OnRay:
    """Runs parts as Ray tasks, on an embedded Ray or on a cluster.

    Args:
        address: None starts Ray in this process tree; "auto" or "ray://host:port" joins a cluster.
        supervision: how long parts may take, and how many documents may kill their process.

    Raises:
        MachineError: the cluster cannot be reached.
    """

    def __init__(self, address: str | None, supervision: Supervision) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(RAY_ENDS_S))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow their neighbours 5 to 14 times
        import ray

        self._ray = ray
        embedded: dict[str, Any] = {}
        if address and ":" in address:
            _probe(address)
        if address is None:
            embedded = {"include_dashboard": False, "object_store_memory": 128 << 20}
        try:
            _start_or_join(ray, address or "local", embedded)
        except Exception as error:  # Ray raises many types here; all mean the same to the user
            raise MachineError(f"cannot start or reach Ray at {address or 'this machine'}: {error}") from error
        self._head = "" if address and address.startswith("ray://") else ray.get_runtime_context().gcs_address
        self._head_missed: float | None = None  # since when it has not answered
        self._look_at_cluster()
        self._task = ray.remote(max_retries=0)(attempt_part)
        self._isolation = ray.remote(max_retries=0, num_cpus=1)(isolate)
        self._supervision = supervision
        self._running: dict[Any, _Handed] = {}
        self._poisonous = 0
        self._made: set[str] = set()  # keys of parts that are there; a slower copy may be under way yet
        self._services: dict[str, tuple[RayProcess, ...]] = {}  # by artifact
        self._attempts: dict[str, int] = {}  # that died, by key
        self._vanished: dict[str, int] = {}  # with their machines
        self._memory: dict[str, float] = {}  # bytes that a part is to have, as it took too many before, by key
        self.retried: deque[tuple[PartSpec, str]] = deque()  # with the cause, for the scheduler to tell
        self._is_interrupted = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):  # Ray's own answer to SIGTERM can abort the driver
                signal.signal(number, self._interrupt)

    def _look_at_cluster(self) -> None:
        """Note what the cluster has now: it may grow, because parts wait, and shrink under a run."""
        self._resources = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus = [int(resources.get("CPU", 0)) for resources in self._resources]
        self.slots, self._widest = max(1, sum(cpus)), max(cpus, default=0)
        self._gpus = sum(float(resources.get("GPU", 0)) for resources in self._resources)
        memories = [(float(r.get("memory", 0)), int(r.get("CPU", 0))) for r in self._resources if r.get("CPU")]
        self._memory_a_slot = min((memory / cpus for memory, cpus in memories), default=0.0)
        self._most_memory = max((memory for memory, _ in memories), default=0.0)
        self._looked = time.monotonic()

    def _head_is_there(self) -> bool:
        """Whether the cluster's head answers. Ray itself waits for it in silence.

        Raises:
            MachineError: it has not for HEAD_S.
        """
        self._looked = time.monotonic()
        try:
            if self._head:
                _probe(self._head)
        except MachineError as error:
            self._head_missed = self._head_missed or time.monotonic()
            if (away_s := time.monotonic() - self._head_missed) < HEAD_S:
                return False
            raise MachineError(
                f"the head of the Ray cluster has not answered for {away_s:.0f} s ({self._head}). See that the cluster "
                "is up, or start another, and give the same command again: what was committed is kept"
            ) from error
        self._head_missed = None
        return True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Note a Ctrl-C, or a SIGTERM as schedulers send it, for ``results`` to raise: raised here it might land in a
        destructor of Ray's, which Python ignores. A second one ends the driver at once."""
        self._is_interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def submit(self, spec: PartSpec) -> None:
        if spec.service and spec.artifact not in self._services:
            self._services[spec.artifact] = started_on_ray(spec.service, self._resources)
        processes, gpus = self._services.get(spec.artifact, ()), min(spec.gpus, self._gpus)
        of_service = spec.service.gpus * len(processes) / self.slots if spec.service and self._gpus else 0.0
        spec = replace(spec, service=None, processes=processes, gpus_had=gpus + of_service)
        cpus = max(1, min(spec.cpus, self._widest))
        options = {"num_cpus": cpus, "num_gpus": gpus, "name": f"{spec.artifact}:{spec.name}"}
        options |= {"memory": self._memory[spec.key]} if spec.key in self._memory else {}
        deadline_s = self._supervision.part_s if is_divisible(spec) else 0.0
        self._running[self._task.options(**options).remote(spec, deadline_s)] = _Handed(spec, time.monotonic())

    def end_service(self, artifact: str) -> None:
        """End the processes that have served the tasks of an artifact, if there are any."""
        for process in self._services.pop(artifact, ()):
            process.close()

    def results(self) -> list[tuple[PartSpec, Part | Failure]]:
        """Parts that have finished since the last call; waits a moment for the first."""
        if time.monotonic() - self._looked > LOOK_EVERY_S and self._head_is_there():
            self._look_at_cluster()
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_S)
        if self._is_interrupted:
            raise KeyboardInterrupt
        found = []
        for reference in done:
            handed = self._running.pop(reference)
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                result = self._retried(handed, error)
            if isinstance(result, tuple):
                result = self._without(handed.spec, result)
            if result is not None:
                self._made.add(handed.spec.key)
                found.append((handed.spec, result))
        return found

    def _retried(self, handed: _Handed, error: Exception) -> Failure | None:
        """Have the part of a task that gave no answer made again, or see which of its documents is to blame."""
        spec = handed.spec
        if spec.key in self._made:
            return Failure("its copy was faster", 0, "")
        if isinstance(error, self._ray.exceptions.NodeDiedError):
            self._vanished[spec.key] = self._vanished.get(spec.key, 0) + 1
            if self._vanished[spec.key] > MAX_VANISHED:
                return Failure(
                    f"{spec.artifact}, part {spec.name}: {MAX_VANISHED} machines vanished under it. See why (memory, "
                    "spot prices, health checks), then give the same command again: what was committed is kept",
                    MachineError.exit_code,
                    str(error),
                )
            self.submit(spec)
            self.retried.append((spec, type(error).__name__))
            return None
        self._attempts[spec.key] = self._attempts.get(spec.key, 0) + 1
        hung = not handed.isolates and time.monotonic() - handed.since >= self._supervision.part_s
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):  # beside others: the next time beside fewer
            had = self._memory.get(spec.key, self._memory_a_slot * max(1, spec.cpus))
            self._memory[spec.key] = min(2 * had, self._most_memory)
        if self._attempts[spec.key] < MAX_ATTEMPTS and not hung:
            self.submit(spec)
            self.retried.append((spec, type(error).__name__))
            return None
        if is_divisible(spec) and not handed.isolates:
            starved = spec.key in self._memory
            task = self._isolation.options(
                name=f"{spec.artifact}:{spec.name}:isolation", memory=self._most_memory if starved else 0
            )
            allowance = Allowance(self._supervision.batch_s, self._most_memory if starved else math.inf)
            reference = task.remote(spec, allowance)
            self._running[reference] = _Handed(spec, time.monotonic(), isolates=True)
            return None
        return self._dead(spec, error)

    def _without(self, spec: PartSpec, poison: tuple[Poison, ...]) -> Failure | None:
        """Have a part made without the documents that kill its worker."""
        if len(poison) == len(spec.poison):
            return self._dead(spec, None)
        self._poisonous += len(poison) - len(spec.poison)
        if self._poisonous > self._supervision.poisonous:
            return Failure(
                f"{spec.artifact}, part {spec.name}: {self._poisonous} documents of this run killed, or hung, the "
                f"process that worked on them, the last being {poison[-1].id} ({poison[-1].evidence}, in stage "
                f"{poison[-1].step}). Mend that stage or machine, or raise supervision.poisonous in the recipe",
                StageError.exit_code,
                "",
            )
        self._attempts.pop(spec.key)
        spec = replace(spec, poison=poison)
        self.submit(spec)
        self.retried.append((spec, "poison"))
        return None

    def _dead(self, spec: PartSpec, error: Exception | None) -> Failure:
        told = f" ({type(error).__name__})" if error else ", but not when its documents were tried one by one"
        return Failure(
            f"{spec.artifact}, part {spec.name}: its worker process died {self._attempts[spec.key]} times{told}: out "
            "of memory, or an input that crashes a library. Give the machine more memory or fewer CPUs, try that input "
            "alone with 'sluice try', or take it out of the recipe",
            MachineError.exit_code,
            str(error or ""),
        )

    def stop(self) -> None:
        """Give the tasks that run a moment to see the run's stop sign; what is left dies with this driver's job."""
        running = list(self._running)
        self._running.clear()
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=STOP_S)
        for artifact in list(self._services):
            self.end_service(artifact)

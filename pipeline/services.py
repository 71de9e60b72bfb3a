"""Processes that serve the tasks of a stage, such as engines on GPUs: as Ray actors, or in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.errors import MachineError, ServiceGoneError, SluiceError, StageError
from pipeline.stage import Service

MAX_CALLS_AT_ONCE = 512  # of one process: each task has two under way
CLOSE_S = 10.0


class LocalProcess:
    """The object of a service in this process."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._held = make()

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self._held, method)(*arguments)

    def close(self) -> None:
        _close(self._held)


class Holder:
    """What a Ray actor runs: the object of a service, made at the first call, and errors as values, since exceptions
    may not unpickle."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._held: Any = None
        self._lock = threading.Lock()

    def call(self, method: str, arguments: tuple[Any, ...]) -> tuple[Any, str, int]:
        """The result, or the message of an error and its exit code."""
        try:
            with self._lock:
                if self._held is None:
                    self._held = self._make()
            return getattr(self._held, method)(*arguments), "", 0
        except SluiceError as error:
            return None, str(error), error.exit_code

    def close(self) -> None:
        """Let the object end what it has started."""
        with self._lock:
            if self._held is not None:
                _close(self._held)


class RayProcess:
    """A Ray actor, which Ray starts again when it dies. May be sent to tasks."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RayProcess) and self._actor._actor_id == other._actor._actor_id

    def __hash__(self) -> int:
        return hash(self._actor._actor_id)

    def call(self, method: str, *arguments: Any) -> Any:
        import ray

        try:
            result, problem, exit_code = ray.get(self._actor.call.remote(method, arguments))
        except ray.exceptions.RayActorError as error:
            raise ServiceGoneError(f"a process that serves this stage has died: {error}") from error
        if problem:
            raise MachineError(problem) if exit_code == MachineError.exit_code else StageError(problem)
        return result

    def close(self) -> None:
        import ray

        with suppress(ray.exceptions.RayError, TimeoutError):  # it has died, or hangs: it is killed in any case
            ray.get(self._actor.close.remote(), timeout=CLOSE_S)
        ray.kill(self._actor)


def started_on_ray(service: Service, nodes: Sequence[Mapping[str, float]]) -> tuple[RayProcess, ...]:
    """Actors for a service, on a cluster of nodes with so much of each resource.

    None asks for a core: tasks that wait for an actor may hold them all when it starts, or starts again.

    Raises:
        MachineError: the cluster has no room for as many as are asked for: some would never start, nor answer.
    """
    import ray

    gpus = min(service.gpus, max((node.get("GPU", 0.0) for node in nodes), default=0.0))
    room = sum(int(node.get("GPU", 0.0) / gpus) for node in nodes) if gpus else 0
    count = service.processes or max(1, room)
    if gpus and count > room:
        raise MachineError(
            f"a stage asks for {count} processes with {gpus:g} GPUs each, and this cluster has room for {room}: "
            "give its option 'processes' as 0, or add GPUs"
        )
    actor = ray.remote(Holder).options(
        num_cpus=0, num_gpus=gpus, max_restarts=-1, max_task_retries=0, max_concurrency=MAX_CALLS_AT_ONCE
    )
    return tuple(RayProcess(actor.remote(service.make)) for _ in range(count))


def _close(held: Any) -> None:
    if hasattr(held, "close"):
        held.close()

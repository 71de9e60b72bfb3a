"""Runs a graph on Ray: parts as tasks, a bounded number in flight, each artifact sealed when all its parts are in.

Only paths and part records cross Ray. All state is on storage, so the driver can be killed at any moment; running
again goes on from the committed parts. Retries belong to this module alone (``max_retries=0`` for Ray).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import FrameType
from typing import Any

from pipeline import storage
from pipeline.artifact import Artifact, Part, Phase
from pipeline.errors import MachineError, SluiceError, StageError
from pipeline.graph import Graph
from pipeline.journal import Journal
from pipeline.progress import Display, ProgressFile, StageProgress, StopSign, forget_steps, reported_steps
from pipeline.run import InputDigests, Plan, Run, check_edges, plan_node, plan_phase
from pipeline.services import LocalProcess, RayProcess, started_on_ray
from pipeline.stage import Map, Shuffle
from pipeline.take_down import check_taken_down
from pipeline.task import PartSpec, run_part

MAX_ATTEMPTS = 3  # of a part whose worker dies; a vanished node does not count
WINDOW_PER_SLOT = 2  # parts handed to Ray for each one that can run at once
POLL_S = 0.25
STOP_S = 5.0  # for tasks to remove what they were writing
CONNECT_S = 10.0
JOIN_TRIES = 3
VERSIONS_SHOWN = ("sluice", "ray", "pyarrow", "trafilatura", "fasttext-numpy2", "datasketch", "torch", "tokenizers")


@dataclass(frozen=True)
class Failure:
    """Why a task ended without a part; crosses Ray in place of an exception, which may not unpickle."""

    message: str
    exit_code: int
    trace: str


def attempt_part(spec: PartSpec) -> Part | Failure:
    """``run_part``, with errors as values."""
    try:
        return run_part(spec)
    except SluiceError as error:
        message = str(error)
        if spec.artifact not in message:
            message = f"{spec.artifact}, part {spec.name}: {message}"
        return Failure(message, error.exit_code, "")
    except Exception as error:
        message = f"{spec.artifact}, part {spec.name}: {type(error).__name__}: {error}"
        return Failure(message, StageError.exit_code, traceback.format_exc())


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


class OnRay:
    """Runs parts as Ray tasks, on an embedded Ray or on a cluster.

    Args:
        address: None starts Ray in this process tree; "auto" or "ray://host:port" joins a cluster.

    Raises:
        MachineError: the cluster cannot be reached.
    """

    def __init__(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._gpus = float(ray.cluster_resources().get("GPU", 0))
        self._resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._widest = max(int(resources.get("CPU", 0)) for resources in self._resources)
        self._task = ray.remote(max_retries=0)(attempt_part)
        self._running: dict[Any, PartSpec] = {}
        self._services: dict[str, tuple[RayProcess, ...]] = {}  # by artifact
        self._attempts: dict[str, int] = {}
        self.retried: deque[tuple[PartSpec, str]] = deque()  # with the cause, for the scheduler to tell
        self._is_interrupted = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Note a Ctrl-C for ``results`` to raise: raised here it might land in a destructor of Ray's, which Python
        ignores. A second one is raised at once."""
        self._is_interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def submit(self, spec: PartSpec) -> None:
        if spec.service and spec.artifact not in self._services:
            self._services[spec.artifact] = started_on_ray(spec.service, self._resources)
        spec = replace(spec, service=None, processes=self._services.get(spec.artifact, ()))
        cpus = max(1, min(spec.cpus, self._widest))
        options = {"num_cpus": cpus, "num_gpus": min(spec.gpus, self._gpus), "name": f"{spec.artifact}:{spec.name}"}
        self._running[self._task.options(**options).remote(spec)] = spec

    def end_service(self, artifact: str) -> None:
        """End the processes that have served the tasks of an artifact, if there are any."""
        for process in self._services.pop(artifact, ()):
            process.close()

    def results(self) -> list[tuple[PartSpec, Part | Failure]]:
        """Parts that have finished since the last call; waits a moment for the first."""
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL_S)
        if self._is_interrupted:
            raise KeyboardInterrupt
        found = []
        for reference in done:
            spec = self._running.pop(reference)
            try:
                found.append((spec, self._ray.get(reference)))
            except self._ray.exceptions.RayError as error:
                if failure := self._retried(spec, error):
                    found.append((spec, failure))
        return found

    def _retried(self, spec: PartSpec, error: Exception) -> Failure | None:
        vanished = isinstance(error, self._ray.exceptions.NodeDiedError)
        self._attempts[spec.key] = self._attempts.get(spec.key, 0) + (not vanished)
        if self._attempts[spec.key] < MAX_ATTEMPTS:
            self.submit(spec)
            self.retried.append((spec, type(error).__name__))
            return None
        return Failure(
            f"{spec.artifact}, part {spec.name}: its worker process died {MAX_ATTEMPTS} times "
            f"({type(error).__name__}): out of memory, or an input that crashes a library. Try that input alone "
            "with 'sluice try', or take it out of the recipe",
            MachineError.exit_code,
            str(error),
        )

    def stop(self) -> None:
        """Give the tasks that run a moment to see the run's stop sign; what is left dies with this driver's job."""
        running = list(self._running)
        self._running.clear()
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=STOP_S)
        for artifact in list(self._services):
            self.end_service(artifact)


def failures_of(artifact: str, part: Part) -> str:
    """A sentence on the documents of a part that failed; empty if none did."""
    failed: Counter[str] = Counter()
    for sources in part.ledger.steps.values():
        for counts in sources.values():
            failed += counts.failed
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(failed.items()))
    return f"{artifact}, {part.name}: could not be read or processed: {reasons}" if failed else ""


def stop_on_failed(run: Run, graph: Graph, artifact: str, part: Part) -> None:
    """Hold a part to ``on_failed: stop``, whether this run made it or an earlier one.

    Raises:
        StageError: some of its documents failed, and the recipe says to stop then.
    """
    if graph.recipe.on_failed == "stop" and (failures := failures_of(artifact, part)):
        raise StageError(f"{failures}. The recipe says on_failed: stop; see {storage.shown(run.folder)}")


def sealed_artifacts(run: Run, graph: Graph, digests: InputDigests) -> dict[str, Artifact]:
    """The artifacts of this graph that are already there; needs no Ray.

    Raises:
        StageError: one of them holds failed documents, and the recipe says to stop then.
    """
    sealed: dict[str, Artifact] = {}
    for node in graph.nodes:
        if all(name in sealed for name in node.dependencies):
            artifact = run.artifact_folder(node.name).sealed(plan_node(run, graph, node, sealed, digests).fingerprint)
            if artifact is not None:
                for part in artifact.parts:
                    stop_on_failed(run, graph, node.name, part)
                stage = node.steps[0].stage
                if isinstance(stage, Shuffle):
                    stage.check_sealed(artifact.summary)
                    run.artifact_folder(node.name).forget_unnamed()
                check_taken_down(run, artifact)
                sealed[node.name] = artifact
    digests.save()
    return sealed


class Scheduler:
    """Brings a graph to completion: plans nodes as their inputs are sealed, keeps the window full, seals."""

    def __init__(
        self, run: Run, graph: Graph, sealed: dict[str, Artifact], digests: InputDigests, display: Display
    ) -> None:
        self.run, self.graph, self.sealed, self.digests, self.display = run, graph, sealed, digests, display
        self.stages = display.stages
        self.queues: dict[str, deque[PartSpec]] = {}  # by node, in graph order
        self.plans: dict[str, Plan] = {}
        self.parts: dict[str, dict[str, Part]] = {}  # by node and key
        self.phases: dict[str, list[Phase]] = {}  # of shuffles: those that are done, by node
        self.kept: set[str] = set()  # keys of the parts of shuffles that their artifacts consist of
        self.in_flight = 0
        self.store = storage.store_of(run.folder)
        self.sign = StopSign.of_new_driver(run.folder)

    def execute(self, executor: OnRay | InProcess) -> None:
        """Run until every node is sealed.

        Raises:
            SluiceError: a part failed for good; nothing that was committed is lost.
        """
        self.journal = Journal(self.run.folder, self.graph.recipe.name)  # its metrics need the executor's Ray
        try:
            while len(self.sealed) < len(self.graph.nodes):
                self._plan_ready_nodes()
                self._submit(executor)
                if self.in_flight:
                    finished = executor.results()
                    while executor.retried:
                        self.journal.retried(*executor.retried.popleft())
                    for spec, result in finished:
                        self.in_flight -= 1
                        self._take(spec, result)
                        if spec.artifact in self.sealed:
                            executor.end_service(spec.artifact)
                self._read_progress()
                self.display.tick()
        except BaseException:
            self.sign.put_up()
            executor.stop()
            self.sign.take_down()
            raise
        finally:
            self.journal.close()

    def _plan_ready_nodes(self) -> None:
        for node in self.graph.nodes:
            ready = node.name not in self.plans and all(name in self.sealed for name in node.dependencies)
            if node.name in self.sealed or not ready:
                continue
            forget_steps(self.run.folder, node.name)
            progress = self.stages[node.name]
            progress.state, progress.started = "running", time.monotonic()
            self.parts[node.name] = {}
            self._begin(plan_node(self.run, self.graph, node, self.sealed, self.digests))
        self.digests.save()

    def _begin(self, plan: Plan) -> None:
        """Take up the parts of a node, or of the next phase of a shuffle: those that are there count as done."""
        name = plan.node.name
        self.plans[name] = plan
        committed = self.run.artifact_folder(name).committed(s.key for s in plan.specs)
        self.parts[name].update(committed)
        self.queues[name] = deque(s for s in plan.specs if s.key not in committed)
        progress = self.stages[name]
        progress.parts += len(plan.specs)
        progress.reused_parts += len(committed)
        self.run.state.parts[name] = progress.parts
        for part in committed.values():
            stop_on_failed(self.run, self.graph, name, part)
            self._show(name, part)
        if committed and len(committed) < len(plan.specs):
            self.display.say(f"{name}: {len(committed)} of {len(plan.specs)} parts are there already; going on")
        self._seal_if_complete(name)

    def _submit(self, executor: OnRay | InProcess) -> None:
        window = executor.slots * WINDOW_PER_SLOT
        for queue in self.queues.values():
            while queue and self.in_flight < window:
                spec = replace(queue.popleft(), stop=self.sign.path, store=self.store)
                executor.submit(spec)
                self.journal.began(spec)
                self.in_flight += 1

    def _take(self, spec: PartSpec, result: Part | Failure) -> None:
        if isinstance(result, Failure):
            self.journal.failed(spec, result.message)
            self._raise(result)
        assert isinstance(result, Part)
        self.parts[spec.artifact][spec.key] = result
        self.journal.ended(spec, result)
        if self.plans[spec.artifact].node.tells_steps:
            ProgressFile(self.run.folder, spec.artifact, spec.key).clear()
        self._show(spec.artifact, result)
        self._tell_failures(spec, result)
        self._seal_if_complete(spec.artifact)

    def _raise(self, failure: Failure) -> None:
        message = failure.message
        if failure.trace:
            log = self.run.folder / "error.log"
            storage.replace(log, failure.trace.encode())
            message += f"\nThe full account is in {storage.shown(log)}"
        error: SluiceError = (
            MachineError(message) if failure.exit_code == MachineError.exit_code else StageError(message)
        )
        raise error

    def _tell_failures(self, spec: PartSpec, part: Part) -> None:
        stop_on_failed(self.run, self.graph, spec.artifact, part)
        if failures := failures_of(spec.artifact, part):
            self.display.say(f"warning: {failures} (in the ledger as failed)")

    def _show(self, name: str, part: Part) -> None:
        stage = self.stages[name]
        stage.parts_done += 1
        stage.records += sum(c.received + c.created for c in part.ledger.first()[1].values())
        stage.documents += sum(c.kept for c in part.ledger.last().values())

    def _seal_if_complete(self, name: str) -> None:
        plan, parts = self.plans[name], self.parts[name]
        if any(s.key not in parts for s in plan.specs):
            return
        if plan.node.is_shuffle and plan.specs:
            self._begin_next_phase(plan)
            return
        phases = self.phases.get(name, [])
        kept = [part for phase in phases for part in phase.parts if part.key in self.kept]
        artifact = plan.artifact(self.run, kept if phases else [parts[s.key] for s in plan.specs], phases)
        check_edges(artifact, plan.node, self.sealed)
        self.run.artifact_folder(name).seal(artifact)
        self.sealed[name] = artifact
        if phases:
            self.run.artifact_folder(name).forget_unnamed()
        check_taken_down(self.run, artifact)
        self._tell_empty_sources(plan, artifact)
        stage = self.stages[name]
        stage.seconds, stage.state = stage.elapsed(), "done"
        if stage.reused_parts < stage.parts:
            self.run.state.seconds[name] = round(
                self.run.state.seconds.get(name, 0.0) * bool(stage.reused_parts) + stage.seconds, 2
            )
        self.run.state.artifacts[name] = artifact.fingerprint
        self.run.save_state()
        self.journal.sealed(name, stage.parts, stage.reused_parts)
        self.display.stage_ended(name)

    def _begin_next_phase(self, plan: Plan) -> None:
        name = plan.node.name
        done = tuple(self.parts[name][s.key] for s in plan.specs)
        tasks = [spec.task for spec in plan.specs if spec.task is not None]
        self.kept.update(s.key for s in plan.specs if s.task is not None and s.task.is_kept)
        phases = self.phases.setdefault(name, [])
        phases.append(Phase(tasks[0].phase, self.run.artifact_folder(name).folder, done))
        specs = plan_phase(self.run, self.graph, plan.node, self.sealed, phases)
        self._begin(replace(plan, specs=tuple(specs)))

    def _tell_empty_sources(self, plan: Plan, artifact: Artifact) -> None:
        node = plan.node
        if node.is_global:
            return
        if not artifact.ledger.first()[1]:
            self.display.say(f"warning: {node.name}: there is no document in its {len(plan.specs)} parts")
        for step in node.steps:
            if isinstance(step.stage, Map) and not step.stage.passes_on:
                continue
            for source, counts in sorted(artifact.ledger.steps[step.label].items()):
                if counts.kept == 0:
                    reasons = (counts.dropped + counts.failed).most_common(3)
                    why = ", ".join(f"{n} {reason}" for reason, n in reasons)
                    self.display.say(f"warning: {step.label}: nothing is left of source {source} ({why})")

    def _read_progress(self) -> None:
        for node in self.graph.nodes:
            stage = self.stages[node.name]
            if stage.state == "running" and node.tells_steps:
                stage.steps = reported_steps(self.run.folder, node.name)


def installed_versions() -> Mapping[str, str]:
    """Versions of Sluice and of the libraries that shape its output."""
    return {name: version(name) for name in VERSIONS_SHOWN}


def stage_progress(graph: Graph, sealed: Mapping[str, Artifact]) -> dict[str, StageProgress]:
    """Progress records for all nodes; those that are sealed are marked as reused."""
    stages = {node.name: StageProgress() for node in graph.nodes}
    for name, artifact in sealed.items():
        stages[name] = StageProgress(
            "reused",
            parts_done=len(artifact.parts),
            parts=len(artifact.parts),
            records=sum(c.received + c.created for c in artifact.ledger.first()[1].values()),
            documents=sum(c.kept for c in artifact.ledger.last().values()),
        )
    return stages

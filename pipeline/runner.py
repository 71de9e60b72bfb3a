"""Runs a graph on Ray: parts as tasks, a bounded number in flight, each artifact sealed when all its parts are in.

Only paths and part records cross Ray. All state is on storage, so the driver can be killed at any moment; running
again goes on from the committed parts.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version

from pipeline import storage
from pipeline.artifact import GATHERED_PARTS, Artifact, Part, Phase
from pipeline.errors import MachineError, SluiceError, StageError
from pipeline.executors import Failure, InProcess, OnRay
from pipeline.graph import Graph
from pipeline.journal import Journal
from pipeline.locations.location import shown
from pipeline.progress import Display, ProgressFile, StageProgress, StopSign, forget_steps, reported_steps
from pipeline.run import InputDigests, Plan, Run, check_edges, plan_node, plan_phase
from pipeline.stage import Map, Shuffle
from pipeline.supervision import Watch
from pipeline.take_down import check_taken_down
from pipeline.task import PartSpec

WINDOW_PER_SLOT = 2  # parts handed to Ray for each one that can run at once
VERSIONS_SHOWN = ("sluice", "ray", "pyarrow", "trafilatura", "fasttext-numpy2", "datasketch", "torch", "tokenizers")


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
            artifact = run.sealed(node.name, plan_node(run, graph, node, sealed, digests).fingerprint)
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
        self.missing: dict[str, set[str]] = {}  # keys of the parts, or of those of a phase, that are still to come
        self.fresh: dict[str, list[Part]] = {}  # parts whose records are not gathered yet
        self.phases: dict[str, list[Phase]] = {}  # of shuffles: those that are done, by node
        self.kept: set[str] = set()  # keys of the parts of shuffles that their artifacts consist of
        self.in_flight: Counter[str] = Counter()  # how often each part is under way, by key
        self.handed: dict[str, PartSpec] = {}  # these parts
        self.watch = Watch(graph.recipe.supervision)
        self.store = storage.store_of(run.folder)
        self.sign = StopSign.of_new_driver(run.folder)

    def execute(self, executor: OnRay | InProcess) -> None:
        """Run until every node is sealed.

        Raises:
            SluiceError: a part failed for good; nothing that was committed is lost.
        """
        say = self.display.say if self.display.is_verbose else None
        self.journal = Journal(self.run.folder, self.graph.recipe.name, say)  # its metrics need the executor's Ray
        try:
            while len(self.sealed) < len(self.graph.nodes):
                self._plan_ready_nodes()
                self._submit(executor)
                if self.in_flight:
                    finished = executor.results()
                    while executor.retried:
                        self.journal.retried(*executor.retried.popleft())
                    for spec, result in finished:
                        self._take(spec, result)
                        if spec.artifact in self.sealed:
                            executor.end_service(spec.artifact)
                self._read_progress()
                self._supervise(executor)
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
        self.missing[name] = {spec.key for spec in self.queues[name]}
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
            while queue and self.in_flight.total() < window:
                self._hand(executor, replace(queue.popleft(), stop=self.sign.path, store=self.store))

    def _hand(self, executor: OnRay | InProcess, spec: PartSpec) -> None:
        executor.submit(spec)
        self.journal.began(spec)
        self.in_flight[spec.key] += 1
        self.handed[spec.key] = spec

    def _supervise(self, executor: OnRay | InProcess) -> None:
        """Run stragglers a second time, where there is nothing else to do; tell of silence."""
        if not any(self.queues.values()):
            for spec in self.watch.stragglers(self.handed, executor.slots):
                self.display.say(f"{spec.artifact}, part {spec.name}: takes much longer than others; run a second time")
                self.journal.lags(spec)
                self._hand(executor, spec)
        if warning := self.watch.silence(self.handed.values()):
            self.display.say(warning)
            self.journal.silent(warning)

    def _take(self, spec: PartSpec, result: Part | Failure) -> None:
        self.in_flight[spec.key] -= 1
        if not self.in_flight[spec.key]:
            del self.in_flight[spec.key], self.handed[spec.key]
        if spec.key in self.parts[spec.artifact]:
            return  # run twice, and this was the slower
        if isinstance(result, Failure):
            if spec.key in self.in_flight:
                return  # the other may do better
            self.journal.failed(spec, shown(result.message))
            self._raise(result)
        assert isinstance(result, Part)
        self.parts[spec.artifact][spec.key] = result
        self.missing[spec.artifact].discard(spec.key)
        self._gather(spec.artifact, result)
        self.journal.ended(spec, result)
        self.watch.ended(spec, result.seconds)
        if self.plans[spec.artifact].node.tells_steps:
            ProgressFile(self.run.folder, spec.artifact, spec.key).clear()
        self._show(spec.artifact, result)
        self._tell_failures(spec, result)
        self._seal_if_complete(spec.artifact)

    def _gather(self, name: str, part: Part) -> None:
        """Gather records by the thousand, for the runs that go on from here."""
        fresh = self.fresh.setdefault(name, [])
        fresh.append(part)
        if len(fresh) >= GATHERED_PARTS:
            self.run.artifact_folder(name).gather(fresh)
            fresh.clear()

    def _raise(self, failure: Failure) -> None:
        message = shown(failure.message)
        if failure.trace:
            log = self.run.folder / "error.log"
            storage.replace(log, shown(failure.trace).encode())
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
        if self.missing[name]:
            return
        if plan.node.is_shuffle and plan.specs:
            self._begin_next_phase(plan)
            return
        phases = self.phases.get(name, [])
        kept = [part for phase in phases for part in phase.parts if part.key in self.kept]
        artifact = plan.artifact(self.run, kept if phases else [parts[s.key] for s in plan.specs], phases)
        check_edges(artifact, plan.node, self.sealed)
        self.run.seal(artifact)
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
                steps = reported_steps(self.run.folder, node.name)
                if steps != stage.steps:
                    self.watch.hear()
                stage.steps = steps


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

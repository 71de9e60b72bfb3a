"""What the run cost, and exactly what was run."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, duration, element, number, section, size, table


def cost_section(facts: Facts) -> Markup | None:
    """Time and memory by artifact, and by phase of those that were shuffled."""
    artifacts = facts.artifacts.values()
    if not artifacts:
        return None
    longest = max((_seconds(facts, a) for a in artifacts), default=0.0)
    rows = [
        (
            artifact.name,
            number(_parts(artifact)),
            duration(_seconds(facts, artifact)),
            duration(sum(_costs(artifact, "seconds"))),
            duration(_cpu_seconds(artifact)),
            size(max(_costs(artifact, "peak_memory_bytes"), default=0)),
            share_bar(
                [
                    (
                        artifact.name,
                        _seconds(facts, artifact),
                        "kept" if artifact.name in facts.longest_chain else "quiet",
                    )
                ],
                longest,
                f"{artifact.name}: {duration(_seconds(facts, artifact))}",
            ),
        )
        for artifact in artifacts
    ]
    cpu = sum(map(_cpu_seconds, artifacts))
    return section(
        "cost",
        "Cost",
        element(
            "p",
            f"{duration(facts.seconds)} along the longest chain of artifacts ({' → '.join(facts.longest_chain)}), "
            f"{duration(cpu)} of CPU time in all tasks.",
        ),
        table(
            "Time and memory by artifact, in the run that made it; the longest chain in colour",
            (
                "artifact",
                "#parts",
                "#wall, waiting included",
                "#in tasks",
                "#CPU",
                "#peak memory of a process",
                "~wall",
            ),
            rows,
        ),
        [_phases(artifact) for artifact in artifacts if artifact.phases],
    )


def _phases(artifact: Artifact) -> Markup:
    """What each phase of a shuffle cost; most of what it wrote is gone since."""
    cpu = _cpu_seconds(artifact)
    rows = [
        (
            phase["phase"],
            number(phase["parts"]),
            duration(phase["seconds"]),
            duration(phase["cpu_seconds"]),
            size(phase["peak_memory_bytes"]),
            size(phase["size_bytes"]),
            share_bar(
                [(phase["phase"], phase["cpu_seconds"], "kept")],
                cpu,
                f"{phase['phase']}: {duration(phase['cpu_seconds'])} of {duration(cpu)}",
            ),
        )
        for phase in artifact.phases
    ]
    columns = ("phase", "#tasks", "#in tasks", "#CPU", "#peak memory of a process", "#written", "~CPU")
    return element(
        "details",
        element("summary", f"{artifact.name}: {len(rows)} phases, {duration(cpu)} of CPU time"),
        table(f"Phases of {artifact.name}", columns, rows),
    )


def _seconds(facts: Facts, artifact: Artifact) -> float:
    return facts.state.seconds.get(artifact.name, 0.0)


def _parts(artifact: Artifact) -> int:
    """Those that its tasks wrote; of a shuffle most are gone since."""
    return sum(phase["parts"] for phase in artifact.phases) if artifact.phases else len(artifact.parts)


def _costs(artifact: Artifact, name: str) -> list[float]:
    """What each phase of a shuffle cost, its kept parts included, or each part of any other artifact."""
    if artifact.phases:
        return [phase[name] for phase in artifact.phases]
    return [getattr(part, name) for part in artifact.parts]


def _cpu_seconds(artifact: Artifact) -> float:
    return sum(_costs(artifact, "cpu_seconds"))


def recipe_section(facts: Facts) -> Markup:
    """The recipe as it was run, versions, fingerprints."""
    sealed = [
        (
            name,
            facts.artifacts[name].kind if name in facts.artifacts else "–",
            element("code", fingerprint) if fingerprint else "not complete",
            ", ".join(f"{step['stage']} v{step['version']}" for step in facts.artifacts[name].steps)
            if name in facts.artifacts
            else "–",
        )
        for name, fingerprint in facts.state.artifacts.items()
    ]
    versions = sorted(facts.state.versions.items())
    return section(
        "recipe",
        "Recipe as run",
        element("pre", facts.recipe_text, class_="recipe") if facts.recipe_text else None,
        table("Versions", ("package", "version"), versions) if versions else None,
        table("Artifacts", ("artifact", "kind", "fingerprint", "stages"), sealed),
    )

"""What the run cost, and exactly what was run."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.report.charts import share_bar
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, duration, element, number, section, size, table


def cost_section(facts: Facts) -> Markup | None:
    """Time and memory by artifact."""
    artifacts = facts.artifacts.values()
    if not artifacts:
        return None
    longest = max((_seconds(facts, a) for a in artifacts), default=0.0)
    rows = [
        (
            artifact.name,
            number(len(artifact.parts)),
            duration(_seconds(facts, artifact)),
            duration(sum(part.seconds for part in artifact.parts)),
            duration(_cpu_seconds(artifact)),
            size(max((part.peak_memory_bytes for part in artifact.parts), default=0)),
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
    )


def _seconds(facts: Facts, artifact: Artifact) -> float:
    return facts.state.seconds.get(artifact.name, 0.0)


def _cpu_seconds(artifact: Artifact) -> float:
    return sum(part.cpu_seconds for part in artifact.parts)


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

"""The mix, for somebody who must decide whether to train on it: verdict and doubts first, the evidence after them."""

from __future__ import annotations

from pipeline.artifact import Artifact
from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, element, section
from pipeline.report.mix.confirmation import confirmation
from pipeline.report.mix.explorer import explorer
from pipeline.report.mix.fit import fit
from pipeline.report.mix.ratios import ratios
from pipeline.report.mix.responses import responses
from pipeline.report.mix.search import search
from pipeline.report.mix.summary import Mix
from pipeline.report.mix.transfer import transfer
from pipeline.report.mix.verdict import verdict

BEFORE, AFTER = (verdict, confirmation, ratios), (fit, transfer, search, responses)


def mix_section(facts: Facts) -> Markup | None:
    """All mixes of the run."""
    found = facts.of_kind("mix")
    if not found:
        return None
    return section("mix", "Mix", [_mix(artifact, facts, is_alone=len(found) == 1) for artifact in found])


def _mix(artifact: Artifact, facts: Facts, is_alone: bool) -> Node:
    mix = Mix.of(artifact.summary, facts.sources)
    return [
        None if is_alone else element("h3", artifact.name),
        [part(mix) for part in BEFORE],
        explorer(mix, artifact),
        [part(mix) for part in AFTER],
    ]

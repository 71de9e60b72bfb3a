"""The mix, for somebody who must decide whether to train on it: verdict and doubts first, the evidence after them."""

from __future__ import annotations

from pipeline.report.facts import Facts
from pipeline.report.markup import Markup, Node, element, section
from pipeline.report.mix.confirmation import confirmation
from pipeline.report.mix.fit import fit
from pipeline.report.mix.ratios import ratios
from pipeline.report.mix.responses import responses
from pipeline.report.mix.search import search
from pipeline.report.mix.summary import Mix
from pipeline.report.mix.transfer import transfer
from pipeline.report.mix.verdict import verdict

PARTS = (verdict, confirmation, ratios, fit, transfer, search, responses)


def mix_section(facts: Facts) -> Markup | None:
    """All mixes of the run."""
    found = facts.of_kind("mix")
    if not found:
        return None
    return section(
        "mix",
        "Mix",
        [
            [element("h3", artifact.name) if len(found) > 1 else None, _mix(Mix.of(artifact.summary, facts.sources))]
            for artifact in found
        ],
    )


def _mix(mix: Mix) -> Node:
    return [part(mix) for part in PARTS]

"""The mix explorer: what the page's script needs to solve the fit again for other weights and another training."""

from __future__ import annotations

import json

from pipeline.artifact import Artifact
from pipeline.report.markup import Node, element
from pipeline.report.mix.summary import Mix
from pipeline.report.script import data_block

EXPLORER_FILE = "explorer.json"


def explorer(mix: Mix, artifact: Artifact) -> Node:
    """A place for the script to fill, and its data; None for a mix of an older Sluice, which kept none."""
    path = next(artifact.file_paths(EXPLORER_FILE), None)
    if path is None:
        return None
    anchor = f"explorer-{artifact.name}"
    told = {
        "model": json.loads(path.read_bytes()),
        "best": mix.optimum["best"]["ratios"],
        "styles": mix.styles,
        "runs": [{name: run[name] for name in ("run", "mixture", "measured", "left_out")} for run in mix.runs],
    }
    return [
        element("h3", "Explore the mix"),
        element(
            "p",
            "What would the best mix be if other evaluations counted, or with other tokens to train on? The fitted "
            "model is in this page and is solved again at each move. Intervals are not: ",
            element("code", "sluice mix solve"),
            " tells those.",
        ),
        element("div", element("p", "This needs JavaScript."), class_="explorer", data_from=anchor),
        data_block(anchor, told),
    ]

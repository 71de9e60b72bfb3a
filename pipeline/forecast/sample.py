"""Which part of a recipe's input a forecast is made from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import RecipeError
from pipeline.graph import Graph, Node
from pipeline.run import split_name
from pipeline.stage import Split

LEAST_FILES = 4  # of each source, or all of fewer: the spread of three or less tells nearly nothing


def sampled_graph(graph: Graph, share: float) -> tuple[Graph, dict[str, str]]:
    """The graph on a sample of each source's input files, without what is not run on samples; and why, by name.

    Files are drawn by a hash of the recipe's seed and their names, so that a larger sample holds a smaller one: what
    was made of that is not made again.

    Raises:
        RecipeError: the share is none.
    """
    if not 0 < share <= 1:
        raise RecipeError(f"--sample: expected a share above 0 and at most 100%, not {share:.4%}")
    nodes: list[Node] = []
    left_out: dict[str, str] = {}
    for node in graph.nodes:
        behind = [name for name in node.dependencies if name in left_out]
        if why := node.steps[0].stage.not_in_samples:
            left_out[node.name] = why
        elif behind:
            left_out[node.name] = f"it is made from {behind[0]}"
        elif node.is_source:
            nodes.append(replace(node, splits=_drawn(node.splits, graph.recipe.seed, share)))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes)), left_out


def _drawn(splits: Sequence[Split], seed: int, share: float) -> tuple[Split, ...]:
    """All splits of some files: ranges of one file are one cluster."""
    names = sorted({split_name(split) for split in splits}, key=lambda name: _hash(seed, name))
    drawn = set(names[: max(math.ceil(share * len(names)), LEAST_FILES)])
    return tuple(split for split in splits if split_name(split) in drawn)


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()

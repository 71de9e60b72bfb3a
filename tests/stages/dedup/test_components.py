"""Connected components, found by any number of partitions, against scipy's."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.dedup.duplicates.components import (
    LINK,
    QUESTION,
    Messages,
    Step,
    by_recipient,
    components,
    links_as_messages,
    no_pointers,
    owners,
    step,
)

N = 100_000
Numbers = NDArray[np.int64]
Links = tuple[NDArray[np.uint64], NDArray[np.uint64]]
CHANCE = np.random.default_rng(1)
SHUFFLED = CHANCE.permutation(N)


def links(a: Numbers, b: Numbers) -> Links:
    """Links between vertices, as locations in parts of 1,000 rows."""
    a, b = (v // 1000 << 32 | v % 1000 for v in (a[a != b], b[a != b]))
    return np.maximum(a, b).astype(np.uint64), np.minimum(a, b).astype(np.uint64)


def by_scipy(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Links:
    """Each vertex, ascending, and the least vertex of its component."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    vertex, index = np.unique(np.concatenate([high, low]), return_inverse=True)
    ends = index[: len(high)], index[len(high) :]
    matrix = coo_matrix((np.ones(len(high), np.int8), ends), shape=(len(vertex), len(vertex)))
    _, component = connected_components(matrix, directed=False)
    _, first = np.unique(component, return_index=True)
    return vertex, vertex[first[component]]


def assert_found(of: Links, partitions: int, most_rounds: int) -> None:
    vertex, root = by_scipy(*of)
    found, rounds = components(*of, partitions)
    np.testing.assert_array_equal(found.vertex, vertex)
    np.testing.assert_array_equal(found.root, root)
    assert rounds <= most_rounds


def path() -> Links:
    return links(np.arange(1, N), np.arange(N - 1))


def random_graph(links_a_vertex: float) -> Links:
    count = int(N * links_a_vertex)
    chance = np.random.default_rng(2)
    return links(chance.integers(0, N, count), chance.integers(0, N, count))


def cliques() -> Links:
    """Of 20 vertices each, from all over the corpus."""
    members = SHUFFLED[: 20 * 500].reshape(-1, 20)
    a, b = np.triu_indices(20, 1)
    return links(members[:, a].ravel(), members[:, b].ravel())


GRAPHS: dict[str, tuple[Callable[[], Links], int]] = {  # and the rounds it may take, for 16 partitions
    "path": (path, 20),
    "path, reversed": (lambda: tuple(ends[::-1].copy() for ends in path()), 20),  # type: ignore[dict-item]
    "path through shuffled vertices": (lambda: links(SHUFFLED[1:], SHUFFLED[:-1]), 22),
    "star around the first": (lambda: links(np.arange(1, N), np.zeros(N - 1, np.int64)), 2),
    "star around the last": (lambda: links(np.full(N - 1, N - 1), np.arange(N - 1)), 3),
    "cliques": (cliques, 4),
    "binary tree": (lambda: links(np.arange(1, N), (np.arange(1, N) - 1) // 2), 8),
    "binary tree of shuffled vertices": (lambda: links(SHUFFLED[1:], SHUFFLED[(np.arange(1, N) - 1) // 2]), 12),
    "random, mostly pairs": (lambda: random_graph(0.1), 6),
    "random, about to grow together": (lambda: random_graph(0.5), 12),
    "random, dense": (lambda: random_graph(5), 6),
}


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=120),
    st.sampled_from([1, 3, 16]),
)
def test_components_of_any_links_are_scipys(pairs: list[tuple[int, int]], partitions: int) -> None:
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    of = links(ends[:, 0] * 700, ends[:, 1] * 700)
    if len(of[0]):
        assert_found(of, partitions, 30)


@pytest.mark.parametrize("partitions", [1, 3, 16])
@pytest.mark.parametrize("name", GRAPHS)
def test_components_of_a_large_graph_are_scipys_within_few_rounds(name: str, partitions: int) -> None:
    graph, most_rounds = GRAPHS[name]
    assert_found(graph(), partitions, most_rounds if partitions > 1 else 1)


def test_without_links_there_are_no_components() -> None:
    found, rounds = components(np.empty(0, np.uint64), np.empty(0, np.uint64), 3)
    assert (len(found.vertex), rounds) == (0, 1)


def rounds_of(of: Links, partitions: int) -> list[tuple[list[Messages], list[Step]]]:
    """For each round what the partitions were given and what they made of it."""
    pointers = [no_pointers()] * partitions
    sent = by_recipient(links_as_messages(*of), owners(of[0], partitions), partitions)
    rounds = []
    while not rounds or sum(made.open for made in rounds[-1][1]):
        steps = [step(p, partitions, pointers[p], sent[p]) for p in range(partitions)]
        rounds.append((sent, steps))
        pointers = [made.pointers for made in steps]
        boxes = [by_recipient(made.messages, made.to, partitions) for made in steps]
        sent = [
            Messages(*(np.concatenate([getattr(box[p], name) for box in boxes]) for name in ("kind", "high", "low")))
            for p in range(partitions)
        ]
    return rounds


@pytest.mark.parametrize("name", GRAPHS)
def test_pointers_and_links_never_outnumber_the_links(name: str) -> None:
    of = GRAPHS[name][0]()
    for _, steps in rounds_of(of, 16):
        pointers = sum(int(np.sum(made.pointers.vertex != made.pointers.root)) for made in steps)
        assert pointers + sum(int(np.sum(made.messages.kind == LINK)) for made in steps) <= len(of[0])


def test_messages_are_spread_over_the_partitions_whatever_the_graph() -> None:
    """Not even the owner of the root of the only component is told of all that belongs to it."""
    for name in ("star around the first", "path", "random, about to grow together", "random, dense"):
        of = GRAPHS[name][0]()
        for sent, _ in rounds_of(of, 16):
            received = [len(messages.high) for messages in sent]
            assert max(received) < 2 / 16 * max(sum(received), len(of[0]))


def test_a_root_is_asked_about_once_by_a_partition_however_many_point_to_it() -> None:
    of = links(np.arange(1, N), np.zeros(N - 1, np.int64))
    (_, first), *_ = rounds_of(of, 16)
    assert sum(int(np.sum(made.messages.kind == QUESTION)) for made in first) == 15


def test_the_order_of_messages_does_not_matter() -> None:
    high, low = random_graph(0.7)
    order = np.random.default_rng(3).permutation(len(high))
    a, b = components(high, low, 3), components(high[order], low[order], 3)
    np.testing.assert_array_equal(a[0].root, b[0].root)
    assert a[1] == b[1]


def test_vertices_of_any_parts_are_spread_evenly_over_the_partitions() -> None:
    vertices = np.arange(N, dtype=np.uint64)
    for locations in (vertices, vertices << np.uint64(32), vertices // np.uint64(100) << np.uint64(32)):
        counts = np.bincount(owners(np.unique(locations), 16), minlength=16)
        assert counts.max() < 1.35 * counts.mean()

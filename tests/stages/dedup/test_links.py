"""Documents that have a key in common are linked to the least location among them."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.dedup.duplicates.links import PIECE_RECORDS, Links, distinct_pairs, star_links

Records = list[tuple[int, int]]
LOCATIONS = st.builds(lambda part, row: part << 32 | row, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 2))


def of_records(records: Records) -> Links:
    keys, locations = np.array(records, np.uint64).reshape(-1, 2).T
    return star_links(np.ascontiguousarray(keys), np.ascontiguousarray(locations))


def expected(records: Records) -> list[tuple[int, int]]:
    groups = defaultdict(list)
    for key, location in records:
        groups[key].append(location)
    least = {key: min(group) for key, group in groups.items()}
    return sorted({(location, least[key]) for key, location in records if location != least[key]})


def pairs(links: Links) -> list[tuple[int, int]]:
    return list(zip(links.high.tolist(), links.low.tolist(), strict=True))


def some_records(count: int, keys: int, seed: int = 1) -> Records:
    chance = np.random.default_rng(seed)
    of_keys = chance.integers(0, 2**64, keys, np.uint64)
    locations = chance.permutation(count).astype(np.uint64)
    locations = locations // np.uint64(1000) << np.uint64(32) | locations % np.uint64(1000)
    return list(zip(of_keys[chance.integers(0, keys, count)].tolist(), locations.tolist(), strict=True))


def test_documents_of_a_key_are_linked_to_the_least_location() -> None:
    links = of_records([(7, 30), (7, 10), (7, 20), (8, 10), (9, 40)])
    assert pairs(links) == [(20, 10), (30, 10)]


def test_a_link_that_several_keys_give_is_told_once() -> None:
    assert pairs(of_records([(7, 30), (7, 10), (8, 10), (8, 30)])) == [(30, 10)]


@pytest.mark.parametrize("records", [[], [(5, 1)], [(5, 1), (6, 2)]])
def test_where_no_key_is_shared_there_are_no_links(records: Records) -> None:
    assert pairs(of_records(records)) == []


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 5), LOCATIONS | st.integers(0, 20))))
def test_links_are_those_of_a_plain_grouping(records: Records) -> None:
    assert pairs(of_records(records)) == expected(records)


@pytest.mark.parametrize("keys", [1, 100, 30_000, 10**9])
def test_many_records_in_many_pieces_give_the_links_of_a_plain_grouping(keys: int) -> None:
    records = some_records(4 * PIECE_RECORDS + 1, min(keys, 10**6))
    assert pairs(of_records(records)) == expected(records)


def test_the_order_of_the_records_does_not_matter() -> None:
    records = some_records(50_000, 20_000)
    shuffled = [records[i] for i in np.random.default_rng(2).permutation(len(records))]
    assert pairs(of_records(records)) == pairs(of_records(shuffled))


def test_keys_of_which_only_few_bits_differ_are_grouped_all_the_same() -> None:
    """A piece then holds more keys than the table that it starts with."""
    of_multiplier = pow(0x9E3779B97F4A7C15, -1, 2**64)
    records = [((i % 20_000 << 20) * of_multiplier % 2**64, i) for i in range(2 * 20_000)]
    assert pairs(of_records(records)) == expected(records)


@given(st.lists(st.tuples(LOCATIONS, LOCATIONS)))
def test_distinct_pairs_are_in_ascending_order(found: Records) -> None:
    first, second = distinct_pairs(*np.array(found, np.uint64).reshape(-1, 2).T)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == sorted(set(found))

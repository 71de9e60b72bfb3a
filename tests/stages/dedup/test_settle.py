"""Which documents of a candidate component go, and for which other one."""

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.dedup.duplicates.audit import MAX_DOCUMENTS, Audit, audit, in_sample
from stages.dedup.duplicates.settle import (
    MAX_WINNERS,
    REASONS,
    Candidates,
    Decisions,
    Rules,
    parent_rows,
    ranked,
    settle,
)
from stages.dedup.duplicates.similarity import BLOCK_STEPS, jaccard_from

BANDS = 3
EXACT, URL, NEAR = ("exact_duplicate", "same_url", "near_duplicate")


@dataclass(frozen=True)
class Document:
    """A candidate as a test writes it down; the first one written is the most wanted."""

    shingles: frozenset[int] = frozenset()
    bands: tuple[int, ...] = (0,) * BANDS
    content: tuple[int, int] | None = None  # None: like that of no other document
    url: int = 0
    source: int = 0
    parent: int = -1
    is_indexed: bool = False
    component: int = 0


def candidates(documents: Sequence[Document], order: Sequence[int] | None = None) -> Candidates:
    """The documents as columns, with their rank by the order written; ``order`` shuffles the rows."""
    order = range(len(documents)) if order is None else order
    row_of = {number: row for row, number in enumerate(order)}
    rows = [documents[number] for number in order]
    contents = [
        (10**6 + number, 0) if documents[number].content is None else documents[number].content for number in order
    ]
    sets = [sorted(document.shingles) for document in rows]
    return Candidates(
        component=np.array([d.component for d in rows], np.uint64),
        rank=np.array(order, np.int64),
        bands=np.array([d.bands for d in rows], np.uint64).reshape(len(rows), BANDS),
        content=np.array(contents, np.uint64).reshape(len(rows), 2),
        url=np.array([d.url for d in rows], np.uint64),
        source=np.array([d.source for d in rows], np.int64),
        parent=np.array([row_of.get(d.parent, -1) for d in rows], np.int64),
        is_indexed=np.array([d.is_indexed for d in rows], np.bool_),
        shingles=np.array(list(itertools.chain(*sets)), np.uint32),
        offsets=np.cumsum([0, *map(len, sets)]).astype(np.int64),
    )


def outcomes(decisions: Decisions) -> list[tuple[int, str, float] | None]:
    """Winner, reason and similarity of each document that goes; None for one that is kept."""
    return [
        (winner, REASONS[reason], similarity) if winner >= 0 else None
        for winner, reason, similarity in zip(
            decisions.winner.tolist(), decisions.reason.tolist(), decisions.similarity.tolist(), strict=True
        )
    ]


def settled(documents: Sequence[Document], **rules: float) -> list[tuple[int, str, float] | None]:
    return outcomes(settle(candidates(documents), Rules(**rules)))


@dataclass
class Reference:
    """The rules in plain Python, on the documents themselves."""

    documents: Sequence[Document]
    rules: Rules
    outcomes: dict[int, tuple[int, str, float]] = field(default_factory=dict)
    comparisons: int = 0
    capped: int = 0

    def run(self) -> "Reference":
        lists: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number in sorted(range(len(self.documents)), key=self.place):
            keys = self.keys(number)
            met = {winner for key in keys for winner in lists[key]}
            verdict = None if self.documents[number].is_indexed else self.first_duplicated(number, met)
            if verdict is not None:
                self.outcomes[number] = verdict
            stands_for = number if verdict is None else verdict[0]
            for key in keys:
                if "content" in key and not self.same_content(number, stands_for):
                    continue
                if stands_for not in lists[key]:
                    if len(lists[key]) < self.rules.max_winners:
                        lists[key].append(stands_for)
                    else:
                        self.capped += 1
        return self

    def place(self, number: int) -> tuple[bool, int]:
        return not self.documents[number].is_indexed, number

    def keys(self, number: int) -> list[tuple[object, ...]]:
        document = self.documents[number]
        keys: list[tuple[object, ...]] = [(band, key) for band, key in enumerate(document.bands) if key]
        keys.append(("content", document.content[0] if document.content else f"of {number} alone"))
        if self.rules.by_url and document.url:
            keys.append(("url", document.url))
        apart = (document.component, document.source if self.rules.within_source else None)
        return [(*apart, *key) for key in keys]

    def first_duplicated(self, number: int, met: set[int]) -> tuple[int, str, float] | None:
        for other in sorted(met, key=self.place):
            if self.rules.compare_parents or not self.are_parent_and_child(number, other):
                self.comparisons += 1
                verdict = self.verdict(self.documents[number], self.documents[other])
                if verdict is not None:
                    return other, *verdict
        return None

    def are_parent_and_child(self, a: int, b: int) -> bool:
        return self.documents[a].parent == b or self.documents[b].parent == a

    def same_content(self, a: int, b: int) -> bool:
        content = self.documents[a].content
        return a == b or (content is not None and content == self.documents[b].content)

    def verdict(self, document: Document, other: Document) -> tuple[str, float] | None:
        if document.content is not None and document.content == other.content:
            return EXACT, 1.0
        likeness = jaccard(document.shingles, other.shingles)
        if self.rules.by_url and document.url and document.url == other.url:
            return URL, likeness
        if not self.rules.fuzzy:
            return None
        if likeness >= self.rules.threshold or (not self.rules.verify and share_a_band(document, other)):
            return NEAR, likeness
        return None


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def share_a_band(a: Document, b: Document) -> bool:
    return any(x == y != 0 for x, y in zip(a.bands, b.bands, strict=True))


SMALL_DOCUMENTS = st.builds(
    Document,
    shingles=st.frozensets(st.integers(0, 7)),
    bands=st.tuples(*[st.integers(0, 3)] * BANDS),
    content=st.none() | st.tuples(st.integers(1, 2), st.integers(1, 3)),
    url=st.integers(0, 3),
    source=st.integers(0, 1),
    parent=st.integers(-1, 6),
    is_indexed=st.integers(0, 4).map(lambda n: n == 0),
    component=st.integers(0, 1),
)
COLLECTIONS = st.lists(SMALL_DOCUMENTS, min_size=1, max_size=14)
RULES = st.builds(
    Rules,
    threshold=st.sampled_from([0.2, 1 / 3, 0.5, 2 / 3, 0.8, 1.0]),
    fuzzy=st.booleans(),
    verify=st.booleans(),
    by_url=st.booleans(),
    within_source=st.booleans(),
    compare_parents=st.booleans(),
    max_winners=st.integers(1, 4),
)


@given(COLLECTIONS, RULES)
def test_the_kernel_decides_as_the_rules_in_plain_python_do(documents: list[Document], rules: Rules) -> None:
    decisions = settle(candidates(documents), rules)
    reference = Reference(documents, rules).run()
    assert outcomes(decisions) == [reference.outcomes.get(number) for number in range(len(documents))]
    assert (decisions.comparisons, decisions.capped) == (reference.comparisons, reference.capped)


@given(COLLECTIONS, RULES, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(documents: list[Document], rules: Rules, rng: random.Random) -> None:
    order = rng.sample(range(len(documents)), len(documents))
    plain, shuffled = settle(candidates(documents), rules), settle(candidates(documents, order), rules)
    by_number = dict(zip(order, outcomes(shuffled), strict=True))
    renamed = {n: o and (order[o[0]], *o[1:]) for n, o in by_number.items()}
    assert [renamed[number] for number in range(len(documents))] == outcomes(plain)
    assert (plain.comparisons, plain.capped) == (shuffled.comparisons, shuffled.capped)


@given(COLLECTIONS, RULES)
def test_what_goes_is_a_duplicate_of_a_better_document_that_stays(documents: list[Document], rules: Rules) -> None:
    found = outcomes(settle(candidates(documents), rules))
    check = Reference(documents, rules)
    for number, outcome in enumerate(found):
        if outcome is not None:
            winner, *verdict = outcome
            assert found[winner] is None
            assert check.place(winner) < check.place(number)
            assert not documents[number].is_indexed
            assert check.verdict(documents[number], documents[winner]) == tuple(verdict)


@given(COLLECTIONS, RULES)
def test_components_are_settled_each_for_itself(documents: list[Document], rules: Rules) -> None:
    together = outcomes(settle(candidates(documents), rules))
    for component in {document.component for document in documents}:
        numbers = [n for n, document in enumerate(documents) if document.component == component]
        place = {number: i for i, number in enumerate(numbers)}
        alone = settle(
            candidates([replace(documents[n], parent=place.get(documents[n].parent, -1)) for n in numbers]), rules
        )
        assert [o and (numbers[o[0]], *o[1:]) for o in outcomes(alone)] == [together[n] for n in numbers]


TEN = frozenset(range(10))


def near(first: int, count: int = 10) -> frozenset[int]:
    """``count`` shingles from this one on: of ten and ten, shifted by one, 9 of 11 are common."""
    return frozenset(range(first, first + count))


def test_of_similar_documents_the_most_wanted_stays() -> None:
    assert settled([Document(TEN, (1, 2, 3)), Document(near(1), (1, 5, 6))]) == [None, (0, NEAR, 9 / 11)]


def test_a_pair_below_the_threshold_stays_though_it_shares_a_band() -> None:
    assert settled([Document(TEN, (1, 2, 3)), Document(near(2), (1, 2, 6))]) == [None, None]


def test_a_pair_at_the_threshold_itself_goes() -> None:
    assert settled([Document(near(0, 4), (1, 2, 3)), Document(near(0, 5), (1, 2, 6))]) == [None, (0, NEAR, 0.8)]


def test_without_verification_a_common_band_is_enough_and_the_similarity_is_told() -> None:
    documents = [Document(TEN, (1, 2, 3)), Document(near(8), (1, 5, 6))]
    assert settled(documents, verify=False) == [None, (0, NEAR, 2 / 18)]


def test_documents_that_share_no_key_are_not_compared() -> None:
    assert settled([Document(TEN, (1, 2, 3)), Document(TEN, (2, 3, 1))]) == [None, None]


def test_equal_content_without_words_is_an_exact_duplicate() -> None:
    assert settled([Document(content=(7, 8)), Document(content=(7, 8))]) == [None, (0, EXACT, 1.0)]


def test_half_a_content_hash_is_not_enough() -> None:
    assert settled([Document(content=(7, 8)), Document(content=(7, 9))]) == [None, None]


def test_an_absent_key_is_shared_with_nobody() -> None:
    assert settled([Document(TEN), Document(TEN)]) == [None, None]


def test_the_same_url_is_enough_unless_urls_do_not_count() -> None:
    documents = [Document(TEN, url=5), Document(near(5), url=5)]
    assert settled(documents) == [None, (0, URL, 5 / 15)]
    assert settled(documents, by_url=False) == [None, None]


def test_without_likeness_the_neighbour_of_a_loser_stays() -> None:
    """The third equals the second, which goes by its URL for a first that is only like both."""
    documents = [Document(TEN, url=5), *[Document(near(1), url=url, content=(7, 7)) for url in (5, 6)]]
    assert settled(documents, fuzzy=False, by_url=True) == [None, (0, URL, 9 / 11), None]


def test_copies_go_however_many_of_them_have_lost_by_their_urls() -> None:
    """An error page in place of pages that another document has, and of others that no document has."""
    pages = [Document(near(100 * i), url=i + 1) for i in range(MAX_WINNERS + 1)]
    errors = [Document(near(10**6), url=i + 1, content=(7, 7)) for i in range(MAX_WINNERS + 11)]
    assert sum(outcome is None for outcome in settled([*pages, *errors], by_url=True)) == len(pages) + 1


def test_the_neighbour_of_a_loser_meets_the_loser_s_winner() -> None:
    """The third shares no key with the first, but one with the second, which goes for the first."""
    documents = [Document(TEN, (1, 0, 0)), Document(near(0, 11), (1, 2, 0)), Document(near(0, 12), (0, 2, 0))]
    assert settled(documents) == [None, (0, NEAR, 10 / 11), (0, NEAR, 10 / 12)]


def test_a_chain_of_similar_neighbours_is_split_where_the_winner_is_too_far() -> None:
    """Shifts of one: 9 of 11 common with the neighbour, so every second one stays."""
    chain = [Document(near(i), (i // 2 + 1, (i + 1) // 2 + 1, 0)) for i in range(6)]
    assert [outcome and outcome[0] for outcome in settled(chain)] == [None, 0, None, 2, None, 4]


def test_the_most_wanted_of_two_winners_counts() -> None:
    """The third meets the better winner in its last band only."""
    documents = [Document(TEN, (0, 0, 1)), Document(near(2), (2, 0, 0)), Document(near(1), (2, 0, 1))]
    assert settled(documents) == [None, None, (0, NEAR, 9 / 11)]


def test_a_rephrasing_is_no_duplicate_of_its_own_parent_unless_asked() -> None:
    for parents in ((-1, 0), (1, -1)):
        documents = [Document(TEN, (1, 0, 0), parent=parent) for parent in parents]
        assert settled(documents) == [None, None]
        assert settled(documents, compare_parents=True) == [None, (0, NEAR, 1.0)]


def test_two_rephrasings_of_one_parent_are_compared() -> None:
    documents = [Document(near(20), (1, 0, 0)), *[Document(TEN, (1, 0, 0), parent=0)] * 2]
    assert settled(documents) == [None, None, (1, NEAR, 1.0)]


def test_within_a_source_documents_of_other_sources_do_not_count() -> None:
    documents = [Document(TEN, (1, 0, 0), source=source) for source in (0, 1, 0, 1)]
    assert settled(documents, within_source=True) == [None, None, (0, NEAR, 1.0), (1, NEAR, 1.0)]


def test_documents_of_the_index_stay_all_and_win_against_better_ones() -> None:
    documents = [Document(TEN, (1, 0, 0)), *[Document(TEN, (1, 0, 0), is_indexed=True)] * 2]
    assert settled(documents) == [(1, NEAR, 1.0), None, None]


def test_a_key_keeps_its_first_winners_and_counts_those_beyond() -> None:
    distinct = [Document(near(100 * i), (1, 0, 0)) for i in range(MAX_WINNERS + 3)]
    copies = [replace(document, content=(i + 1, i + 1)) for i, document in enumerate(distinct)]
    decisions = settle(candidates([*copies, *(replace(d, content=None) for d in distinct)]), Rules())
    lost = [outcome and outcome[0] for outcome in outcomes(decisions)[len(distinct) :]]
    assert lost == [*range(MAX_WINNERS), None, None, None]
    assert decisions.capped == 6


def test_a_key_of_very_many_distinct_documents_costs_no_squares() -> None:
    documents = [Document(frozenset({i}), (1, 2, 3)) for i in range(5_000)]
    assert settle(candidates(documents), Rules()).comparisons <= MAX_WINNERS * len(documents)


def test_many_copies_are_compared_once_each() -> None:
    documents = [Document(TEN, (1, 2, 3), content=(1, 1))] * 1_000
    assert settle(candidates(documents), Rules()).comparisons == 999


def test_nothing_is_decided_of_no_documents() -> None:
    assert settled([]) == []


def test_shingles_may_be_mapped_from_a_file(tmp_path: object) -> None:
    here = candidates([Document(TEN, (1, 2, 3)), Document(near(1), (1, 5, 6))])
    path = f"{tmp_path}/shingles"
    here.shingles.tofile(path)
    mapped = here._replace(shingles=np.memmap(path, np.uint32, "r"))
    assert outcomes(settle(mapped, Rules())) == [None, (0, NEAR, 9 / 11)]


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, float("nan")])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        settled([Document(TEN)], threshold=threshold)


def test_two_documents_of_one_rank_are_refused() -> None:
    twice = candidates([Document(TEN), Document(TEN)])._replace(rank=np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="same rank"):
        settle(twice, Rules())


SETS = st.frozensets(st.integers(0, 2**32 - 1) | st.integers(0, 4 * BLOCK_STEPS), max_size=6 * BLOCK_STEPS)


def as_set(values: frozenset[int]) -> np.ndarray:
    return np.array(sorted(values), np.uint32)


@given(SETS, SETS, st.floats(0, 1) | st.fractions(0, 1, max_denominator=20).map(float))
def test_similarity_is_exact_or_known_to_be_too_small(a: frozenset[int], b: frozenset[int], threshold: float) -> None:
    true = jaccard(a, b)
    assert jaccard_from(as_set(a), as_set(b), threshold) == (true if true >= threshold else -1)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200), st.floats(0.01, 1))
def test_similarity_of_long_sets_is_exact(common: int, only_a: int, only_b: int, threshold: float) -> None:
    values = random.Random(common).sample(range(2**32), common + only_a + only_b)
    a, b = frozenset(values[: common + only_a]), frozenset(values[:common] + values[common + only_a :])
    true = jaccard(a, b)
    assert jaccard_from(as_set(a), as_set(b), threshold) == (true if true >= threshold else -1)
    assert jaccard_from(as_set(a), as_set(b), true) == true


def rank_of(rows: Sequence[tuple[str, int, float | None, str | None]], **options: bool) -> list[str]:
    """Ids from the most wanted to the least; rows are (id, priority, score, date)."""
    ids, priorities, scores, dates = zip(*rows, strict=True)
    rank = ranked(
        pa.array(ids),
        priority=np.array(priorities, np.int64),
        score=pa.array(scores, pa.float64()),
        date=pa.array(dates, pa.string()),
        **options,
    )
    return [ids[i] for i in np.argsort(rank).tolist()]


def test_rank_goes_by_priority_then_score_then_date_then_id() -> None:
    wanted = [
        ("z", 0, 0.1, None),
        ("y", 1, 0.9, "2024-01-01"),
        ("x", 1, 0.8, "2024-06-01"),
        ("w", 1, 0.8, "2024-05-31T23:00:00Z"),
        ("a", 1, 0.8, None),
        ("b", 1, 0.8, None),
        ("nan", 1, float("nan"), "2024-01-01"),
        ("null", 1, None, "2024-01-01"),
    ]
    ids = [row[0] for row in wanted]
    for seed in range(5):
        assert rank_of(random.Random(seed).sample(wanted, len(wanted))) == ids


def test_the_oldest_can_be_wanted_most_and_no_date_still_comes_last() -> None:
    rows = [("a", 0, None, None), ("b", 0, None, "2024-01-02"), ("c", 0, None, "2024-01-01")]
    assert rank_of(rows) == ["b", "c", "a"]
    assert rank_of(rows, newest_first=False) == ["c", "b", "a"]


def test_documents_of_the_index_rank_first() -> None:
    rank = ranked(pa.array(["a", "b"]), priority=np.array([0, 9]), is_indexed=np.array([False, True]))
    assert rank.tolist() == [1, 0]


def test_two_documents_of_one_id_have_no_rank() -> None:
    with pytest.raises(StageError, match="two documents have the id 'b'"):
        ranked(pa.array(["a", "b", "b"]), priority=np.array([0, 1, 2]))


def test_a_parent_is_found_by_its_id() -> None:
    rows = parent_rows(pa.array(["a", "b", "c", "d"]), pa.array([None, "c", "elsewhere", "a"]))
    assert rows.tolist() == [-1, 2, -1, 0]


def audited(documents: Sequence[Document], values: Sequence[int], order: Sequence[int] | None = None) -> Audit:
    order = range(len(documents)) if order is None else order
    return audit(np.array([values[n] for n in order], np.uint64), candidates(documents, order), 0.5, 2)


def test_the_audit_weighs_similar_pairs_of_equal_value() -> None:
    documents = [
        Document(TEN, (1, 2, 3)),
        Document(near(1), (1, 5, 6)),  # 9 of 11 with the first, and a band
        Document(near(2), (7, 8, 9)),  # 8 of 12 with the first, 9 of 11 with the second, no bands
        Document(near(9), (1, 5, 6)),  # below the threshold with all
        Document(TEN, (1, 2, 3)),  # of another value
    ]
    found = audited(documents, [4, 4, 4, 4, 8])
    assert found.pairs == 3
    assert found.weight == pytest.approx(11 / 9 + 12 / 8 + 11 / 9)
    assert found.found == pytest.approx(11 / 9)
    assert found.expected == pytest.approx(
        sum((1 - (1 - j**2) ** BANDS) / j for j in (9 / 11, 8 / 12, 9 / 11)),
    )
    assert found.recall == pytest.approx(found.found / found.weight)
    assert found.expected_recall == pytest.approx(found.expected / found.weight)


def test_copies_and_documents_without_words_are_left_out_of_the_audit() -> None:
    documents = [Document(TEN, (1, 2, 3), content=(5, 5))] * 3 + [Document(), Document()]
    assert audited(documents, [0] * 5) == Audit()


def test_the_audit_of_a_hot_value_takes_the_most_wanted_documents() -> None:
    documents = [Document(near(0, 1_000 + i), (1, 2, 3)) for i in range(MAX_DOCUMENTS + 20)]
    order = random.Random(1).sample(range(len(documents)), len(documents))
    found = audited(documents, [8] * len(documents), order)
    assert found.pairs == MAX_DOCUMENTS * (MAX_DOCUMENTS - 1) // 2
    assert found.weight == pytest.approx(audited(documents[:MAX_DOCUMENTS], [8] * MAX_DOCUMENTS).weight)


def test_audits_of_several_tasks_add_up_and_one_without_pairs_says_nothing() -> None:
    assert Audit(1, 2.0, 1.0, 1.5) + Audit(2, 2.0, 2.0, 0.5) == Audit(3, 4.0, 3.0, 2.0)
    assert (Audit().recall, Audit().expected_recall) == (None, None)


def test_the_sample_takes_one_value_in_so_many() -> None:
    assert in_sample(np.arange(10, dtype=np.uint64), 2).tolist() == [n % 4 == 0 for n in range(10)]
    assert in_sample(np.array([7], np.uint64), 0).all()

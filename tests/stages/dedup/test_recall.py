"""What dedup finds, from texts to decisions, against theory, labels and datasketch.

Two documents of Jaccard similarity s share one of b bands of r rows with probability 1-(1-s**r)**b (Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, 3.4.2).
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from numpy.typing import NDArray

from stages.dedup.duplicates.audit import audit, in_sample
from stages.dedup.duplicates.settle import NEAR_DUPLICATE, Candidates, Decisions, Rules, settle
from stages.dedup.duplicates.similarity import jaccard_from
from stages.text.signatures import SEED, shingle_sets, signed

NGRAM, BANDS, ROWS = 5, 14, 8
THRESHOLD = 0.8
TOLERANCE = 0.02
PAIRS = 6_000  # of each similarity: the standard error of a share is at most 0.0065
SIZES = {  # similarity: shingles of each document of a pair, and how many of them are common to both
    0.5: (60, 40),
    0.6: (80, 60),
    0.7: (85, 70),
    0.75: (70, 60),
    0.8: (90, 80),
    0.85: (74, 68),
    0.9: (95, 90),
    0.95: (78, 76),
    0.99: (199, 198),
}


def theory(similarity: float) -> float:
    return 1 - (1 - similarity**ROWS) ** BANDS


@dataclass(frozen=True)
class Collection:
    """Texts with all that decisions about them are made from; a text's rank is its row."""

    candidates: Candidates
    audits: NDArray[np.uint64]

    def settled(self, **rules: float) -> Decisions:
        return settle(self.candidates, Rules(**{"threshold": THRESHOLD, **rules}))

    def similarity(self, a: int, b: int) -> float:
        sets, offsets = self.candidates.shingles, self.candidates.offsets
        return jaccard_from(sets[offsets[a] : offsets[a + 1]], sets[offsets[b] : offsets[b + 1]], 0.0)

    def share_a_band(self, a: int, b: int) -> bool:
        return bool((self.candidates.bands[a] == self.candidates.bands[b]).any())


def collected(texts: Sequence[str]) -> Collection:
    column = pa.array(texts, pa.large_string())
    signatures = signed(column, NGRAM, BANDS, ROWS)
    shingles, offsets = shingle_sets(column, NGRAM)
    bands = np.where(signatures.has_shingles[:, None], signatures.keys, np.uint64(0))
    count = len(texts)
    return Collection(
        Candidates(
            component=components(bands, signatures.content_hashes),
            rank=np.arange(count),
            bands=bands,
            content=signatures.content_hashes,
            url=np.zeros(count, np.uint64),
            source=np.zeros(count, np.int64),
            parent=np.full(count, -1),
            is_indexed=np.zeros(count, np.bool_),
            shingles=shingles,
            offsets=offsets,
        ),
        signatures.audits,
    )


def components(bands: NDArray[np.uint64], content: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Connected components of the graph of documents and their keys, by scipy."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(bands)
    columns = [*bands.T, content[:, 0]]
    documents, keys = [], []
    vertices = count
    for column in columns:
        present = np.flatnonzero(column)
        distinct, number = np.unique(column[present], return_inverse=True)
        documents.append(present)
        keys.append(vertices + number)
        vertices += len(distinct)
    a, b = np.concatenate(documents), np.concatenate(keys)
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(vertices, vertices))
    return connected_components(graph, directed=False)[1][:count].astype(np.uint64)


def planted_pairs(size: int, common: int, first_word: int) -> list[str]:
    """PAIRS pairs of texts, each of ``size`` shingles of which ``common`` are common; no word is in two pairs."""
    texts = []
    for _ in range(PAIRS):
        words = [f"w{n}" for n in range(first_word, first_word + 2 * size - common + NGRAM - 1 + NGRAM - 1)]
        beginning = common + NGRAM - 1
        length = size + NGRAM - 1
        texts += [" ".join(words[:length]), " ".join(words[:beginning] + words[length : 2 * length - beginning])]
        first_word += 2 * length
    return texts


@pytest.fixture(scope="module")
def planted() -> Collection:
    """Pairs of each similarity one after another; documents 2 n and 2 n + 1 make a pair."""
    texts: list[str] = []
    for i, (size, common) in enumerate(SIZES.values()):
        texts += planted_pairs(size, common, i * 10**8)
    return collected(texts)


def by_similarity(column: NDArray[np.generic]) -> dict[float, NDArray[np.generic]]:
    """Values of the second document of each planted pair."""
    return dict(zip(SIZES, column[1::2].reshape(len(SIZES), PAIRS), strict=True))


def test_planted_pairs_have_exactly_the_similarity_meant(planted: Collection) -> None:
    true = [planted.similarity(n, n + 1) for n in range(0, len(planted.audits), 2)]
    off = np.abs(np.array(true).reshape(len(SIZES), PAIRS) - np.array(list(SIZES))[:, None])
    assert np.count_nonzero(off) <= 5  # two shingles of a pair may have one 32-bit hash: 1 in 100,000
    assert off.max() < 0.02


def test_pairs_at_or_above_the_threshold_go_with_the_probability_of_theory(planted: Collection) -> None:
    decisions = planted.settled()
    removed = by_similarity(decisions.reason == NEAR_DUPLICATE)
    found = {similarity: went.mean() for similarity, went in removed.items()}
    expected = {similarity: theory(similarity) if similarity >= THRESHOLD else 0.0 for similarity in found}
    assert found == pytest.approx(expected, abs=TOLERANCE)
    winners = decisions.winner[1::2]
    assert set((winners - np.arange(0, len(planted.audits), 2))[winners >= 0].tolist()) == {0}
    assert (decisions.winner[::2] == -1).all()


def test_without_verification_pairs_of_every_similarity_go_with_the_probability_of_theory(planted: Collection) -> None:
    removed = by_similarity(planted.settled(verify=False).winner >= 0)
    assert {s: went.mean() for s, went in removed.items()} == pytest.approx(
        {s: theory(s) for s in removed}, abs=TOLERANCE
    )


def test_precision_without_verification_is_that_of_theory_and_with_it_is_whole(planted: Collection) -> None:
    similar = np.repeat(np.array(list(SIZES)) >= THRESHOLD, PAIRS)
    chances = [theory(s) for s in SIZES]
    expected = sum(p for s, p in zip(SIZES, chances, strict=True) if s >= THRESHOLD) / sum(chances)
    assert similar[planted.settled(verify=False).winner[1::2] >= 0].mean() == pytest.approx(expected, abs=TOLERANCE)
    assert similar[planted.settled().winner[1::2] >= 0].mean() > 0.9999  # but for equal hashes of two shingles


def test_the_audit_tells_how_many_pairs_there_are_and_the_share_that_is_found(planted: Collection) -> None:
    found = audit(planted.audits, planted.candidates, THRESHOLD, ROWS)
    similar = [s for s in SIZES if s >= THRESHOLD]
    assert found.weight == pytest.approx(PAIRS * len(similar), rel=TOLERANCE)
    assert found.recall == pytest.approx(found.expected_recall, abs=TOLERANCE)
    assert found.expected_recall == pytest.approx(np.mean([theory(s) for s in similar]), abs=TOLERANCE)


def test_a_sample_of_documents_audits_a_sample_of_the_pairs(planted: Collection) -> None:
    rows = np.flatnonzero(in_sample(planted.audits, 3))
    found = audit(planted.audits[rows], selected(planted.candidates, rows), THRESHOLD, ROWS)
    similar = [s for s in SIZES if s >= THRESHOLD]
    assert found.weight == pytest.approx(PAIRS * len(similar) / 8, rel=0.1)
    assert found.recall == pytest.approx(found.expected_recall, abs=TOLERANCE)


def selected(c: Candidates, rows: NDArray[np.int64]) -> Candidates:
    """These documents alone; for documents without parents."""
    sets = [c.shingles[c.offsets[row] : c.offsets[row + 1]] for row in rows]
    own = {name: getattr(c, name)[rows] for name in c._fields if name not in ("shingles", "offsets")}
    return Candidates(**own, shingles=np.concatenate(sets), offsets=np.cumsum([0, *map(len, sets)]).astype(np.int64))


def test_a_chain_of_similar_texts_is_split_where_they_are_no_longer_similar_to_the_winner() -> None:
    """Windows on one long text: each is 0.84 alike the next, the first and the last have nothing in common."""
    words = [f"w{n}" for n in range(700)]
    chain = collected([" ".join(words[10 * i : 10 * i + 120]) for i in range(59)])
    assert chain.similarity(0, 1) == pytest.approx(106 / 126)
    assert len(set(chain.candidates.component.tolist())) == 1
    decisions = chain.settled()
    assert np.count_nonzero(decisions.winner == -1) > 15
    for loser in np.flatnonzero(decisions.winner >= 0).tolist():
        assert chain.similarity(loser, decisions.winner[loser]) == decisions.similarity[loser] >= THRESHOLD


@dataclass(frozen=True)
class Labelled:
    """Documents of which people, not we, say which are versions of one (law, page, paper, section)."""

    texts: list[str]
    clusters: list[str]
    collection: Collection

    @cached_property
    def similar_pairs(self) -> dict[tuple[int, int], float]:
        """Similarity of the pairs of one cluster, of different content, at or above the threshold."""
        members = defaultdict(list)
        for row, cluster in enumerate(self.clusters):
            members[cluster].append(row)
        content = self.collection.candidates.content
        pairs = [pair for rows in members.values() for pair in combinations(rows, 2)]
        likeness = {(a, b): self.collection.similarity(a, b) for a, b in pairs if (content[a] != content[b]).any()}
        return {pair: similarity for pair, similarity in likeness.items() if similarity >= THRESHOLD}

    @cached_property
    def decisions(self) -> Decisions:
        return self.collection.settled()


@pytest.fixture(scope="module")
def labelled(shared_data: Path) -> dict[str, Labelled]:
    found = {}
    for path in sorted((shared_data / "dedup").glob("*.jsonl.zst")):
        rows = sorted(lines_of(path), key=lambda row: row["id"])
        if "cluster" in rows[0]:
            texts = [row["text"] for row in rows]
            name = path.name.removesuffix(".jsonl.zst")
            found[name] = Labelled(texts, [row["cluster"] for row in rows], collected(texts))
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


LABELLED = (
    "arxiv_records_two_harvests",
    "german_laws_2012_vs_2022",
    "software_docs_five_releases",
    "us_code_sections_four_releases",
)


@pytest.mark.parametrize("name", LABELLED)
def test_similar_versions_share_a_band_as_often_as_theory_says(labelled: dict[str, Labelled], name: str) -> None:
    documents = labelled[name]
    found = np.mean([documents.collection.share_a_band(*pair) for pair in documents.similar_pairs])
    expected = np.mean([theory(similarity) for similarity in documents.similar_pairs.values()])
    assert len(documents.similar_pairs) >= 40
    assert found == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("name", LABELLED)
def test_of_similar_versions_not_more_stay_side_by_side_than_theory_says(
    labelled: dict[str, Labelled], name: str
) -> None:
    documents = labelled[name]
    stays = documents.decisions.winner == -1
    side_by_side = np.mean([stays[a] and stays[b] for a, b in documents.similar_pairs])
    expected = np.mean([theory(similarity) for similarity in documents.similar_pairs.values()])
    assert side_by_side <= 1 - expected + TOLERANCE


@pytest.mark.parametrize("name", LABELLED)
def test_what_goes_is_a_version_of_its_winner_by_label_too(labelled: dict[str, Labelled], name: str) -> None:
    """Of 2,797 documents that go in all, one is another section of the law with the same words."""
    documents = labelled[name]
    gone = np.flatnonzero(documents.decisions.winner >= 0)
    strangers = [row for row in gone if documents.clusters[row] != documents.clusters[documents.decisions.winner[row]]]
    assert len(strangers) <= (1 if name.startswith("us_code") else 0)


def test_own_work_on_the_same_question_is_no_duplicate(shared_data: Path) -> None:
    """Answers of students (Clough and Stevenson, 2011): most of what they copied is below the threshold, too."""
    rows = lines_of(shared_data / "dedup" / "clough_stevenson_plagiarism_levels.jsonl.zst")
    sources = sorted({row["source"] for row in rows})
    decisions = collected([*sources, *(row["answer"] for row in rows)]).settled()
    gone = {row["level"] for row, winner in zip(rows, decisions.winner[len(sources) :], strict=True) if winner >= 0}
    assert gone == {2, 3}  # light revision, cut and paste


def test_candidate_pairs_are_those_of_datasketch_s_lsh(labelled: dict[str, Labelled]) -> None:
    """The same shingle hashes, permutations and bands in datasketch 2.0, which mixes the hashes itself."""
    from datasketch import MinHash, MinHashLSH

    texts = [text for name in LABELLED[1:3] for text in labelled[name].texts]
    collection = collected(texts)
    sets = np.split(collection.candidates.shingles, collection.candidates.offsets[1:-1])
    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    signatures = []
    for row, shingles in enumerate(sets):
        signature = MinHash(num_perm=BANDS * ROWS, seed=SEED, scheme="affine32", hashfunc=lambda shingle: shingle)
        signature.update_batch(unmixed(shingles).tolist())
        lsh.insert(row, signature)
        signatures.append(signature)
    theirs = {(a, b) for b, signature in enumerate(signatures) for a in lsh.query(signature) if a < b}
    bands = collection.candidates.bands
    ours = {(int(a), int(b)) for a, b in np.argwhere((bands[:, None] == bands[None]).any(axis=2)) if a < b}
    assert len(ours) > 500
    assert ours == theirs


def unmixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """What MurmurHash3's finaliser for 32 bits makes these values of."""
    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(pow(0xC2B2AE35, -1, 2**32))
    values = values ^ (values >> np.uint32(13)) ^ (values >> np.uint32(26))
    values = values * np.uint32(pow(0x85EBCA6B, -1, 2**32))
    return values ^ (values >> np.uint32(16))

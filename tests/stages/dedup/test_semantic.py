"""Which documents go because of their embeddings, and for which other one."""

import random
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifact import Artifact
from pipeline.errors import RecipeError, StageError
from pipeline.stage import DOCUMENT_SCHEMA, documents, removals
from stages.dedup.semantic.clustering import k_means, nearest
from stages.dedup.semantic.kernels import cosine, normalize
from stages.dedup.semantic.options import DedupSemanticConfig
from stages.dedup.semantic.pairs import settle
from stages.dedup.semantic.stage import SemanticDuplicates
from stages.dedup.semantic.vectors import empty_matrix
from tests.shuffle_runs import documents_artifact, run_shuffle
from tests.stages.in_process import removed_from, rows_of, run_here

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def table(vectors: Mapping[str, Any], kind: pa.DataType | None = None, **columns: Mapping[str, Any]) -> pa.Table:
    """Documents with these embeddings by id; other columns by id where they have a value."""
    values: dict[str, list[Any]] = {"id": list(vectors), "text": [f"text of {i}" for i in vectors]}
    values["source"] = ["web"] * len(vectors)
    values |= {name: [by_id.get(i) for i in vectors] for name, by_id in columns.items()}
    arrays = {f.name: pa.array(values.get(f.name, [None] * len(vectors)), f.type) for f in DOCUMENT_SCHEMA}
    others = {name: pa.array(column) for name, column in values.items() if name not in arrays}
    lists = [None if vector is None else list(vector) for vector in vectors.values()]
    return pa.table({**arrays, **others, "embedding": pa.array(lists, kind or pa.list_(pa.float32()))})


def random_vectors(rng: np.random.Generator, rows: int, dimensions: int = 32) -> Vectors:
    """Vectors of length 1 in all directions."""
    vectors = rng.standard_normal((rows, dimensions)).astype(np.float32)
    normalize(vectors)
    return vectors


def at_cosine(rng: np.random.Generator, vector: Vectors, similarity: float) -> Vectors:
    """A vector of this cosine to another one, otherwise in any direction."""
    other = rng.standard_normal(len(vector))
    other -= other.dot(vector) * vector
    other /= np.linalg.norm(other)
    return (similarity * vector + np.sqrt(1 - similarity**2) * other).astype(np.float32)


def found(folder: Path, inputs: Sequence[Sequence[pa.Table]], **options: Any) -> Artifact:
    """The duplicates among inputs, most wanted first, each of several parts."""
    artifacts = [documents_artifact(f"input-{i}", parts, folder) for i, parts in enumerate(inputs)]
    return run_shuffle(SemanticDuplicates(DedupSemanticConfig(**options)), {"documents": artifacts}, folder)


def duplicates(artifact: Artifact) -> dict[str, dict[str, Any]]:
    """The rows of all slices by id."""
    rows = [row for path in artifact.file_paths("duplicates.parquet") for row in pq.read_table(path).to_pylist()]
    return {row["id"]: row for row in rows}


def losers(artifact: Artifact) -> dict[str, str]:
    """The winner of each semantic duplicate."""
    return {i: row["winner"] for i, row in duplicates(artifact).items() if row["reason"] == "semantic_duplicate"}


def test_the_least_wanted_of_a_planted_pair_goes_with_the_similarity_to_its_winner(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, other = random_vectors(rng, 2)
    near = {"b": one, "c": other, "d": at_cosine(rng, one, 0.96), "e": at_cosine(rng, other, 0.94)}
    rows = duplicates(found(tmp_path, [[table(near)]]))
    assert list(rows) == ["d"]
    assert (rows["d"]["reason"], rows["d"]["winner"]) == ("semantic_duplicate", "b")
    assert rows["d"]["similarity"] == pytest.approx(0.96, abs=1e-6)


def test_input_order_then_score_then_date_then_id_decide_who_stays(tmp_path: Path) -> None:
    same = [0.6, 0.8]
    inputs = [[table({"z": same})], [table({"a": same})]]
    assert losers(found(tmp_path / "inputs", inputs)) == {"a": "z"}
    crowd = table(
        dict.fromkeys("abcde", same),
        date={"a": "2020", "b": "2021", "c": "2021", "d": "2022"},
        **{"edu.score": {"a": 1.0, "b": 2.0, "c": 2.0, "d": 1.5}},
    )
    for options, winner in (
        ({"score": "edu.score"}, "b"),
        ({}, "d"),
        ({"date": "oldest"}, "a"),
    ):
        artifact = found(tmp_path / winner, [[crowd]], prefer=options)
        assert losers(artifact) == {name: winner for name in "abcde" if name != winner}


def test_sources_can_be_wanted_more_whatever_the_order_of_inputs(tmp_path: Path) -> None:
    pages = table({"a": [0.6, 0.8]})
    papers = pages.set_column(0, "id", pa.array(["z"])).set_column(2, "source", pa.array(["papers"]))
    artifact = found(tmp_path, [[pages], [papers]], prefer={"sources": ["papers"]})
    assert losers(artifact) == {"a": "z"}


def test_what_goes_is_similar_to_a_document_that_stays_not_to_one_that_goes(tmp_path: Path) -> None:
    """A chain: each direction is 15 degrees from the next, a cosine of 0.966."""
    angles = np.radians(15 * np.arange(6))
    chain = {f"{i}": [np.cos(a), np.sin(a)] for i, a in enumerate(angles)}
    assert losers(found(tmp_path, [[table(chain)]])) == {"1": "0", "3": "2", "5": "4"}


def test_a_rephrasing_is_no_duplicate_of_its_own_parent_unless_asked(tmp_path: Path) -> None:
    family = table({"a": [1, 0], "b": [1, 0], "c": [1, 0]}, parent={"a": "b", "c": "b"})
    assert losers(found(tmp_path / "1", [[family]])) == {"c": "a"}
    assert losers(found(tmp_path / "2", [[family]], parents=True)) == {"b": "a", "c": "a"}


def test_documents_without_an_embedding_stay_and_unusable_embeddings_fail(tmp_path: Path) -> None:
    good = {f"g{i}": vector for i, vector in enumerate(random_vectors(np.random.default_rng(2), 40, 3))}
    bad = {
        "short": [1.0, 2.0],
        "nan": [1.0, float("nan"), 0.0],
        "hole": [1.0, None, 0.0],
        "infinite": [float("inf"), 0.0, 0.0],
        "zeros": [0.0, 0.0, 0.0],
    }
    artifact = found(tmp_path, [[table({**good, **bad, "absent": None})]], threshold=1)
    assert {i: row["evidence"] for i, row in duplicates(artifact).items()} == {
        "short": "2 dimensions, not 3",
        "nan": "a value that is infinite or not a number",
        "hole": "a value that is infinite or not a number",
        "infinite": "a value that is infinite or not a number",
        "zeros": "all zeros",
    }
    assert (artifact.summary["without_embedding"], artifact.summary["bad_embeddings"]) == (1, 5)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32(), 2),
        pa.list_(pa.float16()),
        pa.large_list(pa.float64()),
        pa.list_(pa.int8()),
    ],
    ids=str,
)
def test_lists_of_any_kind_of_number_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    vectors = {"a": np.float16([3, 4]), "b": None, "c": np.float16([6, 8]), "d": np.float16([-3, 4])}
    if pa.types.is_integer(kind.value_type):
        vectors = {name: None if vector is None else vector.astype(np.int8) for name, vector in vectors.items()}
    artifact = found(tmp_path, [[table(vectors, kind)]], threshold=1)
    assert losers(artifact) == {"c": "a"}
    assert artifact.summary["without_embedding"] == 1


def brute_force(vectors: Vectors, threshold: float) -> dict[int, int]:
    """The winner of each document that goes, from the definition, in 64 bits."""
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    similarities = wide @ wide.T
    winners: dict[int, int] = {}
    for i in range(len(wide)):
        winner = next((j for j in range(i) if j not in winners and similarities[i, j] >= threshold), None)
        if winner is not None:
            winners[i] = winner
    return winners


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 5), st.sampled_from([0.5, 0.8, 0.95]))
def test_within_a_cluster_the_result_is_that_of_comparing_all_pairs(
    seed: int, rows: int, dimensions: int, threshold: float
) -> None:
    vectors = random_vectors(np.random.default_rng(seed), rows, dimensions)
    settled = settle(vectors, np.full(rows, -1), threshold)
    assert {i: w for i, w in enumerate(settled.winners.tolist()) if w >= 0} == brute_force(vectors, threshold)


def test_a_cluster_of_several_blocks_is_decided_as_one() -> None:
    vectors = random_vectors(np.random.default_rng(3), 2600, 6)
    settled = settle(vectors, np.full(2600, -1), 0.95)
    expected = brute_force(vectors, 0.95)
    assert 500 < len(expected) < 2500
    assert {i: w for i, w in enumerate(settled.winners.tolist()) if w >= 0} == expected


def test_with_one_cluster_nothing_is_missed(tmp_path: Path) -> None:
    vectors = random_vectors(np.random.default_rng(4), 700, 4)
    names = [f"{i:03d}" for i in range(700)]
    artifact = found(tmp_path, [[table(dict(zip(names, vectors, strict=True)))]], clusters=1)
    expected = {names[i]: names[w] for i, w in brute_force(vectors, 0.95).items()}
    assert losers(artifact) == expected
    assert artifact.summary["semantic_duplicates"] == len(expected) > 100
    assert artifact.summary["audit"]["recall"] == 1


def families(seed: int, count: int = 900, dimensions: int = 24) -> dict[str, Any]:
    """Documents of which a third are near one of the others, some have no embedding and some a bad one."""
    rng = np.random.default_rng(seed)
    vectors = dict(enumerate(random_vectors(rng, 2 * count // 3, dimensions)))
    for i in range(len(vectors), count):
        vectors[i] = at_cosine(rng, vectors[int(rng.integers(len(vectors)))], rng.uniform(0.9, 1))
    named: dict[str, Any] = {f"d{i * 7919 % 100_003}": vector for i, vector in vectors.items()}
    return named | {"absent": None, "short": [1.0], "zeros": [0.0] * dimensions}


def test_the_result_does_not_depend_on_parts_or_order_or_memory(tmp_path: Path) -> None:
    documents = families(5)
    whole = found(tmp_path / "whole", [[table(documents)]])
    assert len(losers(whole)) > 100
    for parts, memory in ((3, 1000), (16, 64)):
        ids = list(documents)
        random.Random(parts).shuffle(ids)
        split = [table({i: documents[i] for i in ids[first::parts]}) for first in range(parts)]
        artifact = found(tmp_path / str(parts), [split], task_memory_mb=memory)
        assert duplicates(artifact) == duplicates(whole)
        assert artifact.summary == whole.summary


def mapped(rows: int, dimensions: int, memory_bytes: int, folder: Path) -> Vectors:
    """An array mapped from a file, as where there is little memory."""
    return empty_matrix(rows, dimensions, 0, folder)


def test_several_partitions_mapped_from_files_decide_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = families(6)
    whole = found(tmp_path / "whole", [[table(documents)]])
    monkeypatch.setattr("stages.dedup.semantic.stage.partitions_for", lambda size_bytes, memory_bytes: 8)
    monkeypatch.setattr("stages.dedup.semantic.tasks.empty_matrix", mapped)
    divided = found(tmp_path / "divided", [[table(documents)]])
    assert [phase["parts"] for phase in divided.phases if phase["phase"] == "pairs"] == [8]
    assert duplicates(divided) == duplicates(whole)
    assert divided.summary == whole.summary


@pytest.mark.parametrize("partitions", [256, 2])
def test_each_part_has_a_slice_with_its_own_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    monkeypatch.setattr("stages.dedup.semantic.stage.MAX_SLICE_PARTITIONS", partitions)
    same = [0.6, 0.8]
    parts = [table({"a": same}), table({"b": same, "c": [1.0, 0.0]}), table({"d": [1.0, 0.0]})]
    artifact = found(tmp_path, [parts])
    slices = [pq.read_table(path)["id"].to_pylist() for path in artifact.file_paths("duplicates.parquet")]
    assert slices == [[], ["b"], ["d"]]


def test_the_audit_tells_how_many_duplicates_lie_in_other_clusters(tmp_path: Path) -> None:
    """Every document is a query here, so the audit's figures are those of all pairs."""
    vectors = random_vectors(np.random.default_rng(7), 400, 4)
    names = [f"{i:03d}" for i in range(400)]
    artifact = found(tmp_path, [[table(dict(zip(names, vectors, strict=True)))]], clusters=40, audit=400)
    centroids = k_means(vectors[sample_order(names)], 40, lambda done, total: None)
    clusters = nearest(vectors, centroids)
    similar = (vectors @ vectors.T >= 0.95) & ~np.eye(400, dtype=bool)
    together = similar & (clusters[:, None] == clusters[None, :])
    audit = artifact.summary["audit"]
    assert audit == {
        "queries": 400,
        "similar_pairs": similar.sum(),
        "pairs_in_one_cluster": together.sum(),
        "queries_with_similar": similar.any(axis=1).sum(),
        "queries_found": together.any(axis=1).sum(),
        "recall": together.any(axis=1).sum() / similar.any(axis=1).sum(),
    }
    assert 0.3 < audit["recall"] < 0.99


def sample_order(names: Sequence[str]) -> list[int]:
    """Places of these ids in the order of their hashes."""
    import xxhash

    return sorted(range(len(names)), key=lambda i: xxhash.xxh3_64_intdigest(names[i]))


def test_queries_are_not_compared_with_themselves_or_their_parents(tmp_path: Path) -> None:
    family = table({"a": [1, 0], "b": [1, 0], "c": [1, 0]}, parent={"a": "b", "c": "b"})
    assert found(tmp_path / "1", [[family]]).summary["audit"]["similar_pairs"] == 2  # a and c, either way round
    assert found(tmp_path / "2", [[family]], parents=True).summary["audit"]["similar_pairs"] == 6


def test_the_sample_of_a_larger_corpus_is_a_share_of_it(tmp_path: Path) -> None:
    vectors = random_vectors(np.random.default_rng(8), 20_000, 4)
    documents = {f"{i}": vector for i, vector in enumerate(vectors)}
    artifact = found(tmp_path, [[table(documents)]], clusters=16, audit=0, alarm="warn")
    (sample,) = artifact.folder.glob("data/*/sample.parquet")
    assert pq.read_metadata(sample).num_rows == pytest.approx(8192, rel=0.05)
    assert artifact.summary["clusters"] == 16
    assert artifact.summary["audit"]["recall"] is None


def test_queries_are_of_all_documents_not_of_those_that_made_the_centroids(tmp_path: Path) -> None:
    vectors = random_vectors(np.random.default_rng(8), 20_000, 4)
    documents = {f"{i}": vector for i, vector in enumerate(vectors)}
    artifact = found(tmp_path, [[table(documents)]], clusters=16, alarm="warn")
    (queries,) = artifact.folder.glob("data/*/queries.parquet")
    (sample,) = artifact.folder.glob("data/*/sample.parquet")
    sampled = pq.read_table(sample, columns=["id", "hash"])
    centroids = set(
        sampled.filter(pc.less(sampled["hash"], pa.scalar(8192 * 2**64 // 20_000, pa.uint64())))["id"].to_pylist()
    )
    ids = pq.read_table(queries)["id"].to_pylist()
    assert len(set(ids)) == 500
    assert len(centroids.intersection(ids)) / 500 == pytest.approx(8192 / 20_000, abs=0.08)


def test_the_audit_changes_nothing(tmp_path: Path) -> None:
    vectors = random_vectors(np.random.default_rng(8), 20_000, 4)
    documents = [[table({f"{i}": vector for i, vector in enumerate(vectors)})]]
    artifacts = [found(tmp_path / f"{n}", documents, clusters=16, alarm="warn", audit=n) for n in (0, 4000)]
    without, audited = (np.load(next(a.folder.glob("data/*/centroids.npy"))) for a in artifacts)
    assert (without == audited).all()
    assert duplicates(artifacts[0]) == duplicates(artifacts[1])


def test_centroids_are_the_directions_around_which_vectors_lie() -> None:
    rng = np.random.default_rng(9)
    directions = random_vectors(rng, 5, 16)
    vectors = np.array([at_cosine(rng, directions[i % 5], 0.9) for i in range(500)])
    normalize(vectors)
    centroids = k_means(vectors, 5, lambda done, total: None)
    assert (directions @ centroids.T).max(axis=1) == pytest.approx(np.ones(5), abs=0.01)
    assert (np.bincount(nearest(vectors, centroids)) == 100).all()


def test_of_equally_near_centroids_the_first_is_taken_however_the_product_rounds() -> None:
    rng = np.random.default_rng(10)
    vectors = random_vectors(rng, 300, 384)
    centroids = random_vectors(rng, 50, 384)
    doubled = np.concatenate([centroids, centroids[::-1]])
    assert (nearest(vectors, doubled) == nearest(vectors, centroids)).all()


def test_a_vector_and_itself_have_a_cosine_of_exactly_one() -> None:
    for vector in random_vectors(np.random.default_rng(11), 200, 384):
        assert cosine(vector, vector) == 1


def test_embeddings_of_several_models_are_refused(tmp_path: Path) -> None:
    mixed = {"a": [1.0], "b": [1.0], "c": [1.0, 2.0]}
    with pytest.raises(StageError, match=r"'embedding' holds embeddings of several lengths \(2 have 1 dimensions, 1"):
        found(tmp_path, [[table(mixed)]])


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no column 'vector', .* there are: id, .*embedding"):
        found(tmp_path, [[table({"a": [1.0]})]], column="vector")


def test_a_column_of_anything_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="'text' is of type large_string; embeddings are lists of numbers"):
        found(tmp_path, [[table({"a": [1.0]})]], column="text")
    with pytest.raises(StageError, match="'url' is to rank documents, but holds no numbers"):
        found(tmp_path / "score", [[table({"a": [1.0]})]], prefer={"score": "url"})


def test_two_documents_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="two documents have the id 'a'"):
        found(tmp_path, [[table({"a": [1.0]})], [table({"a": [1.0]})]])


def test_nothing_to_remove_in_nothing(tmp_path: Path) -> None:
    assert found(tmp_path / "1", [[]]).summary["documents"] == 0
    artifact = found(tmp_path / "2", [[table({"a": None, "b": None})]])
    assert duplicates(artifact) == {}
    assert artifact.summary["without_embedding"] == 2


def test_the_largest_groups_are_told_by_their_winner(tmp_path: Path) -> None:
    crowd = {**{f"a{i}": [1.0, 0.0] for i in range(5)}, **{f"b{i}": [0.0, 1.0] for i in range(3)}, "c": [0.7, 0.7]}
    summary = found(tmp_path, [[table(crowd)]]).summary
    assert [tuple(group) for group in summary["largest_groups"]] == [("a0", 5), ("b0", 3)]
    assert summary["semantic_duplicates"] == 6


def test_memory_is_bounded_by_the_setting_not_by_the_corpus(tmp_path: Path) -> None:
    """88 MB of vectors in one cluster, by tasks that allocate less than 64 MB in numpy and Arrow together."""
    rng = np.random.default_rng(12)
    parts = []
    for part in range(6):
        vectors = random_vectors(rng, 10, 1024).repeat(360, axis=0)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 1024)
        names = table({f"{part}-{i}": None for i in range(len(vectors))}).drop(["embedding"])
        parts.append(names.append_column("embedding", lists))
    artifacts = [documents_artifact("input", parts, tmp_path)]
    size_bytes = sum(part["embedding"].nbytes for part in parts)
    del parts, lists, vectors, names
    ordinary = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(ordinary)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    stage = SemanticDuplicates(DedupSemanticConfig(task_memory_mb=64, clusters=1, audit=10, alarm="warn"))
    artifact = run_shuffle(stage, {"documents": artifacts}, tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pa.set_memory_pool(ordinary)
    assert size_bytes > 80_000_000
    assert artifact.summary["semantic_duplicates"] == 6 * 3600 - 60
    assert peak_bytes + pool.max_memory() < 64_000_000


def test_a_source_that_loses_nearly_everything_stops_the_run(tmp_path: Path) -> None:
    crowd = [[table({f"{i:03d}": [0.6, 0.8] for i in range(200)})]]
    message = r"source web would lose 199 of its 200 documents \(100%\).* more than max_loss 0.8.*: 200 like 000"
    with pytest.raises(StageError, match=message):
        found(tmp_path / "1", crowd)
    summary = found(tmp_path / "2", crowd, alarm="warn").summary
    assert summary["sources"] == {"web": [200, 199]}
    assert summary["languages"] == {"": [200, 199]}
    assert len(summary["alarms"]) == 2


def embedded_files(folder: Path) -> Path:
    """A folder with embeddings as a Parquet file, an Arrow file and an Arrow stream, each of a type of its own."""
    twins = {"twin": [1.0] * 8, "other twin": [2.0] * 8}
    documents = list({**families(13, 60, 8), **twins}.items())
    columns = ["text", "embedding", "rank"]
    tables = [
        table(dict(documents[first::3]), kind, rank={"twin": 1, "other twin": 2}).select(columns)
        for first, kind in enumerate((pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.large_list(pa.float32())))
    ]
    folder.mkdir()
    pq.write_table(tables[0], folder / "0.parquet")
    with pa.ipc.new_file(folder / "1.arrow", tables[1].schema) as file:
        file.write_table(tables[1])
    with pa.ipc.new_stream(folder / "2.arrows", tables[2].schema) as stream:
        stream.write_table(tables[2])
    return folder


def test_embeddings_and_scores_of_tables_decide_what_goes(tmp_path: Path) -> None:
    carry = {"embedding": "list<float32>", "rank": "float64"}
    artifacts = {
        "web": {"stage": "tables", "files": str(embedded_files(tmp_path / "web")), "carry": carry},
        "unique": {"stage": "dedup_semantic", "from": ["web"], "prefer": {"score": "rank"}},
    }
    sealed = run_here(tmp_path, artifacts)
    documents = {row["text"]: row["id"] for row in rows_of(sealed["web"])}
    removed = {row["id"]: row for row in removed_from(sealed["unique"])}
    assert removed[documents["text of twin"]]["evidence"] == f"similarity 1.000 to {documents['text of other twin']}"
    zeros = removed[documents["text of zeros"]]
    assert (zeros["verdict"], zeros["reason"]) == ("failed", "bad_embedding")
    assert documents["text of absent"] in {row["id"] for row in rows_of(sealed["unique"])}
    counts = sealed["unique"].ledger.last()["web"]
    assert counts.failed == {"bad_embedding": 2}
    assert counts.received == counts.kept + counts.dropped["semantic_duplicate"] + 2


@pytest.mark.parametrize("carry", [{"rank": "float64"}, {"embedding": "list<float32>"}], ids=str)
def test_a_column_that_no_source_provides_is_refused_before_the_run(tmp_path: Path, carry: dict[str, str]) -> None:
    artifacts = {
        "web": {"stage": "tables", "files": str(embedded_files(tmp_path / "web")), "carry": carry},
        "unique": {"stage": "dedup_semantic", "from": ["web"], "prefer": {"score": "rank"}},
    }
    with pytest.raises(RecipeError, match=r"needs the column (embedding|rank), which web does not provide"):
        run_here(tmp_path, artifacts)


@pytest.mark.parametrize("vectors", [[[1.0, 2.0], [1.0, 2.0], []], [[], []]])
def test_an_empty_embedding_is_a_bad_one(tmp_path: Path, vectors: list[list[float]]) -> None:
    table = documents([{"id": f"w/{i}", "source": "w", "text": "t"} for i in range(len(vectors))])
    table = table.append_column("embedding", pa.array(vectors, pa.list_(pa.float32())))
    made = documents_artifact("docs", [table], tmp_path)
    artifact = run_shuffle(SemanticDuplicates(DedupSemanticConfig()), {"documents": [made]}, tmp_path)
    assert artifact.summary["bad_embeddings"] == vectors.count([])


def test_a_stricter_limit_counts_for_what_is_there_already() -> None:
    summary = {"sources": {"w": [120, 60]}, "languages": {"": [120, 60]}, "largest_groups": [["a", 61]], "alarms": []}
    SemanticDuplicates(DedupSemanticConfig(max_loss=0.8)).check_sealed(summary)
    with pytest.raises(StageError, match="source w would lose 60 of its 120 documents"):
        SemanticDuplicates(DedupSemanticConfig(max_loss=0.1)).check_sealed(summary)


def test_embeddings_are_no_scores_of_removed_documents() -> None:
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float32()))
    batch = documents([{"id": "a", "source": "w", "text": "t"}]).append_column("model.vector", vectors)
    batch = batch.append_column("model.share", pa.array([0.5]))
    assert removals(batch, [0], [("dropped", "reason", "")])[0].scores == {"model.share": 0.5}

"""Token shards made by many tasks: the same bytes as of one plain loop, whatever the number of tasks."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact import Artifact
from pipeline.errors import LedgerError, StageError
from pipeline.stage import documents
from pipeline.storage import sha256_of
from stages.tokenize.shards import TokenShards, TokenShardsConfig, _check_complete
from tests.shuffle_runs import documents_artifact, run_shuffle
from tests.stages.in_process import artifact_of_files, run_here, write_lines

VOCABULARY = 1000
EOD = 7


def encoded(rows: Sequence[Mapping[str, Any]], dtype: str = "<u2") -> pa.Table:
    """Documents of id, source, tokens and maybe parent and language, as the stage before hands them on."""
    plain = documents([{k: row.get(k) for k in ("id", "source", "parent", "language")} for row in rows])
    plain = plain.select(["id", "source", "url", "date", "language", "mime", "parent"])
    bodies = [np.array([*row["tokens"], EOD], dtype).tobytes() for row in rows]
    plain = plain.append_column("tokens", pa.array(bodies, pa.large_binary()))
    plain = plain.append_column("encode.bytes", pa.array([3 * len(row["tokens"]) for row in rows], pa.int64()))
    return plain.append_column("encode.words", pa.array([len(row["tokens"]) // 2 for row in rows], pa.int64()))


def sharded(
    folder: Path, parts: Sequence[Sequence[Mapping[str, Any]]], vocabulary: int = VOCABULARY, **options: Any
) -> Artifact:
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True)
    (tokenizer / "tokenizer.json").write_text("{}")
    facts = {"vocabulary": vocabulary, "eod": EOD}
    dtype = "<u2" if vocabulary <= 2**16 else "<u4"
    inputs = {
        "documents": [documents_artifact("encoded", [encoded(rows, dtype) for rows in parts], folder)],
        "tokenizer": [artifact_of_files(tokenizer, "tokenizer", "tokenizer", facts)],
    }
    return run_shuffle(TokenShards(TokenShardsConfig(**options)), inputs, folder)


def contents(made: Artifact) -> dict[str, Any]:
    return json.loads((made.files_folder / "tokens.json").read_text())


def bodies(made: Artifact) -> dict[str, list[int]]:
    files = [f for s in contents(made)["sources"].values() for split in s.values() for f in split["files"]]
    dtype = contents(made)["dtype"]
    return {f["path"]: np.fromfile(made.files_folder / f["path"], dtype).tolist() for f in files}


def plain_shards(rows: Sequence[Mapping[str, Any]], shard_tokens: int, held_out: float) -> dict[str, list[int]]:
    """What the shards are by definition: documents by a hash of their ids, those of low draws apart, cut where a
    document begins at a multiple of the size or beyond."""
    made: dict[str, list[int]] = {}
    for source in {row["source"] for row in rows}:
        own = sorted(
            (row for row in rows if row["source"] == source),
            key=lambda row: (xxhash.xxh3_64_intdigest(row["id"], seed=1), row["id"]),
        )
        of = {
            row["id"]: xxhash.xxh3_64_intdigest(f"held out {row.get('parent') or row['id']}", seed=1) / 2**64
            for row in own
        }
        draws = sorted(set(of.values()))
        below = min(max(held_out, draws[0]), draws[-2])
        for split in ("train", "held_out"):
            begin = 0
            for row in own:
                if (of[row["id"]] <= below) == (split == "held_out"):
                    path = f"{source}/{split}-{begin // shard_tokens:05d}.bin"
                    made.setdefault(path, []).extend([*row["tokens"], EOD])
                    begin += len(row["tokens"]) + 1
    return made


def rows_of_lengths(lengths: Sequence[int], source: str = "web") -> list[dict[str, Any]]:
    return [
        {"id": f"{source}/{i}", "source": source, "tokens": [10 + (i + k) % 900 for k in range(n)]}
        for i, n in enumerate(lengths)
    ]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 30), min_size=2, max_size=40),
    borders=st.lists(st.integers(0, 80), max_size=4),
    shard_tokens=st.integers(1, 100),
    held_out=st.floats(0.01, 0.9),
    memory=st.sampled_from([2000, 20_000, 1 << 20]),
)
def test_any_number_of_tasks_gives_the_shards_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    borders: list[int],
    shard_tokens: int,
    held_out: float,
    memory: int,
) -> None:
    rows = rows_of_lengths(lengths) + rows_of_lengths(lengths[::-1], "code")
    cuts = [0, *sorted(min(b, len(rows)) for b in borders), len(rows)]
    parts = [rows[a:b] for a, b in itertools.pairwise(cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenShardsConfig, "task_memory_bytes", memory)
        made = sharded(tmp_path_factory.mktemp("many"), parts, shard_tokens=shard_tokens, held_out=held_out)
    assert bodies(made) == plain_shards(rows, shard_tokens, held_out)


def test_little_memory_makes_many_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenShardsConfig, "task_memory_bytes", 3000)
    parts = [rows_of_lengths([20] * 30)[i : i + 10] for i in (0, 10, 20)]
    tasks = {phase["phase"]: phase["parts"] for phase in sharded(tmp_path, parts, shard_tokens=200).phases}
    assert tasks["spread"] == 3
    assert tasks["sort"] >= 4
    assert tasks["cut"] >= 3


def test_the_index_tells_each_documents_place_its_parent_and_its_bytes(tmp_path: Path) -> None:
    rows = rows_of_lengths([3, 0, 8, 5, 2, 9])
    rows += [{**row, "id": f"{row['id']}~qa", "parent": row["id"], "source": "qa"} for row in rows]
    made = sharded(tmp_path, [rows], shard_tokens=10)
    by_id = {row["id"]: row for row in rows}
    seen = set()
    for path, ids in bodies(made).items():
        for place in pq.read_table((made.files_folder / path).with_suffix(".documents.parquet")).to_pylist():
            row = by_id[place["id"]]
            assert ids[place["start"] : place["start"] + place["tokens"]] == [*row["tokens"], EOD]
            assert (place["parent"], place["bytes"]) == (row.get("parent"), 3 * len(row["tokens"]))
            seen.add(place["id"])
    assert seen == set(by_id)


def test_a_changed_byte_in_an_index_is_found_by_who_reads_it_with_checksums(tmp_path: Path) -> None:
    made = sharded(tmp_path, [rows_of_lengths([3] * 50)], held_out=0.1)
    index = made.files_folder / "web/train-00000.documents.parquet"
    body = bytearray(index.read_bytes())
    body[pq.read_metadata(index).row_group(0).column(0).data_page_offset + 60] ^= 1
    index.write_bytes(body)
    with pytest.raises(OSError, match=r"checksum|CRC"):
        pq.read_table(index, page_checksum_verification=True)


def test_digests_of_linked_shards_are_those_of_their_bytes(tmp_path: Path) -> None:
    made = sharded(tmp_path, [rows_of_lengths([5] * 20)], shard_tokens=30)
    files = [f for split in contents(made)["sources"]["web"].values() for f in split["files"]]
    assert len(files) > 3
    assert all(sha256_of(made.files_folder / f["path"]) == f["sha256"] for f in files)


def test_a_run_records_the_digests_of_its_shards(tmp_path: Path) -> None:
    write_lines(tmp_path / "web.jsonl", [f"the river number {i}" for i in range(30)])
    web = {"stage": "json_lines", "files": "web.jsonl"}
    made = run_here(tmp_path, {"web": web, "tokens": {"stage": "tokenize", "from": "web", "vocabulary": 260}})["tokens"]
    (part,) = made.parts
    assert any(file.path == "web/train-00000.bin" for file in part.files)
    assert all(sha256_of(made.files_folder / file.path) == file.sha256 for file in part.files)
    committed = list((made.folder / "commits").iterdir())
    assert len(committed) == 1  # what the other tasks wrote is gone


def test_a_document_longer_than_a_shard_leaves_out_the_numbers_it_covers(tmp_path: Path) -> None:
    made = sharded(tmp_path, [rows_of_lengths([49, 49, 49, 49])], shard_tokens=20, held_out=0.01)
    train = [f["path"] for f in contents(made)["sources"]["web"]["train"]["files"]]
    assert train == ["web/train-00000.bin", "web/train-00002.bin", "web/train-00005.bin"]  # begin at 0, 50, 100


def test_a_vocabulary_beyond_sixteen_bits_has_four_bytes_a_token(tmp_path: Path) -> None:
    rows = [{"id": str(i), "source": "web", "tokens": [70_000 + i, 1]} for i in range(5)]
    made = sharded(tmp_path, [rows], vocabulary=100_000)
    assert contents(made)["dtype"] == "uint32"
    assert sorted(token for ids in bodies(made).values() for token in ids if token >= 70_000) == list(
        range(70_000, 70_005)
    )


def test_a_document_that_came_twice_is_refused_by_name(tmp_path: Path) -> None:
    rows = rows_of_lengths([5, 6, 7])
    twice = {**rows[1], "parent": "web/2"}  # so that one of them might be held out and the other not
    with pytest.raises(StageError, match="source web: the document web/1 came twice"):
        sharded(tmp_path, [rows, [twice]])


@pytest.mark.parametrize("lost", ["documents", "tokens", "bytes"])
def test_shards_that_lack_what_was_spread_are_not_sealed(lost: str) -> None:
    split = {"documents": 2, "tokens": 12, "bytes": 30}
    came_in = {
        "source": "web",
        "language": None,
        "documents": 4,
        "tokens": 20,
        "bytes": 60,
    }  # without ends of documents
    _check_complete({"web": {"train": split, "held_out": split}}, [came_in])
    short = {**split, lost: split[lost] - 1}
    with pytest.raises(LedgerError, match=r"source web: its shards hold .* This is a bug of the stage"):
        _check_complete({"web": {"train": split, "held_out": short}}, [came_in])


def test_one_id_may_stand_in_two_sources(tmp_path: Path) -> None:
    rows = rows_of_lengths([5, 6])
    made = sharded(tmp_path, [rows, [{**row, "source": "code"} for row in rows]])
    assert {s: sum(p["documents"] for p in parts.values()) for s, parts in contents(made)["sources"].items()} == {
        "web": 2,
        "code": 2,
    }


def test_fertility_is_told_by_source_and_language(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "source": "web", "language": "en", "tokens": [1, 1, 2, 3]},
        {"id": "b", "source": "web", "language": "de", "tokens": [1, 1]},
        {"id": "c", "source": "code", "tokens": [5, 6]},
        {"id": "d", "source": "code", "tokens": [5, 6]},
    ]
    told = {
        (row["source"], row["language"]): row for row in sharded(tmp_path, [rows[:2], rows[2:]]).summary["fertility"]
    }
    assert {key: [row[name] for name in ("documents", "tokens", "bytes", "words")] for key, row in told.items()} == {
        ("web", None): [2, 6, 18, 3],
        ("code", None): [2, 4, 12, 2],
        (None, "en"): [1, 4, 12, 2],
        (None, "de"): [1, 2, 6, 1],
        (None, "unknown"): [2, 4, 12, 2],
        ("web", "en"): [1, 4, 12, 2],
        ("web", "de"): [1, 2, 6, 1],
        ("code", "unknown"): [2, 4, 12, 2],
    }
    # web: token 1 four times of six, 2 and 3 once: 4 log2(6/4) + 2 log2(6) = 7.5098 bits in 18 bytes.
    assert told["web", None]["unigram_bits_per_byte"] == pytest.approx(7.5098 / 18, abs=1e-4)
    assert told["code", None]["unigram_bits_per_byte"] == pytest.approx(4 / 12)  # two tokens as frequent: a bit each
    assert told[None, "en"]["unigram_bits_per_byte"] == pytest.approx(6 / 12)  # 2 log2(2) + 2 log2(4)
    assert told[None, "de"]["unigram_bits_per_byte"] == 0
    assert told["web", "en"]["unigram_bits_per_byte"] is None

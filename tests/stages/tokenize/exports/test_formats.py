"""Every format holds the same documents, and the bytes that its description asks for."""

import gzip
import pickle
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from stages.tokenize.exports import FORMATS, export, litdata, mds, parquet
from stages.tokenize.exports.selection import Documents
from tests.stages.tokenize.exports.folders import (
    EOD,
    LAYOUT,
    Layout,
    documents_of,
    encoded,
    ids_of,
    write_tokens,
)
from tests.stages.tokenize.exports.plain_readers import READERS, manifest_of

DTYPES = ("uint16", "uint32")


def read(folder: Path, form: str, layout: Layout, dtype: str = "uint16") -> Any:
    tokens = write_tokens(folder / "tokens", layout, dtype)
    export(tokens, folder / "out", form)
    return READERS[form](folder / "out", dtype)


def layouts(largest: int) -> st.SearchStrategy[Layout]:
    """Sources of one or two shards, of which one may be empty, with documents of one token and more."""
    body = st.lists(st.integers(1, largest), max_size=5)
    document = body.map(lambda ids: [*ids, EOD])
    shard = st.lists(document, max_size=4)
    train = st.lists(shard, min_size=1, max_size=3).filter(lambda shards: any(shards))
    held_out = st.just([[[1, EOD]]])
    return st.dictionaries(
        st.sampled_from(["web", "code", "books"]),
        st.fixed_dictionaries({"train": train, "held_out": held_out}),
        min_size=1,
    )


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_documents_come_back_as_they_stood(tmp_path: Path, form: str, dtype: str) -> None:
    found, names = read(tmp_path, form, LAYOUT, dtype)
    assert found == documents_of(LAYOUT)
    assert names is None or names == ids_of(LAYOUT)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("form", READERS)
@given(layout=layouts(65_535))
@example(layout={"web": {"train": [[[EOD]]], "held_out": [[[EOD]]]}})
@example(layout={"web": {"train": [[], [[65_535, EOD], [EOD]], []], "held_out": [[[EOD]]]}})
def test_odd_documents_and_empty_shards_come_back(form: str, layout: Layout) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, names = read(Path(folder), form, layout)
    assert found == documents_of(layout)
    assert names is None or names == ids_of(layout)


@settings(max_examples=15)
@pytest.mark.parametrize("form", READERS)
@given(layout=layouts(99_999))
def test_ids_above_two_bytes_come_back(form: str, layout: Layout) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, _ = read(Path(folder), form, layout, "uint32")
    assert found == documents_of(layout)


@pytest.mark.parametrize("form", READERS)
def test_lengths_of_one_two_and_more_bytes_come_back(tmp_path: Path, form: str) -> None:
    long = [[1] * (length - 1) + [EOD] for length in (255, 256, 65_535, 65_536)]
    layout: Layout = {"web": {"train": [long], "held_out": [[[EOD]]]}}
    assert read(tmp_path, form, layout)[0] == {"web": long}


@pytest.mark.parametrize("form", READERS)
def test_held_out_documents_are_another_export(tmp_path: Path, form: str) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    export(tokens, tmp_path / "out", form, split="held_out")
    found, _ = READERS[form](tmp_path / "out", "uint16")
    assert found == documents_of(LAYOUT, "held_out")


@pytest.mark.parametrize(
    ("form", "module", "name", "limit"),
    [
        ("litdata", litdata, "CHUNK_BYTES", 16),
        ("mds", mds, "SHARD_BYTES", 320),
        ("parquet-ids", parquet, "ROW_GROUP_TOKENS", 4),
    ],
)
def test_conversions_are_cut_between_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, module: Any, name: str, limit: int
) -> None:
    monkeypatch.setattr(module, name, limit)
    found, _ = read(tmp_path, form, LAYOUT)
    assert found == documents_of(LAYOUT)
    pieces = {
        "litdata": lambda: len(list((tmp_path / "out" / "web").glob("*.bin"))),
        "mds": lambda: len(list((tmp_path / "out" / "web").glob("*.mds"))),
        "parquet-ids": lambda: sum(pq.read_metadata(p).num_row_groups for p in (tmp_path / "out" / "web").iterdir()),
    }
    # two documents, one; the document of the next shard
    assert pieces[form]() == 3


@given(st.lists(st.integers(1, 9), min_size=1), st.integers(1, 20))
def test_groups_take_every_document_once_and_no_more_than_fits(lengths: list[int], most: int) -> None:
    documents = Documents(None, np.array(lengths))
    groups = list(documents.groups(most))
    assert [length for group in groups for length in lengths[group]] == lengths
    assert all(sum(lengths[g]) <= most or g.stop - g.start == 1 for g in groups)
    assert all(sum(lengths[g]) + lengths[g.stop] > most for g in groups[:-1])


def test_shards_of_mds_are_no_larger_than_their_index_says_whatever_the_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short documents are mostly ids and offsets."""
    monkeypatch.setattr(mds, "SHARD_BYTES", 600)
    layout: Layout = {"web": {"train": [[[EOD]] * 50], "held_out": [[[EOD]]]}}
    assert read(tmp_path, "mds", layout)[0] == documents_of(layout)
    sizes = [path.stat().st_size for path in (tmp_path / "out/web").glob("*.mds")]
    assert 500 < max(sizes) <= 600


@pytest.mark.parametrize("form", ["litdata", "mds"])
def test_a_source_without_tokens_is_no_dataset(tmp_path: Path, form: str) -> None:
    """The readers of both refuse a dataset of nothing."""
    layout: Layout = {**LAYOUT, "later": {"train": [[]], "held_out": [[[EOD]]]}}
    assert read(tmp_path, form, layout)[0] == documents_of(LAYOUT)
    assert not (tmp_path / "out/later").exists()


def test_the_index_of_megatron_byte_by_byte(tmp_path: Path) -> None:
    layout = {"web": {"train": [[[5, 6, EOD], [EOD]]], "held_out": [[[EOD]]]}}
    export(write_tokens(tmp_path / "tokens", layout), tmp_path / "out", "megatron")
    assert (tmp_path / "out/web/train-00000.idx").read_bytes() == (
        b"MMIDIDX\x00\x00"
        + struct.pack("<Q", 1)  # version
        + bytes([8])  # uint16
        + struct.pack("<QQ", 2, 3)  # sequences; documents and one
        + struct.pack("<2i", 3, 1)  # lengths in tokens
        + struct.pack("<2q", 0, 6)  # where they begin, in bytes
        + struct.pack("<3q", 0, 1, 2)  # the sequence with which each document begins
    )


def test_megatron_is_told_of_all_shards_by_a_file(tmp_path: Path) -> None:
    export(write_tokens(tmp_path / "tokens"), tmp_path / "out", "megatron")
    arguments = (tmp_path / "out/data_args.txt").read_text().split()
    assert arguments == ["2", "code/train-00000", "6", "web/train-00000", "6", "web/train-00001"]


def test_rows_of_olmo_are_those_of_dolma(tmp_path: Path) -> None:
    export(write_tokens(tmp_path / "tokens"), tmp_path / "out", "olmo")
    content = (tmp_path / "out/web/train-00000.csv.gz").read_bytes()
    assert content[4:8] == bytes(4)  # no time: the same tokens give the same bytes
    rows = gzip.decompress(content).decode().splitlines()
    assert rows[1] == '3,4,"web, train: 0.1",web,1'


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_tokens_give_the_same_files(tmp_path: Path, form: str) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    first, second = tmp_path / "first" / "out", tmp_path / "second" / "out"
    export(tokens, first, form)
    export(tokens, second, form)
    named_by_place = {".metadata"}  # it names the folder
    for path in (path for path in first.rglob("*") if path.is_file()):
        if form != "datatrove" or path.suffix not in named_by_place | {".json"}:
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path


def test_nanogpt_has_train_and_validation_in_a_file_each(tmp_path: Path) -> None:
    exported = export(write_tokens(tmp_path / "tokens"), tmp_path / "out", "nanogpt")
    for split, name in (("train", "train.bin"), ("held_out", "val.bin")):
        documents = documents_of(LAYOUT, split)
        expected = [token for source in documents.values() for ids in source for token in ids]
        assert np.fromfile(tmp_path / "out" / name, "<u2").tolist() == expected
    assert pickle.loads((tmp_path / "out/meta.pkl").read_bytes()) == {"vocab_size": 257}
    assert exported.tokens == 2 + 3 + 6 + 6 + 4


def test_a_single_shard_is_linked_for_nanogpt_too(tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens")
    export(tokens, tmp_path / "out", "nanogpt", sources=["code"])
    assert (tmp_path / "out/train.bin").samefile(tokens / "code/train-00000.bin")


TEXTS = ["naïve 日本\r\n\t", "", "<|endoftext|> in plain text ", "\x00 \ufeff e\u0301"]


def with_texts(folder: Path, change: Callable[[int], int] = lambda size: size) -> Path:
    body = [byte_ids(text) for text in TEXTS]
    layout = {"web": {"train": [body[:2], body[2:]], "held_out": [[[EOD]]]}}
    return write_tokens(folder, layout, size_bytes=change(sum(len(text.encode()) for text in TEXTS)))


def byte_ids(text: str) -> list[int]:
    """As the stage encodes: a special token's name in a text is plain text."""
    return [token for byte_text in text for token in encoded(byte_text)[:-1]] + [EOD]


def test_texts_are_decoded_from_their_tokens(tmp_path: Path) -> None:
    exported = export(with_texts(tmp_path / "tokens"), tmp_path / "out", "parquet-text")
    rows = [row for path in sorted((tmp_path / "out/web").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["text"] for row in rows] == TEXTS
    assert [row["id"] for row in rows] == [f"web, train: {s}.{n}" for s in (0, 1) for n in (0, 1)]
    assert "exactly as many bytes as the documents had" in exported.notes[0]


def test_special_tokens_within_a_document_stay_in_its_text(tmp_path: Path) -> None:
    (letter,) = byte_ids("a")[:-1]
    layout: Layout = {"web": {"train": [[[letter, EOD, letter, EOD]]], "held_out": [[[EOD]]]}}
    export(write_tokens(tmp_path / "tokens", layout), tmp_path / "out", "parquet-text")
    assert pq.read_table(tmp_path / "out/web/train-00000.parquet")["text"].to_pylist() == ["a<|endoftext|>a"]


def test_text_that_the_tokenizer_changed_is_told(tmp_path: Path) -> None:
    exported = export(with_texts(tmp_path / "tokens", lambda size: size + 2), tmp_path / "out", "parquet-text")
    size = sum(len(text.encode()) for text in TEXTS)
    assert f"web: {size} bytes instead of {size + 2}" in exported.notes[0]
    assert manifest_of(tmp_path / "out")["notes"] == list(exported.notes)


@pytest.mark.parametrize("form", ["olmo"])
def test_an_id_of_two_lines_is_refused_where_readers_go_by_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr("tests.stages.tokenize.exports.folders.document_id", lambda *_: "two\nlines")
    tokens = write_tokens(tmp_path / "tokens")
    with pytest.raises(InputError, match=r"two\\nlines"):
        export(tokens, tmp_path / "out", form)

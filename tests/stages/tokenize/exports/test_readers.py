"""Exports opened by the readers that own the formats. A reader that is no part of the project is tested where it is
installed; each test says which package it needs.

datatrove and datasets come with the project. For the others, in an environment of their own:

    pip install megatron-core ai2-olmo-core litdata mosaicml-streaming
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.tokenize.exports import export
from tests.stages.tokenize.exports.folders import EOD, LAYOUT, Layout, documents_of, ids_of, write_tokens

BLOCK = 4  # tokens that the readers of fixed lengths take at a time
LARGE: Layout = {"web": {"train": [[[70_000, 99_999, EOD], [EOD], [5, EOD]]], "held_out": [[[EOD]]]}}


@pytest.fixture(params=["uint16", "uint32"])
def layout(request: pytest.FixtureRequest) -> tuple[Layout, str]:
    return (LAYOUT if request.param == "uint16" else LARGE), request.param


def exported(folder: Path, form: str, layout: Layout, dtype: str) -> Path:
    return export(write_tokens(folder / "tokens", layout, dtype), folder / "out", form).folder


def flat(documents: list[list[int]]) -> list[int]:
    return [token for ids in documents for token in ids]


def shards_of(layout: Layout) -> list[tuple[str, list[list[int]]]]:
    """Name and documents of each shard for training."""
    return [
        (f"{source}/train-{number:05d}", list(shard))
        for source, splits in layout.items()
        for number, shard in enumerate(splits["train"])
    ]


def blocks(ids: list[int], length: int) -> list[list[int]]:
    """Whole blocks; the rest is left."""
    return [ids[i : i + length] for i in range(0, len(ids) - length + 1, length)]


def test_datatrove_reads_its_files(tmp_path: Path, layout: tuple[Layout, str]) -> None:
    from datatrove.utils.dataset import DatatroveFolderDataset

    folder = exported(tmp_path, "datatrove", *layout)
    token_bytes = np.dtype(layout[1]).itemsize
    for source in layout[0]:
        dataset = DatatroveFolderDataset(
            str(folder / source), seq_len=BLOCK - 1, filename_pattern="*.ds", token_size=token_bytes
        )
        expected = [
            block
            for name, shard in shards_of(layout[0])
            if name.startswith(source)
            for block in blocks(flat(shard), BLOCK)
        ]
        assert [dataset[i]["input_ids"].tolist() for i in range(len(dataset))] == expected


def test_datatrove_finds_the_documents_in_the_index(tmp_path: Path) -> None:
    from datatrove.utils.dataset import DatatroveFileDataset

    folder = exported(tmp_path, "datatrove", LAYOUT, "uint16")
    dataset = DatatroveFileDataset(str(folder / "web/train-00000.ds"), seq_len=5, return_positions=True)
    assert dataset[0]["input_ids"].tolist() == [5, 6, EOD, EOD, 8, EOD]
    assert dataset[0]["positions"].tolist() == [0, 1, 2, 0, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet-ids", "parquet-text"])
def test_datasets_loads_the_whole_folder(tmp_path: Path, form: str) -> None:
    import datasets

    folder = exported(tmp_path, form, LAYOUT, "uint16")
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    documents, ids = documents_of(LAYOUT), ids_of(LAYOUT)
    assert list(loaded["id"]) == ids["code"] + ids["web"]
    if form == "parquet-ids":
        assert list(loaded["input_ids"]) == documents["code"] + documents["web"]


@pytest.mark.slow
def test_transformers_loads_the_tokenizer_beside_the_files(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = exported(tmp_path, "megatron", LAYOUT, "uint16")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token_id == EOD
    assert tokenizer.decode(tokenizer("naïve 日本")["input_ids"]) == "naïve 日本"


@pytest.mark.slow
def test_megatron_reads_its_files(tmp_path: Path, layout: tuple[Layout, str]) -> None:
    indexed_dataset = pytest.importorskip(
        "megatron.core.datasets.indexed_dataset", reason="megatron-core is not installed"
    )
    folder = exported(tmp_path, "megatron", *layout)
    for name, documents in shards_of(layout[0]):
        for mmap in (True, False):
            dataset = indexed_dataset.IndexedDataset(str(folder / name), mmap=mmap)
            assert [dataset[i].tolist() for i in range(len(dataset))] == documents
            assert dataset.document_indices.tolist() == list(range(len(documents) + 1))


@pytest.mark.slow
def test_olmo_core_reads_its_files(tmp_path: Path, layout: tuple[Layout, str]) -> None:
    data = pytest.importorskip("olmo_core.data", reason="ai2-olmo-core is not installed")
    from olmo_core.data.utils import get_document_indices, iter_document_indices, load_array_slice

    folder = exported(tmp_path, "olmo", *layout)
    dtype = getattr(np, layout[1])
    for name, documents in shards_of(layout[0]):
        path = folder / f"{name}.npy"
        told = get_document_indices(path)  # by the .csv.gz
        assert told == list(iter_document_indices(path, eos_token_id=EOD, dtype=dtype))  # by the end-of-document tokens
        assert [load_array_slice(path, start, end, dtype).tolist() for start, end in told] == documents
    paths = [folder / f"{name}.npy" for name, documents in shards_of(layout[0]) if len(flat(documents)) >= BLOCK]
    dataset = data.NumpyFSLDataset(
        *paths, sequence_length=BLOCK, pad_token_id=EOD, eos_token_id=EOD, vocab_size=100_000, dtype=dtype
    )
    dataset.prepare()
    expected = [block for _, documents in shards_of(layout[0]) for block in blocks(flat(documents), BLOCK)]
    assert [dataset[i]["input_ids"].tolist() for i in range(len(dataset))] == expected


@pytest.mark.slow
def test_litdata_reads_its_files(tmp_path: Path, layout: tuple[Layout, str]) -> None:
    streaming = pytest.importorskip("litdata.streaming", reason="litdata is not installed")
    folder = exported(tmp_path, "litdata", *layout)
    for source in layout[0]:
        dataset = streaming.StreamingDataset(str(folder / source), item_loader=streaming.TokensLoader(block_size=2))
        expected = [
            block for name, shard in shards_of(layout[0]) if name.startswith(source) for block in blocks(flat(shard), 2)
        ]
        assert [block.tolist() for block in dataset] == expected


@pytest.mark.slow
def test_streaming_reads_its_files(tmp_path: Path, layout: tuple[Layout, str]) -> None:
    streaming = pytest.importorskip("streaming", reason="mosaicml-streaming is not installed")
    folder = exported(tmp_path, "mds", *layout)
    for source, documents in documents_of(layout[0]).items():
        for dataset in (
            streaming.LocalDataset(str(folder / source)),
            streaming.StreamingDataset(local=str(folder / source), batch_size=1),
        ):
            samples: list[dict[str, Any]] = [dataset[i] for i in range(len(dataset))]
            assert [sample["tokens"].tolist() for sample in samples] == documents
            assert [sample["id"] for sample in samples] == ids_of(layout[0])[source]

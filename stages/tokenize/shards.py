"""Token shards: the documents of each source in a seeded order, as headless bodies of token ids.

tokens.json                              counts, digests, tokenizer, per source and part of the data
tokenizer.json
<source>/train-00000.bin                 token ids, little-endian, uint16 (uint32 from 65,536 entries on)
<source>/train-00000.documents.parquet   which document stands where: id, start, tokens
<source>/held_out-00000.bin              documents that no training ever sees
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from pydantic import Field

from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.ledger import Counts
from pipeline.stage import Context, Global, Result, StageConfig
from pipeline.storage import sha256_of
from stages.tokenize.tokenizer import END_OF_DOCUMENT, TOKENIZER_FILE, load_tokenizer

PARTS = ("train", "held_out")


class TokenShardsConfig(StageConfig):
    """Size of shards and the share of documents held out."""

    shard_tokens: int = Field(100_000_000, gt=0)
    """Tokens after which a new file begins; documents are never split over files."""
    held_out: float = Field(0.02, gt=0, lt=1)
    """Share of documents that is kept from training, at least one of each source. The choice is by a hash of the id, so
    more documents do not change it; a rephrased document goes where the one that it was written from goes."""


@dataclass(frozen=True)
class _Document:
    order: int  # seeded hash of the id
    draw: float  # 0 to 1, by a seeded hash of the id, or of that of the document it was written from
    id: str
    tokens: npt.NDArray[Any]
    size_bytes: int


class TokenShards(Global[TokenShardsConfig]):
    """Shuffle the encoded documents of each source and write them as shards. Holds all tokens in memory."""

    name = "token_shards"
    version = 2
    config_type = TokenShardsConfig
    accepts = ("documents", "tokenizer")
    produces: ClassVar[str] = "tokens"

    def run(self, inputs: Mapping[str, Sequence[Artifact]], out: Path, context: Context) -> Result:
        tokenizer_path = inputs["tokenizer"][0].files_folder / TOKENIZER_FILE
        tokenizer = load_tokenizer(tokenizer_path)
        sources: dict[str, list[_Document]] = defaultdict(list)
        for document, source in _documents(inputs["documents"], context.seed):
            sources[source].append(document)
        if not sources:
            raise StageError("there are no documents to tokenize: everything was dropped before")
        dtype = "uint16" if tokenizer.get_vocab_size() <= 2**16 else "uint32"
        written = {name: self._source(name, found, dtype, out) for name, found in sorted(sources.items())}
        shutil.copyfile(tokenizer_path, out / TOKENIZER_FILE)
        contents = {
            "vocabulary": tokenizer.get_vocab_size(),
            "dtype": dtype,
            "eod": tokenizer.token_to_id(END_OF_DOCUMENT),
            "tokenizer_sha256": sha256_of(tokenizer_path),
            "sources": written,
        }
        (out / "tokens.json").write_text(json.dumps(contents, indent=1, sort_keys=True))
        counts = {name: Counts(received=len(found), kept=len(found)) for name, found in sources.items()}
        return Result({key: contents[key] for key in ("vocabulary", "dtype", "sources")}, counts)

    def _source(self, name: str, documents: list[_Document], dtype: str, out: Path) -> dict[str, Any]:
        documents.sort(key=lambda d: (d.order, d.id))
        for a, b in itertools.pairwise(documents):
            if a.id == b.id:
                raise StageError(f"source {name}: the document {a.id} came twice")
        draws = sorted({d.draw for d in documents})
        if len(draws) < len(PARTS):
            raise StageError(
                f"source {name} has only {len(draws)} document left: it needs one to train on and one to hold "
                "out. See the report for where its documents went"
            )
        below = min(max(self.config.held_out, draws[0]), draws[-2])  # at least one document on either side
        split = {
            "held_out": [d for d in documents if d.draw <= below],
            "train": [d for d in documents if d.draw > below],
        }
        return {part: self._files(name, part, split[part], dtype, out) for part in PARTS}

    def _files(self, source: str, part: str, documents: Sequence[_Document], dtype: str, out: Path) -> dict[str, Any]:
        files = []
        for i, shard in enumerate(_shards(documents, self.config.shard_tokens)):
            path = out / source / f"{part}-{i:05d}.bin"
            path.parent.mkdir(exist_ok=True)
            body = np.concatenate([d.tokens for d in shard]).astype(f"<u{2 if dtype == 'uint16' else 4}")
            path.write_bytes(body.data)  # ndarray.tofile does not say so when the disk is full
            lengths = np.array([len(d.tokens) for d in shard])
            index = {
                "id": [d.id for d in shard],
                "start": np.concatenate([[0], lengths.cumsum()[:-1]]),
                "tokens": lengths,
            }
            pq.write_table(pa.table(index), path.with_suffix(".documents.parquet"), compression="zstd")
            relative = path.relative_to(out).as_posix()
            files.append({"path": relative, "tokens": int(lengths.sum()), "sha256": sha256_of(path)})
        return {
            "files": files,
            "tokens": sum(f["tokens"] for f in files),
            "documents": len(documents),
            "bytes": sum(d.size_bytes for d in documents),
        }


def _documents(artifacts: Sequence[Artifact], seed: int) -> Iterator[tuple[_Document, str]]:
    for artifact in artifacts:
        for table in artifact.tables(["id", "source", "parent", "tokens", "encode.bytes"]):
            tokens = table["tokens"].combine_chunks()
            flat, ends = tokens.values.to_numpy(), tokens.offsets.to_numpy()
            rows = zip(
                table["id"].to_pylist(),
                table["source"].to_pylist(),
                table["parent"].to_pylist(),
                table["encode.bytes"].to_pylist(),
                ends,
                ends[1:],
                strict=False,
            )
            for document_id, source, parent, size, start, end in rows:
                order = xxhash.xxh3_64_intdigest(document_id, seed=seed)
                draw = xxhash.xxh3_64_intdigest(f"held out {parent or document_id}", seed=seed) / 2**64
                yield _Document(order, draw, document_id, flat[start:end], size), source


def _shards(documents: Sequence[_Document], max_tokens: int) -> Iterator[list[_Document]]:
    shard: list[_Document] = []
    size = 0
    for document in documents:
        if shard and size + len(document.tokens) > max_tokens:
            yield shard
            shard, size = [], 0
        shard.append(document)
        size += len(document.tokens)
    if shard:
        yield shard

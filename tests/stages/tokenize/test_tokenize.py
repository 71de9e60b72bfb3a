"""From documents to token shards and back, and what a shard's neighbours may rely on."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import stage as contract
from pipeline.artifact import Artifact
from pipeline.errors import StageError
from pipeline.stage import Context
from proxy_models.shards import open_tokens
from stages.tokenize.encode import Encode, EncodeConfig
from stages.tokenize.shards import TokenShards, TokenShardsConfig
from stages.tokenize.tokenizer import (
    END_OF_DOCUMENT,
    TrainTokenizer,
    TrainTokenizerConfig,
    _sample,
    load_tokenizer,
)
from tests.shuffle_runs import run_shuffle
from tests.stages.in_process import artifact_of, artifact_of_files, rows_of, run_here, texts, write_lines

VOCABULARY = 300
SHARD_TOKENS = 400
HELD_OUT = 0.1
WEB = [f"The river number {i} flows past 日本 and the {'old ' * (i % 7)}mill, naïve — {i * i}." for i in range(60)]
CODE = [f"def f{i}(x):\n\treturn x * {i}\n" for i in range(40)] + ["".join(f"y{i} = {i * i}\n" for i in range(200))]


def recipe(**options: Any) -> dict[str, Any]:
    return {
        "web": {"stage": "json_lines", "files": "web.jsonl"},
        "code": {"stage": "json_lines", "files": "code.jsonl"},
        "tokens": {"stage": "tokenize", "from": ["web", "code"], **options},
    }


def tokenized(folder: Path, web: list[str] = WEB, code: list[str] = CODE, **options: Any) -> dict[str, Artifact]:
    write_lines(folder / "web.jsonl", web)
    write_lines(folder / "code.jsonl", code)
    options = {"vocabulary": VOCABULARY, "shard_tokens": SHARD_TOKENS, "held_out": HELD_OUT, **options}
    return run_here(folder, recipe(**options))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return tokenized(tmp_path_factory.mktemp("tokenized"))


@pytest.fixture(scope="module")
def folder(sealed: dict[str, Artifact]) -> Path:
    return sealed["tokens"].files_folder


@pytest.fixture(scope="module")
def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tokens.json").read_text())


def ids_of(encode: Encode, text: str) -> list[int]:
    (body,) = encode.process(texts({"a": text})).kept["tokens"].to_pylist()
    return np.frombuffer(body, "<u2").tolist()


def spread_anew(folder: Path, tokenizer: Path, parts: list[Any], seed: int = 1, **options: Any) -> Artifact:
    """The shards of encoded documents in these parts, by a tokenizer that is there."""
    loaded = load_tokenizer(tokenizer / "tokenizer.json")
    facts = {"vocabulary": loaded.vocabulary, "eod": loaded.end_of_document}
    inputs = {
        "documents": [artifact_of(folder, "encoded", parts)],
        "tokenizer": [artifact_of_files(tokenizer, "tokenizer", "tokenizer", facts)],
    }
    return run_shuffle(TokenShards(TokenShardsConfig(**options)), inputs, folder, seed=seed)


@pytest.fixture(scope="module")
def encode(folder: Path) -> Encode:
    stage = Encode(EncodeConfig())
    stage.setup(Context(seed=1, side={"tokenizer": folder}))
    return stage


def shards(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str, np.ndarray, list[dict[str, Any]]]]:
    """Source, part, token ids and document index of each shard."""
    for source, parts in manifest["sources"].items():
        for part, contents in parts.items():
            for file in contents["files"]:
                path = folder / file["path"]
                ids = np.fromfile(path, manifest["dtype"])
                assert len(ids) == file["tokens"]
                yield source, part, ids, pq.read_table(path.with_suffix(".documents.parquet")).to_pylist()


@given(text=st.text())
@example(text=f"how to use {END_OF_DOCUMENT} in code")
@example(text="\x00\ufeff\u2028 e\u0301 é ﬁ \r\n\t  two  spaces ")
@example(text="👩‍👩‍👧 हिन्दी ไทย العربية")
def test_any_text_comes_back_from_its_tokens(folder: Path, encode: Encode, text: str) -> None:
    ids = ids_of(encode, text)
    tokenizer = load_tokenizer(folder / "tokenizer.json").tokenizer
    assert tokenizer.decode(ids[:-1], skip_special_tokens=False) == text


@given(text=st.text() | st.just(f"a {END_OF_DOCUMENT} b {END_OF_DOCUMENT}"))
def test_the_end_of_document_stands_at_the_end_alone(encode: Encode, text: str) -> None:
    """A page about language models that names the token must not end before its end."""
    ids = ids_of(encode, text)
    assert [i for i, token in enumerate(ids) if token == 0] == [len(ids) - 1]


def test_bytes_are_of_the_text_in_utf_8(encode: Encode) -> None:
    kept = encode.process(texts({"a": "naïve", "b": "日本", "c": "", "d": None})).kept
    assert kept["encode.bytes"].to_pylist() == [6, 6, 0, 0]
    assert "text" not in kept.column_names


def test_digits_are_tokens_of_their_own(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / "tokenizer.json").tokenizer
    assert tokenizer.encode("2024").tokens == ["2", "0", "2", "4"]
    assert all(not any(c.isdigit() for c in token) or len(token) == 1 for token in tokenizer.get_vocab())


def test_every_document_comes_back_from_the_shards(
    sealed: dict[str, Artifact], folder: Path, manifest: dict[str, Any]
) -> None:
    tokenizer = load_tokenizer(folder / "tokenizer.json").tokenizer
    found = {}
    for _, _, ids, index in shards(folder, manifest):
        for row in index:
            document = ids[row["start"] : row["start"] + row["tokens"]]
            assert document[-1] == manifest["eod"]
            found[row["id"]] = tokenizer.decode(document[:-1].tolist(), skip_special_tokens=False)
    assert found == {row["id"]: row["text"] for name in ("web", "code") for row in rows_of(sealed[name])}


def test_the_document_index_covers_its_shard_without_gap_or_overlap(folder: Path, manifest: dict[str, Any]) -> None:
    for _, _, ids, index in shards(folder, manifest):
        ends = [row["start"] + row["tokens"] for row in index]
        assert [row["start"] for row in index] == [0, *ends[:-1]]
        assert ends[-1] == len(ids)


def test_a_new_shard_begins_with_the_first_document_beyond_a_multiple_of_its_size(
    folder: Path, manifest: dict[str, Any]
) -> None:
    """As in one file of all documents, cut where a document begins at a multiple of the size or behind it."""
    for source in ("web", "code"):
        numbers, lengths = [], []
        for file in manifest["sources"][source]["train"]["files"]:
            rows = pq.read_table((folder / file["path"]).with_suffix(".documents.parquet"))
            numbers += [int(file["path"][-9:-4])] * rows.num_rows
            lengths += rows["tokens"].to_pylist()
        begins = [0, *itertools.accumulate(lengths)][:-1]
        assert numbers == [begin // SHARD_TOKENS for begin in begins]
        assert len(set(numbers)) > 2
    assert max(lengths) > SHARD_TOKENS  # a long document is whole


def test_no_document_is_both_trained_on_and_held_out(folder: Path, manifest: dict[str, Any]) -> None:
    ids: dict[tuple[str, str], set[str]] = {}
    for source, part, _, index in shards(folder, manifest):
        ids.setdefault((source, part), set()).update(row["id"] for row in index)
    for source, documents in (("web", WEB), ("code", CODE)):
        assert not ids[source, "train"] & ids[source, "held_out"]
        expected = HELD_OUT * len(documents)
        assert abs(len(ids[source, "held_out"]) - expected) <= 4 * (expected * (1 - HELD_OUT)) ** 0.5
        assert len(ids[source, "train"]) == len(documents) - round(HELD_OUT * len(documents))


def test_training_can_open_what_was_written(folder: Path, manifest: dict[str, Any]) -> None:
    tokens = open_tokens(folder)
    tokens.verify_digests()
    assert (tokens.vocabulary, tokens.eod, tokens.sources) == (VOCABULARY, 0, ("code", "web"))
    for source, documents in (("web", WEB), ("code", CODE)):
        bodies = (tokens.train(source), tokens.held_out(source))
        assert sum(body.documents for body in bodies) == len(documents)
        assert sum(body.bytes for body in bodies) == sum(len(text.encode()) for text in documents)
        for body in bodies:
            (stretch,) = body.gather(np.array([0]), body.tokens)
            assert (stretch == 0).sum() == body.documents


def test_the_ledger_and_the_summary_agree_with_the_shards(
    sealed: dict[str, Artifact], manifest: dict[str, Any]
) -> None:
    tokens = sealed["tokens"]
    assert {s: (c.received, c.kept) for s, c in tokens.ledger.last().items()} == {"web": (60, 60), "code": (41, 41)}
    assert tokens.summary["sources"] == manifest["sources"]


def test_tokenizing_again_gives_the_same_bytes(sealed: dict[str, Artifact], tmp_path: Path) -> None:
    again = tokenized(tmp_path)
    assert again["tokens.tokenizer"].digest == sealed["tokens.tokenizer"].digest
    assert again["tokens"].digest == sealed["tokens"].digest


def test_the_order_of_documents_depends_on_the_seed_not_on_their_parts(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer" / "files"
    tokenizer.mkdir(parents=True)
    batches = [texts({f"{i:03d}": f"document {i} of many words" for i in range(n, n + 10)}) for n in range(0, 50, 10)]
    TrainTokenizer(TrainTokenizerConfig(vocabulary=260)).run(
        {"documents": [artifact_of(tmp_path, "docs", batches)]}, tokenizer, Context(seed=1)
    )
    encode = Encode(EncodeConfig())
    encode.setup(Context(seed=1, side={"tokenizer": tokenizer}))
    encoded = [encode.process(batch).kept for batch in batches]

    def order(name: str, parts: list[Any], seed: int) -> list[str]:
        made = spread_anew(tmp_path / name, tokenizer, parts, seed).files_folder
        written = json.loads((made / "tokens.json").read_text())
        return [row["id"] for _, _, _, index in shards(made, written) for row in index]

    one = order("one", encoded, seed=1)
    assert one == order("reversed", encoded[::-1], seed=1)
    assert sorted(one) == sorted(order("other", encoded, seed=2))
    assert one != order("another", encoded, seed=2)
    assert one != sorted(one)


def test_a_vocabulary_that_the_text_cannot_fill_is_refused_with_the_one_that_it_can(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"vocabulary of (\d+) only, not 32768: set vocabulary to \1 or less") as error:
        tokenized(tmp_path, vocabulary=32768)
    feasible = int(str(error.value).split("vocabulary to ")[1].split()[0])
    assert tokenized(tmp_path, vocabulary=feasible)["tokens"].summary["vocabulary"] == feasible


def test_a_source_of_one_document_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="source code has only 1 document left"):
        tokenized(tmp_path, code=["alone"])


@pytest.mark.parametrize("held_out", [0.001, 0.5, 0.99])
def test_each_source_has_documents_to_train_on_and_to_hold_out(tmp_path: Path, held_out: float) -> None:
    sources = tokenized(tmp_path, code=["x = 1", "y = 2"], held_out=held_out)["tokens"].summary["sources"]
    assert all(parts[part]["documents"] >= 1 for parts in sources.values() for part in ("train", "held_out"))


def test_a_damaged_or_foreign_tokenizer_is_refused_by_path(tmp_path: Path) -> None:
    damaged = tmp_path / "tokenizer.json"
    damaged.write_text("{")
    with pytest.raises(StageError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        load_tokenizer(damaged)
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(str(damaged))
    with pytest.raises(StageError, match=r"has no token <\|endoftext\|>"):
        load_tokenizer(damaged)


def test_nothing_to_tokenize_is_told(tmp_path: Path) -> None:
    write_lines(tmp_path / "web.jsonl", WEB)
    encoded = {"encoded": {"stage": "gopher_quality", "from": "web", "max_words": 0}}
    web = {"web": {"stage": "json_lines", "files": "web.jsonl"}}
    with pytest.raises(StageError, match="there are no documents to tokenize: everything was dropped before"):
        run_here(tmp_path, {**web, **encoded, "tokens": {"stage": "tokenize", "from": "encoded", "vocabulary": 257}})


def test_the_tokenizers_sample_is_drawn_apart_from_the_held_out_documents(tmp_path: Path) -> None:
    """A sample of a tenth holds about a tenth of the documents held out, not all of them."""
    write_lines(tmp_path / "web.jsonl", [f"Z{i:04d}" for i in range(1000)])
    web = {"stage": "json_lines", "files": "web.jsonl"}
    tokens = {"stage": "tokenize", "from": "web", "vocabulary": 257, "held_out": 0.1}
    sealed = run_here(tmp_path, {"web": web, "tokens": tokens})
    (index,) = sealed["tokens"].files_folder.glob("web/held_out-*.parquet")
    held_out = set(pq.read_table(index)["id"].to_pylist())
    ids = {row["text"]: row["id"] for row in rows_of(sealed["web"])}
    sampled = {ids[text] for text in _sample([sealed["web"]], 0.1, seed=1)}
    assert 60 < len(sampled) < 140  # 100, standard deviation 9.5
    assert len(sampled & held_out) < 25  # 10, standard deviation 3


def test_a_rephrased_document_is_held_out_if_the_one_it_was_written_from_is(tmp_path: Path, encode: Encode) -> None:
    rows = [{"id": f"web/{i}", "text": f"river {i}", "source": "web"} for i in range(200)]
    rows += [{**row, "id": f"{row['id']}~clean", "source": "rephrased", "parent": row["id"]} for row in rows]
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(encode._tokenizer.to_str())
    encoded = [encode.process(contract.documents(rows)).kept]
    out = spread_anew(tmp_path, tokenizer, encoded, held_out=0.2).files_folder
    held_out = {
        source: {i.removesuffix("~clean") for i in pq.read_table(index)["id"].to_pylist()}
        for source in ("web", "rephrased")
        for index in (out / source).glob("held_out-*.parquet")
    }
    assert held_out["web"] == held_out["rephrased"]
    assert 17 <= len(held_out["web"]) <= 63  # 40, within four standard deviations


def test_more_documents_do_not_change_what_is_held_out(tmp_path: Path) -> None:
    def held_out(folder: Path, web: list[str]) -> set[str]:
        tokens = tokenized(folder, web=web, code=CODE)["tokens"].files_folder
        return {i for index in tokens.glob("code/held_out-*.parquet") for i in pq.read_table(index)["id"].to_pylist()}

    assert held_out(tmp_path / "few", WEB[:20]) == held_out(tmp_path / "many", WEB)

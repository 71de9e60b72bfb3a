"""Tokens cut to a smaller vocabulary are what the smaller tokenizer makes of the same text."""

import hashlib
import io
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from proxy_models import vocabulary as module
from proxy_models.shards import ShardError, Tokens, open_tokens
from proxy_models.vocabulary import cut_tokens, token_growth
from tests.stages.in_process import run_here, write_lines

LETTERS = random.Random(0)
WORDS = ["".join(LETTERS.choices("aeinrst", k=LETTERS.randrange(2, 9))) for _ in range(150)]
TEXTS = [
    f"The {' '.join(LETTERS.choices(WORDS, k=20))} of {i * i}: naïve 日本's {LETTERS.choice(WORDS)}.\n\n\tx = y[{i}]\n"
    for i in range(120)
]


def trained(texts: Iterable[str], vocabulary: int, special: str = "<|endoftext|>") -> tokenizers.Tokenizer:
    """As the tokenize stage trains it."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def written(folder: Path, tokenizer: str, texts: dict[str, list[str]], dtype: str = "uint16") -> Tokens:
    """A token folder: of each source one document held out, the rest in files of ten."""
    encoder = tokenizers.Tokenizer.from_str(tokenizer)
    encoder.encode_special_tokens = True
    eod = encoder.token_to_id("<|endoftext|>")
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer)

    def split(source: str, name: str, documents: list[str]) -> dict[str, Any]:
        files = []
        for first in range(0, len(documents), 10):
            ids = [i for text in documents[first : first + 10] for i in [*encoder.encode(text).ids, eod]]
            path = folder / source / f"{name}-{first:05d}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(np.array(ids, dtype=dtype).tobytes())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            files.append({"path": f"{source}/{path.name}", "tokens": len(ids), "sha256": digest})
        size = sum(len(text.encode()) for text in documents)
        counted = sum(file["tokens"] for file in files)
        return {"files": files, "tokens": counted, "documents": len(documents), "bytes": size}

    manifest = {
        "vocabulary": encoder.get_vocab_size(),
        "dtype": dtype,
        "eod": eod,
        "tokenizer_sha256": hashlib.sha256(tokenizer.encode()).hexdigest(),
        "sources": {
            source: {"train": split(source, "train", some[:-1]), "held_out": split(source, "held_out", some[-1:])}
            for source, some in texts.items()
        },
    }
    (folder / "tokens.json").write_text(json.dumps(manifest))
    return open_tokens(folder)


def documents_of(tokens: Tokens, source: str, split: str) -> list[list[int]]:
    body = tokens.bodies[source, split]
    ids = body.gather(np.array([0]), body.tokens)[0]
    pieces = np.split(ids, np.flatnonzero(ids == tokens.eod) + 1)
    assert not len(pieces.pop())
    return [piece[:-1].tolist() for piece in pieces]


def assert_cut_is_direct(tokens: Tokens, cut: Tokens) -> int:
    """Each document of the cut is what the cut tokenizer makes of its text; returns how many there are."""
    whole = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path))
    direct = tokenizers.Tokenizer.from_file(str(cut.tokenizer_path))
    direct.encode_special_tokens = True
    assert direct.get_vocab_size() == cut.vocabulary
    assert direct.token_to_id("<|endoftext|>") == cut.eod
    compared = 0
    for source, split in tokens.bodies:
        for before, after in zip(documents_of(tokens, source, split), documents_of(cut, source, split), strict=True):
            assert direct.encode(whole.decode(before, skip_special_tokens=False)).ids == after
            compared += 1
    return compared


@pytest.fixture(scope="module")
def tokenizer() -> str:
    return trained(TEXTS, 500).to_str()


@pytest.fixture(scope="module")
def tokens(tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    folder = tmp_path_factory.mktemp("whole") / "tokens"
    return written(folder, tokenizer, {"first": TEXTS[:60], "second": TEXTS[60:]})


@pytest.mark.parametrize("size", [257, 258, 300, 499])
def test_a_cut_is_direct_tokenization(tokens: Tokens, tmp_path: Path, size: int) -> None:
    cut = cut_tokens(tokens, size, tmp_path / "cut")
    assert cut.vocabulary == size
    assert assert_cut_is_direct(tokens, cut) == len(TEXTS)


@settings(max_examples=25)
@given(
    st.lists(st.text(max_size=60) | st.sampled_from(TEXTS), min_size=2, max_size=12),
    st.integers(257, 400),
    st.integers(1, 50),
)
def test_a_cut_of_any_text_is_direct_tokenization(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int, at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    whole = written(folder / "tokens", trained([*texts, *TEXTS], 401).to_str(), {"only": texts})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_ONCE", at_once)
        cut = cut_tokens(whole, size, folder / "cut")
    assert assert_cut_is_direct(whole, cut) == len(texts)


def test_real_text_through_the_tokenize_stage(shared_data: Path, tmp_path: Path) -> None:
    def some(name: str, count: int) -> list[str]:
        with (shared_data / "text" / f"{name}.jsonl.zst").open("rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
            return [json.loads(line)["text"][:5000] for line, _ in zip(lines, range(count), strict=False)]

    names = ("web_commoncrawl", "wikipedia_zh", "math_stacks_project_latex", "legal_de_gesetze")
    sources = {name: {"stage": "json_lines", "files": f"{name}.jsonl"} for name in names}
    for name in names:
        write_lines(tmp_path / f"{name}.jsonl", some(name, 120))
    tokenize = {"stage": "tokenize", "from": list(names), "vocabulary": 4096}
    artifacts = run_here(tmp_path, {**sources, "tokens": tokenize})
    tokens = open_tokens(artifacts["tokens"].files_folder)
    cut = cut_tokens(tokens, 1024, tmp_path / "cut")
    assert assert_cut_is_direct(tokens, cut) >= 300
    for body in tokens.bodies.values():
        counted = tokens.token_bytes[body.gather(np.array([0]), body.tokens)].sum()
        assert counted == body.bytes  # whatever the script


def test_a_cut_is_a_token_folder_of_the_same_documents(tokens: Tokens, tmp_path: Path) -> None:
    cut = cut_tokens(tokens, 300, tmp_path / "cut")
    cut.verify_digests()
    assert cut.sources == tokens.sources
    for key, body in tokens.bodies.items():
        assert (cut.bodies[key].documents, cut.bodies[key].bytes) == (body.documents, body.bytes)
        assert [f.path.name for f in cut.bodies[key].files] == [f.path.name for f in body.files]
        ids = cut.bodies[key].gather(np.array([0]), cut.bodies[key].tokens)
        assert cut.token_bytes[ids].sum() == body.bytes


def test_a_cut_of_a_cut_is_the_cut(tokens: Tokens, tmp_path: Path) -> None:
    once = cut_tokens(tokens, 300, tmp_path / "once")
    twice = cut_tokens(cut_tokens(tokens, 400, tmp_path / "first"), 300, tmp_path / "twice")
    assert [f.sha256 for b in once.bodies.values() for f in b.files] == [
        f.sha256 for b in twice.bodies.values() for f in b.files
    ]


def test_ids_of_four_bytes_become_ids_of_two(tokenizer: str, tmp_path: Path) -> None:
    wide = written(tmp_path / "tokens", tokenizer, {"only": TEXTS[:20]}, dtype="uint32")
    cut = cut_tokens(wide, 300, tmp_path / "cut")
    assert cut.train("only").dtype.itemsize == 2
    assert_cut_is_direct(wide, cut)


def test_an_end_of_document_behind_the_merges_comes_along(tmp_path: Path) -> None:
    last = trained(TEXTS, 400, special="[unused]")
    last.add_special_tokens(["<|endoftext|>"])  # as in GPT-2, where it is the last entry
    tokens = written(tmp_path / "tokens", last.to_str(), {"only": TEXTS[:20]})
    cut = cut_tokens(tokens, 300, tmp_path / "cut")
    assert (tokens.eod, cut.eod) == (400, 299)
    added = json.loads(cut.tokenizer_path.read_text())["added_tokens"]
    assert {token["content"]: token["id"] for token in added} == {"[unused]": 0, "<|endoftext|>": 299}
    assert_cut_is_direct(tokens, cut)


def test_growth_is_told_by_source(tokens: Tokens, tmp_path: Path) -> None:
    cut = cut_tokens(tokens, 257, tmp_path / "cut")  # bytes: a token each, and one at the end of each document
    expected = [(b.bytes + b.documents) / b.tokens for b in (tokens.train("first"), tokens.train("second"))]
    assert token_growth(tokens, cut).tolist() == expected


def test_the_present_size_is_the_tokens_themselves(tokens: Tokens, tmp_path: Path) -> None:
    assert cut_tokens(tokens, 500, tmp_path / "cut") is tokens
    assert not (tmp_path / "cut").exists()


def test_a_finished_cut_is_opened_and_not_written_again(tokens: Tokens, tmp_path: Path) -> None:
    first = cut_tokens(tokens, 300, tmp_path / "cut")
    inodes = [file.path.stat().st_ino for body in first.bodies.values() for file in body.files]
    again = cut_tokens(tokens, 300, tmp_path / "cut")
    assert again.fingerprint == first.fingerprint
    assert [file.path.stat().st_ino for body in again.bodies.values() for file in body.files] == inodes


def test_a_cut_that_was_broken_off_is_written_anew(
    tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError("no space left on the device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "rename", full)
        with pytest.raises(OSError, match="no space"):
            cut_tokens(tokens, 300, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    cut_tokens(tokens, 300, tmp_path / "cut").verify_digests()
    assert [path.name for path in tmp_path.iterdir()] == ["cut"]


def test_a_folder_of_another_cut_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    cut_tokens(tokens, 300, tmp_path / "cut")
    with pytest.raises(ShardError, match=r"something else than these tokens cut to 301; delete it"):
        cut_tokens(tokens, 301, tmp_path / "cut")


@pytest.mark.parametrize("size", [256, 501])
def test_a_size_out_of_reach_is_refused_with_what_is_possible(tokens: Tokens, tmp_path: Path, size: int) -> None:
    with pytest.raises(ShardError, match=f"257 to 500 of them, not to {size}"):
        cut_tokens(tokens, size, tmp_path / "cut")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unknown", [500, 601])  # between the entries, and behind them
def test_an_id_that_the_tokenizer_lacks_is_refused(tokenizer: str, tmp_path: Path, unknown: int) -> None:
    description = json.loads(tokenizer)
    description["added_tokens"].append(description["added_tokens"][0] | {"id": 600, "content": "<mask>"})
    tokens = written(tmp_path / "tokens", tokenizer, {"only": TEXTS[:20]})
    tokens.tokenizer_path.write_text(json.dumps(description))
    cut_tokens(tokens, 300, tmp_path / "sound")
    path = tokens.train("only").files[0].path
    path.write_bytes(np.uint16(unknown).tobytes() + path.read_bytes()[2:])
    with pytest.raises(ShardError, match="ids that its tokenizer lacks"):
        cut_tokens(open_tokens(tokens.folder), 300, tmp_path / "cut")


def repeat_a_token(description: dict[str, Any]) -> None:
    left, right = next(pair for pair in description["model"]["merges"] if len("".join(pair)) == 3)
    whole = left + right
    description["model"]["merges"].append([whole[0], whole[1:]] if len(left) == 2 else [whole[:2], whole[2]])


def reverse_the_merges(description: dict[str, Any]) -> None:
    description["model"]["merges"].reverse()


def add_a_stranger(description: dict[str, Any]) -> None:
    description["model"]["vocab"]["stranger"] = 500


def drop_a_byte(description: dict[str, Any]) -> None:
    del description["model"]["vocab"]["\u0120"]  # the space


def look_words_up_whole(description: dict[str, Any]) -> None:
    description["model"]["ignore_merges"] = True


def split_on_spaces(description: dict[str, Any]) -> None:
    description["pre_tokenizer"] = {"type": "Whitespace"}


def begin_texts_with_a_token(description: dict[str, Any]) -> None:
    description["post_processor"] = {"type": "TemplateProcessing"}


def take_words(description: dict[str, Any]) -> None:
    description["model"]["type"] = "WordPiece"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (repeat_a_token, "2 merges make '.{3}'"),
        (reverse_the_merges, "the merge of .* comes before .* is made"),
        (add_a_stranger, "'stranger' is neither a byte, nor made by a merge"),
        (drop_a_byte, "does not work on the 256 bytes"),
        (look_words_up_whole, "ignore_merges"),
        (split_on_spaces, "does not work on the 256 bytes"),
        (begin_texts_with_a_token, "post-processor"),
        (take_words, "WordPiece, not BPE"),
    ],
)
def test_a_tokenizer_that_cannot_be_cut_is_refused_with_the_remedy(
    tokenizer: str, tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    tokens = written(tmp_path / "tokens", tokenizer, {"only": TEXTS[:20]})
    description = json.loads(tokenizer)
    change(description)
    tokens.tokenizer_path.write_text(json.dumps(description))
    with pytest.raises(ShardError, match=f"tokenizer.json cannot be cut .*{reason}.*; tokenize anew"):
        cut_tokens(tokens, 300, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()

"""Tokenizers of one's own, and what is asked of those that are trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.errors import RecipeError
from pipeline.stage import Context
from stages.tokenize.byte_pair.description import Unsupported
from stages.tokenize.byte_pair.encoder import encoder_of
from stages.tokenize.encode import Encode, EncodeConfig, word_counts
from stages.tokenize.tokenizer import GivenTokenizer, GivenTokenizerConfig
from tests.stages.in_process import run_here, texts, write_lines

TEXTS = [f"The river number {i} flows past the {'old ' * (i % 7)}mill at {i * 1999}." for i in range(40)]


def own_tokenizer(path: Path, model: Any, trainer: Any, **settings: Any) -> Path:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXTS, trainer)
    for name, values in settings.items():
        getattr(tokenizer, name)(**values)
    tokenizer.save(str(path))
    return path


@pytest.fixture
def unigram(tmp_path: Path) -> Path:
    """A tokenizer of another kind, whose end of document has a name of its own, and which cuts texts short."""
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], unk_token="<unk>")
    short = {"enable_truncation": {"max_length": 3}, "enable_padding": {"length": 99}}
    return own_tokenizer(tmp_path / "unigram.json", models.Unigram(), trainer, **short)


def tokenized(folder: Path, **options: Any) -> dict[str, Any]:
    write_lines(folder / "web.jsonl", TEXTS)
    web = {"stage": "json_lines", "files": "web.jsonl"}
    return run_here(folder, {"web": web, "tokens": {"stage": "tokenize", "from": "web", **options}})


def decoded(sealed: dict[str, Any]) -> list[str]:
    """Texts of all shards, by their own tokenizer."""
    folder = sealed["tokens"].files_folder
    contents = json.loads((folder / "tokens.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = []
    for split in contents["sources"]["web"].values():
        for file in split["files"]:
            ids = np.fromfile(folder / file["path"], contents["dtype"])
            ends = np.flatnonzero(ids == contents["eod"])
            found += [tokenizer.decode(part.tolist()[:-1]) for part in np.split(ids, ends + 1)[:-1]]
    return sorted(found)


def test_documents_come_back_from_the_shards_of_any_tokenizer(tmp_path: Path, unigram: Path) -> None:
    sealed = tokenized(tmp_path, tokenizer=str(unigram), end_of_document="</s>")
    assert decoded(sealed) == sorted(TEXTS)
    assert (sealed["tokens"].files_folder / "tokenizer.json").read_bytes() == unigram.read_bytes()


def test_a_document_that_a_tokenizer_ends_within_fails_and_the_others_are_whole(tmp_path: Path, unigram: Path) -> None:
    """This kind of tokenizer knows its special tokens as pieces of text."""
    encode = Encode(EncodeConfig(end_of_document="</s>"))
    (tmp_path / "tokenizer.json").write_bytes(unigram.read_bytes())
    encode.setup(Context(seed=1, side={"tokenizer": tmp_path}))
    others = {"a": TEXTS[0], "c": TEXTS[1]}
    outcome = encode.process(texts({"a": TEXTS[0], "b": "The river</s> flows</s>", "c": TEXTS[1], "d": "</s>"}))
    assert [(r.id, r.verdict, r.reason) for r in outcome.removed] == [
        ("b", "failed", "names_the_end_of_document"),
        ("d", "failed", "names_the_end_of_document"),
    ]
    assert outcome.kept.equals(encode.process(texts(others)).kept)
    assert encode.process(texts({"d": "</s>"})).kept.num_rows == 0


def test_a_special_token_that_a_text_names_is_plain_text_where_it_can_be(tmp_path: Path) -> None:
    """Encoded by the library, because of its prefix."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="@"))
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=200, special_tokens=["</s>"]))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encode = Encode(EncodeConfig(end_of_document="</s>"))
    encode.setup(Context(seed=1, side={"tokenizer": tmp_path}))
    outcome = encode.process(texts({"a": "The river</s> flows"}))
    (body,) = outcome.kept["tokens"].to_pylist()
    assert np.flatnonzero(np.frombuffer(body, "<u2") == 0).tolist() == [len(body) // 2 - 1]


def test_that_a_tokenizer_is_encoded_the_slow_way_is_told(tmp_path: Path, unigram: Path) -> None:
    (note,) = tokenized(tmp_path, tokenizer=str(unigram), end_of_document="</s>")["tokens.tokenizer"].notes
    assert "by the tokenizers library" in note
    assert "its model is Unigram, not BPE" in note


def test_nothing_is_told_of_a_tokenizer_that_is_encoded_fast(tmp_path: Path) -> None:
    trained = tokenized(tmp_path, vocabulary=280)["tokens"].files_folder / "tokenizer.json"
    assert GivenTokenizer(GivenTokenizerConfig(tokenizer=trained)).note() is None


def test_another_file_of_the_same_tokenizer_is_the_same_tokenizer(tmp_path: Path, unigram: Path) -> None:
    one = tokenized(tmp_path, tokenizer=str(unigram), end_of_document="</s>")
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_bytes(unigram.read_bytes())
    again = tokenized(tmp_path, tokenizer=str(elsewhere), end_of_document="</s>")
    assert again["tokens"].fingerprint == one["tokens"].fingerprint


def test_ids_with_holes_fit_into_the_stated_vocabulary(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<|endoftext|>": 1, "river": 90_000}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "holes.json"))
    folder = tokenized(tmp_path, tokenizer=str(tmp_path / "holes.json"))["tokens"].files_folder
    contents = json.loads((folder / "tokens.json").read_text())
    assert (contents["vocabulary"], contents["dtype"]) == (90_001, "uint32")
    assert 90_000 in np.fromfile(folder / "web/train-00000.bin", "uint32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end_of_document": "<eos>"}, r"has no token <eos>: set end_of_document to one that it has.*: </s>, <unk>"),
        ({"end_of_document": "</s>", "vocabulary": 500}, "vocabulary: for a tokenizer that is trained"),
        ({"end_of_document": "</s>", "digits": 3}, "digits: for a tokenizer that is trained"),
        ({"tokenizer": "absent.json"}, "tokenizer: no such file: .*absent.json"),
        ({"tokenizer": "web.jsonl"}, "web.jsonl cannot be read as a tokenizer"),
        ({"tokenizer": None, "end_of_document": "</s>"}, r"a tokenizer that is trained here has <\|endoftext\|>"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_before_anything_runs(
    tmp_path: Path, unigram: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        tokenized(tmp_path, **{"tokenizer": str(unigram), **options})
    assert not (tmp_path / "run" / "artifacts").exists()


@pytest.mark.parametrize(("digits", "vocabulary", "expected"), [(1, 280, ["1", "9", "9", "9"]), (3, 391, ["199", "9"])])
def test_a_token_has_as_many_digits_as_asked_for(
    tmp_path: Path, digits: int, vocabulary: int, expected: list[str]
) -> None:
    folder = tokenized(tmp_path, vocabulary=vocabulary, digits=digits)["tokens"].files_folder
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("1999").tokens == expected
    assert max(len(t) for t in tokenizer.get_vocab() if t.isdigit()) == digits
    assert not isinstance(encoder_of(folder / "tokenizer.json"), Unsupported)  # encoded fast


def test_documents_of_a_batch_keep_their_own_tokens_words_and_bytes(tmp_path: Path) -> None:
    folder = tokenized(tmp_path, vocabulary=280)["tokens"].files_folder
    encode = Encode(EncodeConfig())
    encode.setup(Context(seed=1, side={"tokenizer": folder}))
    kept = encode.process(texts({"a": "two words", "b": None, "c": " 日本  \n\tx "})).kept
    alone = [encode.process(texts({"x": t})).kept["tokens"][0].as_py() for t in ("two words", "", " 日本  \n\tx ")]
    assert kept["tokens"].to_pylist() == alone
    assert kept["encode.words"].to_pylist() == [2, 0, 2]
    assert kept["encode.bytes"].to_pylist() == [9, 0, 13]


@given(st.lists(st.text(alphabet=" \t\n\x0b\x0c\rab\u3000\x1cß\x00日"), max_size=8))
def test_words_are_what_stands_between_blanks_and_line_ends(many: list[str]) -> None:
    column = texts({str(i): text for i, text in enumerate(many)})["text"]
    assert word_counts(column).tolist() == [len(text.encode().split()) for text in many]

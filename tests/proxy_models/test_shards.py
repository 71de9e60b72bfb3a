"""Token folders: what is written is read back, and what is damaged is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from proxy_models.shards import ShardError, Tokens, open_tokens


def test_sources_are_in_the_order_of_tokens_json(tokens: Tokens) -> None:
    assert tokens.sources == ("sums", "sentences", "code")


def test_a_body_read_from_its_start_is_its_documents_each_ended_by_eod(tokens: Tokens) -> None:
    body = tokens.held_out("code")
    ids = body.gather(np.array([0]), body.tokens)[0]
    assert ids[-1] == tokens.eod
    assert np.count_nonzero(ids == tokens.eod) == body.documents
    text = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path)).decode(ids.tolist())
    assert len(text.encode()) == body.bytes
    assert text.startswith("def ")


def test_a_stretch_over_the_end_of_a_file_continues_in_the_next(tokens: Tokens) -> None:
    body = tokens.train("sums")
    whole = np.concatenate([np.fromfile(file.path, dtype="<u2") for file in body.files])
    assert len(body.files) > 1
    border = body.files[0].tokens
    starts = np.array([border - 5, 0, border, border - 1])
    expected = np.stack([whole[start : start + 10] for start in starts])
    assert np.array_equal(body.gather(starts, 10), expected)


def test_a_stretch_may_run_over_several_files(tokens: Tokens) -> None:
    body = tokens.train("sums")
    whole = np.concatenate([np.fromfile(file.path, dtype="<u2") for file in body.files])
    assert len(body.files) > 2
    assert np.array_equal(body.gather(np.array([1]), body.tokens - 1)[0], whole[1:])


@pytest.mark.parametrize("at_most", [1, 7, 1 << 20])
def test_pieces_are_the_body(tokens: Tokens, at_most: int) -> None:
    body = tokens.train("sums")
    pieces = list(body.pieces(at_most))
    assert max(len(piece) for piece in pieces) <= at_most
    assert np.array_equal(np.concatenate(pieces), body.gather(np.array([0]), body.tokens)[0])


def test_a_stretch_past_the_end_is_refused(tokens: Tokens) -> None:
    body = tokens.train("sums")
    with pytest.raises(IndexError, match="sums/train"):
        body.gather(np.array([body.tokens - 9]), 10)


def test_a_sequence_needs_one_token_more_than_its_context(tokens: Tokens) -> None:
    body = tokens.train("sums")
    assert body.sequence_count(body.tokens - 1) == 1
    assert body.sequence_count(body.tokens) == 0


@pytest.fixture
def copied(token_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(token_folder, tmp_path / "tokens")


def test_a_token_has_the_bytes_that_it_is_decoded_to(tokens: Tokens) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path))
    ids = tokenizer.encode("naïve 日本").ids
    assert tokens.token_bytes[ids].sum() == len("naïve 日本".encode())
    assert tokens.token_bytes[tokens.eod] == 0
    assert tokens.token_bytes.sum() == 256


def test_an_added_token_has_the_bytes_of_its_text_unless_it_is_special(copied: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(copied / "tokenizer.json"))
    tokenizer.add_tokens(["日本"])
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.save(str(copied / "tokenizer.json"))
    manifest = copied / "tokens.json"
    manifest.write_text(manifest.read_text().replace('"vocabulary": 257', '"vocabulary": 259'))
    assert open_tokens(copied).token_bytes[256:].tolist() == [0, 6, 0]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"type":"BPE"', '"type":"Unigram"', "a Unigram model"),
        ('"A":', '"日本":', "'日本' is not spelt in the letters"),
    ],
)
def test_a_tokenizer_whose_tokens_have_unknown_bytes_is_refused(
    copied: Path, before: str, after: str, reason: str
) -> None:
    path = copied / "tokenizer.json"
    text = json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":"))
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(ShardError, match=f"tokenizer.json: {reason}.*byte-level BPE"):
        _ = open_tokens(copied).token_bytes


def test_digests_of_an_undamaged_folder_agree(tokens: Tokens) -> None:
    tokens.verify_digests()


def test_a_file_of_the_wrong_size_is_named(copied: Path) -> None:
    damaged = copied / "code" / "train-00000.bin"
    damaged.write_bytes(damaged.read_bytes()[:-2])
    with pytest.raises(ShardError, match=r"code/train-00000\.bin"):
        open_tokens(copied)


def test_an_absent_file_is_named(copied: Path) -> None:
    (copied / "sums" / "held_out-00000.bin").unlink()
    with pytest.raises(ShardError, match=r"sums/held_out-00000\.bin is absent"):
        open_tokens(copied)


def test_changed_bytes_of_the_right_size_are_found_by_digest(copied: Path) -> None:
    damaged = copied / "code" / "train-00000.bin"
    content = bytearray(damaged.read_bytes())
    content[0] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ShardError, match=r"code/train-00000\.bin"):
        open_tokens(copied).verify_digests()


def test_counts_that_do_not_sum_are_refused(copied: Path) -> None:
    manifest = copied / "tokens.json"
    manifest.write_text(manifest.read_text().replace('"documents": 210', '"documents": 210, "tokens": 1'))
    with pytest.raises(ShardError, match="its files sum to"):
        open_tokens(copied)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="not a finished token folder"):
        open_tokens(tmp_path)


def test_an_incomplete_manifest_is_refused(copied: Path) -> None:
    (copied / "tokens.json").write_text('{"vocabulary": 257, "dtype": "uint16"}')
    with pytest.raises(ShardError, match="sources"):
        open_tokens(copied)

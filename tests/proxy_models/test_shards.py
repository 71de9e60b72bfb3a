"""Token folders: what is written is read back, and what is damaged is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from proxy_models.shards import ShardError, TokenBody, TokenFile, TokenReader, Tokens, open_tokens


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


def plain_rows(bodies: list[TokenBody], source: list[int], start: list[int], length: int) -> np.ndarray:
    """Stretches of tokens in Python and numpy, file after file: the reference of TokenReader."""
    rows = []
    for d, first in zip(source, start, strict=True):
        row: list[int] = []
        for file in bodies[d].files:
            ids = np.fromfile(file.path, dtype=bodies[d].dtype)
            row += ids[max(0, first) : first + length - len(row)].tolist() if first < len(ids) else []
            first = max(0, first - len(ids)) if not row else 0
            if len(row) == length:
                break
        rows.append(row)
    return np.array(rows, dtype=np.int64)


@given(st.data(), st.sampled_from(["<u2", "<u4"]))
def test_stretches_of_many_bodies_are_those_read_plainly(
    small_bodies: dict[str, list[TokenBody]], choice: st.DataObject, dtype: str
) -> None:
    bodies = small_bodies[dtype]
    length = choice.draw(st.integers(1, 60))
    stretch = st.integers(0, len(bodies) - 1).flatmap(
        lambda d: st.tuples(st.just(d), st.integers(0, bodies[d].tokens - length))
    )
    source, start = zip(*choice.draw(st.lists(stretch, min_size=1, max_size=20)), strict=True)
    rows = TokenReader(bodies).rows(np.array(source), np.array(start), length)
    assert rows.dtype == np.int64
    assert np.array_equal(rows, plain_rows(bodies, source, start, length))


@pytest.fixture(scope="module")
def small_bodies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[TokenBody]]:
    """For each dtype three bodies in files of odd sizes, with the largest id of the type."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("small")
    bodies: dict[str, list[TokenBody]] = {}
    for dtype in ("<u2", "<u4"):
        for name, sizes in (("a", [60]), ("b", [1, 2, 3, 40, 5, 70]), ("c", [7] * 15)):
            files = []
            for number, size in enumerate(sizes):
                ids = rng.integers(0, np.iinfo(dtype).max, size, dtype=dtype, endpoint=True)
                ids[-1] = np.iinfo(dtype).max
                path = folder / f"{name}{dtype[1:]}{number}.bin"
                path.write_bytes(ids.tobytes())
                files.append(TokenFile(path, size, ""))
            body = TokenBody(name, "train", tuple(files), np.dtype(dtype), sum(sizes), 1, 1)
            bodies.setdefault(dtype, []).append(body)
    return bodies


def test_stretches_are_copied_to_where_they_are_wanted_and_nowhere_else(
    small_bodies: dict[str, list[TokenBody]],
) -> None:
    bodies = small_bodies["<u2"]
    out = np.full(20, -7, dtype=np.int32)
    source, start, length, at = (np.array(numbers) for numbers in ((1, 0), (0, 50), (6, 2), (3, 15)))
    TokenReader(bodies).read(source, start, length, at, out)
    assert out[3:9].tolist() == plain_rows(bodies, [1], [0], 6)[0].tolist()
    assert out[15:17].tolist() == plain_rows(bodies, [0], [50], 2)[0].tolist()
    assert out[[*range(3), *range(9, 15), *range(17, 20)]].tolist() == [-7] * 12


@pytest.mark.parametrize(("start", "length", "at"), [(-1, 5, 0), (56, 5, 0), (0, 5, 16), (0, 5, -1)])
def test_a_stretch_out_of_bounds_is_refused(
    small_bodies: dict[str, list[TokenBody]], start: int, length: int, at: int
) -> None:
    arguments = (np.array([number]) for number in (0, start, length, at))
    with pytest.raises(IndexError, match=f"a/train: 5 tokens from {start} on, of 60, to {at} of 20"):
        TokenReader(small_bodies["<u2"]).read(*arguments, np.zeros(20, dtype=np.int64))


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


def test_another_tokenizer_than_the_one_named_is_found(copied: Path) -> None:
    open_tokens(copied).check_tokenizer()
    path = copied / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ShardError, match=r"tokenizer\.json has sha256 \w+, but the tokens were made with"):
        open_tokens(copied).check_tokenizer()
    path.unlink()
    with pytest.raises(ShardError, match=r"tokenizer\.json is absent; copy it"):
        open_tokens(copied).check_tokenizer()


def test_digests_are_of_the_tokenizer_too(copied: Path) -> None:
    path = copied / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ShardError, match=r"not the bytes that .*tokens\.json names: .*tokenizer\.json; tokenize again"):
        open_tokens(copied).verify_digests()


def test_a_file_cut_short_after_it_was_opened_is_named_before_it_is_read(copied: Path) -> None:
    body = open_tokens(copied).train("code")
    path = copied / "code" / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"code/train-00000\.bin: \d+ bytes, but tokens\.json says"):
        TokenReader([body])


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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"eod": 256', '"eod": 257'),
        ('"eod": 256', '"eod": null'),
        ('"vocabulary": 257', '"vocabulary": 65537'),  # in uint16
        ('"vocabulary": 257', '"vocabulary": "257"'),
        ('"sources": {', '"sources": 3, "more": {'),
        ('"dtype": "uint16"', '"dtype": "int16"'),
    ],
)
def test_a_field_that_cannot_be_is_refused_with_the_manifests_name(copied: Path, before: str, after: str) -> None:
    manifest = copied / "tokens.json"
    assert before in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(before, after))
    with pytest.raises(ShardError, match=r"tokens\.json lacks or misstates a field"):
        open_tokens(copied)


def test_a_manifest_that_is_no_text_is_refused(copied: Path) -> None:
    (copied / "tokens.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ShardError, match=r"tokens\.json lacks or misstates a field"):
        open_tokens(copied)

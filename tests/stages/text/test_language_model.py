"""Reading fastText's model files: what is read, and what is refused with which words."""

import contextlib
import struct

import fasttext
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.filters.language import LanguageConfig
from stages.text.fasttext_model import ModelFileError, fasttext_hash, read_labels, read_model

MODEL = LanguageConfig().model_path()
CONTENT = MODEL.read_bytes()
HEAD = 8 + 56  # magic number, version, options
DICTIONARY = HEAD + 28


def test_labels_and_rows_are_fasttexts():
    model, theirs = read_model(MODEL), fasttext.load_model(str(MODEL))
    assert model.labels == read_labels(MODEL) == tuple(label.removeprefix("__label__") for label in theirs.labels)
    assert len(model.labels) == 176
    for row in (0, 1, 5_000):
        np.testing.assert_array_equal(model.weights.rows[row], theirs.get_input_vector(row))


def test_the_hash_is_fasttexts_for_bytes_above_127_too():
    theirs = fasttext.load_model(str(MODEL))
    nwords = len(theirs.words)
    for text in ("der", "für", "字", "ы"):
        assert theirs.get_subword_id(text) == fasttext_hash(text.encode()) % 2_000_000 + nwords


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no", r"damaged or cut off: it has 2 bytes and ends within its head"),
        (b"PK\3\4" + CONTENT[4:], "not a fastText model"),
        (CONTENT[:4] + struct.pack("<i", 13) + CONTENT[8:], "is of version 13; versions 11 and 12 are known"),
        (CONTENT[:32] + struct.pack("<i", 9) + CONTENT[36:], "unknown loss 9"),
        (CONTENT[:36] + struct.pack("<i", 2) + CONTENT[40:], "word vectors and no classifier"),
        (CONTENT[:8] + struct.pack("<i", 17) + CONTENT[12:], "input matrix is 50000 x 16, dim is 17"),
        (CONTENT[:HEAD] + struct.pack("<i", -5) + CONTENT[HEAD + 4 :], "-5 entries"),
        (CONTENT[:DICTIONARY] + b"x" * 4, "ends within its dictionary"),
        (CONTENT[: len(CONTENT) // 2], "ends within its input matrix's codes"),
        (CONTENT[:-1], "ends within its output matrix"),
        (CONTENT + b"\0", "1 bytes follow its end"),
        (CONTENT[:-4] + struct.pack("<f", float("nan")), "output matrix holds numbers that are not finite"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "damaged.ftz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"damaged\.ftz.*{reason}"):
        read_model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.ftz: cannot read this model: No such file"):
        read_model(tmp_path / "none.ftz")


@settings(max_examples=60)
@given(st.integers(0, len(CONTENT) - 9), st.binary(min_size=1, max_size=8))
def test_a_file_with_any_bytes_changed_is_read_or_refused(tmp_path_factory, at, change):
    path = tmp_path_factory.mktemp("changed") / "changed.ftz"
    path.write_bytes(CONTENT[:at] + change + CONTENT[at + len(change) :])
    with contextlib.suppress(ModelFileError):
        assert len(read_model(path).labels) == 176

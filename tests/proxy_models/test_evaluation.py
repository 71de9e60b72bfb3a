"""Bits per byte of held-out text and of answers, by hand and for both kinds of model."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from proxy_models.distributed import Ranks
from proxy_models.evaluation import (
    AnswerSetError,
    EvaluationText,
    bits_per_byte_on,
    held_out_texts,
    read_answer_set,
    total_nats,
)
from proxy_models.model import Transformer, init_weights, sized
from proxy_models.optimization import AdamW
from proxy_models.shards import ShardError, Tokens
from proxy_models.stacked import Stack
from proxy_models.vocabulary import cut_tokens
from tests.proxy_models.test_vocabulary import TEXTS, trained, written

CONTEXT = 16
TINY = sized("tiny", vocabulary=257)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """Tokens of a vocabulary of 500."""
    folder = tmp_path_factory.mktemp("words") / "tokens"
    return written(folder, trained(TEXTS, 500).to_str(), {"first": TEXTS[:60], "second": TEXTS[60:]})


def model_of(seed: int) -> Transformer:
    model = Transformer(TINY).double()
    init_weights(model, seed)
    return model


def answers(path: Path, *pairs: tuple[str, str]) -> Path:
    path.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in pairs))
    return path


class Certain:
    """One nat for each target that is even, infinitely many for the others."""

    def token_losses(self, sequences: Tensor) -> Tensor:
        return torch.where(sequences[:, 1:] % 2 == 0, 1.0, math.inf)


def test_only_counted_targets_count() -> None:
    text = EvaluationText(
        sequences=torch.tensor([[9, 2, 4, 3], [9, 3, 2, 8], [9, 6, 7, 7]]),
        counted=torch.tensor([[True, True, False], [False, True, True], [True, False, False]]),
        bytes=10,
    )
    for batch in (1, 2, 3, 5):
        assert total_nats(Certain(), text, batch).item() == 5.0
        assert bits_per_byte_on(Certain(), text, batch) == [pytest.approx(0.5 / math.log(2))]


def test_every_call_of_the_model_has_the_same_shape() -> None:
    shapes = []

    class Watched(Certain):
        def token_losses(self, sequences: Tensor) -> Tensor:
            shapes.append(tuple(sequences.shape))
            return super().token_losses(sequences)

    text = EvaluationText(torch.zeros(5, 4, dtype=torch.int64), torch.ones(5, 3, dtype=torch.bool), 1)
    assert total_nats(Watched(), text, 2).item() == 15.0
    assert shapes == [(2, 4)] * 3


@pytest.mark.parametrize("count", [2, 3, 4])
def test_ranks_share_the_sequences_and_call_the_model_equally_often(count: int) -> None:
    seen: list[list[int]] = [[] for _ in range(count)]

    class OfRank(Ranks):
        def sum(self, value: Tensor) -> Tensor:
            return value  # this rank's alone

    class Watched:
        def token_losses(self, sequences: Tensor) -> Tensor:
            seen[rank].append(len(sequences))
            return sequences[:, 1:].double()

    text = EvaluationText(torch.arange(14).view(7, 2), torch.ones(7, 1, dtype=torch.bool), 1)
    parts = []
    for rank in range(count):
        parts.append(total_nats(Watched(), text, 2, OfRank(rank, count)).item())
    assert sum(parts) == 1 + 3 + 5 + 7 + 9 + 11 + 13
    calls = -(-7 // (2 * count))
    assert seen == [[2] * calls] * count


def test_a_stack_is_measured_as_its_models_alone(tokens: Tokens, tmp_path: Path) -> None:
    stack = Stack(TINY, 3, AdamW(), "float64")
    stack.start([3, 1, 4])
    answer_set = read_answer_set(answers(tmp_path / "a.jsonl", ("2 + 2 =", " 4"), ("1 + ", "1 = 2")), tokens, CONTEXT)
    for text in (*held_out_texts(tokens, CONTEXT, 7).values(), answer_set):
        alone = [bits_per_byte_on(model_of(seed), text, 2)[0] for seed in (3, 1, 4)]
        assert bits_per_byte_on(stack, text, 2) == pytest.approx(alone, rel=1e-13)


def test_held_out_text_by_hand(tokens: Tokens) -> None:
    body = tokens.held_out("sums")
    text = held_out_texts(tokens, CONTEXT, at_most=3)["sums"]
    count = body.sequence_count(CONTEXT)
    expected = body.gather(np.array([0, round((count - 1) / 2), count - 1]) * CONTEXT, CONTEXT + 1)
    assert np.array_equal(text.sequences.numpy(), expected)
    assert text.counted.all()
    # A byte-level tokenizer without merges: a byte for each target but the ends of documents.
    assert text.bytes == (expected[:, 1:] != tokens.eod).sum()


def test_held_out_text_shorter_than_a_sequence_is_padded_and_its_padding_does_not_count(tokens: Tokens) -> None:
    body = tokens.held_out("code")
    short = held_out_texts(tokens, body.tokens + 9, at_most=3)["code"]
    assert short.sequences.shape == (1, body.tokens + 10)
    assert short.counted.sum() == body.tokens - 1
    assert short.bytes == body.bytes - 1  # all but the first token is predicted


def test_all_held_out_text_has_the_same_bytes_under_every_vocabulary(words: Tokens, tmp_path: Path) -> None:
    first_bytes = set()
    for size in (500, 400, 257):
        tokens = cut_tokens(words, size, tmp_path / str(size))
        body = tokens.held_out("first")
        text = held_out_texts(tokens, body.tokens - 1, at_most=1)["first"]  # the whole text, as one sequence
        first = tokens.token_bytes[text.sequences[0, 0]]
        assert text.bytes + first == body.bytes == len(TEXTS[59].encode())
        first_bytes.add(int(first))
    assert first_bytes == {1, 3}  # "T", or "The" at once


def test_a_tokenizer_that_adds_to_the_text_is_refused(tmp_path: Path) -> None:
    spaced = json.loads(trained(TEXTS, 400).to_str())
    spaced["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True
    tokens = written(tmp_path / "tokens", json.dumps(spaced), {"only": TEXTS[:20]})
    with pytest.raises(ShardError, match=r"source only holds out .* the tokenizer changes the text"):
        held_out_texts(tokens, CONTEXT, 3)


def test_a_source_that_holds_out_nothing_to_predict_is_refused(tmp_path: Path) -> None:
    tokens = written(tmp_path / "tokens", trained(TEXTS, 400).to_str(), {"only": ["some text", ""]})
    with pytest.raises(ShardError, match="holds out 1 tokens; hold out more"):
        held_out_texts(tokens, CONTEXT, 3)


def test_answers_by_hand(tokens: Tokens, tmp_path: Path) -> None:
    answer_set = read_answer_set(answers(tmp_path / "sums.jsonl", ("1+1=", "2"), ("", "é")), tokens, 100)
    one, plus, equals, two = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path)).encode("1+=2").ids
    assert answer_set.name == "sums"
    assert answer_set.sequences.shape == (2, 65)
    assert answer_set.sequences[0, :6].tolist() == [tokens.eod, one, plus, one, equals, two]
    assert answer_set.counted.nonzero().tolist() == [[0, 4], [1, 0], [1, 1]]  # "2", and the two bytes of "é"
    assert answer_set.bytes == 3
    assert answer_set.shortened == 0
    assert answer_set.fingerprint == hashlib.sha256((tmp_path / "sums.jsonl").read_bytes()).hexdigest()


@given(st.text(max_size=40), st.text(min_size=1, max_size=15).filter(str.strip), st.integers(60, 200))
def test_what_counts_is_the_answer(words: Tokens, tmp_path_factory, prompt: str, answer: str, context: int) -> None:
    path = answers(tmp_path_factory.mktemp("one") / "one.jsonl", (prompt, answer))
    one = read_answer_set(path, words, context)
    ids = one.sequences[0, 1:][one.counted[0]]
    tokenizer = tokenizers.Tokenizer.from_file(str(words.tokenizer_path))
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False).removeprefix(" ") == answer.removeprefix(" ")
    assert words.token_bytes[ids].sum() == one.bytes


def test_an_answer_has_the_same_bytes_under_every_vocabulary(words: Tokens, tmp_path: Path) -> None:
    path = answers(tmp_path / "a.jsonl", ("The naïve", " 日本's answer of 42"), ("x = ", "y[7]"))
    cut = cut_tokens(words, 257, tmp_path / "cut")
    whole_set, cut_set = read_answer_set(path, words, 64), read_answer_set(path, cut, 64)
    assert whole_set.bytes == cut_set.bytes == len(" 日本's answer of 42 y[7]".encode())
    assert whole_set.counted.sum() < cut_set.counted.sum() == cut_set.bytes


def test_a_space_between_prompt_and_answer_goes_with_the_answer(words: Tokens, tmp_path: Path) -> None:
    before = read_answer_set(answers(tmp_path / "a.jsonl", ("The sum: ", "42")), words, 64)
    behind = read_answer_set(answers(tmp_path / "b.jsonl", ("The sum:", " 42")), words, 64)
    assert torch.equal(before.sequences, behind.sequences)
    assert torch.equal(before.counted, behind.counted)
    assert before.bytes == behind.bytes == 3


def test_a_text_that_names_the_end_of_document_does_not_end(words: Tokens, tmp_path: Path) -> None:
    named = read_answer_set(answers(tmp_path / "a.jsonl", ("<|endoftext|>", "<|endoftext|>")), words, 64)
    assert named.bytes == 13
    ids = named.sequences[0, 1 : 1 + named.counted[0].nonzero().max()]
    assert words.eod not in ids


def test_a_long_prompt_loses_its_beginning_and_is_counted(tokens: Tokens, tmp_path: Path) -> None:
    path = answers(
        tmp_path / "a.jsonl", ("0123456789" * 10, "!?"), ("x" * 13, "yz"), ("x" * 14, "yz"), ("x" * 15, "yz")
    )
    answer_set = read_answer_set(path, tokens, CONTEXT)
    encode = tokenizers.Tokenizer.from_file(str(tokens.tokenizer_path)).encode
    assert answer_set.sequences.shape == (4, CONTEXT + 1)
    assert answer_set.sequences[0].tolist() == encode("567890123456789!?").ids
    assert answer_set.sequences[2].tolist() == [tokens.eod, *encode("x" * 14 + "yz").ids]
    assert answer_set.counted[0].nonzero().flatten().tolist() == [14, 15]
    assert answer_set.shortened == 2


def test_an_answer_of_the_whole_context_fits_and_a_longer_one_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    assert read_answer_set(answers(tmp_path / "a.jsonl", ("why", "a" * 16)), tokens, CONTEXT).counted.all()
    path = answers(tmp_path / "a.jsonl", ("why", "a"), ("why", "a" * 17))
    with pytest.raises(AnswerSetError, match=r"a\.jsonl:2: the answer has 17 tokens, .* context of 16: shorten it"):
        read_answer_set(path, tokens, CONTEXT)


@pytest.mark.parametrize(("longest", "length"), [(3, 64), (63, 64), (64, 128), (300, 512), (600, 600)])
def test_sequences_are_padded_to_few_lengths(tokens: Tokens, tmp_path: Path, longest: int, length: int) -> None:
    path = answers(tmp_path / "a.jsonl", ("", "a"), ("x" * (longest - 1), "ab"))
    assert read_answer_set(path, tokens, context=600).counted.shape[1] == length


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[1]",
        "3",
        '{"prompt": "a"}',
        '{"prompt": 1, "answer": "b"}',
        '{"prompt": "a", "answer": null}',
        '{"prompt": "a", "answer": " "}',
        r'{"prompt": "a", "answer": "\ud800"}',  # half a character
    ],
)
def test_a_line_that_is_no_prompt_and_answer_is_named(tokens: Tokens, tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "a", "answer": "b", "source": "other fields are passed over"}\n' + line + "\n")
    with pytest.raises(AnswerSetError, match=r"bad\.jsonl:2: "):
        read_answer_set(path, tokens, CONTEXT)


def test_bytes_that_are_no_text_are_named(tokens: Tokens, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b'{"prompt": "a", "answer": "\xff"}\n')
    with pytest.raises(AnswerSetError, match=r"bad\.jsonl:1: "):
        read_answer_set(tmp_path / "bad.jsonl", tokens, CONTEXT)


def test_an_empty_file_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(AnswerSetError, match=r"empty\.jsonl:1: "):
        read_answer_set(tmp_path / "empty.jsonl", tokens, CONTEXT)


def test_real_answers(shared_data: Path, words: Tokens, tmp_path: Path) -> None:
    import zstandard

    packed = (shared_data / "eval_tasks" / "gsm8k_test.jsonl.zst").read_bytes()
    rows = [json.loads(line) for line in zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines()]
    pairs = [(row["question"] + "\n", row["answer"]) for row in rows]
    path = answers(tmp_path / "gsm8k.jsonl", *pairs)
    for tokens in (words, cut_tokens(words, 257, tmp_path / "cut")):
        answer_set = read_answer_set(path, tokens, 2048)
        assert answer_set.bytes == sum(len(answer.encode()) for _, answer in pairs)
        ids = answer_set.sequences[:, 1:][answer_set.counted]
        assert tokens.token_bytes[ids].sum() == answer_set.bytes

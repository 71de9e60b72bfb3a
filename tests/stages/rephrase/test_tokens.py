"""Counting tokens by the model's tokenizer, or by an estimate."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers

from pipeline.errors import InputError
from stages.rephrase.tokens import TokenCounter


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tokenizer as models bring it: with special tokens, and with padding and truncation switched on."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the mill ground the corn of the village"] * 5, trainer)
    tokenizer.add_tokens([AddedToken("<plain>", special=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_tokenizer_counts_as_the_model_does(tokenizer_file: Path) -> None:
    counter = TokenCounter(tokenizer_file)
    plain = Tokenizer.from_file(str(tokenizer_file))
    plain.no_padding()
    plain.no_truncation()
    texts = ["the mill", "", "the corn of the village, the mill and the corn"]
    assert counter.count(texts) == [len(plain.encode(text, add_special_tokens=False).ids) for text in texts]
    assert counter.count(texts)[1] == 0  # no padding
    assert counter.count(texts)[2] > 4  # no truncation


def test_special_tokens_of_the_tokenizer_are_known(tokenizer_file: Path) -> None:
    assert TokenCounter(tokenizer_file).control_tokens == ("<|end|>",)
    assert TokenCounter().control_tokens == ()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b'{"model": 3}'])
def test_what_is_no_tokenizer_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: "):
        TokenCounter(path)


@example("\U00010000\U00010000", ":;\x80\x80")  # 6 and 4, whose sum in floating point was above 10
@given(st.text(), st.text())
def test_an_estimate_grows_with_the_text(one: str, other: str) -> None:
    first, second, both = TokenCounter().count([one, other, one + other])
    assert max(first, second) <= both <= first + second


@pytest.mark.parametrize(
    ("text", "tokens"),  # by Mistral's vocabulary of 131,072
    [
        ("The mill on the Elbe was built in 1891 and ground 3,500 sacks of corn a year for all villages.", 30),
        ("Die Mühle an der Elbe wurde 1891 gebaut und mahlte jährlich 3500 Säcke Korn für die Dörfer ringsum.", 32),
        ("人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。", 39),
        ("Все люди рождаются свободными и равными в своем достоинстве и правах.", 21),
    ],
)
def test_the_estimate_is_near_what_models_count(text: str, tokens: int) -> None:
    assert 0.75 <= TokenCounter().count([text])[0] / tokens <= 1.6

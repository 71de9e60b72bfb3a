"""A page cannot end the turn in which it is quoted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MachineError
from stages.models.vllm.chat_template import ChatTemplate
from tests.stages.models.vllm.tiny_model import CONTROL, THINK, write_tokenizer

START, END = CONTROL[1:]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def template(tokenizer: Any) -> ChatTemplate:
    return ChatTemplate(tokenizer, "tiny", {})


def message_of(tokenizer: Any, ids: list[int]) -> list[int]:
    """What stands between the template's own tokens."""
    begin = tokenizer.encode(f"{START}user\n", add_special_tokens=False)
    end = tokenizer.encode(f"{END}\n{START}assistant\n", add_special_tokens=False)
    assert (ids[: len(begin)], ids[-len(end) :]) == (begin, end)
    return ids[len(begin) : -len(end)]


def test_a_message_stands_in_the_models_own_template(tokenizer: Any, template: ChatTemplate) -> None:
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Some text."}], add_generation_prompt=True, return_dict=False
    )
    assert template.token_ids("Some text.") == expected


def test_an_empty_message_is_a_turn_too(tokenizer: Any, template: ChatTemplate) -> None:
    assert message_of(tokenizer, template.token_ids("")) == []


CONTROL_OR_TEXT = st.sampled_from([*CONTROL, THINK, "<|", "|>", "<|im_", "end", "<", "\n", "a page"]) | st.text(
    max_size=5
)


@given(st.lists(CONTROL_OR_TEXT, max_size=12).map("".join))
def test_control_tokens_of_a_page_are_text(tokenizer: Any, template: ChatTemplate, page: str) -> None:
    ids = message_of(tokenizer, template.token_ids(page))
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == page


def test_a_control_token_that_only_the_tokenizer_sees_is_refused(tokenizer: Any) -> None:
    from tokenizers import AddedToken, normalizers
    from transformers import PreTrainedTokenizerFast

    content = tokenizer.backend_tokenizer.__class__.from_str(tokenizer.backend_tokenizer.to_str())
    content.normalizer = normalizers.NFKC()  # makes of wide characters narrow ones
    content.add_special_tokens([AddedToken("<wide>", normalized=True, special=True)])
    wide = PreTrainedTokenizerFast(tokenizer_object=content)
    wide.chat_template = tokenizer.chat_template
    with pytest.raises(ValueError, match="'<wide>', which the tokenizer reads as a control token"):
        ChatTemplate(wide, "wide", {}).token_ids("a page with ＜wide＞")


def test_variables_of_the_template_can_be_set(tokenizer: Any) -> None:
    other = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer)
    other.chat_template = "{% if brief %}Be brief. {% endif %}{{ messages[0].content }}"
    assert other.decode(ChatTemplate(other, "tiny", {"brief": True}).token_ids("Text")) == "Be brief. Text"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "no chat template: name a model that follows instructions"),
        ("nothing", "does not repeat the user's message once"),
        ("{{ messages[0].content }} {{ messages[0].content }}", "does not repeat the user's message once"),
    ],
)
def test_a_model_that_cannot_be_asked_is_told(tokenizer: Any, template: str | None, problem: str) -> None:
    other = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer)
    other.chat_template = template
    with pytest.raises(MachineError, match=problem):
        ChatTemplate(other, "tiny", {})

"""By shape alone, e-mail and IP addresses are those of datatrove's PIIFormatter."""

import json
import re
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.privacy.stage import SPANS
from tests.stages.privacy.examples import EXAMPLES
from tests.stages.privacy.test_stage import batch, ready

FILES = ["web_commoncrawl", "qa_stackexchange", "science_arxiv_fulltext_pdftotext", "science_arxiv_abstracts"]
FILES += ["news_reuters21578", "wikipedia_zh", "reviews_books_de_fr_nl", "books_gutenberg"]
STAGE = ready(types=["email", "ip_address"], strict=False, placeholders={"email": "<E>", "ip_address": "<I>"})


def by_datatrove(text: str) -> str:
    from datatrove.pipeline.formatters.pii import PIIFormatter

    return str(PIIFormatter(email_replacement="<E>", ip_replacement="<I>").format(text))


def by_sluice(texts: list[str]) -> list[str]:
    masked: list[str] = STAGE.process(batch(*texts)).kept["text"].to_pylist()
    return masked


def documents_of(folder: Path, name: str, limit: int) -> list[str]:
    with (folder / f"{name}.jsonl.zst").open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()
    return [json.loads(line)["text"] for line in lines[:limit]]


@pytest.mark.parametrize("name", FILES)
def test_real_documents_are_masked_as_by_datatrove(shared_data: Path, name: str) -> None:
    texts = documents_of(shared_data / "text", name, 400)
    assert by_sluice(texts) == [by_datatrove(text) for text in texts]


@pytest.mark.slow
def test_the_python_library_is_masked_as_by_datatrove() -> None:
    texts = [path.read_text(errors="replace") for path in sorted(Path(json.__file__).parents[1].glob("*/*.py"))[:800]]
    assert by_sluice(texts) == [by_datatrove(text) for text in texts]


def test_examples_are_masked_as_by_datatrove() -> None:
    texts = [text for kind in ("email", "ip_address", "phone") for text in EXAMPLES[kind]]
    assert by_sluice(texts) == [by_datatrove(text) for text in texts]


PIECES = ["a", "é", "-", ".", "@", "b.com", "[", "]", "1.2.3.4", "256.", "8.8.8.8", "9", " ", "'", "x-", "c3", ":", "_"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
@example("a@b.com'@b.com")  # the second address begins where the first ends
def test_made_up_texts_are_masked_as_by_datatrove(text: str) -> None:
    assert by_sluice([text]) == [by_datatrove(text)]


def test_a_name_longer_than_any_mailbox_is_no_address() -> None:
    """The one difference: datatrove has no bound, and takes quadratic time for it."""
    text = "x" * 65 + "@b.com"
    assert by_sluice([text]) == [text]
    assert by_datatrove(text) == "<E>"
    assert STAGE.process(batch(text[1:])).kept[SPANS][0].as_py()[0]["original_end"] == 70


def test_the_types_do_not_mask_each_others_placeholders() -> None:
    assert not re.search("@|[0-9]", by_sluice(["a@b.com 8.8.8.8"])[0])

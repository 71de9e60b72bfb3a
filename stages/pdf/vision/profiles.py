"""What each family of vision-language models expects of a request, and how its answers are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

ProfileName = Literal["olmocr", "deepseek_ocr", "generic"]
"""Names of ``PROFILES``."""


class UnparseableAnswerError(Exception):
    """The answer is not in the format of its model; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What a model says of a page."""

    markdown: str  # "" if it finds no text
    rotation: int = 0  # degrees (0, 90, 180, 270) by which the picture should be turned clockwise


@dataclass(frozen=True)
class Profile:
    """How to ask one family of models."""

    version: int  # raise it whenever prompt, picture or parser change: answers kept from before are then asked anew
    longest_side_px: int
    prompt: str
    parse: Callable[[str], PageAnswer]  # raises UnparseableAnswerError
    extra_body: Mapping[str, Any] = field(default_factory=dict)  # fields of the request that OpenAI's protocol lacks
    server_arguments: tuple[str, ...] = ()  # of vLLM's server, beside the model's name


def parsed_olmocr(text: str) -> PageAnswer:
    """YAML between lines of three dashes, then the text.

    Raises:
        UnparseableAnswerError: there is no such front matter, or it lacks the fields about rotation.
    """
    match = _FRONT_MATTER.match(text.replace("\r\n", "\n").lstrip())
    if match is None:
        raise UnparseableAnswerError("no front matter")
    try:
        facts = yaml.safe_load(match["yaml"])
    except yaml.YAMLError as error:
        raise UnparseableAnswerError(f"front matter is not YAML: {str(error)[:200]}") from error
    if not isinstance(facts, dict):
        raise UnparseableAnswerError("front matter is not a mapping")
    is_valid, correction = facts.get("is_rotation_valid"), facts.get("rotation_correction")
    if not isinstance(is_valid, bool) or correction not in (0, 90, 180, 270):
        raise UnparseableAnswerError(f"is_rotation_valid: {is_valid}, rotation_correction: {correction}")
    # Trained on pictures that Pillow turned, whose degrees run counter-clockwise (olmocr/train/dataloader.py), so what
    # it calls a correction of 90 is a turn by 270 clockwise.
    rotation = 0 if is_valid else (360 - correction) % 360
    return PageAnswer(match["text"].strip(), rotation)


def parsed_deepseek(text: str) -> PageAnswer:
    """Markdown in which each block follows its kind and its place, both between marks.

    Raises:
        UnparseableAnswerError: a mark is left without its partner.
    """
    text = _GROUNDING.sub("", text.replace(_END_OF_SENTENCE, ""))
    if broken := _GROUNDING_MARK.search(text):
        raise UnparseableAnswerError(f"a lone mark {broken[0]}")
    return PageAnswer(_MANY_NEWLINES.sub("\n\n", text).strip())


def parsed_markdown(text: str) -> PageAnswer:
    """Markdown, out of the code fence around all of it and behind the thoughts that some models put first.

    Raises:
        UnparseableAnswerError: the thoughts never end.
    """
    text = _THOUGHTS.sub("", text.replace("\r\n", "\n")).strip()
    if text.startswith("<think>"):
        raise UnparseableAnswerError("<think> without an end")
    fenced = _FENCE.fullmatch(text)
    return PageAnswer((fenced["text"] if fenced else text).strip())


_FRONT_MATTER = re.compile(r"---\n(?P<yaml>.*?)\n---(?:\n|$)(?P<text>.*)", re.DOTALL)
_GROUNDING = re.compile(r"<\|ref\|>.*?<\|/ref\|>\s*<\|det\|>.*?<\|/det\|>\n?", re.DOTALL)
_GROUNDING_MARK = re.compile(r"<\|/?(?:ref|det)\|>")
_END_OF_SENTENCE = "<｜end▁of▁sentence｜>"
_MANY_NEWLINES = re.compile(r"\n{3,}")
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```(?:markdown|md)?\n(?P<text>(?:(?!^```).)*?)\n?```", re.DOTALL | re.MULTILINE)

OLMOCR_PROMPT = (
    "Attached is one page of a document that you must process. "
    "Just return the plain text representation of this document as if you were reading it naturally. "
    "Convert equations to LateX and tables to HTML.\n"
    "If there are any figures or charts, label them with the following markdown syntax "
    "![Alt text describing the contents of the figure](page_startx_starty_width_height.png)\n"
    "Return your output as markdown, with a front matter section on top specifying values for the "
    "primary_language, is_rotation_valid, rotation_correction, is_table, and is_diagram parameters."
)
"""The words that olmOCR v0.4 (olmOCR-2-7B-1025) was fine-tuned with, typing errors included; others give other text
(build_no_anchoring_v4_yaml_prompt in olmocr/prompts/prompts.py, Apache-2.0)."""

DEEPSEEK_PROMPT = "<|grounding|>Convert the document to markdown."
"""Of DeepSeek-OCR's README and of vLLM's recipe for it; the server puts the picture's mark before it."""

GENERIC_PROMPT = (
    "The picture shows one page of a document. Write down its text as Markdown, complete and in reading order, in its "
    "own language and spelling. Headings, lists and emphasis as Markdown, tables as HTML, formulas as LaTeX between "
    "dollar signs. Join words that are hyphenated at the end of a line. Leave out running heads, running feet and page "
    "numbers; keep footnotes and references. Of figures give the caption only. Add nothing, explain nothing, guess "
    "nothing; if the page has no text, answer with nothing at all."
)

PROFILES: Mapping[ProfileName, Profile] = {
    "olmocr": Profile(
        version=1,
        longest_side_px=1288,  # of its training and of its own pipeline (olmocr/pipeline.py)
        prompt=OLMOCR_PROMPT,
        parse=parsed_olmocr,
        server_arguments=("--max-model-len", "16384"),  # of its own pipeline
    ),
    "deepseek_ocr": Profile(
        version=1,
        longest_side_px=1684,  # A4 at 144 dpi, at which its own script renders (run_dpsk_ocr_pdf.py)
        prompt=DEEPSEEK_PROMPT,
        parse=parsed_deepseek,
        # vLLM's recipe: its marks are special tokens, and so are the cells that its own guard against repetition spares
        extra_body={
            "skip_special_tokens": False,
            "vllm_xargs": {"ngram_size": 30, "window_size": 90, "whitelist_token_ids": [128821, 128822]},
        },
        server_arguments=("--max-model-len", "8192", "--no-enable-prefix-caching", "--mm-processor-cache-gb", "0"),
    ),
    "generic": Profile(version=1, longest_side_px=1536, prompt=GENERIC_PROMPT, parse=parsed_markdown),
}

"""What models put around the text that they were asked for: reasoning, remarks to the user, code fences, quotes.

A remark is known by its words: most of them are talk about the task, and the passage does not have them. So a text that
only begins like one ("Here is what the rivers of Europe have in common") stays. Talk about the task is what the style's
own instruction is made of, and the words below, which models use for their remarks in several languages.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

import regex
import yaml

from stages.rephrase.prompts import CONTROL_TOKEN, visible, without_control_tokens
from stages.rephrase.styles import Format, Style

_REMARKS_FILE = Path(__file__).with_name("remarks.yaml")
_REASONING = r"(?:think|thinking|thought|reasoning|scratchpad|analysis)"
_OPENING = regex.compile(rf"<{_REASONING}>|\[THINK\]|◁think▷", regex.IGNORECASE)
_CLOSING = regex.compile(rf"</{_REASONING}>|\[/THINK\]|◁/think▷", regex.IGNORECASE)
_FINAL_CHANNEL = regex.compile(r"<\|channel\|>final\b[^<\n]*<\|message\|>")


def without_reasoning(text: str) -> str | None:
    """What a model says after it has reasoned aloud; None if its reasoning has no end."""
    for end in (_FINAL_CHANNEL, _CLOSING):
        if found := list(end.finditer(text)):
            text = text[found[-1].end() :]
    return None if _OPENING.search(text) else text


def unwrapped(text: str, style: Style, passage: str) -> str:
    """The text that was asked for: in normal form C, without what cannot be seen and what stands around it."""
    text = unicodedata.normalize("NFC", visible(text)).strip()
    request = _Request(style, passage)
    while True:
        shorter = text
        for step in _STEPS:
            shorter = step(shorter, request).strip()
        if shorter == text:
            return text
        text = shorter


class _Request:
    """What a remark is held against: the words of the task and those of the passage."""

    def __init__(self, style: Style, passage: str) -> None:
        self.passage = unicodedata.normalize("NFC", visible(passage)).strip()
        self.lines = frozenset(line.strip() for line in self.passage.split("\n"))
        self._folded = _folded(self.passage)
        task, task_by_format, talk = _remark_words()
        of_passage = frozenset(_WORD.findall(self.passage[:500].casefold()))
        self._task = (task | task_by_format[style.format]) - of_passage
        self._talk = (_words_of((*style.templates, style.reminder)) - of_passage) | talk

    def is_preamble(self, line: str) -> bool:
        """Whether a line announces the text."""
        line = line.strip()
        if not self._is_possible(line) or line.startswith("Question:"):  # the form of pairs, with whatever is asked
            return False
        if _ASSENT.fullmatch(line) or _PREAMBLE_WITHOUT_WORDS.fullmatch(line.strip(" *_#")):
            return True
        share, has_colon = self._talk_share(line), line.rstrip(" *_").endswith((":", "："))
        if has_colon and share == 1.0 and _PRESENTING.search(line):
            return True
        return self._names_task(line) and share >= (0.6 if has_colon else 0.8)

    def is_closing(self, paragraph: str) -> bool:
        """Whether a paragraph takes leave of the user, or tells what was done to the text."""
        if not self._is_possible(paragraph) or not (opening := _TO_THE_USER.match(paragraph)):
            return False
        is_about_task = opening["offer"] is not None or self._names_task(paragraph)
        return is_about_task and self._talk_share(paragraph) >= 0.5

    def has_token(self, token: str) -> bool:
        """Whether the passage has a control token, whole or as it is sent: models mend what was broken up."""
        return token in self.passage or without_control_tokens(token) in self.passage

    def _is_possible(self, remark: str) -> bool:
        return len(remark) <= 500 and bool(folded := _folded(remark)) and folded not in self._folded

    def _names_task(self, remark: str) -> bool:
        return not self._task.isdisjoint(_WORD.findall(remark.casefold()))

    def _talk_share(self, remark: str) -> float:
        """Share of the words, without short ones, that are talk about the task."""
        words = [word for word in _WORD.findall(remark.casefold()) if len(word) > 3]
        return sum(word in self._talk or word in self._task for word in words) / len(words) if words else 0.0


# Steps, each of which takes one thing away if it is there

_FENCE_LINE = regex.compile(r"^[ \t]*={5}[0-9a-f]{16}={5}[ \t]*(?:\n|\Z)", regex.MULTILINE)
_ROLE = regex.compile(r"\A(?:assistant|model)[ \t]*:?[ \t]*\n", regex.IGNORECASE)
_RULE = regex.compile(r"[-*_=—]{3,}|[*_]{2}")
_FIRST_TOKEN = regex.compile(rf"\A(?:{CONTROL_TOKEN})", regex.IGNORECASE)
_LAST_TOKEN = regex.compile(rf"(?:{CONTROL_TOKEN})\Z", regex.IGNORECASE)
_FENCED = regex.compile(
    r"(?P<marks>```+|~~~+)[ \t]*(?:markdown|md|te?xt|plain|plaintext)?[ \t]*\n(?P<text>.*?)\n?[ \t]*(?P=marks)",
    regex.DOTALL | regex.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "»": "«", "「": "」", "'": "'", "‘": "’"}
_FIRST_LINE = regex.compile(r"[^\n]*\n")
_BEFORE_COLON = regex.compile(r"[^\n:：]{1,300}[:：][*_]*\s*")


def _without_prompt_marks(text: str, request: _Request) -> str:
    text = _FENCE_LINE.sub("", text)
    role = _ROLE.match(text)
    return text[role.end() :] if role and role[0].strip() not in request.lines else text


def _without_control_tokens(text: str, request: _Request) -> str:
    if (first := _FIRST_TOKEN.search(text)) and not request.has_token(first[0]):
        text = text[first.end() :]
    if (last := _LAST_TOKEN.search(text)) and not request.has_token(last[0]):
        text = text[: last.start()]
    return text


def _without_rules(text: str, request: _Request) -> str:
    """Without lines of dashes at its ends, with which models set apart what they were asked for."""
    first, _, rest = text.partition("\n")
    if _RULE.fullmatch(first.strip()) and first.strip() not in request.lines:
        text = rest
    rest, _, last = text.rpartition("\n")
    if _RULE.fullmatch(last.strip()) and last.strip() not in request.lines:
        text = rest
    return text


def _without_preamble(text: str, request: _Request) -> str:
    """Without a first line, or what stands in it before a colon, or a first "Sure!", that announces the text."""
    for beginning in (_BEFORE_COLON.match(text), _ASSENT.match(text), _FIRST_LINE.match(text)):
        if beginning and text[beginning.end() :].strip() and request.is_preamble(beginning[0]):
            return text[beginning.end() :]
    return text


def _without_closing(text: str, request: _Request) -> str:
    for separator in ("\n\n", "\n"):
        rest, _, last = text.rpartition(separator)
        if rest.strip() and request.is_closing(last.strip()):
            return rest
    return text


def _without_code_fence(text: str, request: _Request) -> str:
    found = _FENCED.fullmatch(text)
    if not found or found["marks"] in found["text"] or request.passage.startswith(found["marks"]):
        return text
    return str(found["text"])


def _without_quotes(text: str, request: _Request) -> str:
    end = _QUOTES.get(text[:1])
    if end is None or len(text) < 3 or not text.endswith(end) or request.passage.startswith(text[0]):
        return text
    return text if text[0] in text[1:-1] or end in text[1:-1] else text[1:-1]


_STEPS = (
    _without_prompt_marks,
    _without_control_tokens,
    _without_rules,
    _without_preamble,
    _without_closing,
    _without_code_fence,
    _without_quotes,
)

# Words

_WORD = regex.compile(r"[\p{L}\p{M}]+")


def _folded(text: str) -> str:
    """Letters and digits alone, without case."""
    return str(regex.sub(r"[^\p{L}\p{M}\p{N}]+", "", text.casefold()))


@cache
def _words_of(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for text in texts for word in _WORD.findall(text.casefold()))


@cache
def _remark_words() -> tuple[frozenset[str], dict[Format, frozenset[str]], frozenset[str]]:
    """Words that name the task, those that name it for each format, and others that remarks are made of."""
    words = yaml.safe_load(_REMARKS_FILE.read_text("utf-8"))
    by_format = {name: frozenset(listed.split()) for name, listed in words["task_by_format"].items()}
    task, talk = (frozenset(" ".join(words[key].values()).split()) for key in ("task", "talk"))
    return task, by_format, talk


_ASSENT = regex.compile(
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|gerne?|natürlich|klar|bien sûr|claro|certo|конечно)"
    r"\s*[!.]+\s*",
    regex.IGNORECASE,
)
_PRESENTING = regex.compile(
    r"\b(?:here|below|following|output|hier|folgend\w*|voici|aquí|aqui|ecco|hieronder|вот|ниже)\b", regex.IGNORECASE
)
_TO_THE_USER = regex.compile(
    r"[\s*_(\[>-]*(?:(?P<offer>no changes (?:were|are)|how (?:is|does) (?:that|this)|(?:please )?let me know"
    r"|i hope (?:this|that|it)|(?:please )?feel free|would you like"
    r"|do you want|if you (?:need|want|have|would|'d)|is there anything|(?:happy|glad) to|lassen sie|falls sie|wenn sie"
    r"|ich hoffe|n'hésitez|j'espère|si vous|espero que|si necesita|fammi sapere|spero che|laat het|дайте знать)"
    r"|in this (?:rewrite|version)|(?:please )?note\b|n\.?b\."
    r"|this (?:version|rewrite|text|passage|answer|summary|list|table|tutorial)"
    r"|the (?:above|rewritten|repaired|cleaned|passage|text|answer|original)|i (?:removed|kept|fixed|left|corrected)"
    r"|i (?:ha)?'?ve|end of|hinweis|anmerkung|remarque|nota)",
    regex.IGNORECASE,
)
_PREAMBLE_WITHOUT_WORDS = regex.compile(  # in scripts without blanks
    r"(?:好的|当然|當然|以下|下面|这是|這是|はい|承知|こちら|다음은|물론)[^\n。]{0,40}"
    r"(?:文|段落|版本|列表|改写|改寫|整理|内容|內容|问答|問答|問題|表格|テキスト|要約|텍스트|내용|문장)[^\n。]{0,20}[:：。!！]*"
)

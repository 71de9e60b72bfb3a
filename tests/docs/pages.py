"""The pages of README, docs/ and deploy/: what they tell people to type, and the files that they show.

A shell block is run as it stands. A block of YAML or JSON whose first line is ``# NAME`` is a file of this name. What
cannot run here has a comment before its block: ``<!-- not run: needs a GPU -->``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<not_run>[^\n]*) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_INLINE = re.compile(r"`(sluice [^`]+)`")
_FILE_NAME = re.compile(r"# ([\w./-]+\.(?:yaml|json|txt))\n")
_OPERATORS = {"&&", "||", "|", ">", ">>", "&", ";"}
SHELL = "sh"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    not_run: str  # why it is not run here; empty if it is

    @property
    def file_name(self) -> str:
        """The file that the block is, if it is one."""
        named = _FILE_NAME.match(self.text)
        return named[1] if named and self.language != SHELL else ""


def pages() -> list[Path]:
    """All pages that people read; those that are lists of what was done are left out."""
    lists = {"benchmarks.md", "decisions.md"}
    found = [*sorted((REPOSITORY / "docs").rglob("*.md")), *sorted((REPOSITORY / "deploy").glob("*.md"))]
    tops = [REPOSITORY / "README.md", REPOSITORY / "ARCHITECTURE.md"]
    return [*tops, *(page for page in found if page.name not in lists)]


def page_name(page: Path) -> str:
    """For the ids of tests."""
    return str(page.relative_to(REPOSITORY))


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found = [Block(match["language"], match["text"], match["not_run"] or "") for match in _BLOCK.finditer(text)]
    assert len(found) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE)), f"{page}: a block that is not seen"
    return found


def prose_of(page: Path) -> str:
    """A page without its blocks and comments."""
    return _COMMENT.sub("", _BLOCK.sub("", page.read_text()))


def script_of(page: Path) -> str:
    """What a reader of a page does, from its first block to its last, as one script for bash."""
    lines = []
    for block in blocks_of(page):
        if block.not_run:
            continue
        if block.language == SHELL:
            lines.append(block.text)
        elif block.file_name:
            lines.append(f"cat > {block.file_name} <<'END OF FILE'\n{block.text}END OF FILE\n")
    return "".join(lines)


def commands_in(text: str) -> list[list[str]]:
    """The arguments of each call of `sluice` in shell text, also of those within arguments of other commands."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        words = shlex.split(line, comments=True) if "sluice " in line else []
        for i, word in enumerate(words):
            if word == "sluice" and i + 1 < len(words) and re.fullmatch(r"[a-z][a-z-]*", words[i + 1]):
                ends = (j for j in range(i, len(words)) if words[j] in _OPERATORS)
                found.append(words[i + 1 : next(ends, len(words))])
            elif "sluice " in word:
                found += commands_in(word)
    return found


def commands_of_page(page: Path) -> Iterator[list[str]]:
    """Those of a page's shell blocks, and of its text between backticks."""
    for block in blocks_of(page):
        if block.language == SHELL:
            yield from commands_in(block.text)
    for inline in _INLINE.findall(prose_of(page).replace("\n", " ")):
        yield from commands_in(inline)

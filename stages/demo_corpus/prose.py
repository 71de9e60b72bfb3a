"""Reads a docstring's layout: which lines are running text, code, headings, lists and definitions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["paragraph", "code", "heading", "bullet", "term", "definition"]

_UNDERLINE = re.compile(r"^\s*([-=~^*+\"#])\1{2,}\s*$")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_TABLE = re.compile(r"^\s*(?:=+(?:\s+=+)+|\+[-=+]+\+)\s*$")
_ROLE = re.compile(r":[\w:+-]+:`~?([^`<]+?)(?:\s*<[^`>]*>)?`")
_DIRECTIVE = re.compile(r"^\.\. ([\w-]+):: ?")
_PROMPT = re.compile(r"^\s*(?:>>>|\.\.\. )")
_VERSIONS = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Block:
    """One block of a docstring; `text` of code keeps its lines, of every other kind is a single line."""

    kind: Kind
    text: str


def without_addresses(text: str) -> str:
    """`text` without the memory addresses that default values and examples carry: they differ in each run."""
    return _ADDRESS.sub("", text)


def reproducible(docstring: str) -> str:
    """`docstring` without addresses and without example output marked `# may vary`.

    Such output is not always fixed text: scipy.stats draws it from an unseeded generator at each import.
    """
    lines: list[str] = []
    for line in without_addresses(docstring).split("\n"):
        if "# may vary" in line and not _PROMPT.match(line):
            while lines and lines[-1].strip() and not _PROMPT.match(lines[-1]):
                lines.pop()  # the earlier lines of the same output
        else:
            lines.append(line)
    return "\n".join(lines)


def blocks_of(docstring: str) -> Iterator[Block]:
    """The blocks of a docstring whose common indentation is already removed, in order."""
    expects_code = False
    for chunk in _chunks(docstring):
        blocks = [_code(chunk)] if expects_code and _indent(chunk[0]) > 0 else list(_blocks_of_chunk(chunk))
        yield from blocks
        expects_code = blocks[-1].kind != "code" and blocks[-1].text.endswith("::")


def _chunks(text: str) -> Iterator[list[str]]:
    chunk: list[str] = []
    for line in text.expandtabs().splitlines():
        if line.strip():
            chunk.append(line.rstrip())
        elif chunk:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _blocks_of_chunk(lines: list[str]) -> Iterator[Block]:
    if len(lines) >= 2 and _UNDERLINE.match(lines[1]):
        yield Block("heading", _running(lines[:1]))
        if lines[2:]:
            yield from _blocks_of_chunk(lines[2:])
        return
    prompt = next((at for at, line in enumerate(lines) if line.lstrip().startswith(">>>")), None)
    if prompt is not None:
        if prompt:
            yield from _blocks_of_chunk(lines[:prompt])
        yield _code(lines[prompt:])
    elif any(_TABLE.match(line) for line in lines):
        yield _code(lines)
    else:
        yield from _text_blocks(lines)


def _text_blocks(lines: list[str]) -> Iterator[Block]:
    """Bullets, `term / indented definition` pairs and paragraphs; a deeper line continues one."""
    base = min(_indent(line) for line in lines)
    starts = [at for at, line in enumerate(lines) if _indent(line) == base]
    has_definitions = base < max(_indent(line) for line in lines[starts[0] :])
    if any(_BULLET.match(line) for line in lines):
        entries = [at for at, line in enumerate(lines) if at == 0 or _BULLET.match(line)]
        for at, end in zip(entries, [*entries[1:], len(lines)], strict=True):
            kind: Kind = "bullet" if _BULLET.match(lines[at]) else "paragraph"
            yield Block(kind, _BULLET.sub("", _running(lines[at:end])))
    elif has_definitions and len(starts) <= len(lines) / 2 + 1:
        if starts[0] > 0:  # still the definition of the chunk before
            yield Block("definition", _running(lines[: starts[0]]))
        for at, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            if end - at == 1:
                yield Block("paragraph", _running(lines[at:end]))
            else:
                yield Block("term", _running(lines[at : at + 1]))
                yield Block("definition", _running(lines[at + 1 : end]))
    else:
        yield Block("paragraph", _running(lines))


def _running(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    text = _DIRECTIVE.sub(lambda found: _VERSIONS.get(found[1], found[1].capitalize() + ":") + " ", text)
    return re.sub(r"\s+", " ", _ROLE.sub(r"\1", text)).strip()


def _code(lines: list[str]) -> Block:
    base = min(_indent(line) for line in lines)
    return Block("code", "\n".join(line[base:] for line in lines))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())

"""Command lines of Sluice that stand in pages, manifests and scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPOSITORY

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(sluice [^`]+)`")
OPERATORS = {"&&", "||", "|", ">", ">>", "&", ";"}


def commands_in(text: str) -> list[list[str]]:
    """The arguments of each call of `sluice` in shell text, also of those within arguments of other commands."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        words = shlex.split(line, comments=True) if "sluice " in line else []
        for i, word in enumerate(words):
            if word == "sluice" and i + 1 < len(words) and words[i + 1].isalpha():
                ends = (j for j in range(i, len(words)) if words[j] in OPERATORS)
                found.append(words[i + 1 : next(ends, len(words))])
            elif "sluice " in word:
                found += commands_in(word)
    return found


def commands_of_page(path: Path) -> Iterator[list[str]]:
    """Those of a page's shell blocks, and of its text between backticks."""
    text = path.read_text()
    for block in _BLOCK.findall(text):
        yield from commands_in(block)
    for inline in _INLINE.findall(_BLOCK.sub("", text).replace("\n", " ")):
        yield from commands_in(inline)


def runs_on_a_cluster() -> dict[str, list[str]]:
    """The arguments of `sluice run` with which a run on a cluster begins, by where they stand."""
    places = [REPOSITORY / "deploy/kuberay/rayjob.yaml", REPOSITORY / "deploy/slurm/sluice.sbatch"]
    found = {path.name: commands_in(path.read_text()) for path in places}
    for path in sorted((REPOSITORY / "deploy").glob("*.md")):
        if path.name != "README.md":
            found[path.name] = list(commands_of_page(path))
    starts = {
        name: [words for words in commands if words[0] == "run" and "--address" in words]
        for name, commands in found.items()
    }
    return {name: commands[0] for name, commands in starts.items() if commands}

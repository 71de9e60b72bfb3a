"""Real documents of ../shared/data/text, for tests and benchmarks."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

OTHER_LANGUAGES = ("legal_de_gesetze", "reviews_books_de_fr_nl", "wikipedia_zh")


@dataclass(frozen=True)
class RealText:
    """A document; ``set`` is the name of its file."""

    set: str
    id: str
    text: str


def real_texts(data: Path, *, english_only: bool = False, max_characters: int = 100_000) -> Iterator[RealText]:
    """All documents in the order of the files; longer ones (books, LaTeX chapters) are cut at a line break."""
    for path in sorted((data / "text").glob("*.jsonl.zst")):
        name = path.name.removesuffix(".jsonl.zst")
        if english_only and name in OTHER_LANGUAGES:
            continue
        with path.open("rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
            for line in lines:
                row = json.loads(line)
                text = row["text"]
                if len(text) > max_characters:
                    text = text[: text.rfind("\n", 0, max_characters)]
                yield RealText(name, f"{name}/{row['id']}", text)

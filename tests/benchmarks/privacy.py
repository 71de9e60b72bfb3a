"""What masking private data costs and finds, over the texts of ../shared/data/text and the Python library.

    python -m tests.benchmarks.privacy [SHOWN]

CPU seconds of one process, batches of 256 documents. Against datatrove's PIIFormatter on its two types (e-mail and
public IPv4 addresses, by shape alone), in turns; then all types with the default options, with what is found in a
megabyte. SHOWN: so many findings of each type and source, to be judged by eye.
"""

import json
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard
from datatrove.pipeline.formatters.pii import PIIFormatter

from pipeline.stage import Context, documents
from stages.privacy.masking import TYPES
from stages.privacy.stage import SPANS, Privacy, PrivacyConfig

TEXTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "text"
LANGUAGES = {"wikipedia_zh": "zh", "legal_de_gesetze": "de"}
BATCH_ROWS = 256
PER_3_KB = 3000 * 1e6  # microseconds for a document of 3 KB, the mean of web text


def rows(path: Path) -> Iterator[dict[str, Any]]:
    language = LANGUAGES.get(path.name.split(".")[0], "en")
    with path.open("rb") as file:
        for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
            row = json.loads(line)
            yield {"id": row["id"], "text": row["text"], "source": "s", "url": row.get("url"), "language": language}


def python_library() -> Iterator[dict[str, Any]]:
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted(folder.rglob("*.py")):
        if "site-packages" not in path.parts:
            yield {"id": str(path), "text": path.read_text(errors="replace"), "source": "s"}


def ready(**options: Any) -> Privacy:
    stage = Privacy(PrivacyConfig.model_validate(options))
    stage.setup(Context(seed=0))
    stage.process(documents([{"id": "", "text": "a@b.com +49 30 123456", "source": "s"}]))  # compiles
    return stage


def seconds(stage: Privacy, batches: list[pa.Table]) -> float:
    started = time.process_time()
    for batch in batches:
        stage.process(batch)
    return time.process_time() - started


def datatrove_seconds(texts: list[str]) -> float:
    formatter = PIIFormatter()
    started = time.process_time()
    for text in texts:
        formatter.format(text)
    return time.process_time() - started


def measure(name: str, found_in: Iterator[dict[str, Any]], stages: tuple[Privacy, Privacy], shown: int) -> list[float]:
    """Prints a line; returns bytes, and seconds of all types, of the two types, of datatrove."""
    table = documents(found_in)
    batches = [table.slice(start, BATCH_ROWS) for start in range(0, len(table), BATCH_ROWS)]
    texts = table["text"].to_pylist()
    size = sum(len(text.encode()) for text in texts)
    everything, two_types = stages
    ours, theirs = [], []
    for _ in range(3):
        ours.append(seconds(two_types, batches))
        theirs.append(datatrove_seconds(texts))
    all_types_s = min(seconds(everything, batches) for _ in range(3))
    spans = [row for batch in batches for row in everything.process(batch).kept[SPANS].to_pylist()]
    counts = Counter(span["type"] for row in spans for span in row)
    found = ", ".join(f"{kind} {counts[kind] / size * 1e6:.2f}" for kind in TYPES if counts[kind])
    print(
        f"{name:33} {len(texts):5} documents, {size / 1e6:5.2f} MB: {all_types_s / size * PER_3_KB:5.1f} us for 3 KB, "
        f"all types; two types {min(theirs) / min(ours):5.1f} times datatrove; in a MB: {found or 'nothing'}"
    )
    left = dict.fromkeys(TYPES, shown)
    for text, row in zip(texts, spans, strict=True):
        for span in row:
            left[span["type"]] -= 1
            if left[span["type"]] >= 0:
                start, end = span["original_start"], span["original_end"]
                before, after = text[max(0, start - 40) : start], text[end : end + 12]
                print(f"    {span['type']}: {before!r} {text[start:end]!r} {after!r}")
    return [size, all_types_s, min(ours), min(theirs)]


def main() -> None:
    shown = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    stages = (ready(), ready(types=["email", "ip_address"], strict=False))
    sources = {path.name.split(".")[0]: rows(path) for path in sorted(TEXTS.glob("*.jsonl.zst"))}
    sources["python_library"] = python_library()
    totals = [measure(name, found_in, stages, shown) for name, found_in in sources.items()]
    size, all_types_s, ours_s, theirs_s = map(sum, zip(*totals, strict=True))
    all_types, two_types, datatrove = (total_s / size * PER_3_KB for total_s in (all_types_s, ours_s, theirs_s))
    print(
        f"all: {size / 1e6:.0f} MB: {all_types:.1f} us for 3 KB, all types; two types {two_types:.1f} us, "
        f"{datatrove / two_types:.1f} times datatrove ({datatrove:.0f} us)"
    )


if __name__ == "__main__":
    main()

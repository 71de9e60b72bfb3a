"""What url_filter costs beside datatrove's URLFilter, with the 4.6 million domains and the words that datatrove has.

    python -m tests.benchmarks.urls

URLs are all those of ../shared/data (pages, and every record of the WARC files), each with some of its variants. CPU
seconds of one process, the two filters in turn. Without the package ahocorasick, which datatrove's filter needs, only
ours is measured.
"""

import gc
import importlib.util
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.stage import Context, documents
from stages.filters.urls import UrlFilter, UrlFilterConfig
from stages.intake.common_crawl import CommonCrawl, CommonCrawlConfig
from tests.real_pages import real_pages

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BATCH_ROWS = 1000
ROUNDS = 3


def real_urls() -> list[str]:
    """Distinct URLs, in a stable order."""
    urls = [page.url for page in real_pages(DATA) if page.url]
    crawl = CommonCrawl(CommonCrawlConfig(files=(str(DATA / "warc" / "*" / "*.warc*"),)))
    for split in crawl.splits():
        for outcome in crawl.read(split, "s", Context(seed=1)):
            urls += [url for url in outcome.kept["url"].to_pylist() if url]
            urls += [removal.url for removal in outcome.removed if removal.url.startswith("http")]
    return list(dict.fromkeys(urls))


def variants(url: str) -> list[str]:
    """Pages that could be of the same site, so that caches of single hosts do not decide."""
    return [url, *(re.sub(r"//(www\.)?", rf"//site{i}.\1", url, count=1) for i in range(9))]


def memory_mib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


def cpu_s(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def loaded(name: str, load: Callable[[], Any]) -> None:
    before = memory_mib()
    seconds = cpu_s(load)
    gc.collect()
    print(f"{name}: lists loaded in {seconds:.1f} CPU s, {memory_mib() - before} MiB more")


def main() -> None:
    found = real_urls()
    urls = [variant for url in found for variant in variants(url)]
    batches = [
        documents(
            {"id": str(i), "source": "s", "text": "", "url": url} for i, url in enumerate(urls[at : at + BATCH_ROWS])
        )
        for at in range(0, len(urls), BATCH_ROWS)
    ]
    ours = UrlFilter(UrlFilterConfig(datatrove_lists=True))
    compiled = UrlFilter(UrlFilterConfig(hard_words=("x",)))  # type: ignore[arg-type]
    compiled.setup(Context(seed=1))
    compiled.process(batches[0])
    loaded("url_filter", lambda: ours.setup(Context(seed=1)))
    spelled = UrlFilter(UrlFilterConfig(datatrove_lists=True, matching="datatrove"))
    everything = np.ones(BATCH_ROWS, np.bool_)
    look = sum(
        int(ours._worth_a_look(batch["url"].combine_chunks(), everything[: batch.num_rows]).sum()) for batch in batches
    )
    print(f"{len(found):,} real URLs, {len(urls):,} with variants; Python looks at {look / len(urls):.1%}")
    work: dict[str, Callable[[], Any]] = {"url_filter": lambda: [ours.process(batch) for batch in batches]}
    if importlib.util.find_spec("ahocorasick"):
        from datatrove.data import Document
        from datatrove.pipeline.filters.url_filter import URLFilter
        from tldextract import TLDExtract

        warnings.simplefilter("ignore", DeprecationWarning)
        reference = URLFilter()
        reference.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
        loaded("datatrove", reference.download_data)
        pages = [Document(text="", id=str(i), metadata={"url": url}) for i, url in enumerate(urls)]
        spelled.setup(Context(seed=1))
        work["url_filter, matching: datatrove"] = lambda: [spelled.process(batch) for batch in batches]
        work["datatrove"] = lambda: [reference.filter(page) for page in pages]
        dropped = [reference.filter(page) is not True for page in pages]
        same = [verdict is not None for batch in batches for verdict in spelled.verdicts(spelled.measure(batch))]
        wider = [verdict is not None for batch in batches for verdict in ours.verdicts(ours.measure(batch))]
        others = sum(a != b for a, b in zip(dropped, same, strict=True))
        print(f"matching: datatrove decides otherwise than datatrove on {others} URLs")
        pairs = dict(Counter(zip(dropped, wider, strict=True)))
        print(f"URLs by (dropped by datatrove, dropped by standard matching): {pairs}")
    gc.collect()
    gc.freeze()  # else the collector walks through datatrove's sets again and again, on everybody's account
    for _ in range(ROUNDS):
        print("; ".join(f"{name} {1e6 * cpu_s(run) / len(urls):.2f} us a URL" for name, run in work.items()))


if __name__ == "__main__":
    main()

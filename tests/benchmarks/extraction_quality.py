"""Quality and speed of extractors of main text, side by side on the same real pages.

    python -m tests.benchmarks.extraction_quality [../shared/data]

Articles: macro-averaged precision and recall of 4-grams of words, as scrapinghub/article-extraction-benchmark computes
them, and the F1 of these two. Snippets: those that must be there and those that must not, as trafilatura's own
evaluation counts them. Speed: pages per CPU second of one core on all of these pages, the extractors in turn on each
page. "tuned" are the sites on which the fast mode's rules were set, "held out" are the others.
"""

import hashlib
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from stages.extract.html_worker import decoded
from tests.real_pages import RealPage, article_benchmark, snippets

Extractor = Callable[[str], str]
SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def extractors() -> dict[str, Extractor]:
    import justext
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    from stages.extract import fast

    stop_words = frozenset().union(*map(justext.get_stoplist, justext.get_stoplists()))

    def by_trafilatura(**options: bool) -> Extractor:
        return lambda html: trafilatura.extract(html, include_comments=False, with_metadata=False, **options) or ""

    def by_justext(html: str) -> str:
        paragraphs = justext.justext(html, stop_words) if html.strip() else ()
        return "\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)

    return {
        "trafilatura precision": by_trafilatura(favor_precision=True),
        "trafilatura default": by_trafilatura(),
        "trafilatura recall": by_trafilatura(favor_recall=True),
        "trafilatura fast": by_trafilatura(fast=True),
        "Resiliparse main content": lambda html: extract_plain_text(html, main_content=True, comments=False),
        "jusText": by_justext,
        "fast mode of ours": lambda html: fast.extract(html).text,
    }


def tuned_pages(pages: Iterable[RealPage]) -> set[RealPage]:
    """Those of the half of the sites on which rules were set."""
    import tldextract

    domain_of = tldextract.TLDExtract(suffix_list_urls=())
    domains = {page: domain_of(page.url or "").top_domain_under_public_suffix or page.name for page in pages}
    return {page for page, domain in domains.items() if hashlib.md5(domain.encode()).digest()[0] % 2 == 0}


def four_grams(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    if 0 < len(words) < 4:
        return Counter([tuple(words)])
    return Counter(zip(*(words[i:] for i in range(4)), strict=False))


def precision_and_recall(text: str, truth: str) -> tuple[float, float]:
    found, expected = four_grams(text), four_grams(truth)
    common = (found & expected).total()
    precision = common / found.total() if found else float(not expected)
    return precision, common / expected.total() if expected else 1.0


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def article_scores(pairs: Iterable[tuple[str, str]]) -> tuple[float, float, float]:
    """Mean precision, mean recall and their F1 of (text, truth) pairs."""
    each = [precision_and_recall(text, truth) for text, truth in pairs]
    precision, recall = (sum(column) / len(each) for column in zip(*each, strict=True))
    return precision, recall, f1(precision, recall)


def snippet_scores(rows: Iterable[tuple[str, list[str], list[str]]]) -> tuple[float, float, float, float]:
    """Precision, recall, F1 and accuracy over all snippets of (text, with, without) rows."""
    there = missing = wrong = absent = 0
    for text, wanted, unwanted in rows:
        there += sum(snippet in text for snippet in wanted)
        missing += sum(snippet not in text for snippet in wanted)
        wrong += sum(snippet in text for snippet in unwanted)
        absent += sum(snippet not in text for snippet in unwanted)
    precision, recall = there / (there + wrong), there / (there + missing)
    return precision, recall, f1(precision, recall), (there + absent) / (there + missing + wrong + absent)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED_DATA
    articles, snippet_pages = list(article_benchmark(folder)), list(snippets(folder))
    candidates = extractors()
    seconds: dict[str, float] = defaultdict(float)
    texts: dict[str, list[str]] = defaultdict(list)
    pages = [page for page, _ in articles] + [page for page, _, _ in snippet_pages]
    for name in candidates:
        candidates[name]("<p>Compilation, imports and tables come before the clock starts.</p>")
    for page in pages:
        html = decoded(page.html, None)
        for name, extractor in candidates.items():
            started = time.process_time()
            text = extractor(html)
            seconds[name] += time.process_time() - started
            texts[name].append(text)

    speed = {name: len(pages) / seconds[name] for name in candidates}
    print(f"{len(articles)} articles, {len(snippet_pages)} pages with snippets, {len(pages)} pages timed\n")
    tuned = tuned_pages(pages)
    for half, chosen in (("all sites", set(pages)), ("tuned", tuned), ("held out", set(pages) - tuned)):
        print(f"{half:26} | articles: P      R      F1 | snippets: P      R      F1     accuracy | pages/s  ratio")
        for name in candidates:
            pairs = [
                (text, truth) for text, (page, truth) in zip(texts[name], articles, strict=False) if page in chosen
            ]
            rows = [
                (text, wanted, unwanted)
                for text, (page, wanted, unwanted) in zip(texts[name][len(articles) :], snippet_pages, strict=True)
                if page in chosen
            ]
            article, snippet = article_scores(pairs), snippet_scores(rows)
            print(
                f"{name:26} |         {article[0]:.4f} {article[1]:.4f} {article[2]:.4f} |         "
                f"{snippet[0]:.4f} {snippet[1]:.4f} {snippet[2]:.4f} {snippet[3]:.4f}   | {speed[name]:7.1f} "
                f"{speed[name] / speed['trafilatura precision']:6.2f}"
            )
        print()


if __name__ == "__main__":
    main()

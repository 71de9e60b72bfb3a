"""A small crawl of documentation sites: ordinary pages, and everything else that a crawl contains."""

import ast
import importlib.util
import io
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from stages.demo_corpus.frame import Site, edited, error_page, foreign_page, framed, navigation_page
from stages.demo_corpus.python_pages import Page, stable_order
from stages.demo_corpus.warc_writer import Exchange, corrupted, exchange_members, truncated, warcinfo

_HTML = "text/html; charset=utf-8"
_RELATED = 6
_NAVIGATION_LINKS = 80
_ERRORS = (
    ("404 Not Found", "Not Found"),
    ("301 Moved Permanently", "Moved Permanently"),
    ("500 Internal Server Error", "Internal Server Error"),
    ("404 Not Found", "Page Not Found"),
    ("503 Service Unavailable", "Service Temporarily Unavailable"),
)


@dataclass(frozen=True)
class Encoding:
    """How a page's characters reach the reader: the real encoding, and what header and page claim."""

    actual: str
    header: str | None
    meta: str | None


_DECLARED = Encoding("utf-8", "utf-8", "utf-8")
# First page of these languages: charsets undeclared, declared in one place only, or declared wrongly.
_UNUSUAL_ENCODINGS = {
    "de": Encoding("latin-1", None, None),
    "fr": Encoding("latin-1", "iso-8859-1", None),
    "es": Encoding("utf-8", "iso-8859-1", None),
    "pl": Encoding("utf-8", "iso-8859-2", "utf-8"),
    "ru": Encoding("windows-1251", None, "windows-1251"),
    "uk": Encoding("koi8-u", "koi8-u", None),
    "ja": Encoding("shift_jis", None, "shift_jis"),
    "zh": Encoding("gb18030", "gb18030", None),
    "ko": Encoding("euc-kr", None, "euc-kr"),
    "el": Encoding("utf-8", None, None),
}


@dataclass(frozen=True)
class WebPlan:
    """How many responses of each sort the crawl gets besides its ordinary pages, and in how many files."""

    files: int
    mirrors: int
    near_duplicates: int
    navigation: int
    errors: int
    non_english: int


@dataclass(frozen=True)
class WebCounts:
    """Responses written, by sort; `pages` are the ordinary pages that a reader can reach undamaged."""

    pages: int
    mirrors: int
    near_duplicates: int
    navigation: int
    errors: int
    non_english: int
    other_responses: int
    damaged: int


def write_web(folder: Path, pages: list[Page], sites: dict[str, Site], plan: WebPlan, seed: int) -> WebCounts:
    """Writes `plan.files` WARC files of `pages` (at least 3 + the planned duplicates); returns the counts.

    Three pages are damaged: one member with inverted bytes in the first file, one Content-Length that is too
    large in the middle file, and the last member of the last file cut in half.
    """
    folder.mkdir(parents=True)
    pages = sorted(pages, key=lambda page: stable_order(seed, page.name))
    related = _related_pages(pages)
    ordinary = [_ordinary(page, sites[page.site], related[page.name], seed) for page in pages]
    damaged, readable = ordinary[:3], ordinary[3:]
    mirrors = [_mirror(exchange) for exchange in readable[: plan.mirrors]]
    originals = pages[3 + plan.mirrors :][: plan.near_duplicates]
    near = [_near_duplicate(page, sites[page.site], related[page.name], seed) for page in originals]
    navigation = _navigation(pages, sites, plan.navigation)
    errors = _errors(pages, sites, plan.errors)
    foreign = _foreign(plan.non_english, seed)
    other = _other(sites[min(sites)])
    crawl = [*readable, *mirrors, *near, *navigation, *errors, *foreign, *other]
    crawl.sort(key=lambda exchange: stable_order(seed, exchange.url))
    for number in range(plan.files):
        _write_file(folder / f"demo-{number:05d}.warc.gz", number, crawl, damaged, plan.files, seed)
    return WebCounts(
        pages=len(readable),
        mirrors=len(mirrors),
        near_duplicates=len(near),
        navigation=len(navigation),
        errors=len(errors),
        non_english=len(foreign),
        other_responses=len(other),
        damaged=len(damaged),
    )


def _write_file(path: Path, number: int, crawl: list[Exchange], damaged: list[Exchange], files: int, seed: int) -> None:
    members = [warcinfo(path.name, seed)]
    for at in range(number, len(crawl), files):
        written = exchange_members(crawl[at], at, seed)
        members += [written.request, written.response, written.metadata]
    middle = 1 + 3 * ((len(members) - 1) // 6)  # a boundary between two exchanges
    if number == 0:
        written = exchange_members(damaged[0], len(crawl), seed)
        members[middle:middle] = [written.request, corrupted(written.response), written.metadata]
    if number == files // 2:
        written = exchange_members(damaged[1], len(crawl) + 1, seed, declared_excess=1000)
        members[middle:middle] = [written.request, written.response, written.metadata]
    if number == files - 1:
        written = exchange_members(damaged[2], len(crawl) + 2, seed)
        members += [written.request, truncated(written.response)]
    path.write_bytes(b"".join(members))


def _related_pages(pages: list[Page]) -> dict[str, list[str]]:
    """For each page the names of those that follow it in its site's alphabetical order."""
    related: dict[str, list[str]] = {}
    for site in sorted({page.site for page in pages}):
        names = sorted(page.name for page in pages if page.site == site)
        related |= {name: names[at + 1 : at + 1 + _RELATED] for at, name in enumerate(names)}
    return related


def _ordinary(page: Page, site: Site, related: list[str], seed: int) -> Exchange:
    text = framed(site, page, related, version=site.version, date=_date(page.name, seed))
    return Exchange(site.url(page.name), "200 OK", _HTML, text.encode())


def _mirror(original: Exchange) -> Exchange:
    return Exchange(original.url.replace("https://docs.", "https://mirror."), "200 OK", _HTML, original.body)


def _near_duplicate(page: Page, site: Site, related: list[str], seed: int) -> Exchange:
    """The page as another release of the software shows it."""
    rng = random.Random(f"{seed}:{page.name}")
    version = f"{site.version}.post{rng.randint(1, 9)}"
    revised = Page(page.site, page.name, page.kind, page.summary, edited(page.body, rng, version), page.text_words)
    text = framed(site, revised, related, version=version, date=_date(page.name, seed + 1))
    return Exchange(site.url(page.name).replace("/reference/", "/next/"), "200 OK", _HTML, text.encode())


def _navigation(pages: list[Page], sites: dict[str, Site], count: int) -> list[Exchange]:
    names = {site: sorted(page.name for page in pages if page.site == site) for site in sorted(sites)}
    exchanges: list[Exchange] = []
    for number in range(count):
        site = sites[sorted(sites)[number % len(sites)]]
        at = number // len(sites)
        own = names[site.name]
        links = [
            own[(at * _NAVIGATION_LINKS + offset) % len(own)] for offset in range(min(len(own), _NAVIGATION_LINKS))
        ]
        text = navigation_page(site, at, links)
        exchanges.append(Exchange(site.url(f"index-{at}"), "200 OK", _HTML, text.encode()))
    return exchanges


def _errors(pages: list[Page], sites: dict[str, Site], count: int) -> list[Exchange]:
    exchanges: list[Exchange] = []
    for number in range(count):
        page = pages[number % len(pages)]
        site = sites[page.site]
        status, reason = _ERRORS[number % len(_ERRORS)]
        path = f"/old/{number}/{page.name}.html"
        body = error_page(site, int(status[:3]), reason, path).encode()
        location = site.url(page.name) if status.startswith("301") else None
        exchanges.append(Exchange(f"https://{site.host}{path}", status, "text/html", body, location))
    return exchanges


def _foreign(count: int, seed: int) -> list[Exchange]:
    """`count` pages of spaCy's example sentences, one per language in turn."""
    languages = _example_sentences()
    exchanges: list[Exchange] = []
    for at in range(count):
        language = sorted(languages)[at % len(languages)]
        number = at // len(languages)
        sentences = list(languages[language])
        random.Random(f"{seed}:{language}:{number}").shuffle(sentences)
        encoding = _UNUSUAL_ENCODINGS.get(language, _DECLARED) if number == 0 else _DECLARED
        text = foreign_page(language, sentences, charset=encoding.meta)
        content_type = f"text/html; charset={encoding.header}" if encoding.header else "text/html"
        url = f"https://{language}.phrases.example/{number + 1}.html"
        exchanges.append(Exchange(url, "200 OK", content_type, text.encode(encoding.actual, "xmlcharrefreplace")))
    return exchanges


def _example_sentences() -> dict[str, list[str]]:
    """spaCy's example sentences by language, without English; parsed, for importing spaCy is slow."""
    found = importlib.util.find_spec("spacy")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("spacy is not installed, and the demo's pages in other languages come from it")
    sentences: dict[str, list[str]] = {}
    for path in sorted(Path(found.submodule_search_locations[0]).glob("lang/*/examples.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.List):
                sentences[path.parent.name] = [text.strip() for text in ast.literal_eval(statement.value)]
    sentences.pop("en")
    return {language: texts for language, texts in sentences.items() if texts}


def _other(site: Site) -> list[Exchange]:
    """Responses that are no HTML, and one that is nothing at all."""
    picture = io.BytesIO()
    Image.linear_gradient("L").save(picture, "PNG")
    robots = "User-agent: *\nDisallow: /search\n"
    versions = f'{{"name": "{site.name}", "latest": "{site.version}"}}'
    base = f"https://{site.host}"
    return [
        Exchange(f"{base}/static/gradient.png", "200 OK", "image/png", picture.getvalue()),
        Exchange(f"{base}/about.txt", "200 OK", "text/plain; charset=utf-8", robots.encode()),
        Exchange(f"{base}/versions.json", "200 OK", "application/json", versions.encode()),
        Exchange(f"{base}/empty.html", "200 OK", _HTML, b""),
        Exchange(f"{base}/untyped", "200 OK", None, b"<html><body></body></html>"),
    ]


def _date(name: str, seed: int) -> str:
    key = stable_order(seed, name)
    months = ("January", "March", "April", "June", "August", "October", "November", "December")
    return f"{1 + key[0] % 28} {months[key[1] % len(months)]} {2022 + key[2] % 4}"

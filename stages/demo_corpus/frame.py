"""The sites around the documentation: frames with menus and footers, index, error and foreign pages."""

import html
import random
from dataclasses import dataclass
from string import Template

from stages.demo_corpus.python_pages import Page

_MODERN = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/site.css">
<script>window.analytics = window.analytics || []; analytics.push(["page", "$title"]);</script>
</head>
<body>
<div class="cookie-banner" role="dialog">We use cookies to remember your preferences and to measure visits.
<button>Accept all</button> <button>Reject</button> <a href="/cookies">Cookie settings</a></div>
<header class="site-header"><a class="logo" href="/">$site</a>
<form action="/search"><input name="q" placeholder="Search the documentation"><button>Search</button></form>
</header>
<nav class="menu"><ul>$menu</ul></nav>
<nav class="breadcrumb">$breadcrumb</nav>
<main><article>
$article
<p class="release">Release $version. Last updated on $date.</p>
</article></main>
<aside class="sidebar"><h4>Related pages</h4><ul>$related</ul></aside>
<footer class="site-footer"><p>&copy; The $site developers. <a href="/imprint">Imprint</a> |
<a href="/privacy">Privacy policy</a> | <a href="/contact">Contact</a></p></footer>
</body>
</html>
""")

_PLAIN = Template("""<html>
<head>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8">
<title>$title</title>
</head>
<body>
<div id="header"><b>$site</b> version $version</div>
<div id="menu"><ul>$menu</ul></div>
<div id="path">$breadcrumb</div>
<div id="content">
$article
</div>
<div id="related"><h4>See also</h4><ul>$related</ul></div>
<div id="footer">$site $version documentation, generated on $date.
Found a mistake? <a href="/issues">Report it</a>. <a href="#top">Back to top</a></div>
</body>
</html>
""")

_LAYOUTS = (_MODERN, _PLAIN)
_MENU = (
    "Home",
    "Install",
    "Tutorial",
    "User guide",
    "Reference",
    "Examples",
    "Release notes",
    "Community",
    "Donate",
)


@dataclass(frozen=True)
class Site:
    """One documentation site: `name` is the import name, `title` and `version` are what its pages show."""

    name: str
    title: str
    version: str

    @property
    def host(self) -> str:
        """Host under the reserved top-level domain `.example` (RFC 2606)."""
        return f"docs.{self.name.replace('_', '-')}.example"

    def url(self, page: str) -> str:
        """Address of the page named `page`."""
        return f"https://{self.host}/reference/{page}.html"


def framed(site: Site, page: Page, related: list[str], *, version: str, date: str) -> str:
    """The full HTML of a documentation page; `related` are names of other pages of the site."""
    parts = page.name.split(".")
    trail = [f'<a href="{".".join(parts[: at + 1])}.html">{part}</a>' for at, part in enumerate(parts[:-1])]
    return _layout(site).substitute(
        title=html.escape(f"{page.name} - {site.title} documentation"),
        site=site.title,
        menu=_links([(f"/{entry.lower().replace(' ', '-')}", entry) for entry in _MENU]),
        breadcrumb=" &raquo; ".join([f'<a href="/">{site.title}</a>', *trail, parts[-1]]),
        article=page.body,
        related=_links([(f"{name}.html", name) for name in related]),
        version=version,
        date=date,
    )


def navigation_page(site: Site, number: int, names: list[str]) -> str:
    """An index page: links to `names` and nothing to read."""
    links = _links([(f"{name}.html", name) for name in names])
    return _layout(site).substitute(
        title=f"Index {number} - {site.title} documentation",
        site=site.title,
        menu=_links([(f"/{entry.lower().replace(' ', '-')}", entry) for entry in _MENU]),
        breadcrumb=f'<a href="/">{site.title}</a> &raquo; Index',
        article=f"<h1>Index, page {number}</h1>\n<ul>{links}</ul>",
        related=_links([(f"index-{other}.html", f"Index {other}") for other in (number - 1, number + 1)]),
        version=site.version,
        date="1 January 2026",
    )


def error_page(site: Site, status: int, reason: str, path: str) -> str:
    """What a web server answers instead of a page."""
    return (
        f"<html><head><title>{status} {reason}</title></head><body><h1>{reason}</h1>"
        f"<p>The requested URL {html.escape(path)} could not be served.</p>"
        f"<hr><address>{site.host}</address></body></html>"
    )


def foreign_page(language: str, sentences: list[str], *, charset: str | None) -> str:
    """A page of `sentences`, three to a paragraph; its meta element declares `charset`, if given."""
    declared = f'<meta charset="{charset}">\n' if charset else ""
    paragraphs = [" ".join(_ended(part) for part in sentences[at : at + 3]) for at in range(0, len(sentences), 3)]
    article = "\n".join(f"<p>{html.escape(paragraph, quote=False)}</p>" for paragraph in paragraphs)
    title = html.escape(sentences[0][:60], quote=False)
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n{declared}<title>{title}</title>\n</head>\n'
        "<body>\n"
        f'<nav><a href="/">{language}</a> <a href="/1.html">1</a> <a href="/2.html">2</a></nav>\n'
        f"<main><article>\n<h1>{title}</h1>\n{article}\n</article></main>\n</body>\n</html>\n"
    )


def edited(body: str, rng: random.Random, version: str) -> str:
    """`body` with two of its paragraphs revised: the same page in another release of the software."""
    paragraphs = body.split("</p>")
    for at in rng.sample(range(len(paragraphs) - 1), min(2, len(paragraphs) - 1)):
        paragraphs[at] += rng.choice(_REVISIONS).format(version=version)
    return "</p>".join(paragraphs)


_REVISIONS = (
    " This paragraph describes the behaviour of release {version}.",
    " Changed in release {version}: the wording was clarified.",
    " Earlier releases than {version} behave differently in rare cases.",
)


def _layout(site: Site) -> Template:
    return _LAYOUTS[len(site.name) % len(_LAYOUTS)]


def _links(targets: list[tuple[str, str]]) -> str:
    return "".join(f'<li><a href="{html.escape(target)}">{html.escape(text)}</a></li>' for target, text in targets)


def _ended(sentence: str) -> str:
    return sentence if sentence[-1:] in ".!?。！？।؟" else sentence + "."

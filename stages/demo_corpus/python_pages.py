"""Reference pages of installed Python packages, made with pydoc in a process of its own.

Run as `python -m stages.demo_corpus.python_pages`: reads a Request as JSON from standard input and writes one
JSON line per page to the file it is given, then one line with what could not be documented. A process of its
own because importing a package is neither reversible nor sure to end, and because sets keep one order only
under a fixed PYTHONHASHSEED.
"""

import contextlib
import hashlib
import html
import importlib
import inspect
import json
import pkgutil
import pydoc
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from stages.demo_corpus.prose import Block, blocks_of, reproducible, without_addresses

# Parts of a package that are no documentation of it: tests, fixtures, programs, bundled software.
_SKIPPED_PARTS = frozenset(
    {"tests", "test", "testing", "conftest", "setup", "externals", "vendor", "f2py", "distutils", "app"}
)
# Modules that act when they are imported (a browser opens, a poem is printed) or document other software.
_SKIPPED_ROOTS = frozenset(
    {
        "antigravity",
        "this",
        "idlelib",
        "lib2to3",
        "turtledemo",
        "distutils",
        "ensurepip",
        "pydoc_data",
        "test",
    }
)
# A function documented at such length gets a page of its own; shorter ones stay on their module's page.
_OWN_PAGE_WORDS = 120
_MIN_PAGE_WORDS = 70
_MAX_BODY_CHARACTERS = 300_000
_PLAIN_DEFAULTS = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class Request:
    """`roots` are packages to document with all their submodules; at most `limit` pages, chosen by `seed`."""

    site: str
    roots: tuple[str, ...]
    limit: int
    seed: int


@dataclass(frozen=True)
class Page:
    """A documentation page without its site's frame; `body` is HTML, `text_words` its docstrings' words."""

    site: str
    name: str
    kind: Literal["module", "class", "function"]
    summary: str
    body: str
    text_words: int


@dataclass(frozen=True)
class Skipped:
    """A module or member that has no page, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class _Subject:
    name: str
    kind: Literal["module", "class", "function"]
    subject: Any
    words: int


def stable_order(seed: int, name: str) -> bytes:
    """A pseudo-random sort key that depends on the name and seed alone."""
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()


def standard_library_roots() -> tuple[str, ...]:
    """Names of the public top-level modules of the standard library that are safe to import."""
    return tuple(
        sorted(name for name in sys.stdlib_module_names if not name.startswith("_") and name not in _SKIPPED_ROOTS)
    )


def pages_of(request: Request) -> tuple[list[Page], list[Skipped]]:
    """Imports and documents the packages of `request`; pages are sorted by name."""
    skipped: list[Skipped] = []
    modules = sorted(_modules(request.roots, skipped), key=lambda module: (module.__name__.count("."), module.__name__))
    subjects = [subject for subject in _subjects(modules, skipped) if subject.words >= _MIN_PAGE_WORDS]
    subjects.sort(key=lambda subject: stable_order(request.seed, subject.name))
    formatter = ReferenceFormatter()
    pages: list[Page] = []
    for subject in subjects:
        if len(pages) == request.limit:
            break
        body = formatter.document(subject.subject, subject.name)
        if len(body) > _MAX_BODY_CHARACTERS:
            skipped.append(Skipped(subject.name, f"page larger than {_MAX_BODY_CHARACTERS} characters"))
            continue
        summary = _summary(subject.subject)
        pages.append(Page(request.site, subject.name, subject.kind, summary, body, subject.words))
    return sorted(pages, key=lambda page: page.name), skipped


def long_docstrings(roots: tuple[str, ...], *, min_words: int) -> list[tuple[str, str]]:
    """(full name, docstring) of all below `roots` that is documented in at least `min_words` words."""
    skipped: list[Skipped] = []
    modules = sorted(_modules(roots, skipped), key=lambda module: module.__name__)
    subjects = sorted(_subjects(modules, skipped), key=lambda subject: subject.name)
    documented = ((subject.name, _doc(subject.subject)) for subject in subjects)
    return [(name, text) for name, text in documented if _words(text) >= min_words]


class ReferenceFormatter(pydoc.HTMLDoc):
    """pydoc's HTML with docstrings set as paragraphs, lists and code blocks.

    pydoc itself sets every docstring as one run of typewriter text with hard line breaks and hard spaces,
    which no site publishes and from which main-text extractors recover little.
    """

    def document(self, object: Any, name: str | None = None, *_: Any) -> str:
        """HTML of one module, class or routine under its full dotted `name`."""
        full_name = name or object.__name__
        if inspect.ismodule(object):
            return self._module(object, full_name)
        if inspect.isclass(object):
            return self._class(object, full_name)
        return f"<h1>{html.escape(full_name)}</h1>\n" + self._routine(object, full_name, heading=None)

    def _module(self, module: ModuleType, name: str) -> str:
        parts = [f"<h1>{html.escape(name)}</h1>", blocks_as_html(blocks_of(_doc(module)))]
        members = sorted(_public_members(module, []))
        classes = [(key, value) for key, value in members if inspect.isclass(value)]
        routines = [(key, value) for key, value in members if _is_routine(value)]
        if classes:
            parts.append("<h2>Classes</h2>")
            parts += [self._entry(f"class {key}", f"{name}.{key}", value) for key, value in classes]
        if routines:
            parts.append("<h2>Functions</h2>")
        for key, value in routines:
            if _words(_doc(value)) >= _OWN_PAGE_WORDS:
                parts.append(self._entry(key, f"{name}.{key}", value))
            else:
                parts.append(self._routine(value, key, heading="h3"))
        return "\n".join(parts)

    def _class(self, cls: type, name: str) -> str:
        bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
        parts = [f"<h1>{html.escape(name)}</h1>"]
        if bases:
            parts.append(f"<p>Bases: <code>{html.escape(bases)}</code></p>")
        parts.append(f"<pre><code>class {html.escape(cls.__name__ + _signature(cls))}</code></pre>")
        parts.append(blocks_as_html(blocks_of(_doc(cls))))
        members = [(key, value) for key, value in _own_members(cls) if _doc(value)]
        if members:
            parts.append("<h2>Methods and attributes</h2>")
        for key, value in members:
            if inspect.isdatadescriptor(value):
                parts.append(f"<h3>{html.escape(key)}</h3>\n{blocks_as_html(blocks_of(_doc(value)))}")
            else:
                parts.append(self._routine(value, key, heading="h3"))
        return "\n".join(parts)

    def _routine(self, routine: Any, name: str, heading: str | None) -> str:
        title = f"<{heading}>{html.escape(name)}</{heading}>\n" if heading else ""
        declaration = html.escape(name.rpartition(".")[2] + _signature(routine))
        return f"{title}<pre><code>{declaration}</code></pre>\n{blocks_as_html(blocks_of(_doc(routine)))}"

    def _entry(self, title: str, target: str, subject: Any) -> str:
        link = f'<a href="{html.escape(target)}.html">{html.escape(title)}</a>'
        return f"<h3>{link}</h3>\n<p>{_inline(_summary(subject))}</p>"


def blocks_as_html(blocks: Iterable[Block]) -> str:
    """Blocks as HTML, with runs of bullets in one list and runs of terms in one definition list."""
    lines: list[str] = []
    open_list = ""
    for block in blocks:
        wanted = {"bullet": "ul", "term": "dl", "definition": "dl"}.get(block.kind, "")
        if wanted != open_list:
            lines += ([f"</{open_list}>"] if open_list else []) + ([f"<{wanted}>"] if wanted else [])
            open_list = wanted
        lines.append(
            _TEMPLATES[block.kind].format(html.escape(block.text) if block.kind == "code" else _inline(block.text))
        )
    if open_list:
        lines.append(f"</{open_list}>")
    return "\n".join(lines)


_TEMPLATES = {
    "paragraph": "<p>{}</p>",
    "code": "<pre><code>{}</code></pre>",
    "heading": "<h3>{}</h3>",
    "bullet": "<li>{}</li>",
    "term": "<dt><code>{}</code></dt>",
    "definition": "<dd><p>{}</p></dd>",
}
_LITERAL = re.compile(r"``(.+?)``|`~?([^`]+)`")


def _inline(text: str) -> str:
    return _LITERAL.sub(lambda found: f"<code>{found[1] or found[2]}</code>", html.escape(text, quote=False))


def _modules(roots: tuple[str, ...], skipped: list[Skipped]) -> Iterator[ModuleType]:
    """The modules named in `roots` and, for packages, all public modules below them."""
    for name in roots:
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            skipped.append(Skipped(name, f"import failed: {type(error).__name__}"))
            continue
        yield module
        below = sorted(found.name for found in pkgutil.iter_modules(getattr(module, "__path__", ())))
        public = (part for part in below if not part.startswith("_") and part not in _SKIPPED_PARTS)
        yield from _modules(tuple(f"{name}.{part}" for part in public), skipped)


def _subjects(modules: list[ModuleType], skipped: list[Skipped]) -> Iterator[_Subject]:
    """Modules, their classes and their well documented functions; what two modules export counts once."""
    seen: set[int] = set()
    for module in modules:
        name = module.__name__
        words = _words(_doc(module))
        for key, value in sorted(_public_members(module, skipped)):
            if inspect.isclass(value):
                words += _words(_summary(value))
                own_words = _words(_doc(value)) + sum(_words(_doc(member)) for _, member in _own_members(value))
                kind: Literal["class", "function"] = "class"
            elif _is_routine(value):
                own_words = _words(_doc(value))
                words += own_words if own_words < _OWN_PAGE_WORDS else _words(_summary(value))
                kind = "function"
            else:
                continue
            if id(value) in seen or (kind == "function" and own_words < _OWN_PAGE_WORDS):
                continue
            seen.add(id(value))
            yield _Subject(f"{name}.{key}", kind, value, own_words)
        yield _Subject(name, "module", module, words)


def _public_members(module: ModuleType, skipped: list[Skipped]) -> Iterator[tuple[str, Any]]:
    """Members as pydoc chooses them: `__all__` where there is one, else what the module itself defines.

    Members that belong to another distribution (re-exports) are left out.
    """
    exported = getattr(module, "__all__", None)
    root = module.__name__.partition(".")[0]
    for name in sorted(set(exported if exported is not None else vars(module))):
        if name.startswith("_"):
            continue
        try:
            value = getattr(module, name)
        except Exception as error:
            skipped.append(Skipped(f"{module.__name__}.{name}", f"attribute failed: {type(error).__name__}"))
            continue
        if not inspect.isclass(value) and not _is_routine(value):
            continue
        home = getattr(value, "__module__", None) or module.__name__
        if home == module.__name__ or (exported is not None and home.partition(".")[0] == root):
            yield name, value


def _own_members(cls: type) -> list[tuple[str, Any]]:
    """Public methods and properties that the class defines itself, by name."""
    return sorted(
        (name, value.__func__ if isinstance(value, classmethod | staticmethod) else value)
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and (inspect.isdatadescriptor(value) or _is_routine(value) or isinstance(value, classmethod | staticmethod))
    )


def _is_routine(value: Any) -> bool:
    return inspect.isroutine(value) or type(value).__name__ in (
        "ufunc",
        "_ArrayFunctionDispatcher",
        "cyfunction",
    )


def _doc(subject: Any) -> str:
    text = getattr(subject, "__doc__", None)
    return reproducible(inspect.cleandoc(text)) if isinstance(text, str) else ""


def _summary(subject: Any) -> str:
    paragraphs = (block.text for block in blocks_of(_doc(subject)) if block.kind == "paragraph")
    return next(paragraphs, "No description.")[:300]


def _words(text: str) -> int:
    return len(text.split())


def _signature(subject: Any) -> str:
    """The call signature; defaults that are neither plain constants nor tuples of them are set as `...`.

    The representation of any other object may hold an address, a path or a set in arbitrary order.
    """
    try:
        signature = inspect.signature(subject)
    except (ValueError, TypeError):  # builtins without a text signature
        return "(...)"
    parameters = [
        parameter if _is_plain(parameter.default) else parameter.replace(default=...)
        for parameter in signature.parameters.values()
    ]
    return without_addresses(str(signature.replace(parameters=parameters)))


def _is_plain(default: Any) -> bool:
    if type(default) is tuple:
        return all(_is_plain(part) for part in default)
    if isinstance(default, str) and (sys.prefix in default or "/" in default):
        return False
    return default is inspect.Parameter.empty or type(default) in _PLAIN_DEFAULTS


def main() -> None:
    """Entry point of the child process: one Request on standard input, `argv[1]` is the file to write."""
    given = json.load(sys.stdin)
    request = Request(given["site"], tuple(given["roots"]), given["limit"], given["seed"])
    with contextlib.redirect_stdout(sys.stderr):  # some modules print when imported
        pages, skipped = pages_of(request)
    with Path(sys.argv[1]).open("w", encoding="utf-8") as output:
        for page in pages:
            output.write(json.dumps(asdict(page)) + "\n")
        output.write(json.dumps([asdict(entry) for entry in skipped]) + "\n")


if __name__ == "__main__":
    main()

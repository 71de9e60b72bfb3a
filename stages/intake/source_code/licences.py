"""Under which licence a file is: SPDX expressions from headers, licence texts and package metadata.

The nearest statement counts. For a file these are, in order: a line ``SPDX-License-Identifier`` in its first 4,000
characters; then, from its own folder up to the root of the repository, a licence file (LICENSE, COPYING, NOTICE ...),
or else package metadata (pyproject.toml, package.json, Cargo.toml, PKG-INFO). A licence file whose text is not known
gives ``NOASSERTION``, SPDX's word for it, unless the metadata beside it says more: nothing further up is consulted,
as the text that stands nearest overrules it.

Texts are recognised by phrases of their own, over lower-case words without punctuation: wording below the phrases
(names, years, line breaks, list marks) may vary. A file that holds several texts gives them joined by AND, unless the
metadata beside it names one of them as the package's own.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

UNKNOWN = "NOASSERTION"

_PERMISSIVE_IDS = """
0BSD AFL-3.0 Apache-1.1 Apache-2.0 Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent
BSD-3-Clause BSD-3-Clause-Clear BSD-3-Clause-LBNL BSD-4-Clause BSL-1.0 bzip2-1.0.6 CC-BY-3.0 CC-BY-4.0 CC0-1.0
CNRI-Python curl FTL HPND ICU ISC JSON libpng-2.0 Libpng libtiff MIT MIT-0 MIT-CMU MS-PL MulanPSL-2.0 NCSA
OLDAP-2.8 OpenSSL PHP-3.01 PostgreSQL PSF-2.0 Python-2.0 Ruby TCL Unicode-3.0 Unicode-DFS-2016 Unlicense UPL-1.0
W3C WTFPL X11 Zlib ZPL-2.1
"""
PERMISSIVE = frozenset(_PERMISSIVE_IDS.split())
"""Licences that ask for no more than attribution: the permissive ones of the Blue Oak Council's list
(https://blueoakcouncil.org/list) that are in use, and the public-domain dedications."""

_MAX_HEADER_CHARACTERS = 4000
_HEADER_MARK = "SPDX-License-Identifier:"
_HEADER = re.compile(r"SPDX-License-Identifier:\s*([^\n]*)")

_LICENCE_NAME = re.compile(
    r"(?:[\w+]+[-_.])?(?:un)?licen[cs]es?(?:[-_.][\w.+-]*)?|copying[\w.-]*|notice(?:\.\w+)?|copyright(?:\.\w+)?", re.I
)
_OWN_LICENCE_NAME = re.compile(r"(?:un)?licen[cs]e(?:\.(?:txt|md|rst))?|copying(?:\.(?:txt|md|lesser))?", re.I)
_NOT_A_TEXT = re.compile(
    r".+\.(?!(?:txt|md|markdown|rst|html?|adoc|mit|bsd|apache\w*|a?l?gpl\w*|lesser|lib|\d[\d.]*)$)\w+", re.I
)
_MAX_LICENCE_CHARACTERS = 400_000
MAX_STATEMENT_BYTES = 1_000_000
"""Larger files are not read as licences or metadata."""


def is_licence_file(path: str) -> bool:
    """Whether a file's name says that it holds a licence."""
    name = path.rsplit("/", 1)[-1]
    return _LICENCE_NAME.fullmatch(name) is not None and _NOT_A_TEXT.fullmatch(name) is None


def states_licence(path: str) -> bool:
    """Whether a file's name says that it holds a licence, or a package's metadata."""
    return path.rsplit("/", 1)[-1] in _METADATA or is_licence_file(path)


class RepositoryLicences:
    """The licence files and package metadata of one repository."""

    def __init__(self) -> None:
        self._texts: dict[str, list[tuple[str, str]]] = {}  # folder -> (path, expression)
        self._metadata: dict[str, list[tuple[str, str]]] = {}
        self._nearest: dict[str, tuple[str, str] | None] = {}  # folder -> (expression, from)

    def add(self, path: str, content: bytes) -> None:
        """Take note of a file for which ``states_licence`` holds."""
        text = content.decode("utf-8-sig", "replace")
        folder, _, name = path.rpartition("/")
        self._nearest.clear()
        if name in _METADATA:
            if expression := metadata_licence(name, text):
                self._metadata.setdefault(folder, []).append((path, expression))
        else:
            expression = licence_of_text(text) or ""
            only_names_authors = not expression and name.lower().startswith(("notice", "copyright"))
            if text.strip() and not only_names_authors:
                self._texts.setdefault(folder, []).append((path, expression))

    def of(self, path: str, text: str) -> tuple[str, str] | None:
        """The SPDX expression that holds for a file and what states it ("header", "file:PATH" or "metadata:PATH")."""
        if expression := header_licence(text):
            return expression, "header"
        folder = path.rpartition("/")[0]
        if folder not in self._nearest:
            self._nearest[folder] = self._stated_at_or_above(folder)
        return self._nearest[folder]

    def _stated_at_or_above(self, folder: str) -> tuple[str, str] | None:
        while True:
            if stated := self._stated_in(folder):
                return stated
            if not folder:
                return None
            folder = folder.rpartition("/")[0]

    def _stated_in(self, folder: str) -> tuple[str, str] | None:
        texts = self._texts.get(folder, [])
        known = [(path, expression) for path, expression in texts if expression]
        # LICENSE states the repository's own licence; LICENSE-3RD-PARTY beside it, or NOTICE, that of what it contains
        known = [text for text in known if _OWN_LICENCE_NAME.fullmatch(text[0].rpartition("/")[2])] or known
        declared = self._metadata.get(folder)
        if known:
            found = joined(expression for _, expression in known)
            # only metadata can say which text is the package's own, that one may choose, that later versions will do
            if declared and _families(declared[0][1]) <= _families(found):
                found = declared[0][1]
            return found, f"file:{known[0][0]}"
        if declared:
            return declared[0][1], f"metadata:{declared[0][0]}"
        return (UNKNOWN, f"file:{texts[0][0]}") if texts else None


def header_licence(text: str) -> str | None:
    """The SPDX expression in the first lines of a file, or None."""
    if text.find(_HEADER_MARK, 0, _MAX_HEADER_CHARACTERS) < 0:
        return None
    match = _HEADER.search(text, 0, _MAX_HEADER_CHARACTERS)
    return spdx(re.sub(r"\s*(?:\*/|-->|--\}|\*\)|#}|[\"'`]).*$", "", match[1]).strip()) if match else None


_DEPRECATED = re.compile(r"(\(*(?:[AL]?GPL|GFDL)-\d\.\d)(\+?)(\)*)$")


def spdx(stated: str) -> str | None:
    """The SPDX expression for what people write in metadata, or None where it is not clear which licence they mean."""
    stated = " ".join(stated.split())
    try:
        # ids such as GPL-3.0 and GPL-3.0+ are deprecated: they hide which of two things is meant
        words = re.sub(r"^\(([^()]*)\)$", r"\1", str(canonicalize_license_expression(stated))).split(" ")
        return " ".join(_DEPRECATED.sub(lambda m: m[1] + ("-or-later" if m[2] else "-only") + m[3], w) for w in words)
    except InvalidLicenseExpression:
        return _SPDX_BY_ALIAS.get(_words(stated).replace(" ", ""))


def joined(expressions: Iterable[str]) -> str:
    """One expression for files under several: the distinct ones joined by AND."""
    parts: list[str] = []
    for expression in expressions:
        parts += [expression] if " OR " in expression else expression.split(" AND ")
    parts = list(dict.fromkeys(parts))
    if "LGPL-3.0-only" in parts:  # its text is a supplement to that of the GPL, which stands beside it
        parts = [part for part in parts if part != "GPL-3.0-only"]
    return parts[0] if len(parts) == 1 else " AND ".join(f"({part})" if " OR " in part else part for part in parts)


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met by ``allowed`` licences: all of an AND, one of an OR.

    An exception (``WITH``) only gives further permissions, so its licence alone counts.
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    position = 0

    def term() -> bool:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            result = either()
            position += 1
            return result
        if tokens[position : position + 1] == ["WITH"]:
            position += 2
        return token in allowed

    def both() -> bool:
        nonlocal position
        result = term()
        while tokens[position : position + 1] == ["AND"]:
            position += 1
            result = term() and result
        return result

    def either() -> bool:
        nonlocal position
        result = both()
        while tokens[position : position + 1] == ["OR"]:
            position += 1
            result = both() or result
        return result

    return either()


def _families(expression: str) -> frozenset[str]:
    """Ids of an expression without what a licence's text cannot tell (-only, -or-later)."""
    words = expression.replace("(", " ").replace(")", " ").split()
    return frozenset(re.sub(r"-(?:only|or-later)$", "", word) for word in words if word not in ("AND", "OR"))


def _words(text: str) -> str:
    text = text.lower().replace("licence", "license")
    return " ".join(re.findall(r"[a-z0-9]+", text))


# ------------------------------------------------------------------------------------------------ licence texts

_BSD = "redistribution and use in source and binary forms with or without modification"
_MIT = "permission is hereby granted free of charge to any person obtaining a copy"
_ISC = r"permission to use copy modify (?:and )?(?:and )?(?:or )?distribute this software(?: and its documentation)?"
_WINDOW_CHARACTERS = 3000


def _bsd(window: str) -> str | None:
    if "origin of this software must not be misrepresented" in window:
        return "bzip2-1.0.6"
    if "advertising materials mentioning features" in window:
        return "BSD-4-Clause"
    if (
        "endorse or promote products" in window
        or "neither the name" in window
        or "the names of its contributors" in window
    ):
        return (
            "BSD-3-Clause-Clear" if "no express or implied licenses to any party s patent" in window else "BSD-3-Clause"
        )
    if "binary form must reproduce" in window:
        return "BSD-2-Clause"
    return "BSD-1-Clause" if "source code must retain" in window else None


def _mit(window: str) -> str | None:
    if "to deal with the software without restriction" in window:
        return "NCSA"
    if "shall be used for good not evil" in window:
        return "JSON"
    if "any person or organization obtaining a copy" in window[:200]:
        return "BSL-1.0"
    if "data files and any associated documentation" in window[:400]:
        return "Unicode-3.0"
    if "copyright notice" not in window[:1500]:
        return "MIT-0"
    return "X11" if "except as contained in this notice the name" in window else "MIT"


def _isc(window: str) -> str | None:
    if "without a written agreement" in window[:400]:
        return "PostgreSQL"
    if "fee is hereby granted" not in window[:300]:
        return None
    if "copyright notice" not in window[:500]:
        return "0BSD"
    if "its documentation" in window[:200]:
        return "HPND"
    return "curl" if "authors or copyright holders be liable" in window else "ISC"


def _creative_commons(window: str) -> str | None:
    match = re.match(
        r"creative commons attribution ((?:non ?commercial )?)((?:share ?alike |no ?deriv\w+ )?)([1-4] [05])", window
    )
    if match is None:
        return None
    parts = ["CC-BY", *(["NC"] if match[1] else []), *({"s": ["SA"], "n": ["ND"]}.get(match[2][:1], []))]
    return f"{'-'.join(parts)}-{match[3].replace(' ', '.')}"


# Where a text of its family begins, and what tells its members apart within the next 3,000 characters.
_FAMILIES: tuple[tuple[re.Pattern[str], Callable[[str], str | None]], ...] = (
    (re.compile(_BSD), _bsd),
    (re.compile(_MIT + r"|permission is hereby granted free of charge to any person or organization obtaining"), _mit),
    (re.compile(_ISC), _isc),
    (re.compile("creative commons attribution "), _creative_commons),
)

# Words that stand in one licence's text only: its title with its date where other licences mention it by name.
_TITLES = {
    "AFL-3.0": "academic free license v 3 0",
    "AGPL-3.0-only": "gnu affero general public license version 3 19 november 2007",
    "Apache-1.1": "the apache software license version 1 1",
    "Apache-2.0": r"apache (?:software )?license (?:version |v )?2 0"
    "|licensor shall mean the copyright owner or entity authorized by the copyright owner that is granting the license",
    "Artistic-1.0-Perl": "the artistic license preamble",
    "Artistic-2.0": "the artistic license 2 0|artistic license 2 0 copyright",
    "BlueOak-1.0.0": "blue oak model license",
    "BSL-1.0": "boost software license version 1 0",
    "BUSL-1.1": "business source license 1 1",
    "CC0-1.0": "cc0 1 0 universal",
    "CDDL-1.0": "common development and distribution license cddl version 1 0",
    "CDDL-1.1": "common development and distribution license cddl version 1 1",
    "CECILL-2.1": "cecill free software license agreement .{0,80}version 2 1",
    "CNRI-Python": "cnri open source license agreement|cnri license agreement for python|cnri s python 1 6 license",
    "EPL-1.0": "eclipse public license v 1 0",
    "EPL-2.0": "eclipse public license v 2 0",
    "Elastic-2.0": "elastic license 2 0",
    "EUPL-1.2": "european union public license v 1 2",
    "FTL": "the freetype project license 2006",
    "GPL-1.0-only": "gnu general public license version 1 february 1989",
    "GPL-2.0-only": "gnu general public license version 2 june 1991",
    "GPL-3.0-only": "gnu general public license version 3 29 june 2007",
    "LGPL-2.0-only": "gnu library general public license version 2 june 1991",
    "LGPL-2.1-only": "gnu lesser general public license version 2 1 february 1999",
    "LGPL-3.0-only": "gnu lesser general public license version 3 29 june 2007",
    "LPPL-1.3c": "latex project public license lppl version 1 3c",
    "MIT-CMU": "by obtaining using and or copying this software and or its associated documentation",
    "MPL-1.1": "mozilla public license version 1 1",
    "MPL-2.0": r"mozilla public license (?:version|v) 2 0",
    "MS-PL": "microsoft public license ms pl",
    "MulanPSL-2.0": "mulan permissive software license version 2",
    "OFL-1.1": "sil open font license version 1 1",
    "OpenSSL": "openssl license",
    "OSL-3.0": "open software license v 3 0",
    "PHP-3.01": "the php license version 3 01",
    "PSF-2.0": "python software foundation license version 2|psf license agreement for python",
    "SSPL-1.0": "server side public license version 1",
    "Unicode-DFS-2016": "unicode inc license agreement data files and software",
    "Unlicense": "this is free and unencumbered software released into the public domain",
    "UPL-1.0": "universal permissive license upl version 1 0",
    "Vim": "vim license i there are no restrictions on distributing unmodified copies",
    "WTFPL": "do what the fuck you want to public license",
    "Zlib": "the origin of this software must not be misrepresented",
    "ZPL-2.1": "zope public license zpl version 2 1",
}
_ANY_TITLE = re.compile("|".join(f"(?P<_{n}>{pattern})" for n, pattern in enumerate(_TITLES.values())))
_TITLE_IDS = tuple(_TITLES)

# Grants that only refer to a text, as they stand in headers and short licence files.
_GRANTS = {
    r"gnu affero general public license .{0,80}version 3 .{0,30}or .{0,20}any later": "AGPL-3.0-or-later",
    r"gnu lesser general public license .{0,80}version 3 .{0,30}or .{0,20}any later": "LGPL-3.0-or-later",
    r"gnu lesser general public license .{0,80}version 2 1 .{0,30}or .{0,20}any later": "LGPL-2.1-or-later",
    r"gnu (?:library|lesser) general public license .{0,80}version 2 .{0,30}or .{0,20}any later": "LGPL-2.0-or-later",
    r"gnu general public license .{0,80}version 3 .{0,30}or .{0,20}any later": "GPL-3.0-or-later",
    r"gnu general public license .{0,80}version 2 .{0,30}or .{0,20}any later": "GPL-2.0-or-later",
    r"\bmit license\b|licensed under mit\b": "MIT",
    r"\bisc license\b": "ISC",
    r"\bbsd 3 clause\b|\b3 clause bsd\b|\bnew bsd license\b": "BSD-3-Clause",
    r"\bbsd 2 clause\b|\b2 clause bsd\b|\bsimplified bsd license\b": "BSD-2-Clause",
}
_COMPILED_GRANTS = tuple((re.compile(pattern), expression) for pattern, expression in _GRANTS.items())
_MAX_GRANT_CHARACTERS = 3000

_MAX_TEXT_CHARACTERS = 40_000  # longer than the longest of the texts below: an exception further on is another's
_EXCEPTIONS = (
    ("Apache-2.0", "llvm exceptions to the apache 2 0 license", "Apache-2.0 WITH LLVM-exception"),
    ("GPL-2.0-only", "linking this library statically or dynamically", "GPL-2.0-only WITH Classpath-exception-2.0"),
    ("GPL-3.0-only", "gcc runtime library exception", "GPL-3.0-only WITH GCC-exception-3.1"),
)
_PYTHON_HISTORY = frozenset({"CNRI-Python", "HPND", "0BSD", "ISC"})  # texts within Python's own licence file


@lru_cache(maxsize=4096)
def licence_of_text(text: str) -> str | None:
    """The SPDX expression for the text of a licence file, or None if no phrase of it is known."""
    words = _words(text[:_MAX_LICENCE_CHARACTERS])
    found: dict[str, int] = {}  # id -> where it begins
    for anchor, member in _FAMILIES:
        starts = [match.start() for match in anchor.finditer(words)]
        for start, end in pairwise([*starts, len(words)]):
            licence = member(words[start : min(end, start + _WINDOW_CHARACTERS)])
            if licence:
                found.setdefault(licence, start)
    for match in _ANY_TITLE.finditer(words):
        found.setdefault(_TITLE_IDS[int((match.lastgroup or "_0")[1:])], match.start())
    for base, phrase, with_exception in _EXCEPTIONS:
        place = words.find(phrase)
        if base in found and place >= 0:
            found[with_exception] = found[base] if (is_its_own := place - found[base] < _MAX_TEXT_CHARACTERS) else place
            if is_its_own:
                del found[base]
    if "bzip2-1.0.6" in found:
        found.pop("Zlib", None)
    if "beopen python open source license agreement" in words and "PSF-2.0" in found:
        found = {licence: start for licence, start in found.items() if licence not in _PYTHON_HISTORY}
    if "MIT-CMU" in found:
        found.pop("HPND", None)
    if not found:
        return _referred_to(text, words)
    return joined(sorted(found, key=lambda licence: found[licence]))


def _referred_to(text: str, words: str) -> str | None:
    if len(words) > _MAX_GRANT_CHARACTERS:
        return None
    granted = (expression for pattern, expression in _COMPILED_GRANTS if pattern.search(words))
    return next(granted, None) or spdx(text[:200])


# ------------------------------------------------------------------------------------------------ package metadata

_ALIASES = {
    "Apache-2.0": "apache 2|apache 2 0|apache2|apache license|apache license 2 0|apache license version 2 0|apache v2"
    "|apache software license|apache software license 2 0|apache 2 0 license|asl 2 0|the apache license version 2 0"
    "|the apache software license version 2 0|license osi approved apache software license",
    "MIT": "mit license|the mit license|mit licensed|expat|expat license|license osi approved mit license|mit x11",
    "BSD-3-Clause": "new bsd|new bsd license|modified bsd license|bsd 3|3 clause bsd|bsd 3 clause license"
    "|3 clause bsd license|bsd new|the bsd 3 clause license|revised bsd license",
    "BSD-2-Clause": "simplified bsd|simplified bsd license|2 clause bsd|bsd 2 clause license|the bsd 2 clause license"
    "|2 clause bsd license|freebsd",
    "ISC": "isc license|isc license iscl|license osi approved isc license iscl",
    "MPL-2.0": "mpl 2|mpl2|mpl 2 0|mozilla public license 2 0|license osi approved mozilla public license 2 0 mpl 2 0",
    "GPL-2.0-only": "gplv2|gpl 2|gpl v2|gnu gpl v2|gnu general public license v2",
    "GPL-2.0-or-later": "gplv2+|gpl v2 or later|gnu gpl v2 or later",
    "GPL-3.0-only": "gplv3|gpl 3|gpl v3|gnu gpl v3|gnu general public license v3"
    "|license osi approved gnu general public license v3 gplv3",
    "GPL-3.0-or-later": "gpl v3 or later|gnu gpl v3 or later"
    "|license osi approved gnu general public license v3 or later gplv3",
    "LGPL-3.0-only": "lgplv3|lgpl v3|lgpl 3|license osi approved gnu lesser general public license v3 lgplv3",
    "LGPL-2.1-or-later": "lgpl v2 1 or later|lgplv2 1 or later",
    "AGPL-3.0-only": "agplv3|agpl v3|license osi approved gnu affero general public license v3",
    "PSF-2.0": "psf|psfl|psf license|python software foundation license"
    "|license osi approved python software foundation license",
    "Unlicense": "the unlicense|the unlicense unlicense|license osi approved the unlicense unlicense",
    "CC0-1.0": "cc0|cc0 1 0 universal|license cc0 1 0 universal cc0 1 0 public domain dedication",
    "Zlib": "zlib license|zlib libpng license|license osi approved zlib libpng license",
    "BSL-1.0": "boost|boost software license|boost software license 1 0 bsl 1 0",
}
_SPDX_BY_ALIAS = {
    alias.replace(" ", ""): expression for expression, aliases in _ALIASES.items() for alias in aliases.split("|")
}


def metadata_licence(name: str, text: str) -> str | None:
    """The SPDX expression that package metadata states, or None; metadata that cannot be parsed states nothing."""
    try:
        stated = _METADATA[name](text)
    except (ValueError, RecursionError):  # TOMLDecodeError and JSONDecodeError are ValueErrors
        return None
    return next((expression for candidate in stated if (expression := spdx(candidate))), None)


def _strings(*values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and 0 < len(value) < 500]


def _folder(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _pyproject(text: str) -> list[str]:
    project = tomllib.loads(text)
    core, poetry = _folder(project, "project"), _folder(project, "tool", "poetry")
    classifiers = core.get("classifiers", ())
    return _strings(
        core.get("license"),
        _folder(core, "license").get("text"),
        poetry.get("license"),
        *(classifiers if isinstance(classifiers, list) else ()),
    )


def _package_json(text: str) -> list[str]:
    package = json.loads(text)
    several = package.get("licenses") if isinstance(package, dict) else None
    first = several[0] if isinstance(several, list) and several else None
    return _strings(
        _folder(package).get("license"), _folder(package, "license").get("type"), _folder(first).get("type")
    )


def _cargo(text: str) -> list[str]:
    # "MIT/Apache-2.0" was Cargo's way of writing OR
    return [value.replace("/", " OR ") for value in _strings(_folder(tomllib.loads(text), "package").get("license"))]


def _core_metadata(text: str) -> list[str]:
    """Headers of Python's core metadata, the most precise field first."""
    headers = text.split("\n\n", 1)[0]
    fields = re.findall(r"^(License-Expression|License|Classifier): *([^\n]+)$", headers, re.MULTILINE)
    order = ("License-Expression", "License", "Classifier")
    return _strings(*(value for field in order for name, value in fields if name == field))


_METADATA: dict[str, Callable[[str], list[str]]] = {
    "pyproject.toml": _pyproject,
    "package.json": _package_json,
    "Cargo.toml": _cargo,
    "PKG-INFO": _core_metadata,
    "METADATA": _core_metadata,
}

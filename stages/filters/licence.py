"""Documents by the licence that they state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from pipeline.filter import Filter, Rule
from pipeline.stage import StageConfig, with_columns
from stages.extract.licence_marks import creative_commons
from stages.intake.paper_lists import licence_name
from stages.intake.source_code.licences import PERMISSIVE, is_allowed, joined, spdx

NONE, OTHER, PUBLIC_DOMAIN = "none", "other", "public-domain"
"""In place of a code: no licence is stated; one that is not known; said to be in the public domain, with no mark."""

FAMILIES = (
    *("cc-by", "cc-by-sa", "cc-by-nc", "cc-by-nd", "cc-by-nc-sa", "cc-by-nc-nd", "cc0", "cc-pdm", PUBLIC_DOMAIN),
    *("permissive", "arxiv-nonexclusive-distrib", OTHER),
)
"""Names for several licences: each with all its versions and jurisdictions; public-domain is CC0 and the marks for
works whose copyright has ended; permissive is what asks for no more than attribution."""


class LicenceConfig(StageConfig):
    """Options of licence."""

    keep: tuple[str, ...] = ()
    """Licences to keep: families (cc-by, cc-by-sa, cc-by-nc-sa, cc0, public-domain, permissive) with all their
    versions, or single ones as SPDX names them (CC-BY-4.0, MIT). Empty: any."""

    unmarked: Literal["keep", "drop"] = "drop"
    """What becomes of documents that state no licence: without one, all rights are reserved."""

    distrust: tuple[str, ...] = ("link",)
    """Kinds of evidence in web pages that count as no licence: link_element, rel, meta, json_ld, rdf, footer_link,
    link. Of plain links in a page's body ("link") three quarters are the credits of pictures and music."""

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        known = []
        for name in keep:
            code = name.lower() if name.lower() in FAMILIES else spdx(name)
            if code is None:
                families = ", ".join(sorted(FAMILIES))
                raise ValueError(
                    f"{name!r} is no SPDX id of a licence (https://spdx.org/licenses), nor one of {families}"
                )
            known.append(code)
        return tuple(known)


class Licence(Filter[LicenceConfig]):
    """Keep documents under certain licences, by what they state: a page its Creative Commons mark, a repository its
    licence file, a source meta["licence"]."""

    name = "licence"
    config_type = LicenceConfig
    requires = ("meta",)
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "licence.code": pa.string(),  # an SPDX expression, or "none", or "other"
        "licence.evidence": pa.string(),  # where it is stated
    }
    rules = (
        Rule("no_licence", "licence.code", "in", "unmarked"),
        Rule("licence", "licence.code", "not in", "keep"),
    )

    def limit(self, rule: Rule, measured: pa.Table) -> tuple[str, ...]:
        """Families stand for those of their licences that occur."""
        if rule.option == "unmarked":
            return (NONE,) if self.config.unmarked == "drop" else ()
        if not self.config.keep:
            return ()
        codes = pc.unique(measured["licence.code"]).to_pylist()
        return (NONE, *(code for code in codes if code and is_kept(code, self.config.keep)))

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """What is stated where."""
        where = f" ({row['licence.evidence']})" if row["licence.evidence"] else ""
        wanted = f", not {', '.join(self.config.keep)}" if self.config.keep else ""
        return f"{row['licence.code']}{where}{wanted}"

    def threshold_of(self, rule: Rule) -> str:
        """What the rule drops, or that it is off."""
        if rule.option == "unmarked":
            return "no licence stated (unmarked)" if self.config.unmarked == "drop" else "unmarked is off"
        return super().threshold_of(rule)

    def measure(self, batch: pa.Table) -> pa.Table:
        columns = [f"extract_html.{name}" for name in ("licence", "licence_from", "licence_others")]
        nothing = [None] * batch.num_rows
        pages = zip(
            *(batch[name].to_pylist() if name in batch.column_names else nothing for name in columns), strict=True
        )
        meta = batch["meta"].combine_chunks()
        keys = [
            pc.map_lookup(meta, pa.scalar(key), "first").to_pylist() for key in ("http.link", "licence", "licence_from")
        ]
        found = [self._stated(*page, *others) for page, *others in zip(pages, *keys, strict=True)]
        codes, evidence = zip(*found, strict=True) if found else ((), ())
        return with_columns(
            batch,
            {"licence.code": pa.array(codes, pa.string()), "licence.evidence": pa.array(evidence, pa.string())},
        )

    def _stated(
        self,
        mark: str | None,
        kind: str | None,
        others: str | None,
        http_link: str | None,
        licence: str | None,
        origin: str | None,
    ) -> tuple[str, str | None]:
        """Code and evidence of a document: the page's mark comes before its HTTP header, that before its source."""
        if mark and kind not in self.config.distrust:
            return joined([mark, *(others.split(", ") if others else ())]), kind
        if http_link and (code := _linked(http_link)):
            return code, "HTTP header"
        if licence:
            return code_of(licence), origin or "source"
        return NONE, f"distrusted: {mark} ({kind})" if mark else None


@lru_cache(maxsize=4096)
def code_of(stated: str) -> str:
    """SPDX expression for a licence as people state it, "other" if it is not clear which one they mean.

    Several between commas all apply.
    """
    if expression := spdx(stated):
        return expression
    name = licence_name(stated) or ""
    if name.startswith("arxiv-"):
        return name
    if name.startswith("public domain"):
        return PUBLIC_DOMAIN
    codes = [spdx(part) or creative_commons(part) for part in stated.split(",")]
    return joined(code for code in codes if code) if all(codes) else OTHER


@lru_cache(maxsize=4096)
def is_kept(expression: str, keep: tuple[str, ...]) -> bool:
    """Whether the licences of an expression meet the option: all of an AND, one of an OR."""
    wanted = frozenset(name.lower() for name in keep)
    codes = re.findall(r"[^\s()]+", expression)
    return is_allowed(expression, frozenset(code for code in codes if not wanted.isdisjoint(_names(code))))


_VERSION = re.compile(r"-\d\.\d(?:-[a-z]+)?$")


def _names(code: str) -> set[str]:
    """What the option may call a licence, in lower case."""
    full = code.lower()
    family = _VERSION.sub("", full)
    names = {full, family, re.sub(r"(-\d\.\d)-[a-z]+$", r"\1", full)} if full.startswith("cc") else {full}
    if family in ("cc0", "cc-pdm", "cc-pddc"):
        names.add(PUBLIC_DOMAIN)
    if code in PERMISSIVE or not names.isdisjoint(("cc-by", PUBLIC_DOMAIN)):
        names.add("permissive")
    return names


_LINK = re.compile(r"<([^<>]{1,2000})>([^<>]*)")
_LICENCE_RELATION = re.compile(r"""rel\s*=\s*["']?(?:[^"';,]*\s)?license\b""", re.IGNORECASE)


def _linked(header: str) -> str | None:
    """The licence of an HTTP header "Link" (RFC 8288)."""
    for address, parameters in _LINK.findall(header):
        if _LICENCE_RELATION.search(parameters) and (code := creative_commons(address)):
            return code
    return None

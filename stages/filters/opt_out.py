"""Documents whose publishers ask that they not be used to train AI."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.filter import Filter, Rule
from pipeline.stage import Context, RecipePath, StageConfig, with_columns
from stages.filters.robots_txt import AI_CRAWLERS, PathRule, RobotsTxt, path_of, path_rule
from stages.filters.site_files import digest_of, host_of, site_files

ROBOTS_TXT = "/robots.txt"
TDMREP = "/.well-known/tdmrep.json"
MAX_TDM_RULES = 10_000  # of one site


class OptOutConfig(StageConfig):
    """Options of opt_out. Each kind of opt-out is measured in any case, and obeyed where its option is true."""

    noai: bool = True
    """Drop pages with the directive noai or noml for all robots or one of ``agents``, or noindex or none for one of
    ``agents`` by name, in meta elements or the HTTP header X-Robots-Tag."""

    noimageai: bool = False
    """Drop pages with the directive noimageai, which is about pictures alone."""

    noindex: bool = False
    """Drop pages with the directives noindex or none for all robots, which are about search engines."""

    tdm: bool = True
    """Drop pages whose rights for text and data mining are reserved by the TDM Reservation Protocol (TDMRep, W3C
    Community Group report of May 2024): in the page, else in its HTTP header, else in ``tdmrep``."""

    robots: bool = True
    """Drop pages that ``robots_txt`` forbids to one of ``agents``."""

    agents: tuple[str, ...] = AI_CRAWLERS
    """Crawlers, by their product tokens, whose exclusion is an opt-out."""

    robots_txt: RecipePath | None = None
    """robots.txt files of the sites: a folder of HOST.txt, JSON Lines of host and text, or WARC files such as Common
    Crawl's robotstxt subset. Of a site that is not among them nothing is known, and nothing dropped."""

    tdmrep: RecipePath | None = None
    """tdmrep.json files of the sites: a folder of HOST.json, JSON Lines of host and text, or WARC files."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"robots_txt", "tdmrep"})

    def identity(self) -> dict[str, Any]:
        """The content of the sites' files counts, not where they lie."""
        files = {"robots_txt": self.robots_txt, "tdmrep": self.tdmrep}
        return super().identity() | {name: path and digest_of(path) for name, path in files.items()}


class OptOut(Filter[OptOutConfig]):
    """Drop documents whose publishers opt out of AI training: noai, TDM reservation, robots.txt.

    It reads what extract_html keeps of a page and common_crawl of its HTTP header, and looks up the document's URL in
    the sites' files.
    """

    name = "opt_out"
    config_type = OptOutConfig
    requires = ("url", "meta")
    measures: ClassVar[Mapping[str, pa.DataType]] = {
        "opt_out.noai": pa.bool_(),
        "opt_out.noimageai": pa.bool_(),
        "opt_out.noindex": pa.bool_(),
        "opt_out.tdm_reserved": pa.bool_(),  # null: nothing is said
        "opt_out.robots_disallowed": pa.bool_(),  # null: the site's robots.txt is not known
        "opt_out.signals": pa.string(),  # what is said where, e.g. "X-Robots-Tag: noai; robots.txt: GPTBot"
    }
    rules = (
        Rule("noai", "opt_out.noai", "==", "noai"),
        Rule("noimageai", "opt_out.noimageai", "==", "noimageai"),
        Rule("noindex", "opt_out.noindex", "==", "noindex"),
        Rule("tdm_reserved", "opt_out.tdm_reserved", "==", "tdm"),
        Rule("robots_disallowed", "opt_out.robots_disallowed", "==", "robots"),
    )

    def setup(self, context: Context) -> None:
        config = self.config
        self._robots = _robots_by_host(config) if config.robots_txt else {}
        self._tdm = _tdm_by_host(config) if config.tdmrep else {}

    def limit(self, rule: Rule, measured: pa.Table) -> bool | None:
        """An option that is false switches its rule off."""
        return True if getattr(self.config, rule.option) else None

    def threshold_of(self, rule: Rule) -> str:
        """What the rule drops, or that it is off."""
        return f"{rule.named()} ({rule.option})" if self.limit(rule, pa.table({})) else f"{rule.option} is off"

    def evidence(self, rule: Rule, row: Mapping[str, Any], limit: Any) -> str:
        """What is said where."""
        return str(row["opt_out.signals"])

    def measure(self, batch: pa.Table) -> pa.Table:
        said = zip(
            batch["url"].to_pylist(),
            _column(batch, "extract_html.robots"),
            _header(batch, "http.x-robots-tag"),
            _column(batch, "extract_html.tdm_reservation"),
            _header(batch, "http.tdm-reservation"),
            strict=True,
        )
        rows = [self._row(*values) for values in said]
        columns = zip(*rows, strict=True) if rows else [()] * len(self.measures)
        named = zip(self.measures.items(), columns, strict=True)
        return with_columns(batch, {name: pa.array(values, kind) for (name, kind), values in named})

    def _row(
        self, url: str | None, meta: str | None, header: str | None, tdm_meta: str | None, tdm_header: str | None
    ) -> tuple[bool | str | None, ...]:
        """The measures of one document, in order."""
        agents = self.config.agents
        kinds: frozenset[str] = frozenset()
        signals = []
        for place, text in (("meta robots", meta), ("X-Robots-Tag", header)):
            if text and (found := directives(text, agents)):
                kinds |= found
                signals.append(f"{place}: {text}")
        host = host_of(url) if url and (self._robots or self._tdm) else ""
        reserved, where = self._tdm_reserved(tdm_meta, tdm_header, host, url)
        if reserved:
            signals.append(f"tdm-reservation: {where}")
        forbidden = None
        if (files := self._robots.get(host)) is not None and url:
            path = path_of(url)
            forbidden = sorted({agent for file in files for agent in file.forbidden(agents, path)}, key=str.lower)
            if forbidden:
                signals.append(f"robots.txt: {', '.join(forbidden)}")
        return (
            *(kind in kinds for kind in ("noai", "noimageai", "noindex")),
            reserved,
            None if forbidden is None else bool(forbidden),
            "; ".join(signals) or None,
        )

    def _tdm_reserved(
        self, meta: str | None, header: str | None, host: str, url: str | None
    ) -> tuple[bool | None, str]:
        """Whether rights are reserved and where it says so: the page comes before the header and that before the
        site's file ("Processing priority" in the report)."""
        for place, value in (("page", meta), ("HTTP header", header)):
            if value in ("0", "1"):  # anything else counts as not set
                return value == "1", place
        if (rules := self._tdm.get(host)) and url:
            path = path_of(url)
            return next((reserved for rule, reserved in rules if rule.matches(path)), None), "tdmrep.json"
        return None, ""


_WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after", "revisit-after"})
_ROBOT = re.compile(r"[\w.*-]+")  # "25 jun 2025 15:00" is no robot but the rest of a date
_KINDS = {"noai": "noai", "noml": "noai", "noimageai": "noimageai", "noindex": "noindex", "none": "noindex"}


@lru_cache(maxsize=4096)
def directives(text: str, agents: tuple[str, ...]) -> frozenset[str]:
    """The kinds of opt-out (noai, noimageai, noindex) among directives for robots.

    Args:
        text: as in X-Robots-Tag: "noindex, noai", "gptbot: noindex, nofollow"; ";" stands between several headers or
            elements. Directives for robots that are not in ``agents`` do not count; noindex for one that is counts as
            noai.
    """
    known = {agent.lower() for agent in agents}
    kinds = set()
    for header in text.lower().split(";"):
        robot = ""
        for directive in header.split(","):
            name, colon, rest = directive.partition(":")
            if colon and name.strip() not in _WITH_VALUE and _ROBOT.fullmatch(name.strip()):
                robot, name = name.strip(), rest
            for word in name.split():  # commas are sometimes left out
                kind = _KINDS.get(word)
                if kind and robot in ("", "robots", "*"):
                    kinds.add(kind)
                elif kind and robot in known:
                    kinds.add("noai" if kind == "noindex" else kind)
    return frozenset(kinds)


def tdm_rules(content: bytes) -> tuple[tuple[PathRule, bool], ...]:
    """The rules of a tdmrep.json in their order, of which the first that matches a path counts; none if the file is
    not as it should be, as for any other error of the protocol."""
    try:
        stated = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return ()
    rules = []
    for entry in stated[:MAX_TDM_RULES] if isinstance(stated, list) else ():
        location = entry.get("location") if isinstance(entry, dict) else None
        if isinstance(location, str) and (value := str(entry.get("tdm-reservation"))) in ("0", "1"):
            rules.append((path_rule(location, is_allowed=value == "0"), value == "1"))
    return tuple(rules)


def _robots_by_host(config: OptOutConfig) -> dict[str, tuple[RobotsTxt, ...]]:
    """All of a host's files: http and https may have different ones. Equal files are held once."""
    assert config.robots_txt is not None
    parsed: dict[bytes, RobotsTxt] = {}
    found: dict[str, tuple[RobotsTxt, ...]] = {}
    for host, content in site_files(config.robots_txt, ROBOTS_TXT):
        key = hashlib.sha256(content).digest()
        file = parsed.get(key) or parsed.setdefault(key, RobotsTxt(content, config.agents))
        if file not in (known := found.get(host, ())):
            found[host] = (*known, file)
    return found


def _tdm_by_host(config: OptOutConfig) -> dict[str, tuple[tuple[PathRule, bool], ...]]:
    assert config.tdmrep is not None
    return {host: tdm_rules(content) for host, content in site_files(config.tdmrep, TDMREP)}


def _column(batch: pa.Table, name: str) -> Sequence[str | None]:
    """Values of a column that only some sources have."""
    return batch[name].to_pylist() if name in batch.column_names else [None] * batch.num_rows


def _header(batch: pa.Table, key: str) -> Sequence[str | None]:
    """Values of a key of ``meta``."""
    values: list[str | None] = pc.map_lookup(batch["meta"].combine_chunks(), pa.scalar(key), "first").to_pylist()
    return values

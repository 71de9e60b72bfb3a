"""robots.txt as RFC 9309 reads it, for a few crawlers: what a site forbids them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

AI_CRAWLERS = (
    "AI2Bot",
    "Amazonbot",
    "anthropic-ai",
    "Applebot-Extended",
    "Bytespider",
    "CCBot",
    "Claude-Web",
    "ClaudeBot",
    "cohere-ai",
    "cohere-training-data-crawler",
    "Diffbot",
    "FacebookBot",
    "Google-Extended",
    "GPTBot",
    "img2dataset",
    "meta-externalagent",
    "omgili",
    "PanguBot",
    "PerplexityBot",
    "Timpibot",
    "Webzio-Extended",
)
"""Product tokens of crawlers that gather training data, and of the ones with which a site controls that use
(Google-Extended, Applebot-Extended); of those named in their operators' documentation and in the list of
github.com/ai-robots-txt, without those that fetch for a user or for search alone."""

MAX_BYTES = 500 << 10  # RFC 9309, section 2.5: what lies beyond need not be read
_MAX_STARS = 50  # in one pattern; each is one search in the path
_TOKEN = re.compile(r"[^\s/*;,()]+")
_NEWLINE = re.compile(r"\r\n?|\n")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_UNESCAPED_IN_QUERY = _UNRESERVED | frozenset(":/?@")
_TO_ESCAPE = re.compile(r"[^!-~]")


class PathRule(NamedTuple):
    """An allow or disallow line."""

    octets: int  # of the pattern, escaped alike: the longest one that matches decides
    is_allowed: bool  # and an allow line where two are equally long
    parts: tuple[str, ...]  # what stands between the asterisks
    is_anchored: bool  # the path must end where the pattern does

    def matches(self, path: str) -> bool:
        """Whether the pattern matches the start of a path (all of it, if anchored)."""
        first, *others = self.parts
        if not others:
            return path == first if self.is_anchored else path.startswith(first)
        if not path.startswith(first):
            return False
        if self.is_anchored:
            last = others.pop()
            if len(path) < len(first) + len(last) or not path.endswith(last):
                return False
            path = path[: len(path) - len(last)]
        at = len(first)
        for part in others:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return True


class RobotsTxt:
    """The rules of one file for some crawlers; of its other groups nothing is kept.

    Lines that are no user-agent, allow or disallow line mean nothing, and do not end a group; so an HTML page in place
    of the file forbids nothing.
    """

    __slots__ = ("_rules",)

    def __init__(self, content: bytes, agents: Collection[str]) -> None:
        """Read at most the first 500 KiB of a file.

        Args:
            content: of the file, in UTF-8; other bytes are compared as they are.
            agents: product tokens of the crawlers.
        """
        text = content[:MAX_BYTES].decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        wanted = {agent.lower() for agent in agents}
        groups: dict[str, list[PathRule]] = {}
        current: list[list[PathRule]] = []
        is_heading = False
        for line in _NEWLINE.split(text):
            name, colon, value = line.partition("#")[0].partition(":")
            name, value = name.strip().lower(), value.strip()
            if name == "user-agent" and colon:
                current = current if is_heading else []
                is_heading = True
                token = _token(value)
                current.append(groups.setdefault(token, []) if token in wanted or token == "*" else [])
            elif name in ("allow", "disallow") and colon:
                is_heading = False
                if value and (rule := _rule(value, name == "allow")):
                    for group in current:
                        group.append(rule)
        for group in groups.values():
            group.sort(reverse=True)
        self._rules = {token: tuple(group) for token, group in groups.items()}

    def is_allowed(self, agent: str, path: str) -> bool:
        """Whether a crawler, by its product token, may fetch what has this path (as ``path_of`` gives it).

        A crawler that no group names obeys the group "*".
        """
        return agent not in self.forbidden([agent], path)

    def forbidden(self, agents: Iterable[str], path: str) -> list[str]:
        """Those of the crawlers that may not fetch what has this path; most obey one group, which is asked once."""
        verdicts: dict[str, bool] = {}
        found = []
        for agent in agents:
            group = agent.lower() if agent.lower() in self._rules else "*"
            if group not in verdicts:
                rules = self._rules.get(group, ())
                verdicts[group] = next((rule.is_allowed for rule in rules if rule.matches(path)), True)
            if not verdicts[group]:
                found.append(agent)
        return found


def path_of(url: str) -> str:
    """Path and query of a URL as patterns are compared with them; "/" for what is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    path = f"{path}?{parts.query}" if "?" in url.partition("#")[0] else path
    return _escaped_alike(path.replace("*", "%2A").replace("$", "%24"))


def path_rule(pattern: str, is_allowed: bool) -> PathRule:
    """A pattern of robots.txt: "*" stands for any characters, "$" at the end for the end."""
    is_anchored = pattern.endswith("$")
    escaped = _escaped_alike(pattern.removesuffix("$").replace("$", "%24"))
    parts = re.sub(r"\*+", "*", escaped).split("*", _MAX_STARS)
    return PathRule(len(escaped) + is_anchored, is_allowed, tuple(parts), is_anchored)


def _rule(pattern: str, is_allowed: bool) -> PathRule | None:
    if not pattern.startswith(("/", "*", "$")):
        pattern = f"/{pattern}"  # a slip that sites make; the standard knows only paths
    return path_rule(pattern, is_allowed)


def _token(value: str) -> str:
    """The product token of a user-agent line, in lower case: "GPTBot/1.0" means GPTBot."""
    if value[:1] == "*" and not value[1:2].strip():
        return "*"
    match = _TOKEN.match(value)
    return match[0].lower() if match else ""


def _escaped_alike(path: str) -> str:
    """Escapes only where they are needed, and in capitals (RFC 9309, section 2.2.2). Behind a question mark a slash
    and a colon mean the same escaped or not; before it they do not."""
    place, mark, query = path.partition("?")
    return _unescaped(place, _UNRESERVED) + mark + _unescaped(query, _UNESCAPED_IN_QUERY)


def _unescaped(text: str, plain: frozenset[str]) -> str:
    text = _TO_ESCAPE.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode("utf-8", "surrogateescape")), text)
    if "%" not in text:
        return text
    return _ESCAPE.sub(lambda m: c if (c := chr(int(m[1], 16))) in plain else m[0].upper(), text)

"""Public suffixes: domains such as co.uk and github.io under which anybody may have a domain of their own."""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

from stages.filters.urls.addresses import canonical_host

Kind = Literal["registry", "private"]


class PublicSuffixes(NamedTuple):
    """Rules of the Public Suffix List (https://publicsuffix.org/list), hosts in lower case and ASCII."""

    suffixes: dict[str, Kind]
    wildcards: dict[str, Kind]  # "ck": every domain directly below is a suffix
    exceptions: frozenset[str]  # except these

    def kind(self, host: str) -> Kind | None:
        """Who hands out domains below this host, a registry (co.uk) or a firm (github.io); None: it is no suffix."""
        found = self.suffixes.get(host)
        if found is not None or host in self.exceptions:
            return found
        return self.wildcards.get(host.partition(".")[2])


@cache
def public_suffixes() -> PublicSuffixes:
    """The list that tldextract brings along; nothing is downloaded."""
    from tldextract.cache import DiskCache
    from tldextract.suffix_list import get_suffix_lists

    registry, private = get_suffix_lists(DiskCache(None), (), None, fallback_to_snapshot=True)
    suffixes: dict[str, Kind] = {}
    wildcards: dict[str, Kind] = {}
    exceptions = set()
    kinds: tuple[tuple[Kind, list[str]], ...] = (("private", private), ("registry", registry))
    for kind, rules in kinds:
        for rule in rules:
            if rule.startswith("!"):
                exceptions.add(canonical_host(rule[1:]))
            elif rule.startswith("*."):
                wildcards[canonical_host(rule[2:])] = kind
            else:
                suffixes[canonical_host(rule)] = kind
    return PublicSuffixes(suffixes, wildcards, frozenset(exceptions))

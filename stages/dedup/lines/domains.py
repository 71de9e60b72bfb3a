"""The registered domain of a URL: what one publisher has below a public suffix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from stages.dedup.lines.kernels import Hashes
from stages.filters.urls.addresses import canonical_host
from stages.filters.urls.suffixes import public_suffixes

_HOST = (
    r"^\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2})?"  # scheme
    r"(?:[^/?#\\]*@)?"  # user name and password
    r"(?P<host>\[[^\]/?#]*\]|[^/?#:\\\s]*)"
)


def domain_hashes(urls: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint64], dict[int, str]]:
    """64-bit hash of the registered domain of each URL, 0 without one, and the domains by hash."""
    if isinstance(urls, pa.ChunkedArray):
        urls = urls.combine_chunks()
    hosts = pc.struct_field(pc.extract_regex(urls, _HOST), "host").dictionary_encode()
    domains = [registered_domain(host) for host in hosts.dictionary.to_pylist()]
    hashes = [xxhash.xxh3_64_intdigest(domain) if domain else 0 for domain in domains]
    of_row = pc.fill_null(hosts.indices, len(domains)).to_numpy(zero_copy_only=False)
    names = {hashed: domain for hashed, domain in zip(hashes, domains, strict=True) if hashed}
    return np.array([*hashes, 0], np.uint64)[of_row], names


@lru_cache(maxsize=1 << 16)  # pages of one site are spread over the batches of a part
def registered_domain(host: str) -> str:
    """The domain that somebody has registered: one label and the public suffix it is below.

    Suffixes of firms count too: each blog of blogspot.com is a site of its own. A host without a known suffix gives its
    last two labels (the list's rule "*"); an IP address, a public suffix or a single label is a domain itself.
    """
    suffixes = public_suffixes()
    host = canonical_host(host)
    labels = host.split(".")
    if host.startswith("[") or labels[-1].isdigit():
        return host
    for i in range(len(labels)):
        above = ".".join(labels[i:])
        if above in suffixes.exceptions:
            return above
        if suffixes.kind(above):
            return ".".join(labels[max(0, i - 1) :])
    return ".".join(labels[-2:])


class DomainLimits:
    """How many documents of a domain must have a line."""

    def __init__(self, paths: Sequence[Path], min_share: float) -> None:
        tables = [pq.read_table(path, columns=["domain", "documents"]) for path in paths]
        table = pa.concat_tables(tables).sort_by("domain")
        limits = np.ceil(table["documents"].to_numpy() * min_share - 1e-9)
        self._domains = np.append(table["domain"].to_numpy(), np.uint64(0xFFFFFFFFFFFFFFFF))  # ends every search
        self._limits = np.append(limits, np.inf)

    def of(self, domains: Hashes) -> NDArray[np.float64]:
        """The limit of each domain by its hash, infinite for those with too few documents."""
        places = np.searchsorted(self._domains, domains)
        return np.where(self._domains[places] == domains, self._limits[places], np.inf)

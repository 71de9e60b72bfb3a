"""Which files of a crawl to read: by the crawl's id and its published lists, or by path; all, or a sample.

Layout of Common Crawl's bucket: https://commoncrawl.org/get-started. ``crawl-data/<crawl>/warc.paths.gz`` lists paths
relative to the bucket, one a line.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from pipeline.errors import InputError
from pipeline.locations.location import InputFile, RecipeLocation, RemoteOptions, shown
from pipeline.locations.reading import open_file
from stages.intake.files import FilesConfig

LIST_TRIES = 5  # some 4 seconds: somebody waits at the terminal
CRAWL_ID = r"^[A-Za-z0-9][A-Za-z0-9_./-]*$"  # CC-NEWS/2026/01 is one


class CrawlConfig(FilesConfig):
    """Options of the stages that read a crawl. Give ``crawl`` or ``files``."""

    crawl: str | None = Field(None, pattern=CRAWL_ID)
    """Id of a crawl, such as CC-MAIN-2026-43: its files are found by its path lists."""

    base: RecipeLocation = "https://data.commoncrawl.org"
    """Where the crawl's paths start: Common Crawl's server, s3://commoncrawl, or a mirror (a folder will do)."""

    files: tuple[RecipeLocation, ...] = ()
    """Instead of ``crawl``: files, folders, glob patterns or URLs."""

    sample: float = Field(1.0, gt=0, le=1)
    """Share of the files to read, evenly spread over the list; with ``select``, share of the selected records."""

    sample_seed: int = 0
    """Another seed, another sample."""

    limit: int | None = Field(None, ge=1)
    """Most files to read, the first of the sample."""

    not_identity: ClassVar[frozenset[str]] = frozenset(  # what they choose shows in the parts themselves
        {"files", "remote", "base", "crawl", "limit"}
    )

    def identity(self) -> dict[str, Any]:
        """Which files are read shows in the parts, not in what the stage does to each."""
        return {k: v for k, v in super().identity().items() if k not in ("sample", "sample_seed")}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.crawl is None) == (not self.files):
            raise ValueError("give either crawl, an id such as CC-MAIN-2026-43, or files")
        return self

    def listed(self, paths_list: str, containing: str = "") -> list[InputFile]:
        """The crawl's files that a path list (such as "warc.paths.gz") names, in its order.

        Raises:
            InputError: there is no such crawl, or its list cannot be read.
        """
        base = self.base.rstrip("/")
        location = f"{base}/crawl-data/{self.crawl}/{paths_list}"
        paths = [path for path in dict.fromkeys(_lines(location, self.remote)) if containing in path]
        if not paths:
            raise InputError(f"{shown(location)} lists no file" + f" of {containing}" * bool(containing))
        return [InputFile(path, f"{base}/{path}") for path in paths]

    def sampled(self, files: list[InputFile]) -> list[InputFile]:
        """The sample of these files, then the limit."""
        return spread(files, self.sample, self.sample_seed)[: self.limit]


def spread(files: list[InputFile], share: float, seed: int) -> list[InputFile]:
    """About ``share`` of the files, evenly spaced, at least one; the seed shifts where the first one lies.

    File i is taken where floor(i * share + phase) steps up, so every share gives its exact density.
    """
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
    phase = int.from_bytes(digest, "big") / 2**64
    chosen = [f for i, f in enumerate(files) if math.floor((i + 1) * share + phase) > math.floor(i * share + phase)]
    return chosen or [files[int(phase * len(files))]]


def _lines(location: str, options: RemoteOptions) -> list[str]:
    options = options.model_copy(update={"tries": min(options.tries, LIST_TRIES)})
    try:
        with open_file(location, options, None) as file:
            content = gzip.decompress(file.read())
        return [line for line in content.decode().splitlines() if line]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        message = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{shown(location)} cannot be read: {message}. Is the crawl's id right, and does the base hold its "
            "crawl-data?"
        ) from error

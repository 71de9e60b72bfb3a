"""HTML files as documents whose text is still to be extracted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipeline.locations.location import reason_of
from pipeline.stage import PAYLOAD, Context, Outcome, Removal, Source, Split, documents
from stages.intake.files import FilesConfig, splits_of_size


class HtmlFiles(Source[FilesConfig]):
    """Read saved HTML pages, for extract_html."""

    name = "html_files"
    config_type = FilesConfig
    provides = ("payload",)

    def splits(self) -> list[Split]:
        files = self.config.matching_files((".html", ".htm"))
        return splits_of_size(files, max_bytes=16_000_000, max_files=200)

    def read(self, split: Split, source: str, context: Context) -> Iterator[Outcome]:
        rows = []
        removed = []
        for file in split.files:
            name = file.name
            try:
                with self.config.opened(file.location, context) as opened:
                    content = opened.read()
            except OSError as error:
                evidence = f"{name}: {error.strerror}"
                removed.append(Removal(f"{source}/{name}#unread", source, "failed", reason_of(error), evidence))
                continue
            digest = hashlib.sha256(content).hexdigest()
            identity = f"{source}/{name}#{digest[:12]}"
            if not content.strip():
                removed.append(Removal(identity, source, "dropped", "empty", f"{name}: {len(content)} bytes"))
                continue
            rows.append(
                {
                    "id": identity,
                    "source": source,
                    "mime": "text/html",
                    "origin": {"path": name, "offset": 0, "length": len(content), "digest": digest},
                    "payload": content,
                }
            )
        yield Outcome(documents(rows, (PAYLOAD,)), removed, {source: len(split.files)})

"""Main text of web pages."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.errors import StageError
from pipeline.stage import Context, Map, Outcome, StageConfig, Verdict, decide, with_columns
from stages.extract.html_worker import Extract, Page

START_DEADLINE_S = 120.0


class ExtractHtmlConfig(StageConfig):
    """Options of extract_html."""

    precision: bool = False
    """Prefer less text but only main text (FineWeb's setting, arXiv:2406.17557)."""

    recall: bool = False
    """Prefer more text when unsure."""

    fast: bool = False
    """Do without the comparison with readability and justext: 1.4 to 1.6 times as fast."""

    tables: bool = True
    """Keep the text of tables."""

    metadata: bool = True
    """Look for title and date: they cost 12 to 25 % of the time."""

    deadline_s: float = Field(60.0, gt=0)
    """Seconds after which a page fails; the slowest of 1,227 real pages took 3."""

    max_bytes: int = Field(10 << 20, ge=1)
    """Larger pages are dropped unread."""

    @model_validator(mode="after")
    def _one_preference(self) -> Self:
        if self.precision and self.recall:
            raise ValueError("precision and recall exclude each other")
        return self

    def identity(self) -> dict[str, Any]:
        """The extractor's release counts: each one changes some texts."""
        return super().identity() | {"trafilatura": importlib.metadata.version("trafilatura")}


class ExtractHtml(Map[ExtractHtmlConfig]):
    """Extract the main text of HTML pages, with title and date, by trafilatura.

    Pages go through a process of this worker's own, which is killed and replaced when a page takes too long or
    breaks it; the page then fails and the others are unharmed.
    """

    name = "extract_html"
    config_type = ExtractHtmlConfig
    requires = ("payload",)
    provides = ("text", "extract_html.title", "extract_html.date")
    commits_output = True

    def setup(self, context: Context) -> None:
        config = self.config
        self._extractor = Extractor(
            {
                "favor_precision": config.precision,
                "favor_recall": config.recall,
                "fast": config.fast,
                "include_tables": config.tables,
                "with_metadata": config.metadata,
            },
            config.deadline_s,
        )

    def process(self, batch: pa.Table) -> Outcome:
        verdicts: list[tuple[Verdict, str, str] | None] = []
        extracts: list[Extract] = []
        # one page at a time: a batch of payloads as Python objects would double its memory
        for payload, url, meta in zip(batch["payload"], batch["url"], batch["meta"], strict=True):
            extract, verdict = self._extracted(payload.as_py(), url.as_py(), dict(meta.as_py() or ()))
            extracts.append(extract)
            verdicts.append(verdict)
        columns = {
            "text": pa.array([extract.text or None for extract in extracts], pa.large_string()),
            "extract_html.title": pa.array([extract.title for extract in extracts], pa.string()),
            "extract_html.date": pa.array([extract.date for extract in extracts], pa.string()),
        }
        return decide(with_columns(batch.drop_columns(["payload"]), columns), verdicts)

    def _extracted(
        self, html: bytes | None, url: str | None, meta: dict[str, str]
    ) -> tuple[Extract, tuple[Verdict, str, str] | None]:
        if html is None:
            return Extract(), ("failed", "no_payload", "no bytes to extract from")
        if len(html) > self.config.max_bytes:
            return Extract(), ("dropped", "too_large", f"{len(html)} bytes > {self.config.max_bytes}")
        try:
            extract = self._extractor.extract(Page(html, meta.get("charset"), url))
        except TimeoutError:
            return Extract(), ("failed", "deadline", f"more than {self.config.deadline_s:g} s")
        if extract.error is not None:
            return Extract(), ("failed", "extraction_error", extract.error)
        if not extract.text:
            return extract, ("dropped", "no_main_text", f"none in {len(html)} bytes")
        return extract, None


class Extractor:
    """A process that extracts pages one by one under a deadline."""

    def __init__(self, options: dict[str, Any], deadline_s: float) -> None:
        self._options, self._deadline_s = options, deadline_s
        self._start()

    def _start(self) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stages.extract.html_worker", str(theirs_in), str(theirs_out)],
            pass_fds=(theirs_in, theirs_out),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._requests = Connection(ours_out, readable=False)
        self._answers = Connection(ours_in, writable=False)
        self._requests.send_bytes(pickle.dumps(self._options))
        try:
            ready = self._answers.poll(START_DEADLINE_S) and self._answers.recv_bytes() == b"ready"
        except EOFError:
            ready = False
        if not ready:
            self.stop()
            raise StageError("the process that extracts text did not start; its message is above")

    def extract(self, page: Page) -> Extract:
        """Main text of a page.

        Raises:
            TimeoutError: it took more than the deadline; the process was replaced.
        """
        try:
            self._requests.send_bytes(pickle.dumps(page))
            if self._answers.poll(self._deadline_s):
                answer: Extract = pickle.loads(self._answers.recv_bytes())
                return answer
        except (EOFError, OSError):
            code = self._process.wait()
            self.stop()
            self._start()
            return Extract(
                error=f"the extracting process died with {f'signal {-code}' if code < 0 else f'status {code}'}"
            )
        self.stop()
        self._start()
        raise TimeoutError

    def stop(self) -> None:
        """End the process; it holds nothing worth keeping."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()

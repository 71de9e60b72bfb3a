"""The process that extracts main text: trafilatura behind a pipe, so that a page that takes too long can be stopped.

Run as ``python -m stages.extract.html_worker READ_FD WRITE_FD``. It imports neither Arrow nor the pipeline, answers one
page at a time, and ends when the pipe closes. trafilatura's duplicate test stays off: it would make a page's text
depend on the pages before it.
"""

from __future__ import annotations

import codecs
import logging
import os
import pickle
import re
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

MAX_REPLACED = 0.001
"""Share of undecodable characters up to which a declared charset is believed (one bad byte must not garble a page)."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"""<meta[^>]{0,300}?charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
_XML = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{2,40})""", re.IGNORECASE)
META_BYTES = 4096  # browsers look at 1024; pages with long heads declare later


@dataclass(frozen=True, slots=True)
class Page:
    """A page to extract."""

    html: bytes
    charset: str | None  # as the server declared it
    url: str | None


@dataclass(frozen=True, slots=True)
class Extract:
    """What came of it: the main text ("" if none), or an error."""

    text: str = ""
    title: str | None = None
    date: str | None = None
    error: str | None = None


def decoded(html: bytes, charset: str | None) -> str:
    """The page as text: byte order mark, then UTF-8 if valid, then the declared charset (header before meta
    element), then detection by content (uchardet).

    Valid UTF-8 outranks a declaration because other encodings hardly ever form valid multi-byte sequences by chance;
    the seven-bit encodings of ISO 2022 do, so they count if declared.
    """
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    for mark, encoding in _BOMS:
        if html.startswith(mark):
            return html[len(mark) :].decode(encoding, "replace")
    head = html[:META_BYTES]
    labels = [charset, *(m[1].decode() for m in (_XML.search(head), _META.search(head)) if m)]
    declared: list[str] = [name for label in labels if label and (name := map_encoding_to_html5(label, False))]
    if not any(codecs.lookup(name).name.startswith("iso2022") for name in declared):
        try:
            return html.decode("utf-8")
        except UnicodeDecodeError:
            pass  # another encoding, or UTF-8 with damage: the declaration decides
    for encoding in declared:
        text = html.decode(encoding, "replace")
        if text.count("\ufffd") <= 1 + MAX_REPLACED * len(text):
            return text
    return html.decode(detect_encoding(html) or "utf-8", "replace")


def extract(page: Page, options: dict[str, Any]) -> Extract:
    """Main text of one page; ``options`` are trafilatura's."""
    from trafilatura import bare_extraction

    try:
        document = bare_extraction(
            decoded(page.html, page.charset),
            url=page.url,
            include_comments=False,
            deduplicate=False,
            **options,
        )
    except Exception as error:  # whatever trafilatura or a parser raises is this page's failure, and is reported
        return Extract(error=f"{type(error).__name__}: {str(error)[:300]}")
    if document is None:
        return Extract()
    # a lone surrogate (from a character reference) has no UTF-8 form
    text = (document.text or "").encode("utf-8", "replace").decode()
    return Extract(text.strip(), document.title, document.date)


def main() -> None:
    """Answer pages until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    os.dup2(2, 1)  # nothing that a library prints may end up in the parent's standard output
    requests, answers = Connection(int(sys.argv[1])), Connection(int(sys.argv[2]))
    import trafilatura  # noqa: F401 (its import time must not count against the first page)

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    options = pickle.loads(requests.recv_bytes())
    answers.send_bytes(b"ready")
    while True:
        try:
            request = requests.recv_bytes()
        except EOFError:
            return
        answers.send_bytes(pickle.dumps(extract(pickle.loads(request), options)))


if __name__ == "__main__":
    # by its name, so that answers are pickled as stages.extract.html_worker.Extract, not as __main__.Extract
    from stages.extract import html_worker

    html_worker.main()

"""Reading WARC and ARC files so that no record is lost or doubled, whatever is damaged around it.

Compression is undone here rather than by an archive library, because damage has to be seen: FastWARC's iterator ends
without an error at an empty gzip member, at a truncated last one, and at a body shorter than its header says
(tests/stages/intake/test_common_crawl.py holds such files).

    window.py   a file read forward, about 1 MiB of it at a time
    frames.py   decoded bytes: a gzip member, a zstd frame, an lz4 stream, a plain file
    headers.py  what a record's header says, in WARC and in ARC
    reader.py   records out of frames, and going on behind damage
"""

from stages.intake.warc.reader import Damage, Record, record_at, records

__all__ = ["Damage", "Record", "record_at", "records"]

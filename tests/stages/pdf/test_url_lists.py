"""Lists of URLs: each line a document or a reason, fetched within bounds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.locations.location import InputFile, RemoteOptions
from pipeline.stage import Context
from stages.intake.files import ReadingConfig
from stages.intake.list_ranges import lines_in
from stages.pdf import files, url_lists
from tests.servers import Fault, FaultyServer, faulty_server
from tests.stages.intake.packing import PACKINGS
from tests.stages.pdf.page_rows import PROSE, Read, prose_bytes

SUFFIX_OF_PACKING = {"plain": "", "gzip": ".gz", "zstd": ".zst", "xz": ".xz", "bzip2": ".bz2"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """Serves a.pdf with two pages, b.pdf with one, and a page of HTML."""
    served = {
        "a.pdf": prose_bytes(tmp_path, 2),
        "b.pdf": prose_bytes(tmp_path, 1, 2),
        "page.pdf": b"<html><body>Please log in.</body></html>",
    }
    with faulty_server(served) as found:
        yield found


def listed(folder: Path, *lines: str) -> Path:
    path = folder / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_line_is_a_document(tmp_path, server, packing):
    lines = f"# papers\n{server.url}/a.pdf\n\n  {server.url}/b.pdf\r\n"
    path = tmp_path / f"list.txt{SUFFIX_OF_PACKING[packing]}"
    path.write_bytes(PACKINGS[packing](lines.encode()))
    found = Read(urls=path)
    assert found.texts == [PROSE.format(number) for number in range(3)]
    first = lines.index("http")
    assert found.rows[0]["pdf.document"] == f"papers/{path.name}@{first}"
    assert found.rows[0]["id"] == f"papers/{path.name}@{first}@0"
    assert (found.rows[2]["url"], found.rows[2]["origin"]["path"]) == (f"{server.url}/b.pdf",) * 2
    assert not found.removed


def test_what_cannot_be_fetched_or_is_no_pdf_fails(tmp_path, server):
    path = listed(
        tmp_path,
        f"{server.url}/gone.pdf",
        f"{server.url}/page.pdf",
        f"{server.url}/a.pdf",
        "/etc/passwd",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://127.0.0.1:9/refused.pdf",
        "http://" + "x" * 9000,
    )
    found = Read(urls=path)
    assert len(found.rows) == 2
    assert [removal.reason for removal in found.removed] == [
        "not_found", "not_pdf", "not_a_url", "not_a_url", "not_a_url", "unreachable", "not_a_url",
    ]  # fmt: skip
    assert found.removed[1].url == f"{server.url}/page.pdf"
    assert "<html>" in found.removed[1].evidence


def test_secrets_of_a_url_are_not_told(tmp_path, server):
    found = Read(urls=listed(tmp_path, f"{server.url}/a.pdf?signature=secret", f"{server.url}/no.pdf?signature=secret"))
    assert len(found.rows) == 2
    assert "secret" not in repr(found.rows) + repr(found.removed)


def test_one_url_twice_is_two_documents(tmp_path, server):
    found = Read(urls=listed(tmp_path, f"{server.url}/b.pdf", f"{server.url}/b.pdf"))
    assert len({row["pdf.document"] for row in found.rows}) == 2


class Endless:
    """A file that has the magic number of PDFs and no end that anybody has seen; remembers how much of it was read."""

    def __init__(self) -> None:
        self.reached = 0

    def __len__(self) -> int:
        return 1 << 34

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        self.reached = max(self.reached, stop)
        return (b"%PDF-1.7" + bytes(stop - start))[: stop - start]


@pytest.mark.parametrize("how", ["announced", "ranges", "unframed"])
def test_no_more_of_a_file_is_fetched_than_allowed(tmp_path, server, how):
    large = server.files["large.pdf"] = Endless()
    server.ranges = how == "ranges"
    if how == "unframed":
        server.choose = lambda request: Fault("unframed", after=1 << 30)
    removed = Read(urls=listed(tmp_path, f"{server.url}/large.pdf"), max_file_bytes=1_000_000).only_removal
    assert removed.reason == "too_large"
    assert large.reached < 40_000_000  # what the network holds on its way
    assert ("more than 1000000" if how == "unframed" else f"{1 << 34} bytes > 1000000") in removed.evidence


def test_a_server_that_sends_byte_by_byte_is_given_up(tmp_path, server, monkeypatch):
    monkeypatch.setattr(files, "DOWNLOAD_DEADLINE_S", 1.0)
    server.choose = lambda request: Fault("drip", after=100, seconds=0.1)
    found = Read(urls=listed(tmp_path, f"{server.url}/a.pdf"), remote=RemoteOptions(timeout_s=5.0))
    assert found.only_removal.reason == "download_deadline"


def test_a_server_that_is_busy_for_a_while_is_asked_again(tmp_path, server):
    server.faults = [Fault("status", status=503), None]
    assert Read(urls=listed(tmp_path, f"{server.url}/b.pdf")).texts == [PROSE.format(2)]


def test_a_dead_server_is_given_up_after_few_tries(tmp_path, server):
    server.choose = lambda request: Fault("status", status=500)
    Read(urls=listed(tmp_path, f"{server.url}/b.pdf"), remote=RemoteOptions(tries=12, backoff_s=0.001))
    assert len(server.requests) == url_lists.TRIES


def test_a_list_on_a_server_is_read_too(tmp_path, server):
    server.files["list.txt"] = f"{server.url}/b.pdf".encode()
    assert Read(urls=f"{server.url}/list.txt").texts == [PROSE.format(2)]


def test_a_list_that_is_not_there_is_an_error_before_the_run(tmp_path):
    with pytest.raises(InputError):
        Read(urls=tmp_path / "list.txt")


def test_a_list_that_breaks_off_tells_so(tmp_path, server):
    whole = PACKINGS["gzip"](f"{server.url}/b.pdf\n".encode() * 50)
    (tmp_path / "list.txt.gz").write_bytes(whole[:-12])
    found = Read(urls=tmp_path / "list.txt.gz")
    assert found.ends[-1] == ("failed", "unreadable")
    assert found.removed[-1].id.endswith("#unread")


@example(["a", "b", "c"], 2, "plain")  # a range begins where a line does
@given(st.lists(st.text("ab#/ ", max_size=12), max_size=30), st.integers(1, 60), st.sampled_from(["plain", "gzip"]))
def test_ranges_hold_every_line_once(tmp_path_factory, lines, range_bytes, packing):
    path = tmp_path_factory.mktemp("lists") / f"list.txt{SUFFIX_OF_PACKING[packing]}"
    path.write_bytes(PACKINGS[packing]("\n".join(lines).encode()))
    config, file = ReadingConfig(), InputFile("list.txt", str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(url_lists, "RANGE_BYTES", range_bytes)
        parts = list(url_lists.url_ranges(file, config))
    found = [line for part in parts for _, line, _ in lines_in(part, url_lists.MAX_URL_BYTES, config, Context(seed=1))]
    assert b"".join(found).decode() == "\n".join(lines)
    assert len(found) == len("\n".join(lines).splitlines())


@pytest.mark.parametrize(
    "url", ["http://[::1/c.pdf", "http://a]b/", "http://\u00e4\u2100/", "http://..a/", f"http://{'a' * 70}.com/"]
)
def test_what_no_server_can_be_called_is_a_reason(tmp_path, url):
    path = tmp_path / "list.txt"
    path.write_text(f"{url}\n", encoding="utf-8")
    (gone,) = Read(urls=path, remote={"tries": 1, "timeout_s": 2.0}).removed
    assert (gone.verdict, gone.reason) == ("failed", "unreadable")


def test_a_byte_order_mark_is_no_part_of_the_first_url(tmp_path, server):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"{server.url}/b.pdf\n".encode())
    assert len(Read(urls=path).rows) == 1

"""Records that the columnar index selects, and no others."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import StageError
from pipeline.stage import Context
from stages.intake.common_crawl import CommonCrawl, CommonCrawlConfig
from stages.intake.crawl_index import MAX_GAP_BYTES, MAX_RANGE_BYTES, Capture, ranges
from tests.crawl_mirror import CRAWL, CrawledPage, build_mirror

PAGES = [
    CrawledPage("http://example.org/a", b"<p>a</p>"),
    CrawledPage("http://www.example.org/b", b"<p>b</p>", languages="isl,eng"),
    CrawledPage("http://sub.example.org/c", b"<p>c</p>", languages="eng,isl"),
    CrawledPage("http://example.org:8080/port", b"<p>port</p>"),
    CrawledPage("http://example-two.org/d", b"<p>d</p>", languages="isl"),
    CrawledPage("http://notexample.org/e", b"<p>e</p>"),
    CrawledPage("http://example.org.evil.com/f", b"<p>f</p>"),
    CrawledPage("http://example.is/g", b"<p>g</p>", mime="application/xhtml+xml", languages="isl"),
    CrawledPage("http://example.is/gone", b"gone", status=404, languages="isl"),
    CrawledPage("http://example.is/picture", b"x", mime="image/png", languages=""),
    CrawledPage("http://www2.example.net/w", b"<p>w</p>"),
]


@pytest.fixture
def mirror(tmp_path):
    return build_mirror(tmp_path / "bucket", [PAGES[0::2], PAGES[1::2]], index_files=2)


def read(mirror, select, **options):
    values = {"crawl": CRAWL, "base": str(mirror), "select": select, "mime": ["text/html", "image/png"], **options}
    stage = CommonCrawl(CommonCrawlConfig.model_validate(values))
    rows, removed = [], []
    for split in stage.splits():
        for outcome in stage.read(split, "web", Context(seed=1)):
            assert outcome.created == {"web": outcome.kept.num_rows + len(outcome.removed)}
            rows += outcome.kept.to_pylist()
            removed += outcome.removed
    return rows, removed


def paths(mirror, select, **options):
    """The last letters of what was selected, kept or not."""
    rows, removed = read(mirror, select, **options)
    return sorted(url.rpartition("/")[2] for url in [*(row["url"] for row in rows), *(end.url for end in removed)])


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ({"hosts": "example.org"}, ["a", "b", "c", "port"]),
        ({"hosts": "www.example.org"}, ["b"]),
        ({"hosts": ["sub.example.org", "example.is"]}, ["c", "g", "picture"]),
        ({"tlds": "is"}, ["g", "picture"]),
        ({"languages": "is"}, ["b", "d", "g"]),
        ({"languages": ["isl", "eng"], "hosts": "example.org"}, ["a", "b", "c", "port"]),
        ({"mime": "image/png"}, ["picture"]),
        ({"status": 404}, ["gone"]),
        ({"tlds": "is", "status": [200, 404]}, ["g", "gone", "picture"]),
        ({"hosts": "www2.example.net"}, ["w"]),
        ({"hosts": "nowhere.net"}, []),
    ],
)
def test_what_is_selected(mirror, select, expected):
    assert paths(mirror, select) == expected


def test_a_selected_page_is_the_same_as_when_its_file_is_read_whole(mirror):
    whole = CommonCrawl(CommonCrawlConfig(crawl=CRAWL, base=str(mirror)))
    rows = [
        row
        for split in whole.splits()
        for outcome in whole.read(split, "web", Context(seed=1))
        for row in outcome.kept.to_pylist()
    ]
    selected, _ = read(mirror, {"hosts": "example.org"})
    assert sorted(selected, key=lambda r: r["id"]) == sorted(
        (row for row in rows if ".example.org" in row["url"].replace("//", ".") and "evil" not in row["url"]),
        key=lambda r: r["id"],
    )


def test_a_selected_record_goes_through_the_same_checks(mirror):
    _, removed = read(mirror, {"tlds": "is"}, mime="text/html")
    assert [(end.verdict, end.reason) for end in removed] == 2 * [("dropped", "mime")]


def test_pages_of_a_selected_status_are_kept(mirror):
    rows, removed = read(mirror, {"status": 404})
    assert [row["payload"] for row in rows] == [b"gone"]
    assert not removed


def test_an_index_that_points_elsewhere_fails_record_by_record(mirror):
    for path in mirror.glob("crawl-data/*/segments/1.0/warc/*"):
        path.write_bytes(b"x" * path.stat().st_size)
    rows, removed = read(mirror, {"hosts": "example.org"})
    assert [row["url"].rpartition("/")[2] for row in rows] == ["b", "port"]
    assert {(end.verdict, end.reason) for end in removed} <= {("failed", "unreadable"), ("failed", "damaged")}
    assert len(removed) == 2
    assert len({end.id for end in removed}) == 2


def test_a_missing_file_fails_its_records(mirror):
    for path in mirror.glob("crawl-data/*/segments/1.0/warc/*"):
        path.unlink()
    rows, removed = read(mirror, {"hosts": "example.org"})
    assert len(rows) == 2
    assert [end.verdict for end in removed] == ["failed", "failed"]


def test_a_sample_of_records_is_the_same_however_the_index_is_cut(tmp_path):
    pages = [CrawledPage(f"http://h{i}.example/", b"<p>%d</p>" % i) for i in range(300)]
    samples = []
    for count in (1, 4):
        mirror = build_mirror(tmp_path / str(count), [pages], index_files=count, rows_per_group=50)
        rows, _ = read(mirror, {"tlds": "example"}, sample=0.3)
        samples.append(sorted(row["id"] for row in rows))
    assert samples[0] == samples[1]
    assert 60 <= len(samples[0]) <= 120  # 90 are expected


def test_a_capture_that_the_index_has_twice_is_read_once(mirror):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in mirror.glob("cc-index/table/*/*/*/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(pa.concat_tables([table, table]), path)
    assert paths(mirror, {"hosts": "example.org"}) == ["a", "b", "c", "port"]


def test_a_damaged_file_of_the_index_is_a_failed_row(mirror):
    one, _ = sorted(mirror.glob("cc-index/table/*/*/*/*/*.parquet"))
    one.write_bytes(one.read_bytes()[:-100])
    rows, [end] = read(mirror, {})
    assert rows
    assert (end.verdict, end.reason) == ("failed", "unreadable")
    assert "is damaged" in end.evidence


def test_a_table_that_is_no_index_is_refused(tmp_path, mirror):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    stage = CommonCrawl(CommonCrawlConfig(index=(str(tmp_path / "a.parquet"),), select={}, base=str(mirror)))
    (split,) = stage.splits()
    with pytest.raises(StageError, match=r"a\.parquet is not a columnar index"):
        list(stage.read(split, "web", Context(seed=1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crawl": CRAWL, "index": "a.parquet"}, "add select"),
        ({"files": "a.warc", "select": {}}, "select needs a crawl or an index"),
        ({"crawl": CRAWL, "select": {"languages": "xx"}}, "'xx' is no language code"),
        ({"crawl": CRAWL, "select": {"hostz": "a"}}, "hostz"),
        ({"crawl": CRAWL, "select": {"mime": "application/pdf"}}, "which the option mime would drop"),
    ],
)
def test_selections_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        CommonCrawlConfig.model_validate(options)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50), st.integers(1, 2000)), max_size=30))
def test_ranges_hold_every_capture_once_in_order(places):
    wanted = sorted(
        {(file, at * 100_000): Capture(file, at * 100_000, length) for file, at, length in places}.values(),
        key=lambda c: (c.file, c.offset),
    )
    groups = ranges(wanted)
    assert [capture for group in groups for capture in group] == wanted
    for group in groups:
        assert len({capture.file for capture in group}) == 1
        assert group[-1].offset + group[-1].length - group[0].offset <= max(MAX_RANGE_BYTES, group[0].length)
    for one, two in itertools.pairwise(groups):  # none could have been joined
        gap = two[0].offset - one[-1].offset - one[-1].length
        size = two[0].offset + two[0].length - one[0].offset
        assert one[0].file != two[0].file or gap > MAX_GAP_BYTES or size > MAX_RANGE_BYTES

"""A crawl by its id: its files from its path lists, all or a sample."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.locations.location import InputFile
from pipeline.stage import Context
from stages.intake.common_crawl import CommonCrawl, CommonCrawlConfig
from stages.intake.crawl_files import spread
from stages.intake.crawl_text import CrawlText, CrawlTextConfig
from tests.crawl_mirror import CRAWL, CrawledPage, build_mirror


@pytest.fixture
def mirror(tmp_path):
    files = [[CrawledPage(f"http://a.example/{i}/{j}", b"<p>%d %d</p>" % (i, j)) for j in range(3)] for i in range(4)]
    return build_mirror(tmp_path / "bucket", files)


def splits(mirror, **options):
    config = {"crawl": CRAWL, "base": str(mirror), **options}
    return CommonCrawl(CommonCrawlConfig.model_validate(config)).splits()


def test_the_files_of_a_crawl_are_those_of_its_path_list(mirror):
    files = [file for split in splits(mirror) for file in split.files]
    assert [file.name for file in files] == [
        f"crawl-data/{CRAWL}/segments/1.{i}/warc/{CRAWL}-0000{i}.warc.gz" for i in range(4)
    ]
    assert [file.location for file in files] == [f"{mirror}/{file.name}" for file in files]


def test_a_limit_takes_the_first_files(mirror):
    assert [split.files for split in splits(mirror, limit=2)] == [split.files for split in splits(mirror)[:2]]


def test_an_unknown_crawl_is_refused_with_its_address(mirror):
    with pytest.raises(InputError, match=r"crawl-data/CC-NO/warc\.paths\.gz cannot be read: No such file"):
        splits(mirror, crawl="CC-NO")


def test_a_path_list_that_is_no_gzip_file_is_refused(mirror):
    (mirror / "crawl-data" / CRAWL / "warc.paths.gz").write_bytes(b"<html>blocked</html>")
    with pytest.raises(InputError, match="cannot be read: Not a gzipped file"):
        splits(mirror)


def test_an_empty_path_list_is_refused(mirror):
    import gzip

    (mirror / "crawl-data" / CRAWL / "warc.paths.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match="lists no file"):
        splits(mirror)


def test_a_file_that_is_listed_twice_is_read_once(mirror):
    import gzip

    paths = mirror / "crawl-data" / CRAWL / "warc.paths.gz"
    paths.write_bytes(gzip.compress(2 * gzip.decompress(paths.read_bytes())))
    assert len(splits(mirror)) == 4


def test_a_password_in_the_address_is_not_shown():
    with pytest.raises(InputError) as error:
        splits("http://user:s3cret@127.0.0.1:9", remote={"tries": 1})
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("options", [{}, {"crawl": CRAWL, "files": "a.warc"}])
def test_a_crawl_or_files_must_be_given_not_both(options):
    with pytest.raises(ValidationError, match="give either crawl"):
        CommonCrawlConfig.model_validate(options)


def files(count):
    return [InputFile(str(i), str(i)) for i in range(count)]


@given(st.integers(1, 3000), st.floats(0.001, 1.0), st.integers(0, 5))
def test_a_sample_has_its_share_and_is_evenly_spread(count, share, seed):
    chosen = [int(file.name) for file in spread(files(count), share, seed)]
    assert abs(len(chosen) - max(1, count * share)) <= 1
    gaps = [b - a for a, b in itertools.pairwise(chosen)]
    assert all(abs(gap - 1 / share) <= 1 for gap in gaps)


def test_another_seed_gives_another_sample_and_the_same_seed_the_same():
    samples = {tuple(file.name for file in spread(files(100), 0.1, seed)) for seed in range(5)}
    assert len(samples) > 1
    assert spread(files(100), 0.1, 3) == spread(files(100), 0.1, 3)


def test_the_whole_sample_is_everything():
    assert spread(files(7), 1.0, 9) == files(7)


def test_another_sample_does_not_make_read_parts_new(mirror):
    whole, sample = (CommonCrawlConfig(crawl=CRAWL, base=str(mirror), sample=share).identity() for share in (1.0, 0.5))
    assert whole == sample


def test_wet_files_give_their_text(mirror):
    stage = CrawlText(CrawlTextConfig(crawl=CRAWL, base=str(mirror), limit=1))
    (split,) = stage.splits()
    outcomes = list(stage.read(split, "web", Context(seed=1)))
    rows = [row for outcome in outcomes for row in outcome.kept.to_pylist()]
    assert [row["text"] for row in rows] == [f"<p>0 {j}</p>" for j in range(3)]
    assert [row["url"] for row in rows] == [f"http://a.example/0/{j}" for j in range(3)]
    assert [(r.reason, r.verdict) for o in outcomes for r in o.removed] == [("record_warcinfo", "dropped")]
    assert sum(o.created["web"] for o in outcomes) == 4

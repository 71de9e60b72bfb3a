"""Dumps of submissions and comments in, threads out."""

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stage import Context, Outcome, Removal
from stages.intake.reddit import Reddit, RedditConfig, base36, clean, group_of, number_of


def submission(identity: str, title: str = "Title", selftext: str = "", score: int = 1, **fields: object) -> dict:
    return {
        "id": identity,
        "title": title,
        "selftext": selftext,
        "score": score,
        "author": "someone",
        "over_18": False,
        "created_utc": 1672531200,
        "subreddit": "Breadit",
        "permalink": f"/r/Breadit/comments/{identity}/title/",
        "is_self": True,
    } | fields


def comment(identity: str, to: str, body: str = "Yes.", score: int = 1, thread: str = "s1", **fields: object) -> dict:
    parent = {"id": identity, "link_id": f"t3_{thread}", "parent_id": to, "body": body, "score": score}
    return parent | {"author": "another", "created_utc": "1672531300"} | fields


def lines(*rows: dict) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(files: Path, **options: object) -> list[Outcome]:
    stage = Reddit(RedditConfig(files=files, **options))
    outcomes = [outcome for split in stage.splits() for outcome in stage.read(split, "reddit", Context(seed=1))]
    for outcome in outcomes:
        assert outcome.created == {"reddit": len(outcome.kept) + len(outcome.removed)}
    return outcomes


def kept(files: Path, **options: object) -> list[dict]:
    return [row for outcome in read(files, **options) for row in outcome.kept.to_pylist()]


def removed(files: Path, **options: object) -> list[Removal]:
    return [end for outcome in read(files, **options) for end in outcome.removed]


def reasons(files: Path, **options: object) -> list[tuple[str, str]]:
    return [(end.verdict, end.reason) for end in removed(files, **options)]


@pytest.fixture
def month(tmp_path) -> Path:
    return tmp_path


def written(month: Path, submissions: list[dict], comments: list[dict]) -> Path:
    (month / "RS_2023-01.ndjson").write_bytes(lines(*submissions))
    (month / "RC_2023-01.ndjson").write_bytes(lines(*comments))
    return month


def test_a_document_is_a_submission_with_its_comments_as_a_tree_by_score(month):
    submissions = [submission("x0"), submission("s1", "Sourdough &amp; rye", "Why so\n\nflat?", 40)]
    comments = [
        comment("c1", "t3_s1", "Low.", 2),
        comment("c2", "t1_c1", "Reply to low.", 90),
        comment("c3", "t3_s1", "High.\n\n    code", 7),
        comment("c4", "t1_c3", "First reply.", 5),
        comment("c5", "t1_c3", "Second reply.", 3),
        comment("c6", "t1_c4", "Deeper.", 1),
    ]
    _, row = sorted(kept(written(month, submissions, comments)), key=lambda row: row["url"], reverse=True)
    assert row["text"] == (
        "Sourdough & rye\n\nWhy so\n\nflat?\n\n"
        "- High.\n\n      code\n  - First reply.\n    - Deeper.\n  - Second reply.\n- Low.\n  - Reply to low."
    )
    first = len(lines(submissions[0]))
    assert row["id"] == f"reddit/RS_2023-01.ndjson@{first}"
    assert (row["origin"]["path"], row["origin"]["offset"]) == ("RS_2023-01.ndjson", first)
    assert row["url"] == "https://www.reddit.com/r/Breadit/comments/s1/title/"
    assert row["date"] == "2023-01-01T00:00:00+00:00"
    meta = {"title": "Sourdough & rye", "subreddit": "Breadit", "score": "40", "comments": "6"}
    assert dict(row["meta"]) == meta


def test_every_line_that_is_in_no_document_has_its_reason(month):
    submissions = [
        submission("s1"),
        submission("s2", selftext="[removed]"),
        submission("s3", title="[deleted by user]"),
        submission("s4", over_18=True),
        submission("s5", score=0),
        submission("s6", title=" "),
        submission("s1", title="Again"),
    ]
    comments = [
        comment("c1", "t3_s1", "Kept.", 9),
        comment("c2", "t1_c1", "[deleted]"),
        comment("c3", "t1_c2", "To a deleted one."),
        comment("c4", "t3_s1", "Bad.", -3),
        comment("c5", "t1_c1", "I am a bot.", author="AutoModerator"),
        comment("c6", "t3_s2", "To a removed one.", thread="s2"),
        comment("c7", "t1_c1", "Level two.", 8),
        comment("c8", "t1_c7", "Level three.", 8),
        comment("c9", "t3_s1", "One too many.", 1),
        comment("c1", "t3_s1", "Kept.", 9),
        comment("ca", "t3_s1", "[ Removed by Reddit ]"),
        comment("cb", "t1_cb", "To itself."),
    ]
    options = {"min_score": 1, "min_comment_score": 0, "max_depth": 2, "max_comments": 2}
    (document,) = kept(written(month, submissions, comments), **options)
    ends = removed(month, **options)
    assert document["text"] == "Title\n\n- Kept.\n  - Level two."
    assert sorted((end.reason, end.evidence) for end in ends) == [
        ("author", "comment c5 is by AutoModerator"),
        ("deleted", "comment c2: [deleted]"),
        ("deleted", "submission s3: [deleted by user]"),
        ("duplicate", "post c1 again"),
        ("duplicate", "post s1 again"),
        ("empty", "submission s6: no visible character"),
        ("low_score", "comment c4: score -3 < 0"),
        ("low_score", "submission s5: score 0 < 1"),
        ("no_parent", "comment c2 is not in these files, or was dropped"),
        ("no_parent", "comment cb is not in these files, or was dropped"),
        ("no_submission", "submission s2 is not in these files or was dropped"),
        ("over_18", "submission s4 is marked as over 18"),
        ("over_max_comments", "submission s1 has 2 comments already"),
        ("removed", "comment ca: [ Removed by Reddit ]"),
        ("removed", "submission s2: [removed]"),
        ("too_deep", "level 3 > 2"),
    ]
    in_documents = int(dict(document["meta"])["comments"])
    assert 1 + len(ends) + in_documents == len(submissions) + len(comments)


def test_submissions_for_adults_and_bots_can_be_kept(month):
    written(month, [submission("s1", over_18=True, author="AutoModerator")], [])
    assert len(kept(month, over_18=True, without_authors=())) == 1


def test_parents_as_some_years_wrote_them(month):
    comments = [comment("c1", "", "Top.", parent_id=None), comment("c2", "", "Reply.", parent_id=number_of("c1"))]
    (row,) = kept(written(month, [submission("s1")], comments))
    assert row["text"] == "Title\n\n- Top.\n  - Reply."


def test_names_say_which_files_are_read_together(tmp_path):
    names = ["comments/RC_2023-01.zst", "comments/RC_2023-02.zst", "submissions/RS_2023-01.zst", "a_submissions.zst",
             "a_comments.zst", "notes.txt"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    splits = Reddit(RedditConfig(files=tmp_path)).splits()
    assert [[file.name for file in split.files] for split in splits] == [
        ["comments/RC_2023-01.zst", "submissions/RS_2023-01.zst"],
        ["comments/RC_2023-02.zst"],
        ["a_comments.zst", "a_submissions.zst"],
    ]
    assert group_of("x/Marsch_comments.zst") == group_of("y/Marsch_submissions.zst") != group_of("Merz_comments.zst")


def test_what_a_file_holds_is_told_by_its_lines(tmp_path):
    (tmp_path / "all.jsonl").write_bytes(lines(comment("c1", "t3_s1"), submission("s1")))
    assert kept(tmp_path)[0]["text"] == "Title\n\n- Yes."


@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd.compress])
def test_compression_is_told_by_content(tmp_path, packed):
    (tmp_path / "RS_2023-01.zst").write_bytes(packed(lines(submission("s1"))))
    assert len(kept(tmp_path)) == 1


def test_dumps_with_a_window_of_two_gibibytes_are_read(tmp_path):
    options = {
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.window_log: 31,
        zstd.CompressionParameter.compression_level: 1,
    }
    content = lines(submission("s1"))
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(content, packer.FLUSH_BLOCK) + packer.flush()  # flushed first: it cannot know the size
    with pytest.raises(zstd.ZstdError, match="memory"):
        zstd.decompress(packed)
    (tmp_path / "RS_2023-01.zst").write_bytes(packed)
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "bad_json"),
        (b"[1]", "bad_json"),
        (b'{"id": "\xff"}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"id": "a"}', "bad_row"),
        (b'{"id": "a", "title": 3}', "bad_row"),
        (b'{"id": "A!", "title": "t"}', "bad_row"),
        (b'{"id": "a", "title": "t", "created_utc": 1e99}', "bad_row"),
        (b'{"id": "a", "title": "t", "permalink": 3}', "bad_row"),
        (b'{"id": "a", "link_id": "t3_b", "body": null}', "bad_row"),
        (b'{"id": "zzzzzzzzzzzzz", "link_id": "t3_b", "body": "t"}', "bad_row"),
        (b'"' + b"x" * (16 << 20) + b'"', "too_large"),
    ],
)
def test_a_bad_line_costs_that_line_only(tmp_path, line, reason):
    before, after = lines(submission("s1")), lines(submission("s2"))
    (tmp_path / "RS_2023-01.ndjson").write_bytes(before + line + b"\n\n" + after)
    assert len(kept(tmp_path)) == 2
    (end,) = removed(tmp_path)
    assert (end.verdict, end.reason, end.id) == ("failed", reason, f"reddit/RS_2023-01.ndjson@{len(before)}")


def test_half_a_surrogate_pair_is_left_out(month):
    written(month, [submission("s1", "a\ud83d", "b\ude00", subreddit="c\ud83d")], [comment("c1", "t3_s1", "\ud83d d")])
    assert kept(month)[0]["text"] == "a\n\nb\n\n- d"


@pytest.mark.parametrize("packed", [gzip.compress, lambda c: bz2.compress(c, 1), lzma.compress, zstd.compress])
def test_of_a_file_that_breaks_off_the_first_lines_are_kept(month, packed):
    numbers = random.Random(1)
    rows = [comment(base36(n), "t3_s1", numbers.randbytes(50).hex()) for n in range(1, 6000)]
    content = packed(lines(*rows))
    written(month, [submission("s1")], [])
    (month / "RC_2023-01.ndjson").write_bytes(content[: len(content) // 2])
    (month / "RC_2023-02.ndjson").write_bytes(lines(comment("c1", "t3_s9", thread="s9")))
    outcomes = read(month)
    (document,) = [row for outcome in outcomes for row in outcome.kept.to_pylist()]
    count = int(dict(document["meta"])["comments"])
    assert 1000 < count < 5000
    assert document["text"].count("\n- ") == count
    ends = [end for outcome in outcomes for end in outcome.removed]
    assert [(end.verdict, end.reason) for end in ends] == [("failed", "unreadable"), ("dropped", "no_submission")]
    at = int(ends[0].id.rpartition("@")[2])
    assert lines(*rows[:count]) == lines(*rows)[:at]


def test_a_file_that_has_gone_fails_and_the_others_are_read(month):
    stage = Reddit(RedditConfig(files=written(month, [submission("s1")], [])))
    (split,) = stage.splits()
    (month / "RC_2023-01.ndjson").unlink()
    (outcome,) = stage.read(split, "reddit", Context(seed=1))
    assert len(outcome.kept) == 1
    assert [(end.verdict, end.reason) for end in outcome.removed] == [("failed", "unreadable")]


def test_nothing_temporary_is_left_behind(month, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    kept(written(month, [submission("s1")], [comment("c1", "t3_s1")]) / "*.ndjson")
    assert list(folder.iterdir()) == []


@given(st.integers(0, 36**12 - 1))
def test_numbers_are_written_as_reddit_does(number):
    assert number_of(base36(number)) == number_of(f"t1_{base36(number)}") == number


@given(st.text())
def test_clean_text_can_be_written_and_stays_clean(text):
    cleaned = clean(text)
    cleaned.encode()
    assert "\u200b" not in cleaned


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 14), st.integers(-3, 9)), max_size=25),
    st.none() | st.integers(0, 5),
    st.none() | st.integers(1, 3),
)
def test_every_comment_of_any_tree_is_in_the_document_or_removed(tmp_path_factory, tree, max_comments, max_depth):
    """Loops, doubles and missing parents included."""
    comments = [comment(base36(n), f"t1_{base36(to)}" if to else "t3_s1", f"say {n}", score) for n, to, score in tree]
    folder = written(tmp_path_factory.mktemp("month"), [submission("s1")], comments)
    outcomes = read(folder, max_comments=max_comments, max_depth=max_depth)
    (document,) = [row for outcome in outcomes for row in outcome.kept.to_pylist()]
    ends = [end for outcome in outcomes for end in outcome.removed]
    used = int(dict(document["meta"])["comments"])
    assert used + len(ends) == len(comments)
    assert len({end.id for end in ends}) == len(ends)
    assert document["text"].count("- say") == used


def test_the_two_files_of_a_subreddit_belong_together_whatever_they_are_packed_with():
    assert group_of("AskX_submissions.zst") == group_of("AskX_comments.ndjson") == group_of("AskX_comments.jsonl.gz")

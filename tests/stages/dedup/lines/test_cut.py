"""Texts without repeated lines, what is said of them, and the recipe."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.stage import Context, documents, with_columns
from stages.dedup.lines.cut import LinesCut, LinesCutConfig
from stages.dedup.lines.cuts import SLICE_FILE, SLICE_SCHEMA
from stages.dedup.lines.units import units_of
from stages.text.utf8 import bytes_and_offsets
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines

BODY = "A sentence that this page alone has, and which is long enough to be worth something to a reader."


def cutter(folder: Path, cuts: dict[str, list[str]], **options: Any) -> LinesCut:
    """The stage with a slice that says what to cut from which document."""
    stage = LinesCut(LinesCutConfig.model_validate(options))
    rows = []
    for document, lines in cuts.items():
        units = sorted(units_of(pa.array(lines, pa.large_string()), stage.config).hashes.tolist())
        counts = list(range(10, 10 + len(units)))
        rows.append({"id": document, "units": units, "documents": counts, "on_domain": [True] * len(units)})
    pq.write_table(pa.Table.from_pylist(rows, SLICE_SCHEMA), folder / SLICE_FILE)
    stage.setup(Context(seed=1, side={"repeats": folder}))
    return stage


def test_lines_are_cut_from_the_documents_that_the_slice_names_and_from_no_other(tmp_path: Path) -> None:
    text = f"Home | About us\n\n{BODY}\n3 Comments\n"
    batch = documents([{"id": i, "text": text, "source": "web"} for i in ("a", "b", "c")])
    outcome = cutter(tmp_path, {"b": ["home about us", "7 comments"]}, min_words=5).process(batch)
    assert outcome.kept["text"].to_pylist() == [text, BODY, text]
    assert outcome.kept["dedup_lines_cut.cut"].to_pylist() == [0, 2, 0]
    assert outcome.kept["dedup_lines_cut.words_left"].to_pylist() == [None, 19, None]
    assert outcome.noted == {
        "web": {"lines_cut": 2, "documents_edited": 1, "characters_cut": len(text) - len(BODY)},
    }


def test_texts_that_are_not_edited_stay_to_the_byte(tmp_path: Path) -> None:
    texts = ["", None, "a\r\n\r\n\r\nb\x85 c\u2028\n\n", "\u202bمرحبا\u202c\n\n\n"]
    batch = documents([{"id": str(i), "text": text, "source": "web"} for i, text in enumerate(texts)])
    outcome = cutter(tmp_path, {}).process(batch)
    assert outcome.kept["text"].to_pylist() == texts
    assert outcome.kept.schema.field("text").type == pa.large_string()
    assert not outcome.noted


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"min_words": 100, "min_share": 0.1}, "too_little_left"),
        ({"min_words": None, "min_share": 0.9}, "mostly_boilerplate"),
        ({"min_words": None, "min_share": None}, None),
    ],
)
def test_a_document_of_which_too_little_is_left_is_dropped_with_the_line_as_evidence(
    tmp_path: Path, options: dict[str, Any], reason: str | None
) -> None:
    batch = documents([{"id": "a", "text": f"Leave a comment\n{BODY}", "source": "web"}])
    outcome = cutter(tmp_path, {"a": ["Leave a comment"]}, **options).process(batch)
    assert [removal.reason for removal in outcome.removed] == ([reason] if reason else [])
    if reason:
        (removal,) = outcome.removed
        assert '"Leave a comment" (10 documents on its domain)' in removal.evidence


def test_short_documents_without_repeated_lines_stay(tmp_path: Path) -> None:
    batch = documents([{"id": "a", "text": "short", "source": "web"}])
    assert cutter(tmp_path, {}).process(batch).kept.num_rows == 1


def test_what_is_no_utf8_is_cut_like_any_line_and_the_rest_stays_to_the_byte(tmp_path: Path) -> None:
    content = b"A caf\xc3 about us\n" + BODY.encode() * 2 + b" \xff\xe2\x80"
    text = pa.LargeStringArray.from_buffers(
        1, pa.py_buffer(np.array([0, len(content)], np.int64)), pa.py_buffer(content)
    )
    batch = with_columns(documents([{"id": "a", "text": "", "source": "web"}]), {"text": text})
    stage = cutter(tmp_path, {"a": ["placeholder of eight letters"]})
    units = units_of(text, stage.config).hashes.tolist()[:1]
    slice_ = pa.Table.from_pylist([{"id": "a", "units": units, "documents": [9], "on_domain": [False]}], SLICE_SCHEMA)
    pq.write_table(slice_, tmp_path / SLICE_FILE)
    stage.setup(Context(seed=1, side={"repeats": tmp_path}))
    outcome = stage.process(batch)
    data, offsets = bytes_and_offsets(outcome.kept["text"])
    assert data[offsets[0] : offsets[1]].tobytes() == BODY.encode() * 2 + b" \xff\xe2\x80"


def test_paragraphs_are_cut_whole(tmp_path: Path) -> None:
    text = f"{BODY}\n\nabout this site\nand its owners\n\nabout this site\n\n{BODY}"
    stage = cutter(tmp_path, {"a": ["about this site\nand its owners"]}, unit="paragraph")
    outcome = stage.process(documents([{"id": "a", "text": text, "source": "web"}]))
    assert outcome.kept["text"].to_pylist() == [f"{BODY}\n\nabout this site\n\n{BODY}"]
    assert outcome.noted["web"]["paragraphs_cut"] == 1


def test_a_recipe_cuts_boilerplate_over_all_inputs_and_accounts_for_it(tmp_path: Path) -> None:
    own = [" ".join(f"{w}{chr(97 + i)}" for w in BODY.split()) for i in range(20)]
    menu, notice = "Home - Products - Contact", "We use cookies to give you the best experience on our website"
    for part in range(2):
        rows = [
            {"id": f"{i}", "url": f"https://shop.example.com/{i}", "text": f"{menu}\n{own[i]}\n\n{notice}"}
            for i in range(part, 10, 2)
        ]
        write_lines(tmp_path / "web" / f"{part}.jsonl", rows)
    papers = [{"id": f"p{i}", "text": f"{own[10 + i]}\n{notice}"} for i in range(3)]
    write_lines(tmp_path / "papers" / "0.jsonl", [*papers, {"id": "notice", "text": notice}])
    stage = {"per_domain": {"min_documents": 5}, "over_corpus": {"min_documents": 12}, "min_words": 5}
    sealed = run_here(
        tmp_path,
        {
            "web": {"stage": "json_lines", "files": "web", "columns": {"url": "url", "id": "id"}},
            "papers": {"stage": "json_lines", "files": "papers", "columns": {"id": "id"}},
            "clean": {"stage": "dedup_lines", "from": ["papers", "web"], **stage},
        },
    )
    texts = [row["text"] for row in rows_of(sealed["clean"])]
    assert sum(menu in text for text in texts) == 1
    assert sum(notice in text for text in texts) == 1
    assert len(texts) + len(removed_from(sealed["clean"])) == 14
    assert {r["reason"] for r in removed_from(sealed["clean"])} <= {"mostly_boilerplate", "too_little_left"}
    ledger = sealed["clean"].ledger.last()
    assert sum(counts.noted["lines_cut"] for counts in ledger.values()) == 9 + 13
    assert sealed["clean.repeats"].summary["to_cut"] == 9 + 13

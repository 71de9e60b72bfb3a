"""One stage on a few files: a line of JSON for each document, with its fate and what was measured."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import progress
from pipeline.errors import RecipeError, SluiceError, StageError
from pipeline.registry import stage_names
from pipeline.stage import Map, Outcome, StageConfig
from pipeline.trying import try_stage
from tests.chat_server import ChatServer, Reply, completion
from tests.stages.in_process import write_lines
from tests.stages.pdf_files import text_pdf
from tests.stages.rephrase.conftest import PAGES, REWRITTEN, Asked, sound_model

SENTENCE = "The committee met in the old hall and spoke of the rivers of the county for a long time. "
SHORT = "the committee of that county and its rivers"
PAGE = (
    "<html><head><title>Rivers</title></head><body><nav><a href='/'>Home</a></nav>"
    f"<article><h1>Rivers</h1><p>{SENTENCE * 4}</p><p>{SENTENCE * 4}</p></article></body></html>"
)


def tried(stage: str, *files: Path, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in try_stage(stage, [str(file) for file in files], options)]
    for line in lines:
        assert {"id", "kept", "reason", "scores", "text"} <= set(line)
        assert line["kept"] == (line["reason"] is None) == (line["verdict"] == "kept")
    return lines


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "rivers.html"
    path.write_text(PAGE)
    return path


def test_a_page_through_extraction(page: Path) -> None:
    (line,) = tried("extract_html", page)
    assert line["kept"]
    assert line["id"].startswith("try/rivers.html")
    assert SENTENCE.strip() in line["text"]
    assert "Home" not in line["text"]
    assert line["scores"]["extract_html.title"] == "Rivers"


def test_a_page_through_a_filter_is_extracted_first(page: Path) -> None:
    (line,) = tried("gopher_quality", page)
    assert line["kept"]
    assert line["scores"]["gopher_quality.words"] > 50


def test_a_real_page(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "html_extraction" / "readability_test_pages" / "pages.tar.zst"
    with (
        pa.CompressedInputStream(pa.OSFile(str(archive)), "zstd") as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        member = next(m for m in tar if m.name.endswith(".html"))
        (tmp_path / "page.html").write_bytes(tar.extractfile(member).read())
    (line,) = tried("extract_html", tmp_path / "page.html")
    assert line["kept"]
    assert len(line["text"].split()) > 100


def test_a_real_pdf(shared_data: Path) -> None:
    (line,) = tried("pdf", shared_data / "pdf" / "docling" / "multi_page.pdf")
    assert line["kept"]
    assert "word processor" in line["text"].lower()


def test_a_pdf(tmp_path: Path) -> None:
    (line,) = tried("pdf", text_pdf(tmp_path / "minutes.pdf", [SENTENCE * 5, "The second page of the minutes."]))
    assert line["kept"]
    assert "old hall" in line["text"]
    assert "The second page" in line["text"]


def test_a_damaged_pdf_is_failed_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and then nothing of the kind")
    (line,) = tried("pdf", tmp_path / "broken.pdf")
    assert (line["verdict"], line["kept"]) == ("failed", False)
    assert "broken.pdf" in line["id"]
    assert line["evidence"]


def test_documents_through_a_filter_with_an_option(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", [SENTENCE * 5, SHORT])
    dropped, kept = sorted(tried("gopher_quality", path), key=lambda line: line["kept"])
    assert (dropped["reason"], dropped["text"]) == ("too_few_words", SHORT)
    assert "8 words < 50" in dropped["evidence"]
    assert kept["text"] == SENTENCE * 5
    lines = tried("gopher_quality", path, options=("min_words=8",))
    assert [line["scores"]["gopher_quality.words"] for line in lines] == [95, 8]  # in the order of the file
    assert all(line["kept"] for line in lines)


def test_a_long_document_that_is_dropped_is_shown_whole(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", [SENTENCE * 40])
    (line,) = tried("gopher_quality", path, options=("max_words=10",))
    assert line["text"] == SENTENCE * 40


def test_documents_through_dedup(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", [SENTENCE * 5])
    two = write_lines(tmp_path / "two.jsonl", [SENTENCE.upper() * 5, "another text"])
    lines = tried("dedup", one, two)
    assert [(line["id"].split("@")[0], line["reason"]) for line in lines] == [
        ("try/one.jsonl", None),
        ("try/two.jsonl", "exact_duplicate"),
        ("try/two.jsonl", None),
    ]
    assert "to try/one.jsonl@0" in lines[1]["evidence"]


def test_a_line_that_is_no_json_is_shown_as_failed(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text(f'{{"text": "{SHORT}"}}\n{{"text": \n')
    lines = tried("gopher_quality", path, options=("min_words=1",))
    assert [line["verdict"] for line in lines] == ["kept", "failed"]
    assert f"byte {len(SHORT) + 13}" in lines[1]["evidence"]


def test_source_code(tmp_path: Path) -> None:
    path = tmp_path / "rivers.py"
    path.write_text("def length(river):\n    return river.kilometres\n")
    (line,) = tried("source_code", path)
    assert line["text"] == path.read_text()


def test_an_unknown_stage_is_told_with_the_nearest_name(page: Path) -> None:
    with pytest.raises(RecipeError, match="unknown stage 'gopher_qualty'; did you mean 'gopher_quality'"):
        tried("gopher_qualty", page)


def test_an_unknown_option_is_told_with_the_nearest_name(page: Path) -> None:
    with pytest.raises(RecipeError, match="gopher_quality: unknown option 'min_word'; did you mean 'min_words'"):
        tried("gopher_quality", page, options=("min_word=3",))


def test_a_stage_that_returns_no_documents_is_refused(page: Path) -> None:
    with pytest.raises(RecipeError, match="'train_tokenizer' does not return documents but tokenizer"):
        tried("train_tokenizer", page, options=("vocabulary=257",))


def test_an_option_of_the_wrong_type_is_told_with_its_value(page: Path) -> None:
    with pytest.raises(RecipeError, match=r"gopher_quality: min_words: .*got 'many'"):
        tried("gopher_quality", page, options=("min_words=many",))


def test_an_option_without_a_value_is_told_with_an_example(page: Path) -> None:
    with pytest.raises(RecipeError, match="expected key=value, for example"):
        tried("gopher_quality", page, options=("min_words",))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no file or folder .*absent\.html"):
        tried("extract_html", tmp_path / "absent.html")


def test_files_of_two_kinds_are_refused(page: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="html_files and json_lines"):
        tried("gopher_quality", page, write_lines(tmp_path / "docs.jsonl", ["text"]))


class Broken(Map[StageConfig]):
    """A stage with a bug."""

    name = "broken"

    def process(self, batch: pa.Table) -> Outcome:
        raise KeyError("no such thing")


def test_the_account_of_a_bug_is_where_the_message_says(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="KeyError: 'no such thing'") as caught:
        tried(f"{__name__}:Broken", write_lines(tmp_path / "docs.jsonl", [SENTENCE]))
    account = Path(str(caught.value).rpartition(" ")[2])
    assert "Traceback" in account.read_text()
    shutil.rmtree(account.parent)


@pytest.mark.parametrize("stage", stage_names())
def test_each_stage_can_be_tried_or_says_in_one_line_why_not(stage: str, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", [SENTENCE * 5, SHORT])
    lines, problem = [], ""
    try:
        lines = list(try_stage(stage, [str(path)], []))
    except SluiceError as error:
        problem = str(error)
    assert lines or len(problem.splitlines()) == 1
    assert "KeyError" not in problem


def rephrased(reply: Callable[[Asked, int], Reply], path: Path, *options: str) -> list[dict[str, Any]]:
    server = ChatServer(reply, request_type=Asked)
    try:
        asked = (f"endpoints={server.url}", "model=small", "style=encyclopaedic", "temperature=0", *options)
        return tried("rephrase", path, options=asked)
    finally:
        server.close()


def test_a_document_through_rephrasing_with_its_scores(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", [PAGES["mill"]])
    parent, child = rephrased(sound_model, path)
    assert (parent["text"], parent["reason"]) == (PAGES["mill"], "rephrased")
    assert (child["text"], child["kept"]) == (REWRITTEN["mill"], True)
    assert child["id"].startswith(f"{parent['id']}~encyclopaedic")
    assert child["scores"]["rephrase.support"] > 0.6


def test_an_answer_that_a_gate_refuses_is_shown_with_its_scores(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", [PAGES["mill"]])
    wrong = REWRITTEN["mill"].replace("3,500", "9,200").replace("1897", "1931")
    _, child = rephrased(lambda request, before: completion(wrong), path)
    assert (child["text"], child["reason"], child["evidence"]) == (wrong, "changed_numbers", "2 > 0")
    assert child["scores"]["rephrase.changed_numbers"] == 2


def test_a_stage_that_works_with_what_others_have_made_is_told_with_the_one_to_try(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "docs.jsonl", [PAGES["mill"]])
    with pytest.raises(RecipeError, match=r"'rephrase_write' works with what other parts of .* try 'rephrase'"):
        tried("rephrase_write", path, options=("endpoints=http://127.0.0.1:9/v1", "model=small"))


def test_how_far_it_is_is_told_now_and_then_on_standard_error(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PRINT_EVERY_S", 0.001)
    list(try_stage("gopher_quality", [str(page)], ()))
    assert capsys.readouterr() == ("", "")
    list(try_stage("gopher_quality", [str(page)], (), is_quiet=False))
    told = capsys.readouterr()
    assert told.out == ""
    assert {line.split()[0] for line in told.err.splitlines()} == {"running:"}

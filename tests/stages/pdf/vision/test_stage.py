"""The vision-language lane as a stage: every page ends as text or with a reason, whatever the server does."""

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pydantic import ValidationError
from reportlab.pdfgen import canvas

from pipeline.errors import MachineError
from pipeline.stage import Context
from stages.models import chat
from stages.pdf.pages import PdfPages, PdfPagesConfig
from stages.pdf.vision.stage import PdfVision, PdfVisionConfig
from tests.chat_server import PASSING_FAULTS
from tests.stages.pdf.vision.conftest import Serve
from tests.stages.pdf.vision.pages import HEIGHT, WORDS, page_of, row, seen, stage, table
from tests.stages.pdf.vision.vision_server import Reply, Request, completion

OTHER_WORDS = (
    "Sourdough needs a lively starter, strong flour and patience. Feed the starter on the evening before baking, mix "
    "the dough with three quarters of the water, and let it rest before the salt goes in. Fold it every half hour "
    "until it holds its shape, then leave the basket in the refrigerator overnight. Bake on a hot stone under a lid, "
    "and take the lid off for the last twenty minutes so that the crust may brown."
)


def says(text: str) -> Reply:
    return completion(text)


def test_a_hard_page_gets_the_text_of_the_model(serve: Serve) -> None:
    server = serve(lambda request, before: completion(f"# Heading\n\nText of page {request.page}."))
    kept = seen(stage(server.url).process(table(row(0, "Te xt oi page"), row(1, "Tcxt"))))
    assert {number: kept[number]["text"] for number in kept} == {
        0: "# Heading\n\nText of page 0.",
        1: "# Heading\n\nText of page 1.",
    }
    page = page_of(kept[1])
    assert (page.lane, page.blocks[0].kind, page.text) == ("vision", "markdown", "# Heading\n\nText of page 1.")
    assert (page.characters, page.confidence) == (20, None)
    assert (kept[1]["pdf.lane"], kept[1]["pdf.vision"], kept[1]["pdf.vision_tries"]) == ("vision", "accepted", 1)
    assert kept[1]["pdf.confidence"] is None


def test_a_request_shows_the_page_and_says_what_is_wanted(serve: Serve, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", "secret\n")  # as files of secrets end
    server = serve(lambda request, before: says("text"))
    options = {"api_key_variable": "TEST_KEY", "max_tokens": 500, "extra_body": {"top_k": 3}}
    stage(server.url, **options).process(table(row(5)))
    (request,) = server.requests
    assert (request.page, request.turned, request.half) == (5, 0, "")
    assert request.headers["Authorization"] == "Bearer secret"
    asked = {name: request.body[name] for name in ("model", "max_tokens", "temperature", "top_k")}
    assert asked == {"model": "small", "max_tokens": 500, "temperature": 0.1, "top_k": 3}
    assert "Markdown" in request.prompt


@pytest.mark.parametrize(("pages", "asked"), [("hard", [0, 4]), ("ocr", [0, 1, 4]), ("all", [0, 1, 2, 4])])
def test_only_the_pages_asked_for_are_asked_about_and_never_blank_ones(serve: Serve, pages: str, asked: list) -> None:
    server = serve(lambda request, before: says("text"))
    rows = [
        row(0, "handwriting", **{"pdf.hard": "low_confidence"}),
        row(1, "print", **{"pdf.hard": ""}),
        row(2, "sound layer", "text", None, **{"pdf.hard": ""}),
        row(3, "", "blank", None, **{"pdf.hard": ""}),
        row(4, "", "unread", None, **{"pdf.hard": ""}),  # needs OCR, which is off
        row(5, "", "failed", None, **{"pdf.hard": ""}),
    ]
    outcome = stage(server.url, pages=pages).process(table(*rows))
    assert server.pages() == asked
    kept = seen(outcome)
    assert [number for number in kept if kept[number]["pdf.vision"]] == asked
    assert kept[3]["pdf.lane"] == "blank"
    assert kept[3]["pdf.vision_tries"] is None


def test_pictures_go_no_further_than_this_stage(serve: Serve) -> None:
    server = serve(lambda request, before: says("text"))
    assert "pdf.picture" not in stage(server.url).process(table(row(0))).kept.column_names


def test_pages_come_from_pdfs(serve: Serve, tmp_path: Path) -> None:
    document = canvas.Canvas(str(tmp_path / "a.pdf"), pagesize=(595, 842))
    for number in range(3):
        document.drawString(72, 700, f"Page {number} is about the harbour wall, which has been cracked for years.")
        document.showPage()
    document.save()
    source = PdfPages(PdfPagesConfig(files=(str(tmp_path / "a.pdf"),), pictures="all", picture_side=1536))
    server = serve(lambda request, before: says("text"))
    (split,) = source.splits()
    (outcome,) = source.read(split, "papers", Context(seed=1))
    kept = seen(stage(server.url, pages="all").process(outcome.kept))
    assert [(kept[n]["text"], kept[n]["pdf.vision"]) for n in range(3)] == [("text", "accepted")] * 3
    assert {max(request.picture.size) for request in server.requests} == {1536}


def test_without_a_server_the_lane_is_off_and_says_so() -> None:
    off = stage(model="")
    kept = off.process(table(row(0, "as it was")).drop_columns(["pdf.picture"])).kept
    assert off.note() == "the vision-language lane is off: no endpoint is given"
    assert "pdf.picture" not in off.requires
    assert kept.column("text").to_pylist() == ["as it was"]
    assert kept.column("pdf.vision").to_pylist() == [None]


def test_a_picture_is_never_larger_than_the_model_takes(serve: Serve) -> None:
    large = io.BytesIO()
    Image.new("L", (3000, 1500), 200).save(large, "PNG")
    server = serve(lambda request, before: says("text"))
    stage(server.url).process(table(row(0, **{"pdf.picture": large.getvalue()})))
    assert server.requests[0].picture.size == (1536, 768)


# What the model says ----------------------------------------------------------------------------------------------


def loops(request: Request, before: int) -> Reply:
    return says("The wall is cracked. " * 40)


@pytest.mark.parametrize(
    ("reply", "ending"),
    [
        (says(""), "empty"),
        (completion(None), "empty"),
        (says("I'm sorry, but I can't read the text in this image."), "refused"),
        (completion("", "content_filter"), "refused"),
        (says("The wall is cracked. " * 40), "repetition"),
        (completion("The wall is cracked. " * 40, "length"), "repetition"),
        (completion("The wall", "repetition"), "repetition"),  # vLLM's own detector
        (completion("The council met", "length"), "not_finished"),
        (completion("The council met", "abort"), "unparseable"),
        (says(OTHER_WORDS), "emptied"),
        (says(WORDS + " " + OTHER_WORDS + OTHER_WORDS[:200]), "invented"),
        (says("A photograph of a letter."), "emptied"),
    ],
)
def test_an_answer_that_cannot_stand_is_asked_for_four_times_then_the_cpus_text_stays(serve, reply, ending) -> None:
    server = serve(lambda request, before: reply)
    kept = seen(stage(server.url).process(table(row(0, WORDS, confidence=0.97))))[0]
    assert (kept["pdf.vision"], kept["pdf.vision_tries"]) == (ending, 4)
    assert kept["pdf.vision_evidence"]
    assert (kept["text"], kept["pdf.lane"], kept["pdf.confidence"]) == (WORDS, "ocr", 0.97)
    temperatures = [request.body["temperature"] for request in server.requests if not request.half]
    assert temperatures == ([0.1] if ending == "not_finished" else [0.1, 0.4, 0.7, 1.0])


@pytest.mark.parametrize("first", ["", "The wall is cracked. " * 40, OTHER_WORDS, "I cannot help with that."])
def test_a_warmer_answer_may_stand(serve: Serve, first: str) -> None:
    server = serve(lambda request, before: says(WORDS if before else first))
    kept = seen(stage(server.url).process(table(row(0, WORDS, confidence=0.97))))[0]
    assert (kept["pdf.vision"], kept["pdf.vision_tries"]) == ("accepted", 2)


def test_a_doubtful_witness_is_not_heard(serve: Serve) -> None:
    server = serve(lambda request, before: says(OTHER_WORDS))
    rows = [
        row(0, WORDS, confidence=0.94),
        row(1, " ".join(WORDS.split()[:40]), confidence=0.97),
        row(2, WORDS, "ocr_layer", None),
    ]
    kept = seen(stage(server.url).process(table(*rows)))
    assert [kept[number]["pdf.vision"] for number in kept] == ["accepted"] * 3


def test_a_sound_text_layer_is_a_witness(serve: Serve) -> None:
    server = serve(lambda request, before: says(OTHER_WORDS))
    kept = seen(stage(server.url).process(table(row(0, WORDS, "text", None, **{"pdf.hard": "formulas"}))))[0]
    assert (kept["pdf.vision"], kept["text"]) == ("emptied", WORDS)


def test_a_page_that_repeats_itself_is_no_loop_of_the_model(serve: Serve) -> None:
    ticket = "Admit one to the harbour light on the day of the fair, rain or shine. " * 8
    server = serve(lambda request, before: says(ticket))
    kept = seen(stage(server.url).process(table(row(0, ticket.replace("fair", "falr")))))[0]
    assert kept["pdf.vision"] == "accepted"


def test_a_page_on_which_nobody_finds_text_is_read(serve: Serve) -> None:
    server = serve(lambda request, before: says(""))
    kept = seen(stage(server.url).process(table(row(0, "", confidence=None))))[0]
    assert (kept["pdf.vision"], kept["text"], kept["pdf.lane"]) == ("accepted", "", "vision")


def test_a_page_without_any_text_has_failed(serve: Serve) -> None:
    server = serve(lambda request, before: loops(request, before))
    kept = seen(stage(server.url).process(table(row(0, "", "unread", None))))[0]
    page = page_of(kept)
    assert (kept["pdf.lane"], page.lane, page.reason) == ("failed", "failed", "vision_repetition")


def test_a_page_without_a_picture_keeps_its_text(serve: Serve) -> None:
    server = serve(lambda request, before: says("text"))
    kept = seen(stage(server.url).process(table(row(0, "as it was", **{"pdf.picture": None}))))[0]
    assert (kept["pdf.vision"], kept["text"]) == ("undrawn", "as it was")


def test_a_page_cut_off_is_read_in_halves_whose_common_lines_count_once(serve: Serve) -> None:
    words = WORDS.split()

    def reply(request: Request, before: int) -> Reply:
        if request.half == "upper":
            return says(" ".join(words[:50]) + " of h")  # the last line is cut through
        if request.half == "lower":
            return says("ques " + " ".join(words[40:]))
        return completion(WORDS[:100], "length")

    server = serve(reply)
    kept = seen(stage(server.url).process(table(row(0, WORDS, confidence=0.97))))[0]
    assert kept["text"] == WORDS
    assert (kept["pdf.vision"], kept["pdf.vision_tries"]) == ("accepted", 2)
    assert [request.half for request in server.requests] == ["", "upper", "lower"]
    upper, lower = (request.picture.height for request in server.requests[1:])
    assert upper + lower == pytest.approx(1.1 * HEIGHT, abs=2)


def test_a_blank_half_is_not_asked_about(serve: Serve) -> None:
    from tests.stages.pdf.vision.pages import picture

    server = serve(lambda request, before: says("The upper half.") if request.half else completion("The", "length"))
    blank_below = row(0, "x", **{"pdf.picture": picture(0, lower_half_is_blank=True)})
    kept = seen(stage(server.url).process(table(blank_below)))[0]
    assert kept["text"] == "The upper half."
    assert [request.half for request in server.requests] == ["", "upper"]


def olmocr(text: str, is_valid: bool = True, correction: int = 0) -> str:
    facts = f"primary_language: en\nis_rotation_valid: {is_valid}\nrotation_correction: {correction}\n"
    return f"---\n{facts}is_table: False\nis_diagram: False\n---\n{text}"


def test_a_page_that_lies_on_its_side_is_turned(serve: Serve) -> None:
    def reply(request: Request, before: int) -> Reply:
        # the page as drawn stands for one that lies on its side: it must be turned by 90 degrees clockwise
        return says(olmocr(WORDS) if request.turned == 90 else olmocr("?", False, 270))

    server = serve(reply)
    kept = seen(stage(server.url, profile="olmocr").process(table(row(0, "x"))))[0]
    assert (kept["text"], kept["pdf.vision_tries"]) == (WORDS, 2)
    assert [request.turned for request in server.requests] == [0, 90]


def test_a_model_that_turns_a_page_in_circles_is_held_to_its_text(serve: Serve) -> None:
    server = serve(lambda request, before: says(olmocr(WORDS, False, 180)))
    kept = seen(stage(server.url, profile="olmocr").process(table(row(0, "x"))))[0]
    assert (kept["text"], [request.turned for request in server.requests]) == (WORDS, [0, 180])


def test_a_model_that_always_wants_another_turn_does_not_get_it(serve: Serve) -> None:
    server = serve(lambda request, before: says(olmocr(WORDS, False, 270)))
    options = {"profile": "olmocr", "temperatures": (0.1, 0.4, 0.7)}
    kept = seen(stage(server.url, **options).process(table(row(0, "x"))))[0]
    assert (kept["pdf.vision"], [request.turned for request in server.requests]) == ("wrong_rotation", [0, 90, 180])


def test_an_answer_in_another_format_is_unparseable(serve: Serve) -> None:
    server = serve(lambda request, before: says(WORDS))
    kept = seen(stage(server.url, profile="olmocr").process(table(row(0, "x"))))[0]
    assert (kept["pdf.vision"], kept["pdf.vision_evidence"]) == ("unparseable", "no front matter")


# What the server does ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["500", "reset", "half a body", "malformed JSON"])
def test_what_may_pass_is_asked_again_and_is_no_try(serve: Serve, fault: str) -> None:
    server = serve(lambda request, before: PASSING_FAULTS[fault] if before < 2 else says("at last"))
    kept = seen(stage(server.url).process(table(row(0, "x"))))[0]
    assert (kept["text"], kept["pdf.vision_tries"], server.pages()) == ("at last", 1, [0, 0, 0])


def test_a_page_that_never_gets_an_answer_is_unavailable_where_others_get_one(serve: Serve) -> None:
    server = serve(lambda request, before: Reply(500) if request.page == 3 else says("text"))
    kept = seen(stage(server.url).process(table(*(row(n, "as it was") for n in range(5)))))
    assert [kept[n]["text"] for n in kept] == ["text"] * 3 + ["as it was", "text"]
    assert kept[3]["pdf.vision"] == "unavailable"
    assert server.pages().count(3) == chat.MAX_FAILURES


def test_a_page_that_the_server_refuses_keeps_its_text_at_once(serve: Serve) -> None:
    server = serve(lambda request, before: Reply(400, b"too long") if request.page == 3 else says("text"))
    kept = seen(stage(server.url).process(table(*(row(n, "as it was") for n in range(5)))))
    assert Counter(kept[number]["pdf.vision"] for number in kept) == {"accepted": 4, "refused": 1}
    assert (kept[3]["text"], kept[3]["pdf.vision_evidence"]) == ("as it was", "status 400: too long")
    assert server.pages().count(3) == 1


def test_a_wrong_key_ends_the_run_at_once(serve: Serve) -> None:
    server = serve(lambda request, before: Reply(401, b"not you"))
    with pytest.raises(MachineError, match=r"not you.*key"):
        stage(server.url, concurrency=1).process(table(*(row(n) for n in range(9))))
    assert len(server.requests) <= 2  # one may have begun before the first was judged


# What survives ----------------------------------------------------------------------------------------------------


def test_a_second_run_asks_for_nothing_that_is_done(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda request, before: says(f"text {request.page}"))
    batch = table(*(row(n, "x") for n in range(9)))
    first = stage(server.url, answers=tmp_path).process(batch)
    second = stage(server.url, answers=tmp_path).process(batch)
    assert server.pages() == list(range(9))
    assert first.kept.equals(second.kept)
    assert first.noted == second.noted == {"papers": {"vision_accepted": 9}}


def test_a_page_that_the_server_refused_is_asked_about_again_by_a_second_run(serve: Serve, tmp_path: Path) -> None:
    def reply(request: Request, before: int) -> Reply:
        return Reply(400, b"too long") if request.page == 3 and before == 0 else says("text")

    server = serve(reply)
    batch = table(*(row(n, "as it was") for n in range(5)))
    assert seen(stage(server.url, answers=tmp_path).process(batch))[3]["pdf.vision"] == "refused"
    assert seen(stage(server.url, answers=tmp_path).process(batch))[3]["pdf.vision"] == "accepted"


@pytest.mark.parametrize("change", [{"model": "other"}, {"max_tokens": 99}, {"profile": "deepseek_ocr"}])
def test_another_way_of_asking_asks_anew(serve: Serve, tmp_path: Path, change: dict) -> None:
    server = serve(lambda request, before: says("text"))
    stage(server.url, answers=tmp_path).process(table(row(0)))
    stage(server.url, answers=tmp_path, **change).process(table(row(0)))
    assert len(server.requests) == 2


def test_more_pages_leave_the_answers_about_others_as_they_are(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda request, before: says("text"))
    batch = table(row(0), row(1, **{"pdf.hard": ""}))
    for pages in ("hard", "all"):
        stage(server.url, answers=tmp_path, pages=pages).process(batch)
    assert server.pages() == [0, 1]


def test_a_page_that_the_cpu_reads_otherwise_is_asked_for_anew(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda request, before: says("text"))
    for text in ("one reading", "another reading"):
        stage(server.url, answers=tmp_path).process(table(row(0, text)))
    assert len(server.requests) == 2


def test_an_outage_loses_no_page_that_is_done(serve: Serve, tmp_path: Path) -> None:
    def reply(request: Request, before: int) -> Reply:
        return says("text") if len(server.requests) <= 5 or is_up else Reply(500)

    is_up = False
    server = serve(reply)
    batch = table(*(row(n) for n in range(12)))
    with pytest.raises(MachineError):
        stage(server.url, answers=tmp_path, concurrency=1, max_outage_s=0.2).process(batch)
    asked_before = len(server.requests)
    is_up = True
    kept = seen(stage(server.url, answers=tmp_path, concurrency=1).process(batch))
    assert Counter(kept[n]["pdf.vision"] for n in kept) == {"accepted": 12}
    assert [request.page for request in server.requests[asked_before:]] == list(range(5, 12))


def test_a_slow_page_does_not_keep_the_next_batch_waiting(serve: Serve) -> None:
    server = serve(lambda request, before: completion(f"text {request.page}", delay_s=0.3 if request.page == 0 else 0))
    batches = [table(*(row(n) for n in range(first, first + 4))) for first in (0, 4, 8)]
    outcomes = list(stage(server.url, concurrency=2).stream(iter(batches)))
    assert [seen(outcome)[n]["text"] for outcome, n in zip(outcomes, (0, 4, 8), strict=True)] == [
        "text 0",
        "text 4",
        "text 8",
    ]
    began = {request.page: request.at_s for request in server.requests}
    assert began[4] < began[0] + 0.3


def test_few_batches_are_taken_up_ahead(serve: Serve) -> None:
    server = serve(lambda request, before: completion("text", delay_s=0.2 if request.page == 0 else 0))
    taken = 0

    def batches() -> Iterator[pa.Table]:
        nonlocal taken
        for n in range(20):
            taken += 1
            yield table(row(2 * n), row(2 * n + 1))

    stream = stage(server.url, concurrency=2).stream(batches())
    assert seen(next(stream))[0]["text"] == "text"
    assert taken == 3  # more than twice as many pages as are asked about at once
    assert len(list(stream)) == 19


def test_a_kill_in_the_middle_repeats_no_page_that_is_done(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda request, before: completion(f"text {request.page}", delay_s=0.03))
    program = (
        "from pathlib import Path; from tests.stages.pdf.vision.pages import *\n"
        f"stage({server.url!r}, answers=Path({str(tmp_path)!r}), concurrency=2)"
        ".process(table(*(row(n, 'x') for n in range(60))))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[4])
    while len(server.requests) < 20 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = list(server.pages())
    kept = seen(stage(server.url, answers=tmp_path).process(table(*(row(n, "x") for n in range(60)))))
    twice = [page for page, count in Counter(server.pages()).items() if count > 1]
    assert 20 <= len(first) < 60
    assert len(twice) <= 2  # those under way when it died
    assert {n: kept[n]["text"] for n in kept} == {n: f"text {n}" for n in range(60)}


# What identifies it ------------------------------------------------------------------------------------------------


def test_servers_and_haste_do_not_identify_the_output() -> None:
    plain = PdfVisionConfig(endpoints=("http://a/v1",), model="m")
    same = PdfVisionConfig(endpoints=("http://b/v1", "http://c/v1"), model="m", concurrency=9, timeout_s=9)
    rented = PdfVisionConfig(engine="vllm", model="m", server_arguments=("--max-num-seqs=64",))
    assert plain.identity() == same.identity() == rented.identity()
    assert plain.identity() != PdfVisionConfig(endpoints=("http://a/v1",), model="n").identity()
    assert plain.identity() != PdfVisionConfig(model="m").identity()


def test_only_vllm_of_our_own_needs_gpus_one_for_each_server_and_none_for_tasks() -> None:
    ours, theirs = (
        PdfVision(PdfVisionConfig(**options, model="m"))
        for options in ({"engine": "vllm"}, {"endpoints": ("http://a",)})
    )
    service = ours.service()
    assert service is not None
    assert (service.gpus, service.processes, ours.gpus) == (1.0, 0, 0.0)
    assert theirs.service() is None
    assert pickle.loads(pickle.dumps(service)).make.args == service.make.args  # it is sent to the machine with the GPU


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoints": ("http://a/v1",)}, "needs the option 'model'"),
        ({"engine": "vllm"}, "needs the option 'model'"),
        ({"endpoints": ("localhost:8000",), "model": "m"}, "https\\?://"),
        ({"engine": "vllm", "endpoints": ("http://a/v1",), "model": "m"}, "either 'endpoints' or 'engine: vllm'"),
    ],
)
def test_options_that_do_not_fit_are_told(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PdfVisionConfig(**options)

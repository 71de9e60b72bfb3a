"""Rephrasing in a run: which documents are asked about, which answers count, and what the ledger says of each."""

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifact import Artifact
from pipeline.errors import MachineError, RecipeError, StageError
from pipeline.stage import Context
from stages.models.answer_log import AnswerLog
from stages.rephrase import stage as rephrase_stage
from stages.rephrase.stage import RephraseConfig, RephraseWrite, WriteConfig
from stages.rephrase.styles import STYLES_FILE, read_styles
from tests.chat_server import PASSING_FAULTS, Reply, completion
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines
from tests.stages.rephrase.conftest import PAGES, QUESTIONS, REWRITTEN, Asked, Serve, sound_model

MILL, LIGHTHOUSE = PAGES["mill"], PAGES["lighthouse"]


def rephrased(
    folder: Path, texts: Sequence[str | Mapping[str, Any]], url: str = "", seed: int = 1, **options: Any
) -> dict[str, Artifact]:
    """Run the stage over documents, none of which is held back for its source's share."""
    write_lines(folder / "docs.jsonl", texts)
    options = {"endpoints": [url] if url else [], "model": "small", "max_synthetic_share": 0.9, **options}
    docs = {"stage": "json_lines", "files": "docs.jsonl"}
    return run_here(folder, {"docs": docs, "new": {"stage": "rephrase", "from": "docs", **options}}, seed)


def endings(artifact: Artifact) -> Counter[tuple[str, str, str]]:
    """Source, verdict and reason of all that ended in an artifact."""
    return Counter((row["source"], row["verdict"], row["reason"]) for row in removed_from(artifact))


def noted(artifact: Artifact, name: str) -> int:
    steps = artifact.ledger.steps.values()
    return sum(counts.noted.get(name, 0) for sources in steps for counts in sources.values())


def test_a_new_document_tells_where_it_comes_from(tmp_path: Path, serve: Serve) -> None:
    server = serve(sound_model)
    found = rephrased(
        tmp_path, [MILL], server.url, style="encyclopaedic", revision="r1", model_licence="Apache-2.0", temperature=0.3
    )
    (child,) = rows_of(found["new"])
    (parent,) = rows_of(found["docs"])
    style = read_styles(STYLES_FILE)["encyclopaedic"]
    assert child["text"] == REWRITTEN["mill"]
    assert re.fullmatch(rf"{re.escape(parent['id'])}~encyclopaedic\.[0-9a-f]{{6}}", child["id"])
    assert child["parent"] == parent["id"]
    assert (child["source"], child["rephrase.parent_source"]) == ("rephrased", "docs")
    assert (child["rephrase.style"], child["rephrase.style_fingerprint"]) == ("encyclopaedic", style.fingerprint)
    assert (child["rephrase.model"], child["rephrase.model_licence"]) == ("small@r1", "Apache-2.0")
    sampling = json.loads(child["rephrase.sampling"])
    assert sampling == {"temperatures": [0.3], "top_p": 0.95, "seeds": [server.requests[0].body["seed"]]}
    assert child["rephrase.completion_tokens"] == len(REWRITTEN["mill"].split())
    assert child["rephrase.number_precision"] == 1.0
    assert child["rephrase.support"] > 0.6
    assert child["origin"] == parent["origin"]
    ledger = found["new.written"].ledger.last()
    assert (ledger["docs"].received, dict(ledger["docs"].dropped)) == (1, {"rephrased": 1})
    assert (ledger["rephrased"].created, ledger["rephrased"].kept) == (1, 1)
    assert noted(found["new.written"], "rephrase_requests") == 1


def test_one_document_may_be_written_in_several_styles(tmp_path: Path, serve: Serve) -> None:
    options = {"style": ["clean", "encyclopaedic", "questions"], "variants_per_parent": 3, "source": "{source}_{style}"}
    found = rephrased(tmp_path, [MILL, LIGHTHOUSE], serve(sound_model).url, **options)
    by_source = {(row["source"], row["text"]) for row in rows_of(found["new.written"])}
    assert {source for source, _ in by_source} == {"docs_clean", "docs_encyclopaedic", "docs_questions"}
    assert ("docs_questions", QUESTIONS["mill"]) in by_source
    assert len(by_source) == 6


def test_an_answer_that_fails_a_gate_is_asked_for_once_more_and_may_pass(tmp_path: Path, serve: Serve) -> None:
    seeds = []

    def reply(request: Asked, before: int) -> Reply:
        seeds.append(request.body["seed"])
        text = REWRITTEN["mill"].replace("3,500", "9,200").replace("1897", "1931")
        return completion(text) if before == 0 else completion(REWRITTEN["mill"])

    found = rephrased(tmp_path, [MILL], serve(reply).url, style="encyclopaedic", temperature=0.0)
    assert [row["text"] for row in rows_of(found["new"])] == [REWRITTEN["mill"]]
    assert len(set(seeds)) == 2
    assert noted(found["new.written"], "rephrase_retries") == 1


def test_the_sampling_that_is_told_of_each_passage_is_that_of_its_last_try(tmp_path: Path, serve: Serve) -> None:
    paragraphs = [f"{MILL} This is the account of the year {1900 + i}." for i in range(40)]

    def reply(request: Asked, before: int) -> Reply:
        fails = before == 0 and "year 1939" in request.passage
        return completion("I cannot do that.") if fails else sound_model(request, before)

    server = serve(reply)
    options = {"context_tokens": 2048, "temperature": 0.2}
    (child,) = rows_of(rephrased(tmp_path, ["\n\n".join(paragraphs)], server.url, **options)["new"])
    sampling = json.loads(child["rephrase.sampling"])
    assert sampling["temperatures"] == [*[0.2] * (child["rephrase.passages"] - 1), 0.5]
    asked = {request.body["seed"]: request.body["temperature"] for request in server.requests}
    assert [asked[seed] for seed in sampling["seeds"]] == sampling["temperatures"]


def test_an_answer_that_fails_twice_is_dropped_with_what_was_measured(tmp_path: Path, serve: Serve) -> None:
    wrong = REWRITTEN["mill"].replace("3,500", "9,200").replace("1897", "1931")
    server = serve(lambda request, before: completion(wrong))
    found = rephrased(tmp_path, [MILL], server.url, style="encyclopaedic")
    assert len(server.requests) == 2
    (removed,) = [row for row in removed_from(found["new.written"]) if row["source"] == "rephrased"]
    assert removed["verdict"] == "dropped"
    assert (removed["reason"], removed["evidence"]) == ("changed_numbers", "2 > 0")
    assert json.loads(removed["scores"])["rephrase.number_precision"] < 0.95
    assert removed["excerpt"].startswith("The mill on the Weser")
    assert [row["text"] for row in rows_of(found["docs"])] == [MILL], "the parent stays as it was"


def test_a_document_that_the_server_refuses_is_failed_and_the_others_go_on(tmp_path: Path, serve: Serve) -> None:
    def reply(request: Asked, before: int) -> Reply:
        return Reply(400, b"too long for me") if request.page == "mill" else sound_model(request, before)

    found = rephrased(tmp_path, [MILL, LIGHTHOUSE], serve(reply).url)
    assert [row["text"] for row in rows_of(found["new"])] == [LIGHTHOUSE]
    (failed,) = [row for row in removed_from(found["new.written"]) if row["verdict"] == "failed"]
    assert failed["reason"] == "request_refused"
    assert "too long for me" in failed["evidence"]


def test_faults_that_pass_cost_no_document(tmp_path: Path, serve: Serve) -> None:
    faults = [fault for name, fault in PASSING_FAULTS.items() if "hang" not in name and "endless" not in name]
    texts = [f"{MILL} Document {i}." for i in range(len(faults))]

    def reply(request: Asked, before: int) -> Reply:
        number = request.passage.rpartition("Document ")[2].removesuffix(".")
        return faults[int(number)] if number and before == 0 else completion(request.passage or "yes")

    found = rephrased(tmp_path, texts, serve(reply).url, timeout_s=1.0)
    assert sorted(row["text"] for row in rows_of(found["new.written"])) == sorted(texts)


def test_a_long_document_is_written_in_passages_that_are_put_together_again(tmp_path: Path, serve: Serve) -> None:
    paragraphs = [f"{MILL} This is the account of the year {1900 + i}." for i in range(40)]
    server = serve(sound_model)
    found = rephrased(tmp_path, ["\n\n".join(paragraphs)], server.url, context_tokens=2048)
    (child,) = rows_of(found["new"])
    assert child["text"].split("\n\n") == paragraphs
    assert child["rephrase.passages"] == len(server.requests) > 5


def test_a_passage_that_fails_stays_as_it_is_in_a_cleaned_document(tmp_path: Path, serve: Serve) -> None:
    paragraphs = [f"{MILL} This is the account of the year {1900 + i}." for i in range(40)]

    def reply(request: Asked, before: int) -> Reply:
        return completion("I cannot do that.") if "year 1939" in request.passage else sound_model(request, before)

    found = rephrased(tmp_path, ["\n\n".join(paragraphs)], serve(reply).url, context_tokens=2048)
    (child,) = rows_of(found["new"])
    assert child["text"].split("\n\n") == paragraphs
    assert child["rephrase.raw_passages"] == 1
    assert noted(found["new.written"], "rephrase_raw_passages") == 1


def test_a_passage_that_fails_is_left_out_where_the_style_says_so(tmp_path: Path, serve: Serve) -> None:
    paragraphs = [f"{MILL} This is the account of the year {1900 + i}." for i in range(40)]
    values = yaml.safe_load(STYLES_FILE.read_text())
    values["styles"]["clean"]["failed_passage"] = "omit"
    (tmp_path / "styles.yaml").write_text(yaml.safe_dump(values))

    def reply(request: Asked, before: int) -> Reply:
        return completion("I cannot do that.") if "year 1939" in request.passage else sound_model(request, before)

    options = {"context_tokens": 2048, "styles": "styles.yaml"}
    found = rephrased(tmp_path, ["\n\n".join(paragraphs)], serve(reply).url, **options)
    (child,) = rows_of(found["new"])
    assert "1939" not in child["text"]
    assert child["text"].startswith(paragraphs[0])
    assert child["rephrase.raw_passages"] == 0
    assert noted(found["new.written"], "rephrase_left_out_passages") == 1


def test_code_that_is_split_keeps_its_indentation(tmp_path: Path, serve: Serve) -> None:
    methods = [
        f"    def turn_{i}(self, wheel):\n        speed = wheel.speed * {i}\n        return self.mill.set(speed)\n"
        for i in range(60)
    ]
    page = "class Mill:\n" + "\n".join(methods)
    found = rephrased(tmp_path, [page], serve(sound_model).url, context_tokens=2048)
    (child,) = rows_of(found["new"])
    assert child["rephrase.passages"] > 2
    assert child["text"] == page.strip()


def test_private_data_is_masked_before_a_page_is_shown(tmp_path: Path, serve: Serve) -> None:
    server = serve(sound_model)
    found = rephrased(tmp_path, [f"{MILL} Write to karl.brandt@muehle-hameln.de for a tour."], server.url)
    assert all("karl.brandt@" not in json.dumps(request.body) for request in server.requests)
    assert "<EMAIL>" in server.requests[0].passage
    (child,) = rows_of(found["new"])
    assert child["text"].endswith("Write to <EMAIL> for a tour.")


def test_no_answer_is_asked_for_twice_when_only_gates_change(tmp_path: Path, serve: Serve) -> None:
    server = serve(sound_model)
    rephrased(tmp_path, [MILL, LIGHTHOUSE], server.url, style="encyclopaedic")
    asked = len(server.requests)
    values = yaml.safe_load(STYLES_FILE.read_text())
    values["styles"]["encyclopaedic"]["gates"]["support"] = {"min": 0.99}
    (tmp_path / "styles.yaml").write_text(yaml.safe_dump(values))
    found = rephrased(tmp_path, [MILL, LIGHTHOUSE], server.url, style="encyclopaedic", styles="styles.yaml")
    assert endings(found["new.written"])["rephrased", "dropped", "support"] == 2
    assert noted(found["new.written"], "rephrase_reused") == 2
    assert len(server.requests) == 2 * asked, "the second tries alone"


def test_another_style_repeats_only_its_own_work(tmp_path: Path, serve: Serve) -> None:
    server = serve(sound_model)
    rephrased(tmp_path, [MILL, LIGHTHOUSE], server.url, style="encyclopaedic", variants_per_parent=2)
    rephrased(tmp_path, [MILL, LIGHTHOUSE], server.url, style=["encyclopaedic", "questions"], variants_per_parent=2)
    assert Counter(request.wants for request in server.requests) == {"encyclopaedic": 2, "questions": 2}


def test_documents_that_a_filter_now_lets_through_do_not_repeat_the_others(tmp_path: Path, serve: Serve) -> None:
    server = serve(sound_model)
    rephrased(tmp_path, [MILL], server.url)
    rephrased(tmp_path, [MILL, LIGHTHOUSE], server.url)
    assert Counter(request.page for request in server.requests) == {"mill": 1, "lighthouse": 1}


def test_requests_of_later_batches_do_not_wait_for_those_of_earlier_ones(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.task.BATCH_ROWS", 1)
    texts = [f"{MILL} Document {i}." for i in range(rephrase_stage.BATCHES_AHEAD)]
    all_are_there = threading.Event()

    def reply(request: Asked, before: int) -> Reply:
        if server.most_at_once >= len(texts):
            all_are_there.set()
        all_are_there.wait(20)
        return completion(request.passage or "yes")

    server = serve(reply)
    found = rephrased(tmp_path, texts, server.url)
    assert len(rows_of(found["new.written"])) == len(texts)
    assert server.most_at_once == len(texts)


def test_what_the_owner_allows_goes_over_to_the_new_document(tmp_path: Path, serve: Serve) -> None:
    write_lines(tmp_path / "docs.jsonl", [{"text": MILL, "license": "CC-BY-4.0", "url": "https://mill.example/"}])
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "licensed": {"from": "docs", "chain": [{"licence": {"unmarked": "keep"}}, {"opt_out": {}}]},
        "new": {"stage": "rephrase", "from": "licensed", "endpoints": serve(sound_model).url, "model": "small",
                "max_synthetic_share": 0.9},
    }  # fmt: skip
    found = run_here(tmp_path, recipe)
    (parent,), (child,) = rows_of(found["licensed"]), rows_of(found["new"])
    inherited = [name for name in parent if name.startswith(("licence.", "opt_out."))]
    assert len(inherited) >= 2
    assert {name: child[name] for name in inherited} == {name: parent[name] for name in inherited}


def test_near_duplicate_outputs_and_what_is_over_the_share_are_dropped(tmp_path: Path, serve: Serve) -> None:
    texts = [f"{text} Number {i}." for i, text in enumerate([MILL, LIGHTHOUSE] * 2)]
    found = rephrased(tmp_path, texts, serve(sound_model).url)
    assert endings(found["new"]) == {("rephrased", "dropped", "duplicate_output"): 2}
    other = tmp_path / "share"
    other.mkdir()
    long = " ".join(f"{MILL} {LIGHTHOUSE}".split())
    found = rephrased(other, [long, LIGHTHOUSE], serve(sound_model).url, max_synthetic_share=0.3)
    natural = sum(len(row["text"]) for row in rows_of(found["docs"]))
    assert sum(len(row["text"]) for row in rows_of(found["new"])) <= 0.3 / 0.7 * natural


def test_without_a_model_the_stage_is_off_and_says_so(tmp_path: Path) -> None:
    found = rephrased(tmp_path, [MILL], model="")
    assert rows_of(found["new"]) == []
    assert endings(found["new"]) == {("docs", "dropped", "rephrasing_off"): 1}
    assert found["new"].notes == ("new: rephrasing is off: no endpoint is given",)


def test_servers_that_are_all_down_end_the_run_and_are_named(tmp_path: Path, serve: Serve) -> None:
    server = serve(sound_model)
    server.close()
    with pytest.raises(MachineError, match=r"127\.0\.0\.1"):
        rephrased(tmp_path, [MILL], server.url, max_outage_s=0.3)


def test_where_the_model_runs_is_no_part_of_the_identity_and_what_it_is_asked_is(tmp_path: Path) -> None:
    def identity(**options: Any) -> Any:
        return WriteConfig(**{"endpoints": "http://a/v1", "model": "m", **options}).identity()

    assert identity() == identity(endpoints=("http://b/v1", "http://c/v1"), timeout_s=9, concurrency=2, price_in=1)
    assert identity() == identity(engine="vllm", endpoints=())
    copy = tmp_path / "copy.yaml"
    copy.write_text(STYLES_FILE.read_text() + "\n# a remark\n")
    assert identity() == identity(styles=copy)
    for change in ({"model": "n"}, {"revision": "2"}, {"temperature": 0.1}, {"style": "faq"}, {"extra_body": {"a": 1}}):
        assert identity() != identity(**change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoints": "http://a/v1"}, "needs the option 'model'"),
        ({"endpoints": "http://a/v1", "engine": "vllm", "model": "m"}, "either 'endpoints' or 'engine: vllm'"),
        (
            {"engine": "vllm", "model": "m", "extra_body": {"chat_template_kwargs": "thinking=false"}},
            r"chat_template_kwargs is no mapping: write it such as \{enable_thinking: false\}",
        ),
        ({"style": "poem"}, "has no style 'poem'; it has clean, "),
        ({"source": "a b"}, r"the slots \{style\} and \{source\}"),
    ],
)
def test_options_that_do_not_fit_are_told_before_anything_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RephraseConfig(**options)


def test_a_score_that_no_stage_measures_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"needs the column quality\.score"):
        rephrased(tmp_path, [MILL], "http://127.0.0.1:9/v1", scores={"quality.score": {"max": 0.4}})


def test_a_context_that_leaves_no_room_for_passages_is_told_before_any_is_asked_about(
    tmp_path: Path, serve: Serve
) -> None:
    server = serve(sound_model)
    with pytest.raises(StageError, match=r"style 'faq'.* context_tokens \(512\).* at least \d{3}"):
        rephrased(tmp_path, [MILL], server.url, style=["clean", "faq"], context_tokens=512)
    assert server.requests == []


def test_an_answer_that_cannot_be_kept_for_good_fails_a_single_batch_too(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(log: AnswerLog) -> None:
        raise OSError("no space left")

    found = rephrased(tmp_path, [MILL], serve(sound_model).url)
    stage = RephraseWrite(WriteConfig(endpoints=(serve(sound_model).url,), model="small"))
    stage.setup(
        Context(
            1, side={"plan": found["new.plan"].folder / found["new.plan"].parts[0].folder}, answers=tmp_path / "answers"
        )
    )
    (batch,) = found["docs"].tables()
    monkeypatch.setattr(AnswerLog, "close", disk_full)
    with pytest.raises(OSError, match="no space left"):
        stage.process(batch)


def test_two_models_make_documents_of_different_ids(tmp_path: Path, serve: Serve) -> None:
    write_lines(tmp_path / "docs.jsonl", [MILL])
    new = {"stage": "rephrase", "from": "docs", "endpoints": serve(sound_model).url, "max_synthetic_share": 0.9}
    docs = {"stage": "json_lines", "files": "docs.jsonl"}
    found = run_here(tmp_path, {"docs": docs, "a": {**new, "model": "m"}, "b": {**new, "model": "n"}})
    assert rows_of(found["a"])[0]["id"] != rows_of(found["b"])[0]["id"]


def test_an_error_does_not_wait_for_requests_under_way(tmp_path: Path, serve: Serve) -> None:
    is_told = threading.Event()

    def reply(request: Asked, before: int) -> Reply:
        if request.passage.endswith("Document 0."):
            while server.at_once < 4:
                is_told.wait(0.01)
            return Reply(401, b"no")
        is_told.wait(60)
        return completion(request.passage or "yes")

    server = serve(reply)
    with pytest.raises(MachineError, match="401"):
        rephrased(tmp_path, [f"{MILL} Document {i}." for i in range(6)], server.url, concurrency=8)
    assert server.at_once >= 3, "the others are under way still"
    is_told.set()


def test_sampling_options_that_vllm_would_not_get_are_refused() -> None:
    with pytest.raises(ValueError, match="not top_k"):
        WriteConfig(engine="vllm", model="m", extra_body={"top_k": 5})


def test_what_makes_another_model_of_it_is_part_of_the_identity_of_vllm() -> None:
    def identity(**vllm: Any) -> Any:
        return WriteConfig(engine="vllm", model="m", vllm=vllm).identity()

    assert identity() != identity(arguments={"quantization": "fp8"})
    assert identity() == identity(processes=2, memory=0.5)

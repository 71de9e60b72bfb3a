"""report.html: true to the artifacts, harmless, self-contained."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from lxml import etree

from pipeline.commands import ledger_rows, take_down
from pipeline.graph import build_graph
from pipeline.recipe import load_recipe
from pipeline.report import write_report
from pipeline.report.facts import Facts
from pipeline.report.head import sentence
from pipeline.report.markup import duration, size
from pipeline.report.removed import SAMPLES, drawn
from pipeline.run import Run
from stages.tokenize.take_down import rewritten
from tests.pipeline.report.runs import HOSTILE_TEXT

COSTS = "Time and memory by artifact, in the run that made it; the longest chain in colour"


def _parsed(run: Run) -> etree._Element:
    html = write_report(run).read_text(encoding="utf-8")
    return etree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


def _text(node: etree._Element) -> str:
    return _spaced("".join(node.itertext()))


def _spaced(text: str) -> str:
    return text.replace("\u00a0", " ")


def _row(table: etree._Element, *heads: str) -> list[str]:
    rows = [[_text(cell) for cell in row] for row in table.iter("tr")]
    (found,) = [row for row in rows if tuple(row[: len(heads)]) == heads]
    return found[len(heads) :]


def _table(page: etree._Element, caption: str) -> etree._Element:
    (found,) = [t for t in page.iter("table") if _text(t.find("caption")) == caption]
    return found


def test_every_count_of_the_ledger_is_in_the_report(filtered: Run) -> None:
    table = _table(_parsed(filtered), "The ledger")
    lines = list(ledger_rows(filtered))
    assert len(lines) >= 8
    for label, source, counts in lines:
        shown = _row(table, label, source)
        numbers = [counts.received, counts.created, counts.kept, counts.dropped.total(), counts.failed.total()]
        assert shown[:5] == [f"{n:,}" for n in numbers]
        for reason, n in {**counts.dropped, **{f"{r} (failed)": n for r, n in counts.failed.items()}}.items():
            assert f"{reason} {n:,}" in shown[5]


def test_the_sentence_counts_records_documents_and_tokens(filtered: Run) -> None:
    rows = list(ledger_rows(filtered))
    created = sum(counts.created for _, _, counts in rows)
    kept = sum(counts.kept for label, _, counts in rows if label == "tokens")
    assert sentence(Facts(filtered)).startswith(f"{created:,} records became {kept:,} documents and ")


def test_tokens_by_source_are_those_of_the_shards(filtered: Run) -> None:
    table = _table(_parsed(filtered), "Token shards by source")
    for source, parts in filtered.artifacts()["tokens"].summary["sources"].items():
        train, held_out = parts["train"], parts["held_out"]
        shown = _row(table, source)
        assert shown[:3] == [
            f"{train['documents'] + held_out['documents']:,}",
            f"{train['tokens'] + held_out['tokens']:,}",
            f"{train['tokens']:,}",
        ]


def test_documents_that_were_taken_down_are_told(filtered: Run, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(filtered.folder, tmp_path / "run"))
    (index, *_) = sorted(run.artifacts()["tokens"].files_folder.rglob("train-*.documents.parquet"))
    first = pq.read_table(index).to_pylist()[0]
    assert "taken down" not in _text(_parsed(run))
    take_down(run.folder, [first["id"]], None, None, rewritten)
    assert f"1 document of {first['tokens']:,} tokens have been taken down" in _text(_parsed(Run.open(run.folder)))


def test_how_the_tokenizer_fits_is_told_of_each_source_and_language(filtered: Run) -> None:
    page = _parsed(filtered)
    rows = filtered.artifacts()["tokens"].summary["fertility"]
    for caption, head, other in (("By source", "source", "language"), ("By language", "language", "source")):
        told = [row for row in rows if row[other] is None]
        assert told
        for row in told:
            assert _row(_table(page, caption), row[head]) == [
                f"{row['documents']:,}",
                f"{row['tokens']:,}",
                f"{row['tokens'] / row['words']:.2f}",
                f"{row['bytes'] / row['tokens']:.2f}",
                f"{row['unigram_bits_per_byte']:.3f}",
            ]


def test_the_page_loads_nothing_and_runs_its_own_script_alone(filtered: Run) -> None:
    page = _parsed(filtered)
    assert [e.get("type") for e in page.iter("script")] == ["application/json", None]
    assert not [e.tag for e in page.iter() if e.tag in ("link", "img", "iframe", "object", "base", "form")]
    for element in page.iter(etree.Element):
        assert element.get("src") is None
        assert (element.get("href") or "#").startswith("#")
        assert not [name for name in element.attrib if name.startswith("on")]
    style = _text(page.find("head/style"))
    assert "url(" not in style
    assert "@import" not in style


def test_each_link_leads_to_a_section_with_a_heading(filtered: Run) -> None:
    page = _parsed(filtered)
    ids = {element.get("id") for element in page.iter() if element.get("id")}
    links = [a.get("href")[1:] for a in page.iter("a")]
    assert links == [section.get("id") for section in page.iter("section")]
    assert all(section.get("aria-labelledby") in ids for section in page.iter("section"))
    assert all(chart.get("aria-label") for chart in page.iter("svg"))


def test_hostile_text_is_shown_as_text(filtered: Run) -> None:
    html = write_report(filtered).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(" in html
    assert html.count("<script") == 2  # data and the report's own
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", html)
    samples = [_text(pre) for pre in _parsed(filtered).iter("pre")]
    visible = re.sub("[\u202e\u2066\x00\x1b]", "", HOSTILE_TEXT[:600]).strip()
    assert visible in samples


def test_failed_records_come_first_with_their_file(filtered: Run) -> None:
    section = next(s for s in _parsed(filtered).iter("section") if s.get("id") == "removed")
    failures = section[1]
    assert failures.get("class") == "failures"
    assert "1 record failed" in _text(failures)
    assert "first.jsonl" in _text(failures)


def test_samples_are_drawn_by_hash_and_do_not_depend_on_the_order_of_parts(filtered: Run) -> None:
    facts = Facts(filtered)
    step = max(facts.steps, key=lambda s: s.total.dropped.total())
    forwards = drawn(step.artifact, facts.seed)
    turned = replace(step.artifact, parts=tuple(reversed(step.artifact.parts)))
    backwards = drawn(turned, facts.seed)
    ids = {key: [sample.row["id"] for sample in found] for key, found in forwards.items()}
    assert ids == {key: [sample.row["id"] for sample in found] for key, found in backwards.items()}
    key, most = max(ids.items(), key=lambda item: step.total.dropped[item[0][2]])
    all_rows = [row for table in step.artifact.removed() for row in table.to_pylist()]
    in_order = [row["id"] for row in all_rows if (row["step"], row["verdict"], row["reason"]) == key]
    assert len(in_order) > SAMPLES == len(most)
    assert most != in_order[:SAMPLES]
    assert [s.row["id"] for s in drawn(step.artifact, "another seed")[key]] != most


def test_pairs_of_duplicates_name_both_documents(filtered: Run) -> None:
    page = _parsed(filtered)
    section = next(s for s in page.iter("section") if s.get("id") == "duplicates")
    slices = filtered.artifacts()["unique.duplicates"].file_paths("duplicates.parquet")
    pairs = [pair for path in slices for pair in pq.read_table(path).to_pylist()]
    assert len(pairs) >= 2
    shown = _text(section)
    assert all(pair["id"] in shown and pair["winner"] in shown for pair in pairs)


def test_all_phases_of_a_shuffle_are_part_of_its_cost(filtered: Run) -> None:
    page = _parsed(filtered)
    phases = filtered.artifacts()["unique.duplicates"].phases
    assert len(phases) >= 7
    table = _table(page, "Phases of unique.duplicates")
    assert _row(table, "links")[0] == "1"
    cpu_seconds = sum(phase["cpu_seconds"] for phase in phases)
    shown = _row(_table(page, COSTS), "unique.duplicates")
    assert shown[0] == str(sum(phase["parts"] for phase in phases))
    assert shown[3] == _spaced(duration(cpu_seconds))
    assert shown[4] == _spaced(size(max(phase["peak_memory_bytes"] for phase in phases)))


def test_what_was_no_shuffle_costs_what_its_parts_cost(filtered: Run) -> None:
    shown = _row(_table(_parsed(filtered), COSTS), "unique")
    parts = filtered.artifacts()["unique"].parts
    assert shown[0] == str(len(parts)) == "2"
    assert shown[2] == _spaced(duration(sum(part.seconds for part in parts)))


def test_a_run_without_mix_has_neither_mix_nor_model(filtered: Run) -> None:
    ids = [section.get("id") for section in _parsed(filtered).iter("section")]
    assert ids == ["funnel", "removed", "documents", "thresholds", "duplicates", "tokens", "cost", "recipe"]


def test_the_same_run_gives_the_same_bytes(filtered: Run) -> None:
    first = write_report(filtered).read_bytes()
    assert write_report(Run.open(filtered.folder)).read_bytes() == first


def test_an_unfinished_run_says_what_is_missing(filtered: Run, tmp_path: Path) -> None:
    shutil.copytree(filtered.folder, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    run.state.status, run.state.message = "failed", "clean: <stage> stopped"
    for name in ("clean", "unique", "tokens"):
        run.state.artifacts[name] = None
    page = _parsed(run)
    said = _text(page.find("body/header"))
    assert "clean: <stage> stopped" in said
    assert "clean (1 of 1 parts), unique (2 of 2 parts), tokens (1 of 7 parts)" in said
    assert "tokens" not in [section.get("id") for section in page.iter("section")]


def test_a_run_that_has_not_begun_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: fresh\nartifacts:\n  a: {stage: json_lines, files: a.jsonl}\n")
    run = Run(tmp_path / "run")
    run.begin(build_graph(load_recipe(recipe, [])), {})
    page = _parsed(run)
    assert "0 records became 0 documents" in _text(page)
    assert "Not complete, so not in this report: a." in _text(page)


def test_only_what_is_passed_by_counts_as_an_aside(filtered: Run) -> None:
    assert {step.label for step in Facts(filtered).steps if step.is_aside} == {"unique.signatures"}

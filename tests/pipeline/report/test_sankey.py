"""The funnel as a picture: its numbers are those of the ledger."""

import re

from pipeline.report.facts import Facts
from pipeline.report.sankey import sankey
from pipeline.run import Run


def test_each_stop_of_a_stream_tells_the_ledgers_counts(filtered: Run) -> None:
    facts = Facts(filtered)
    titles = re.findall(r"<title>(.*?)</title>", str(sankey(facts)))
    clean = facts.artifacts["clean"].ledger.steps["clean"]["first"]
    (told,) = (title for title in titles if title.startswith("first, clean: "))
    assert told.startswith(f"first, clean: {clean.received:,} came, {clean.kept:,} kept")
    for reason, n in clean.dropped.most_common(2):
        assert f"{reason} {n:,}" in told


def test_it_begins_with_the_records_and_ends_with_documents_and_tokens(filtered: Run) -> None:
    facts = Facts(filtered)
    texts = re.findall(r"<text[^>]*>(.*?)</text>", str(sankey(facts)))
    for source in facts.sources:
        assert source in texts
        assert f"{facts.records[source]:,}" in texts
        assert f"{facts.documents[source]:,} documents" in texts
    assert sum(text.endswith(" tokens") for text in texts) == len(facts.tokens)


def test_a_stream_is_as_wide_as_its_documents(filtered: Run) -> None:
    facts = Facts(filtered)
    rows = re.findall(r'<rect[^>]* height="([\d.]+)"[^>]*><title>(.*?)</title>', str(sankey(facts)))
    heights = {title.partition(":")[0]: float(height) for height, title in rows}
    records, documents = facts.records["first"], facts.artifacts["clean"].ledger.steps["clean"]["first"].received
    assert abs(heights["first, clean"] / heights["first, read"] - documents / records) < 0.01


def test_a_run_without_documents_has_no_such_picture(filtered: Run) -> None:
    facts = Facts(filtered)
    facts.artifacts = {}
    assert sankey(facts) is None

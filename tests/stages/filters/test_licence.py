"""Filtering by the licence that a document states."""

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.stage import Context, Outcome, documents, with_columns
from stages.filters.licence import Licence, LicenceConfig, code_of
from tests.stages.in_process import removed_from, rows_of, run_here, write_lines


def batch(*pages: tuple[str | None, str | None, str | None], meta: list[dict[str, str]] | None = None) -> pa.Table:
    """Pages with licence, evidence and other licences as extract_html finds them."""
    metas = meta or [{}] * len(pages)
    rows = documents(
        [{"id": f"p{i}", "text": "T.", "source": "web", "meta": list(m.items())} for i, m in enumerate(metas)]
    )
    if not pages:
        return rows
    names = ("extract_html.licence", "extract_html.licence_from", "extract_html.licence_others")
    columns = zip(*pages, strict=True)
    return with_columns(rows, {n: pa.array(c, pa.string()) for n, c in zip(names, columns, strict=True)})


def decided(table: pa.Table, **options: Any) -> Outcome:
    stage = Licence(LicenceConfig.model_validate(options))
    stage.setup(Context(seed=1))
    return stage.process(table)


def kept(table: pa.Table, **options: Any) -> list[str]:
    return [str(id_) for id_ in decided(table, **options).kept["id"].to_pylist()]


MARKED = batch(
    ("CC-BY-4.0", "rel", None),
    ("CC-BY-3.0-DE", "meta", None),
    ("CC-BY-SA-4.0", "json_ld", None),
    ("CC-BY-NC-ND-3.0", "rel", None),
    ("CC0-1.0", "link_element", None),
    (None, None, None),
)


@pytest.mark.parametrize(
    ("keep", "ids"),
    [
        ([], ["p0", "p1", "p2", "p3", "p4"]),
        (["cc-by"], ["p0", "p1"]),
        (["CC-BY"], ["p0", "p1"]),
        (["CC-BY-4.0"], ["p0"]),
        (["cc-by-3.0"], ["p1"]),
        (["cc-by-sa", "public-domain"], ["p2", "p4"]),
        (["permissive"], ["p0", "p1", "p4"]),
        ("cc-by-nc-nd", ["p3"]),
    ],
)
def test_licences_are_kept_by_family_or_by_version(keep, ids):
    assert kept(MARKED, keep=keep) == ids


def test_without_a_licence_all_rights_are_reserved():
    assert [(r.id, r.reason, r.evidence) for r in decided(MARKED, keep=["cc-by", "cc-by-nc-nd"]).removed] == [
        ("p2", "licence", "CC-BY-SA-4.0 (json_ld), not cc-by, cc-by-nc-nd"),
        ("p4", "licence", "CC0-1.0 (link_element), not cc-by, cc-by-nc-nd"),
        ("p5", "no_licence", "none, not cc-by, cc-by-nc-nd"),
    ]
    assert kept(MARKED, keep=["cc-by"], unmarked="keep") == ["p0", "p1", "p5"]


def test_a_page_under_several_licences_is_kept_if_all_of_them_are():
    table = batch(("CC-BY-4.0", "rel", "CC-BY-NC-2.0"), ("CC-BY-4.0", "rel", "CC-BY-3.0, CC0-1.0"))
    assert kept(table, keep=["cc-by", "cc0"]) == ["p1"]
    assert decided(table).kept["licence.code"].to_pylist() == [
        "CC-BY-4.0 AND CC-BY-NC-2.0",
        "CC-BY-4.0 AND CC-BY-3.0 AND CC0-1.0",
    ]


def test_a_plain_link_in_the_text_is_no_licence_unless_trusted():
    table = batch(("CC-BY-4.0", "link", None))
    [removal] = decided(table).removed
    assert (removal.reason, removal.evidence) == ("no_licence", "none (distrusted: CC-BY-4.0 (link))")
    assert kept(table, distrust=[]) == ["p0"]
    assert kept(batch(("CC-BY-4.0", "meta", None)), distrust="meta") == []


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        ("MIT", "MIT"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("CC BY-SA 4.0, CC BY-SA 3.0", "CC-BY-SA-4.0 AND CC-BY-SA-3.0"),  # Stack Exchange
        ("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),  # arXiv
        ("http://arxiv.org/licenses/nonexclusive-distrib/1.0/", "arxiv-nonexclusive-distrib"),
        ("CCBYNCSA", "CC-BY-NC-SA"),  # Semantic Scholar
        ("Public domain in the USA.", "public-domain"),  # Project Gutenberg
        ("CC BY 4.0, and something else", "other"),
        ("All rights reserved.", "other"),
        ("((", "other"),
    ],
)
def test_what_sources_state_has_one_form(stated, code):
    assert code_of(stated) == code


def test_sources_state_licences_in_meta(tmp_path):
    rows = [
        {"text": "One.", "license": "Apache-2.0"},
        {"text": "Two.", "license": "GPL-3.0-only OR MIT"},
        {"text": "Three.", "license": "GPL-3.0-only AND MIT"},
        {"text": "Four.", "license": "mine"},
        {"text": "Five."},
    ]
    sealed = run_here(
        tmp_path,
        {
            "raw": {"stage": "json_lines", "files": str(write_lines(tmp_path / "in.jsonl", rows))},
            "open": {"stage": "stages.filters.licence:Licence", "from": "raw", "keep": ["permissive"]},
        },
    )
    assert [row["text"] for row in rows_of(sealed["open"])] == ["One.", "Two."]
    assert [(row["reason"], row["evidence"]) for row in removed_from(sealed["open"])] == [
        ("licence", "GPL-3.0-only AND MIT (source), not permissive"),
        ("licence", "other (source), not permissive"),
        ("no_licence", "none, not permissive"),
    ]


def test_the_http_header_comes_before_the_source_and_behind_the_page():
    link = '<https://example.org/>; rel="next", <https://creativecommons.org/licenses/by/4.0/>; rel="license"'
    metas = [
        {"http.link": link, "licence": "MIT"},
        {"http.link": link.replace('rel="license"', 'rel="x"'), "licence": "MIT"},
    ]
    table = decided(batch(meta=metas)).kept
    assert table["licence.code"].to_pylist() == ["CC-BY-4.0", "MIT"]
    assert table["licence.evidence"].to_pylist() == ["HTTP header", "source"]
    both = decided(batch(("CC0-1.0", "rel", None), meta=metas[:1])).kept
    assert both["licence.code"].to_pylist() == ["CC0-1.0"]


def test_a_licence_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="'cc-by-5' is no SPDX id"):
        LicenceConfig(keep=("cc-by-5",))

"""Documents are kept or dropped by their URL."""

import json
import random
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import StageError
from pipeline.stage import PAYLOAD, Context, documents
from stages.filters.urls import UrlFilter, UrlFilterConfig
from stages.filters.urls.kernels import holds_a_word
from stages.filters.urls.stage import DATATROVE_LISTS, DATATROVE_WORDS, datatrove_asset
from stages.filters.urls.words import WordLists, automaton

REASONS = {  # of datatrove, and ours
    "domain": "blocked_domain",
    "subdomain": "blocked_domain",
    "url": "blocked_url",
    "hard_blacklisted": "blocked_word",
    "soft_blacklisted": "too_many_soft_words",
    "blacklisted_subword": "blocked_substring",
}


def batch(urls):
    return documents({"id": str(i), "source": "s", "url": url} for i, url in enumerate(urls))


def stage(**options):
    made = UrlFilter(UrlFilterConfig(**options))
    made.setup(Context(seed=1))
    return made


def reasons(urls, **options):
    """Why each URL is dropped, None where it is kept."""
    verdicts = stage(**options).process(batch(urls))
    dropped = {removal.id: removal.reason for removal in verdicts.removed}
    assert len(dropped) + verdicts.kept.num_rows == len(urls)
    return [dropped.get(str(i)) for i in range(len(urls))]


@pytest.fixture
def file(tmp_path):
    def written(name, *lines):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return written


def test_a_listed_domain_blocks_its_subdomains_and_no_sibling(file):
    lists = {"spam": file("spam", "bad.example.co.uk", "mine.blogspot.com")}
    blocked = ["https://bad.example.co.uk/", "http://a.b.bad.example.co.uk/c", "https://mine.blogspot.com/2020"]
    kept = [
        "https://example.co.uk/",
        "https://notbad.example.co.uk/",
        "https://yours.blogspot.com/",
        "https://bad.example.co/",
    ]
    assert reasons(blocked, lists=lists) == ["blocked_domain"] * 3
    assert reasons(kept, lists=lists) == [None] * 4


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://WWW.BÜCHER.Example/x",
        "https://xn--bcher-kva.example/x",
        "http://b%C3%BCcher.example",
        "http://user:password@bücher.example:8080/x?y#z",
        "//bücher.example./x",
        "bücher.example/x",
        "http:\\\\bücher.example\\x",
        " http://bücher.example",
    ],
)
def test_every_spelling_of_a_listed_host_is_blocked(file, url):
    for spelling in ("bücher.example", "XN--BCHER-KVA.example."):
        assert reasons([url], lists={"x": file("x", spelling)}, public_suffixes="all") == ["blocked_domain"]


@pytest.mark.parametrize(
    ("entry", "url"), [("192.0.2.7", "http://192.0.2.7:8080/"), ("2001:db8::7", "http://[2001:DB8:0:0::7]/x")]
)
def test_ip_addresses_are_hosts(file, entry, url):
    assert reasons([url, "http://192.0.2.77/", "http://7.192.0.2.7/"], lists={"x": file("x", entry)})[:2] == [
        "blocked_domain",
        None,
    ]


def test_a_listed_page_is_blocked_and_no_other_page(file):
    blocked = ["https://www.example.com/A/", "http://EXAMPLE.com/A#b"]
    kept = ["http://example.com/A/b", "http://example.com/a", "http://example.com/", None]
    lists = {"x": file("x", "https://example.com/A")}
    assert reasons(blocked, lists=lists) == ["blocked_url"] * 2
    assert reasons(kept, lists=lists) == [None] * 4


def test_a_listed_page_means_what_lies_below_on_request(file):
    lists = {"x": {"files": file("x", "example.com/a"), "url_prefixes": True}, "y": file("y", "example.com/ab/c")}
    urls = ["http://example.com/a/b?c", "http://example.com/a", "http://example.com/ab", "http://example.com/ab/c/d"]
    assert reasons(urls, lists=lists) == ["blocked_url", "blocked_url", None, None]


def test_what_is_allowed_is_kept_and_says_so(file):
    options = {
        "lists": {"x": file("x", "example.com", "example.org/a")},
        "allow": file("allow", "good.example.com", "https://example.org/a", "co.uk"),
        "hard_words": ("casino",),
    }
    urls = ["https://good.example.com/casino", "https://example.com/", "https://example.org/a", "https://casino.co.uk"]
    measured = stage(**options).measure(batch(urls))
    assert measured["url_filter.allowed"].to_pylist() == ["good.example.com", None, "example.org/a", "co.uk"]
    assert measured["url_filter.hard_words"].to_pylist() == [None, 0, None, None]
    assert reasons(urls, **options) == [None, "blocked_domain", None, None]


def test_hard_words_count_alone_and_soft_words_together():
    options = {"hard_words": ("casino", "Slot-Machine"), "soft_words": ("poker", "win", "cash")}
    urls = [
        "https://example.com/CASINO.html",
        "https://slotmachine.example.com/",
        "https://example.com/poker/poker-poker",
        "https://example.com/poker_win",
        "https://example.com/casinos/winning/#poker-win",
        "https://example.com/%70oker?win",
    ]
    assert reasons(urls, **options) == [
        "blocked_word",
        "blocked_word",
        None,
        "too_many_soft_words",
        None,
        "too_many_soft_words",
    ]
    assert reasons(urls[3:4], **options, max_soft_words=2) == [None]
    assert reasons(urls[:4], **options, max_hard_words=None, max_soft_words=None) == [None] * 4


def test_words_of_any_script_are_found_in_hosts_and_paths():
    urls = [
        "https://казино.рф/",
        "https://xn--80aswg.example/%D0%BA%D0%B0%D0%B7%D0%B8%D0%BD%D0%BE",
        "https://x.org/सेक्स/a",
    ]
    assert reasons(urls, hard_words=("Казино", "सेक्स")) == ["blocked_word"] * 3


def test_substrings_are_found_across_separators():
    urls = [
        "https://hot-girls.example.com/",
        "https://x.org/sHOTGirls",
        "https://x.org/hot/a/girls",
        "https://x.org/горячо!",
    ]
    found = reasons(urls, substrings=("hot girls", "ряч"))
    assert found == ["blocked_substring", "blocked_substring", None, "blocked_substring"]


def test_words_come_from_files_too(file):
    words = {"words": ["casino"], "files": file("words", "# games", "", "poker  ")}
    assert reasons(["http://x.org/casino", "http://x.org/poker", "http://x.org/games"], hard_words=words) == [
        "blocked_word",
        "blocked_word",
        None,
    ]
    assert reasons(["http://x.org/poker"], hard_words=file("w", "poker")) == ["blocked_word"]


def test_expressions_of_an_archive_are_matched_on_request(tmp_path):
    folder = tmp_path / "adult"
    folder.mkdir()
    (folder / "domains").write_text("bad.example.com\n")
    (folder / "expressions").write_text("(^|[-.])adults?([-.]|$)\n")
    with tarfile.open(tmp_path / "lists.tar", "w") as tar:
        tar.add(folder, "blacklists/adult")
    urls = ["https://young-ADULT.example.com/", "https://adultery.example.com", "https://bad.example.com"]
    source = {"files": tmp_path / "lists.tar", "categories": "adult"}
    assert reasons(urls, lists={"ut1": source}) == [None, None, "blocked_domain"]
    with_expressions = {"ut1": source | {"expressions": True}}
    assert reasons(urls, lists=with_expressions) == ["blocked_expression", None, "blocked_domain"]


def test_evidence_names_list_and_entry_or_the_words(file):
    lists = {"adult": file("a", "example.com", "sub.example.com"), "spam": file("s", "example.com", "example.org/x")}
    urls = ["https://www.sub.example.com/", "https://example.org/x", "https://x.org/poker-win"]
    outcome = stage(lists=lists, soft_words=("win", "poker")).process(batch(urls))
    assert [removal.evidence for removal in outcome.removed] == [
        "list adult, spam: sub.example.com",
        "list spam: example.org/x",
        "2 soft words > 1 (poker, win)",
    ]


def test_stored_matches_answer_what_other_lists_would_have_dropped(file):
    lists = {"adult": file("a", "a.com", "both.com"), "games": file("g", "g.com", "both.com")}
    urls = ["http://a.com", "http://g.com", "http://both.com", "http://c.com"]
    assert reasons(urls, lists=lists, record_only="games") == ["blocked_domain", None, "blocked_domain", None]
    measured = stage(lists=lists).measure(batch(urls))
    again = UrlFilter(UrlFilterConfig(lists=lists, record_only="adult"))  # reads no list
    assert [verdict and verdict[1] for verdict in again.verdicts(measured)] == [
        None,
        "blocked_domain",
        "blocked_domain",
        None,
    ]


def test_documents_without_url_are_kept_unmeasured(file):
    outcome = stage(lists={"x": file("x", "example.com")}, hard_words=("a",)).process(batch([None, ""]))
    assert outcome.kept.num_rows == 2
    for name in UrlFilter.measures:
        assert outcome.kept[name].null_count == 2


def test_pages_are_filtered_before_extraction():
    pages = batch(["http://x.org/casino"]).append_column("payload", pa.array([b"<html>"], PAYLOAD.type))
    assert pages["text"].null_count == 1
    assert UrlFilter.requires == ("url",)
    [removed] = stage(hard_words=("casino",)).process(pages).removed
    assert (removed.reason, removed.url) == ("blocked_word", "http://x.org/casino")


def test_slices_and_empty_batches_are_measured():
    filter_ = stage(hard_words=("casino",))
    whole = batch(["http://x.org/casino", None, "http://x.org/é/casino", "http://x.org"])
    assert filter_.measure(whole.slice(1, 3))["url_filter.hard_words"].to_pylist() == [None, 1, 0]
    assert filter_.process(whole.slice(0, 0)).kept.num_rows == 0


def test_the_run_is_told_of_bad_lines(file):
    assert UrlFilter(UrlFilterConfig(lists={"x": file("x", "example.com")})).note() is None
    note = UrlFilter(UrlFilterConfig(lists={"x": file("x", "example.com", "no domain")})).note()
    assert note.startswith("list x: 1 of 2 lines are not used: 1 several words (first in ")


def test_the_content_of_lists_is_the_stages_identity_and_their_place_is_not(tmp_path):
    for name, entry in (("a", "example.com"), ("b", "example.com"), ("c", "example.org")):
        (tmp_path / name).write_text(entry)
    a, b, c = (json.dumps(UrlFilterConfig(lists={"x": tmp_path / name}).identity()) for name in "abc")
    assert a == b != c
    assert UrlFilterConfig(allow=tmp_path / "a").identity() != UrlFilterConfig(allow=tmp_path / "c").identity()


def test_a_missing_list_is_an_error_that_names_it(tmp_path):
    for options in ({"lists": {"x": tmp_path / "none"}}, {"hard_words": str(tmp_path / "none")}):
        with pytest.raises(
            StageError, match=r"cannot read the list .*none: No such file or directory; correct its name"
        ):
            UrlFilterConfig(**options).identity()
        with pytest.raises(StageError, match="none"):
            stage(**options)


@pytest.mark.parametrize(
    "options", [{"lists": {"allow": "x"}}, {"lists": {"a,b": "x"}}, {"record_only": "x"}, {"lists": {"x": {}}}]
)
def test_names_of_lists_are_checked(options):
    with pytest.raises(ValidationError):
        UrlFilterConfig(**options)


PIECES = st.sampled_from(
    [
        *("http://", "https://", "HTTP://", "//", "user@", "www.", "WWW.", "example.com", "EXAMPLE.com", "sub.", "org"),
        *("a.example.com", "co.uk", "listed.org", "192.0.2.7", "[::1]", ":", ":80", ":8080", "xn--", "xn--80ak6aa92e"),
        *(
            "/",
            "/a",
            "/b/",
            "//",
            "?",
            "?q=1",
            "#",
            "#frag",
            "%",
            "%61",
            "%2F",
            "-",
            "_",
            ".",
            "..",
            "\\",
            "\x00",
            "\t",
        ),
        *("casino", "CASINO", "Casino", "x", "hot", "girls", "hotgirls", "poker", "win", "é", "É", "\u0130", "\u212a"),
    ]
)


@given(st.lists(st.lists(PIECES, max_size=9).map("".join), max_size=8))
def test_the_kernel_passes_over_nothing_that_is_listed(urls):
    """What it does not point out holds nothing by the Python code either."""
    fast, thorough = _prefiltered_and_thorough()
    expected = thorough.measure(batch(urls))
    assert fast.measure(batch(urls)).equals(expected)


_stages = []


def _prefiltered_and_thorough():
    if not _stages:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            blocked, prefixes, allow = (Path(folder) / name for name in ("x", "p", "allow"))
            blocked.write_text("example.com\nlisted.org/a\nlisted.org/a?q=1\nlisted.org/A\n192.0.2.7\n")
            prefixes.write_text("org.co.uk/b\n")
            allow.write_text("a.example.com\nlisted.org/b\n")
            words = {
                "hard_words": ("casino",),
                "soft_words": ("poker", "win", "a"),
                "substrings": ("hotgirls", "casinox"),
            }
            lists = {"x": blocked, "p": {"files": prefixes, "url_prefixes": True}}
            for _ in range(2):
                _stages.append(stage(lists=lists, allow=allow, **words))
        _stages[1]._looks_at_all = True
    return _stages


def test_the_kernel_passes_over_urls_that_are_not_listed(file):
    """Else it would be right and of no use."""
    filter_ = stage(
        lists={"x": file("x", "example.com", "listed.org/a")}, hard_words=("casino",), substrings=("hot girls",)
    )
    urls = [
        "https://www.listed.org/b/c?d=e#casino",
        "http://x.org",
        "https://en.wikipedia.org/wiki/Casinos_(film)",
        "http://x.org/@a",
    ]
    look = filter_._worth_a_look(pa.array(urls), np.ones(len(urls), np.bool_))
    assert look.tolist() == [False] * 4


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=4), st.text("aab1-", max_size=9))
@example(["abaa", "b"], "ab")  # the second word ends inside the first
def test_the_automaton_finds_every_word(words, text):
    data = np.frombuffer(text.encode(), np.uint8)
    assert holds_a_word(data, automaton(words)) == any(word in text for word in words)


def test_words_without_letters_and_digits_are_none():
    lists = WordLists(["", "  ", "!!"], ["#"], ["-"])
    assert not lists.hard | lists.soft | lists.substrings


@pytest.mark.parametrize(
    ("url", "as_datatrove", "standard"),
    [
        ("https://www.bad.com/", "blocked_domain", "blocked_domain"),
        ("https://a.sub.mid.com/", None, "blocked_domain"),  # neither the host nor its registered domain is listed
        ("https://www.BAD.com/", None, "blocked_domain"),
        ("http://192.0.2.7/", None, "blocked_domain"),  # a host without public suffix
        ("https://xn--bcher-kva.de/", None, "blocked_domain"),
        ("https://site.com/page", None, "blocked_url"),  # listed URLs have no scheme
        ("site.com/page", "blocked_url", "blocked_url"),
        ("https://x.org/CASINO", None, "blocked_word"),
        ("https://x.org/%63asino", None, "blocked_word"),
        ("https://x.org/#casino", "blocked_word", None),  # the part of a page is not the page
        ("https://x.org/%20casino", None, "blocked_word"),
    ],
)
def test_where_datatrove_decides_otherwise(file, url, as_datatrove, standard):
    lists = {"x": file("x", "bad.com", "sub.mid.com", "192.0.2.7", "bücher.de", "site.com/page")}
    options = {"lists": lists, "hard_words": ("casino",)}
    assert reasons([url], **options, matching="datatrove") == [as_datatrove]
    assert reasons([url], **options) == [standard]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_decisions_and_reasons_are_datatroves(shared_data, tmp_path):
    """Over real URLs and constructed ones, with datatrove's words and a sample of its domains."""
    pytest.importorskip("ahocorasick")
    from datatrove.data import Document
    from datatrove.pipeline.filters.url_filter import URLFilter
    from tldextract import TLDExtract

    from tests.real_pages import real_pages

    with tarfile.open(datatrove_asset(DATATROVE_LISTS)) as tar:
        domains = tar.extractfile("domains").read().decode().splitlines()[::997]
        pages = tar.extractfile("urls").read().decode().splitlines()[::97]
    words = {option: datatrove_asset(name) for option, name in DATATROVE_WORDS.items()}
    reference = URLFilter(
        extra_domains=domains,
        extra_urls=pages,
        banned_words=words["hard_words"].read_text().splitlines(),
        soft_banned_words=words["soft_words"].read_text().splitlines(),
        banned_subwords=words["substrings"].read_text().splitlines(),
        use_integrated_lists=False,
    )
    reference.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)  # else it asks the network

    rng = random.Random(1)
    listed = [line for path in words.values() for line in path.read_text().splitlines()]
    plain = [
        "news",
        "blog",
        "2019",
        "Article",
        "index.php",
        "wiki",
        "peacock",
        "cumulus",
        "%20sex",
        "é",
        "//",
        "?q=",
        "#x",
    ]
    urls = [page.url for page in real_pages(shared_data) if page.url] + pages
    for _ in range(3000):
        host = rng.choice(
            [*domains, "example.com", "EXAMPLE.org", "192.0.2.7", "user@example.co.uk:80", "localhost", ""]
        )
        path = rng.choice("/-_.+").join(
            rng.choice(listed if rng.random() < 0.2 else plain) for _ in range(rng.randrange(6))
        )
        urls.append(
            f"{rng.choice(['http://', 'https://', 'HTTP://', '//', ''])}{rng.choice(['', 'www.', 'a.b.'])}{host}/{path}"
        )

    (tmp_path / "list").write_text("\n".join([*domains, *pages]))
    ours = reasons(urls, lists={"x": tmp_path / "list"}, matching="datatrove", **{k: str(v) for k, v in words.items()})
    theirs = [reference.filter(Document(text="", id="", metadata={"url": url})) for url in urls]
    assert ours == [None if verdict is True else REASONS[verdict[1]] for verdict in theirs]
    assert set(ours) == {None, *REASONS.values()}
    assert len(urls) > 3500

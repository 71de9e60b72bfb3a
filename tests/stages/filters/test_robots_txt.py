"""robots.txt by the examples of RFC 9309 and by what sites publish instead."""

import time
import urllib.robotparser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.filters.robots_txt import MAX_BYTES, RobotsTxt, path_of, path_rule

CRAWLERS = ("GPTBot", "CCBot", "foobot", "BarBot", "bazbot", "quxbot")


def allowed(text: str | bytes, agent: str, path: str) -> bool:
    content = text.encode() if isinstance(text, str) else text
    return RobotsTxt(content, CRAWLERS).is_allowed(agent, path_of(f"https://www.example.com{path}"))


SIMPLE = """User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
EOF
"""


@pytest.mark.parametrize(
    ("agent", "path", "expected"),
    [
        ("GPTBot", "/publications/a.html", True),
        ("GPTBot", "/example/a.html", False),
        ("GPTBot", "/a/b.gif", False),
        ("GPTBot", "/a/b.gif?x=1", True),
        ("foobot", "/publications/", False),
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("barbot", "/example/page.html", False),
        ("BazBot", "/example/page.html", False),
        ("bazbot", "/a/b.gif", True),
        ("quxbot", "/example/page.html", True),
    ],
)
def test_the_simple_example_of_the_standard(agent, path, expected):
    """RFC 9309, section 5.1."""
    assert allowed(SIMPLE, agent, path) is expected


def test_the_longest_match_counts():
    """RFC 9309, section 5.2."""
    text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
    assert allowed(text, "foobot", "/example/page/disallow.gif")
    assert not allowed(text, "foobot", "/example/page/disallowed.gif")


def test_of_equal_matches_the_permission_counts():
    text = "User-agent: *\nDisallow: /page\nAllow: /page\n"
    assert allowed(text, "GPTBot", "/page")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", True),
        ("/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar", True),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/ツ", True),
        ("/foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/foo%2Fbar", "/foo/bar", False),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-x.html", False),
        ("/path/foo-%24", "/path/foo-$", True),
        ("/a$b", "/a$b", True),
        ("/this/*/exactly", "/this/path/exactly/more", True),
        ("/this/path/exactly$", "/this/path/exactly", True),
        ("/this/path/exactly$", "/this/path/exactly/more", False),
        ("/*.php$", "/index.php", True),
        ("/*.php$", "/index.php?x", False),
        ("/a*a$", "/a", False),
        ("/a*b*b$", "/ab", False),
        ("*", "/", True),
        ("/fish*", "/fish.html", True),
        ("/fish", "/Fish", False),
        ("/?", "/?", True),
        ("/?", "/#?", False),
        ("/$", "/?", False),
    ],
)
def test_patterns_and_escapes(pattern, path, matches):
    """RFC 9309, sections 2.2.2 (table) and 2.2.3."""
    assert path_rule(pattern, is_allowed=False).matches(path_of(f"http://www.example.com{path}")) is matches


def test_groups_of_one_crawler_are_merged():
    text = "user-agent: GPTBot\ndisallow: /a\n\nuser-agent: *\ndisallow: /\n\nUser-Agent: gptbot\ndisallow: /b\n"
    assert [allowed(text, "GPTBot", path) for path in ("/a", "/b", "/c")] == [False, False, True]


@pytest.mark.parametrize(
    ("line", "means_gptbot"),
    [
        ("User-agent: GPTBot", True),
        ("USER-AGENT:gptbot # OpenAI", True),
        ("User-agent: GPTBot/1.0", True),
        ("User-agent: GPTBot*", True),
        ("User-agent: *", True),
        ("User-agent: * # all", True),
        ("User-agent: *bingbot*", False),
        ("User-agent: GPT", False),
        ("User-agent: MyGPTBot", False),
        ("User-agent: GPTBot-Other", False),
        ("User-agent:", False),
    ],
)
def test_a_crawler_is_named_by_its_whole_product_token(line, means_gptbot):
    assert allowed(f"{line}\nDisallow: /", "GPTBot", "/") is not means_gptbot


def test_other_lines_neither_end_a_group_nor_mean_anything():
    text = (
        "User-agent: CCBot\nSitemap: /s.xml\nCrawl-delay: 9\nnonsense\nUser-agent: GPTBot\nNoindex: /x\nDisallow: /a\n"
    )
    for agent in ("CCBot", "GPTBot"):
        assert not allowed(text, agent, "/a")
        assert allowed(text, agent, "/x")
    assert allowed("Disallow: /\nUser-agent: GPTBot\n", "GPTBot", "/")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newlines_and_byte_order_mark(newline):
    text = newline.join(["\ufeffUser-agent: *", "Disallow: /a"])
    assert not allowed(text, "GPTBot", "/a")


def test_an_empty_rule_forbids_nothing():
    assert allowed("User-agent: *\nDisallow:\n", "GPTBot", "/a")


def test_a_web_page_in_its_place_forbids_nothing():
    assert allowed("<!DOCTYPE html><html><body>User-agent: * Disallow: /</body></html>", "GPTBot", "/")


def test_bytes_that_are_no_utf8_are_compared_as_they_are():
    text = b"User-agent: GPTBot\nDisallow: /caf\xe9\n"
    assert not allowed(text, "GPTBot", "/caf%E9")
    assert allowed(text, "GPTBot", "/cafe")


def test_a_large_file_is_read_as_far_as_the_standard_asks():
    group = b"User-agent: GPTBot\nDisallow: /a\n"
    filling = b"# 23456789\n" * (MAX_BYTES // 11)
    assert not allowed(group + filling * 20, "GPTBot", "/a")
    assert allowed(filling + b"#\n" * 20 + group, "GPTBot", "/a")


def test_a_malicious_pattern_costs_little():
    started = time.process_time()
    file = RobotsTxt(b"User-agent: *\n" + b"Disallow: /" + b"*a" * 200_000 + b"$\n", CRAWLERS)
    assert file.is_allowed("GPTBot", path_of("http://a/" + "a" * 20_000 + "b"))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("url", ["", "no url", "http://[", "mailto:a@b", "http://a.example"])
def test_what_is_no_url_has_the_path_of_the_front_page(url):
    assert path_of(url).startswith("/")


PATHS = st.text(alphabet="/ab", max_size=6)


@given(st.lists(st.tuples(st.booleans(), PATHS), max_size=4), PATHS)
def test_without_wildcards_the_longest_prefix_decides(rules, path):
    lines = [f"{'Allow' if is_allowed else 'Disallow'}: /{pattern}" for is_allowed, pattern in rules]
    matching = [(len(pattern), is_allowed) for is_allowed, pattern in rules if path.startswith(pattern)]
    expected = max(matching)[1] if matching else True
    assert RobotsTxt("\n".join(["User-agent: *", *lines]).encode(), ()).is_allowed("GPTBot", f"/{path}") is expected


def test_python_s_own_parser_takes_the_first_match_instead():
    """Why it is not used here."""
    parser = urllib.robotparser.RobotFileParser()
    parser.parse(["User-agent: *", "Allow: /", "Disallow: /private"])
    assert parser.can_fetch("GPTBot", "https://www.example.com/private")
    assert not allowed("User-agent: *\nAllow: /\nDisallow: /private", "GPTBot", "/private")

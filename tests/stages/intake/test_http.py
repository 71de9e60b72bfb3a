"""HTTP responses: every coding undone, alone and in chains; broken, cut and stored-decoded bodies; bombs."""

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.intake.http import HttpError, Response, TooLargeError, decoded_body, parsed

PAGE = b"<html><body>" + b"<p>Some text on a page.</p>" * 50 + b"</body></html>"
LIMIT = 1 << 20


def raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


def chunked(body: bytes, size: int = 300) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def zstd_without_size(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(body)


def brotli_compressed(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=4))


CODINGS = [
    ("gzip", gzip.compress),
    ("x-gzip", lambda body: gzip.compress(body[: len(body) // 2]) + gzip.compress(body[len(body) // 2 :])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli_compressed),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("zstd", zstd_without_size),
    ("identity", bytes),
    ("chunked", chunked),
]
NAMED = [pytest.param(name, encode, id=f"{i}-{name}") for i, (name, encode) in enumerate(CODINGS)]
COMPRESSED = [p for p, (name, _) in zip(NAMED, CODINGS, strict=True) if name not in ("identity", "chunked")]
# bodies as servers send them, and any bytes; a text that starts like a chunk or a page must not confuse anyone
BODIES = st.one_of(
    st.binary(max_size=300),
    st.just(PAGE),
    st.integers(0, 200_000).map(lambda size: (PAGE * (1 + size // len(PAGE)))[:size]),
    st.sampled_from([b"", b" ", b"\n<", b"5\r\nfives", b"7 is a number\r\n", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]),
)


def response(body: bytes, content: str = "", transfer: str = "") -> Response:
    headers = {"content-encoding": content, "transfer-encoding": transfer}
    return Response(200, {name: value for name, value in headers.items() if value}, body)


def test_a_response_has_status_headers_and_body():
    block = (
        b"HTTP/1.1 404 Not\xe9 Found\r\nContent-Type: Text/HTML; Charset='utf-8'\r\nX: 1\r\nx: 2\r\n\r\n\r\n\r\nbody"
    )
    found = parsed(block)
    assert (found.status, found.mime, found.charset, found.body) == (404, "text/html", "utf-8", b"\r\n\r\nbody")
    assert found.headers["x"] == "1"


def test_what_a_publisher_declares_is_kept_and_all_of_x_robots_tag():
    lines = [b"X-Robots-Tag: noindex", b"x-robots-tag: gptbot: noai\xff", b"TDM-Reservation: 1", b"tdm-policy: /p.json"]
    found = parsed(b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b'Link: <https://a/>; rel="license"', b"", b"<p>"]))
    assert found.declarations == {
        "http.x-robots-tag": "noindex; gptbot: noai\xff",
        "http.tdm-reservation": "1",
        "http.tdm-policy": "/p.json",
        "http.link": '<https://a/>; rel="license"',
    }
    assert parsed(b"HTTP/1.1 200 OK\r\nLink: </s.css>; rel=preload\r\n\r\n").declarations == {}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_lines_may_end_in_either_newline(newline):
    found = parsed(newline.join([b"HTTP/2 200", b"A: b", b"", b"<p>"]))
    assert (found.status, found.headers, found.body) == (200, {"a": "b"}, b"<p>")


@pytest.mark.parametrize("block", [b"HTTP/1.0 200 OK\r\n\r\n<p>", b"HTTP/1.0 200\n\n<p>"])
def test_there_may_be_no_headers(block):
    assert parsed(block) == Response(200, {}, b"<p>")


def test_a_header_that_does_not_end_has_no_body():
    assert parsed(b"HTTP/1.1 200 OK\r\nA: b\r\n") == Response(200, {"a": "b"}, b"")


@pytest.mark.parametrize("block", [b"", b"<html>", b"HTTP/1.1 OK\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_block_without_a_status_line_is_no_response(block):
    with pytest.raises(HttpError, match="bad_http_header"):
        parsed(block)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(block):
    for start in (b"", b"HTTP/1.1 200 OK\r\n"):
        try:
            assert (start + block).endswith(parsed(start + block).body)
        except HttpError:
            assert not start


# --- codings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "encode"), NAMED)
@given(BODIES)
def test_a_coding_is_undone(name, encode, body):
    assert decoded_body(response(encode(body), name), LIMIT) == body


@given(BODIES, st.lists(st.sampled_from(CODINGS), max_size=3), st.lists(st.sampled_from(CODINGS), max_size=2))
def test_a_chain_of_codings_is_undone_last_first(body, content, transfer):
    sent = body
    for _, encode in [*content, *transfer]:
        sent = encode(sent)
    names = [", ".join(name.upper() for name, _ in chain) for chain in (content, transfer)]
    assert decoded_body(response(sent, *names), LIMIT) == body


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "chunked", "utf-8", "x-unknown", "gzip, br", ""])
@pytest.mark.parametrize("body", [PAGE, b"\n " + PAGE, b""])
def test_a_page_that_was_stored_decoded_stays_as_it_is(name, body):
    assert decoded_body(response(body, name, "chunked"), LIMIT) == body
    assert decoded_body(response(body, name), LIMIT, cut=True) == body


def test_a_text_that_starts_with_a_number_is_not_chunked():
    body = b"12\nmonkeys and their friends, who are many more than twelve\n"
    assert decoded_body(response(body, transfer="chunked"), LIMIT) == body


def test_an_unknown_coding_of_what_is_no_page_fails():
    with pytest.raises(HttpError, match="unknown Content-Encoding 'compress'"):
        decoded_body(response(b"\x1f\x9d\x90", "compress"), LIMIT)


@pytest.mark.parametrize(("name", "encode"), COMPRESSED)
def test_bytes_behind_a_compressed_body_are_ignored_or_refused(name, encode):
    try:
        assert decoded_body(response(encode(PAGE) + b"junk", name), LIMIT) == PAGE
    except HttpError:
        assert name == "br"


@pytest.mark.parametrize(("name", "encode"), [*COMPRESSED, pytest.param("chunked", chunked, id="chunked")])
@given(st.data())
def test_a_cut_body_fails_unless_the_crawler_cut_it(name, encode, data):
    sent = encode(PAGE)
    # behind the first chunk's size, and before the last one's
    first, last = (20, 6) if name == "chunked" else (5, 1)
    cut = sent[: data.draw(st.integers(first, len(sent) - last))]
    member = len(gzip.compress(PAGE[: len(PAGE) // 2]))
    assume(not (name == "x-gzip" and member <= len(cut) < member + 2))  # no sign of a second member
    start = decoded_body(response(cut, name), LIMIT, cut=True)
    assert PAGE.startswith(start)
    with pytest.raises(HttpError, match="bad_encoding"):
        decoded_body(response(cut, name), LIMIT)


@pytest.mark.parametrize(("name", "encode"), NAMED)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.floats(0, 1),
    st.booleans(),
)
def test_no_bytes_raise_anything_but_the_documented_errors(name, encode, flips, end, cut):
    sent = bytearray(encode(PAGE))
    for at, byte in flips:
        sent[int(at * len(sent))] = byte
    try:
        body = decoded_body(response(bytes(sent[: int(end * len(sent))]), name, "chunked"), LIMIT, cut)
        assert len(body) <= LIMIT
    except (HttpError, TooLargeError):
        pass


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "encode"), NAMED)
def test_the_limit_is_exact(name, encode):
    assert decoded_body(response(encode(PAGE), name), len(PAGE)) == PAGE
    with pytest.raises(TooLargeError):
        decoded_body(response(encode(PAGE), name), len(PAGE) - 1)


@pytest.mark.parametrize(("name", "encode"), [p for i, p in enumerate(COMPRESSED) if i != 1])
@pytest.mark.parametrize("prefix", [b"", b"<"])
def test_a_bomb_is_refused_without_unpacking_it(name, encode, prefix):
    sent = encode(prefix + bytes(1 << 25))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decoded_body(response(sent, name), LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT + len(sent)
    finally:
        tracemalloc.stop()


def test_a_bomb_in_a_bomb_is_refused():
    sent = gzip.compress(gzip.compress(bytes(1 << 26)))
    with pytest.raises(TooLargeError):
        decoded_body(response(sent, "gzip, gzip"), 1 << 17)


def test_many_small_gzip_members_take_linear_time():
    sent = gzip.compress(b"") * 20_000
    assert decoded_body(response(sent, "gzip"), LIMIT) == b""


def test_zstd_windows_larger_than_the_web_allows_are_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    sent = compressor.compress(PAGE) + compressor.flush()
    with pytest.raises(HttpError, match="bad_encoding"):
        decoded_body(response(sent, "zstd"), LIMIT)

"""HTTP over connections that stay open."""

import base64
import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import MachineError
from stages.models import connections
from stages.models.connections import Connections, ExchangeError, NotConnectedError, TooLateError
from tests.chat_server import ENDLESS, ChatServer, Reply


class Server(ThreadingHTTPServer):
    """Answers with what it was sent, and notes who asked for what."""

    daemon_threads = True

    def __init__(self) -> None:
        self.clients: set[tuple[str, int]] = set()
        self.targets: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.is_polite = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.clients.add(self.client_address)
                server.targets.append(self.path)
                server.headers.append(dict(self.headers))
                self.send_response(200)
                if server.is_polite:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = not server.is_polite

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/chat?a=b"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture(autouse=True)
def fresh_routes() -> Iterator[None]:
    connections._route.cache_clear()
    yield
    connections._route.cache_clear()
    connections._certificates.cache_clear()


def test_a_connection_serves_many_requests(server: Server) -> None:
    made = Connections()
    for n in range(5):
        reply = made.post(server.url, b"%d" % n, {"X-Number": str(n)}, 5)
        assert (reply.status, reply.body) == (200, b"%d" % n)
    assert len(server.clients) == 1
    assert server.targets == ["/v1/chat?a=b"] * 5
    assert server.headers[4]["X-Number"] == "4"
    made.close()


def test_a_connection_that_the_server_has_closed_is_not_used(server: Server) -> None:
    made = Connections()
    made.post(server.url, b"1", {}, 5)
    (idle,) = made._idle.values()
    idle[0].sock.shutdown(2)  # what comes of it is what comes of a server that closes
    assert made.post(server.url, b"2", {}, 5).body == b"2"
    assert len(server.clients) == 2


def test_an_answer_without_a_length_ends_with_the_connection(server: Server) -> None:
    server.is_polite = False
    made = Connections()
    assert [made.post(server.url, b"text", {}, 5).body for _ in range(2)] == [b"text"] * 2
    assert len(server.clients) == 2


@pytest.mark.parametrize(
    "reply", [ENDLESS, Reply(drips_headers=True), Reply(delay_s=1.0)], ids=["body", "headers", "nothing"]
)
def test_the_time_limit_is_of_the_whole_answer(reply: Reply) -> None:
    with ChatServer(lambda request, before: reply) as slow:
        started = time.monotonic()
        body = b'{"messages": [{"content": "x"}]}'
        with pytest.raises(TooLateError, match=r"not complete after 0\.3 s"):
            Connections().post(f"{slow.url}/chat/completions", body, {}, 0.3)
        assert 0.25 < time.monotonic() - started < 10


def test_half_an_answer_is_none() -> None:
    with ChatServer(lambda request, before: Reply(body=b"0123456789", cut_at=4)) as server:
        body = b'{"messages": [{"content": "x"}]}'
        with pytest.raises(ExchangeError, match="lost with 6 bytes to come"):
            Connections().post(f"{server.url}/chat/completions", body, {}, 5)


def test_a_connection_that_was_made_while_all_were_closed_does_not_wait_for_an_answer(server: Server) -> None:
    made = Connections()
    made.close()
    with pytest.raises(ExchangeError, match="have been closed"):
        made.post(server.url, b"text", {}, 5)
    assert server.targets == []


def test_nobody_there_is_another_matter_than_no_answer() -> None:
    with Server() as gone:
        url = gone.url
    with pytest.raises(NotConnectedError, match="refused"):
        Connections().post(url, b"", {}, 5)


def test_a_proxy_of_the_environment_is_asked_for_the_whole_url(server: Server, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "intra.example")
    Connections().post("http://u:p@model.example:8000/v1/chat?a=b", b"text", {}, 5)
    assert server.targets == ["http://model.example:8000/v1/chat?a=b"]
    assert server.headers[0]["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:pass").decode()
    assert server.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert server.headers[0]["Host"] == "model.example:8000"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://localhost:1/v1", "http://intra.example:1/v1"])
def test_this_machine_and_those_named_need_no_proxy(monkeypatch, url: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intra.example")
    assert connections._route(url).proxy is None
    assert connections._route("http://model.example/v1").proxy is not None


def test_a_proxy_of_another_kind_is_told(monkeypatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:pass@127.0.0.1:9")
    with pytest.raises(MachineError, match=r"names the proxy socks5://127.0.0.1:9") as raised:
        Connections().post("http://model.example/v1", b"", {}, 5)
    assert "pass" not in str(raised.value)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, which nobody has signed, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    none = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, none))
    return paths


def test_a_server_behind_tls_must_show_a_certificate_that_is_known(server: Server, tmp_path: Path, monkeypatch) -> None:
    path, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http://", "https://")
    with pytest.raises(NotConnectedError, match="CERTIFICATE_VERIFY_FAILED"):
        Connections().post(url, b"text", {}, 5)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    connections._certificates.cache_clear()
    made = Connections()
    assert [made.post(url, b"text", {}, 5).body for _ in range(3)] == [b"text"] * 3
    assert len(server.clients) == 1

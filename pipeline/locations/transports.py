"""The protocols: one request for a range of bytes over http(s), S3, or whatever fsspec knows."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import MachineError
from pipeline.locations.hosts import TransientError
from pipeline.locations.location import RemoteError, RemoteOptions, shown

if TYPE_CHECKING:
    import httpx

CHUNK_BYTES = 1 << 16
MAX_REDIRECTS = 10
S3_OVERLOADED = frozenset(("SlowDown", "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequests"))
_OVERLOAD = re.compile(r"\b(429|503)\b|Slow ?Down|Too ?Many ?Requests|rateLimitExceeded|ServerBusy", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")

_clients: dict[tuple[object, ...], Any] = {}
_clients_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends when asked for a range. ``body`` raises TransientError where it breaks off."""

    start: int  # offset in the file of the body's first byte: as asked, or 0 from a server that ignores ranges
    stop: int | None  # offset behind its last byte; None if only the end of the body will tell
    total_bytes: int | None  # size of the file; None if only the end of the body will tell
    version: tuple[str | None, ...]  # what the server says of the file's content; differs once that changed
    body: Iterable[bytes]
    whole: bool = False  # the server ignored the range: the body is all of the file


class Transport(Protocol):
    """Sends one request."""

    @contextmanager
    def get(self, location: str, start: int, stop: int | None, options: RemoteOptions) -> Iterator[Answer]:
        """Ask for the bytes from ``start`` up to, not including, ``stop`` (None: to the end).

        Raises:
            TransientError: asking again may help.
            RemoteError: it will not.
        """


def transport_of(location: str) -> Transport:
    """The transport for a URL's scheme."""
    scheme = _split(location).scheme.lower()
    if scheme in ("http", "https"):
        return _Http()
    return _S3() if scheme == "s3" else _Fsspec()


def host_of(location: str, options: RemoteOptions) -> str:
    """Name of the server whose patience a location uses: host and port; for S3 the endpoint, or the bucket of AWS."""
    parts = _split(location)
    if parts.scheme == "s3":
        endpoint = s3_endpoint(options)
        return urlsplit(endpoint).netloc if endpoint else f"{parts.netloc}.s3.amazonaws.com"
    return f"{parts.scheme}-{parts.netloc.rpartition('@')[2].lower()}"


def _split(location: str) -> SplitResult:
    """
    Raises:
        RemoteError: it is no URL: lists of the web hold anything.
    """
    try:
        return urlsplit(location)
    except ValueError as error:
        raise RemoteError("unreadable", f"not a URL: {shown(str(error))}") from error


def client_of_this_process(key: tuple[object, ...], make: Any) -> Any:
    """A client shared by the threads of a process; a forked child makes its own, since it cannot share connections."""
    with _clients_lock:
        key = (os.getpid(), *key)
        if key not in _clients:
            _clients[key] = make()
        return _clients[key]


# ------------------------------------------------------------------------------------------------------------ http(s)


class _Http:
    @contextmanager
    def get(self, location: str, start: int, stop: int | None, options: RemoteOptions) -> Iterator[Answer]:
        import httpx

        client: httpx.Client = client_of_this_process(("http",), _http_client)
        headers = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        timeout = httpx.Timeout(options.timeout_s, pool=None)
        with _http_faults(options), client.stream("GET", location, headers=headers, timeout=timeout) as response:
            yield _http_answer(response, location, start, stop, options)


def _http_client() -> httpx.Client:
    import httpx

    return httpx.Client(
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        headers={"Accept-Encoding": "identity", "User-Agent": "sluice"},  # offsets count bytes as stored
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0),
    )


@contextmanager
def _http_faults(options: RemoteOptions) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.TimeoutException as error:
        raise TransientError(f"no byte for {options.timeout_s:g} s ({type(error).__name__})") from error
    # UnicodeError: a host name with an empty or too long label, be it that of a redirect
    except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise RemoteError("unreadable", f"{type(error).__name__}: {shown(str(error))}") from error
    except httpx.TransportError as error:
        raise TransientError(f"{type(error).__name__}: {shown(str(error))}") from error


def _http_answer(
    response: httpx.Response, location: str, start: int, stop: int | None, options: RemoteOptions
) -> Answer:
    def body() -> Iterator[bytes]:
        with _http_faults(options):
            yield from response.iter_raw()  # as sent, even if the server gave it a Content-Encoding

    headers: httpx.Headers = response.headers
    version = (
        headers.get("etag", "").removeprefix("W/") or None,
        headers.get("last-modified"),
        headers.get("content-encoding"),
    )
    if response.status_code == 206:
        return _partial_answer(headers.get("content-range", ""), start, stop, version, body())
    if response.status_code == 416:
        return _past_the_end(headers.get("content-range", ""), start)
    if response.status_code != 200:
        raise refused(location, response.status_code, response.reason_phrase, headers)
    length = headers.get("content-length")
    total_bytes = int(length) if length else None
    return Answer(0, total_bytes, total_bytes, version, body(), whole=True)


def _partial_answer(
    content_range: str, start: int, stop: int | None, version: tuple[str | None, ...], body: Iterable[bytes]
) -> Answer:
    found = _CONTENT_RANGE.fullmatch(content_range.strip())
    if not found:
        raise TransientError(f"206 with the Content-Range {content_range!r}")
    first, last, total_bytes = map(int, found.groups())
    if first != start or not first <= last < total_bytes or (stop is not None and last >= stop):
        raise TransientError(f"asked for bytes {start} to {stop}, the answer's Content-Range is {content_range!r}")
    return Answer(first, last + 1, total_bytes, version, body)


def _past_the_end(content_range: str, start: int) -> Answer:
    found = _UNSATISFIED_RANGE.fullmatch(content_range.strip())
    total_bytes = int(found[1]) if found else start
    if start < total_bytes:
        raise TransientError(f"416 for byte {start} of a file of {total_bytes}")
    return Answer(start, start, total_bytes, (None, None, None), ())


def refused(location: str, status: int, phrase: str, headers: Mapping[str, str]) -> RemoteError | TransientError:
    """The error that an HTTP status stands for (RFC 9110, section 15)."""
    answer = f"{status} {phrase}".strip()
    if status in (429, 503):
        return TransientError(answer, overloaded=True, retry_after_s=retry_after_s(headers.get("retry-after")))
    if status in (408, 425) or status >= 500:
        return TransientError(answer)
    message = f"{shown(location)}: the server answers {answer}"
    if status in (404, 410):
        return RemoteError("not_found", message)
    if status in (401, 403, 407):
        return RemoteError("forbidden", message)
    return RemoteError("unreadable", message)


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; None if there is none."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


# ----------------------------------------------------------------------------------------------------------------- S3


class _S3:
    @contextmanager
    def get(self, location: str, start: int, stop: int | None, options: RemoteOptions) -> Iterator[Answer]:
        from botocore.exceptions import ClientError

        bucket, key = bucket_and_key(location)
        wanted = f"bytes={start}-{'' if stop is None else stop - 1}"
        with s3_faults(location, options):
            try:
                response = s3_client(options).get_object(Bucket=bucket, Key=key, Range=wanted)
            except ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != 416:
                    raise
                size = error.response["Error"].get("ActualObjectSize")
                yield _past_the_end(f"bytes */{size}", start)
                return
            with closing(response["Body"]):
                yield _s3_answer(response, location, start, stop, options)


def _s3_answer(
    response: Mapping[str, Any], location: str, start: int, stop: int | None, options: RemoteOptions
) -> Answer:
    def body() -> Iterator[bytes]:
        with s3_faults(location, options):
            yield from response["Body"].iter_chunks(CHUNK_BYTES)

    version = (response.get("ETag"), str(response.get("LastModified")), response.get("ContentEncoding"))
    if "ContentRange" in response:
        return _partial_answer(response["ContentRange"], start, stop, version, body())
    total_bytes = response.get("ContentLength")
    return Answer(0, total_bytes, total_bytes, version, body(), whole=True)


def s3_endpoint(options: RemoteOptions) -> str | None:
    """URL of the S3-compatible server to ask, None for AWS's own."""
    return options.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def s3_client(options: RemoteOptions) -> Any:
    """A client with AWS's chain of credentials (environment, files, instance), or with none if anonymous."""
    endpoint = s3_endpoint(options)
    key = ("s3", endpoint, options.anonymous, options.timeout_s, options.connections)
    return client_of_this_process(key, partial(_s3_client, endpoint, options))


def _s3_client(endpoint: str | None, options: RemoteOptions) -> Any:
    import botocore
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    config = Config(
        retries={"total_max_attempts": 1},  # attempts are counted in one place: Host.patiently
        connect_timeout=options.timeout_s,
        read_timeout=options.timeout_s,
        max_pool_connections=options.connections,
        response_checksum_validation="when_required",  # of whole objects; stores other than AWS's own lack them
        s3={"addressing_style": "path"} if endpoint else {},
        **({"signature_version": botocore.UNSIGNED} if options.anonymous else {}),
    )
    region = session.get_config_variable("region") or "us-east-1"
    try:
        return session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)
    except ValueError as error:
        raise RemoteError("unreadable", f"the S3 endpoint {shown(str(endpoint))} is no URL: {error}") from error


@contextmanager
def s3_faults(location: str, options: RemoteOptions) -> Iterator[None]:
    """botocore's exceptions as this package's own."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        said, answer = error.response["Error"], error.response["ResponseMetadata"]
        code, headers = said.get("Code", ""), answer.get("HTTPHeaders", {})
        phrase = said.get("Message", "") if code.isdecimal() else code  # HEAD: no body that could give a code
        status = 503 if code in S3_OVERLOADED else answer.get("HTTPStatusCode", 0)
        raise refused(location, status, phrase, headers) from error
    except (exceptions.ReadTimeoutError, exceptions.ConnectTimeoutError) as error:
        raise TransientError(f"no byte for {options.timeout_s:g} s ({type(error).__name__})") from error
    except (exceptions.HTTPClientError, exceptions.IncompleteReadError) as error:
        raise TransientError(f"{type(error).__name__}: {shown(str(error))}") from error
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
    ) as error:
        advice = "give credentials of AWS (environment, ~/.aws, instance role), or remote: {anonymous: true}"
        raise MachineError(f"{location}: {error}: {advice}") from error
    except exceptions.BotoCoreError as error:
        raise RemoteError("unreadable", f"{location}: {shown(str(error))}") from error


def bucket_and_key(location: str) -> tuple[str, str]:
    """Bucket and key of an s3:// URL. A key is taken as it stands: no percent-encoding."""
    bucket, _, key = location.partition("://")[2].partition("/")
    return bucket, key


# ------------------------------------------------------------------------------------------------------------- fsspec


class _Fsspec:
    @contextmanager
    def get(self, location: str, start: int, stop: int | None, options: RemoteOptions) -> Iterator[Answer]:
        with fsspec_faults(location):
            files, path = fsspec_file(location)
            status = files.info(path)
            if (total_bytes := status.get("size")) is None:
                yield Answer(0, None, None, (), (files.cat_file(path),), whole=True)
                return
            stop = total_bytes if stop is None else min(stop, total_bytes)
            chunk = files.cat_file(path, start, stop) if start < stop else b""
        yield Answer(start, max(start, stop), total_bytes, (fsspec_version(status),), (chunk,))


def fsspec_file(location: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path there.

    Raises:
        RemoteError: nothing installed knows the scheme.
    """
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(location)
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or error.name
        advice = f": pip install {package.partition('.')[0]}" if package else ""
        raise RemoteError("unreadable", f"{shown(location)}: {error}{advice}") from error
    except ValueError as error:
        raise RemoteError("unreadable", f"{shown(location)}: {shown(str(error))}") from error
    return files, str(path)


def fsspec_version(status: Mapping[str, Any]) -> str | None:
    """What a store says of a file's content, under the name that it uses."""
    found = (
        status.get(name) for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    )
    return next((str(version) for version in found if version is not None), None)


@contextmanager
def fsspec_faults(location: str) -> Iterator[None]:
    """The exceptions of fsspec's many packages, most of them their own, as this package's."""
    try:
        yield
    except (RemoteError, TransientError):
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise RemoteError("not_found", f"{shown(location)}: {shown(str(error))}") from error
    except PermissionError as error:
        raise RemoteError("forbidden", f"{shown(location)}: {shown(str(error))}") from error
    except Exception as error:
        raise TransientError(f"{type(error).__name__}: {shown(str(error))}", _is_overload(error)) from error


def _is_overload(error: Exception) -> bool:
    """Whether a store asks for fewer requests: by a status where its package tells one, else by its words."""
    statuses = [getattr(error, name, None) for name in ("code", "status", "status_code")]
    return any(status in (429, 503, "429", "503") for status in statuses) or bool(_OVERLOAD.search(str(error)))

"""Object stores as places to write to: s3:// by botocore, gs:// and az:// by fsspec's packages.

Four things are asked of a store, and ``check`` tries them before a run relies on it: an object appears whole or not at
all, a name that is taken can be refused, what was written is read at once, and listings are complete. S3 (If-None-Match
since 2024), Google Cloud Storage (generation 0) and Azure (If-None-Match) do these.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from pipeline.errors import MachineError, RecipeError
from pipeline.locations.hosts import TransientError, host
from pipeline.locations.location import RemoteError, RemoteOptions, shown
from pipeline.locations.remote_file import RemoteFile
from pipeline.locations.transports import (
    bucket_and_key,
    fsspec_faults,
    fsspec_file,
    host_of,
    s3_client,
    s3_faults,
)

T = TypeVar("T")
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss")
ONE_REQUEST_BYTES = 64 << 20  # larger files go up in pieces of this size, each tried again by itself
COPIED_PIECE_BYTES = 1 << 30  # S3 copies at most 5 GiB by one request
DELETED_AT_ONCE = 1000  # of S3
CHECKS = "sluice-check"


@dataclass(frozen=True, slots=True)
class Found:
    """An object of a listing."""

    key: str  # below the store's URL
    size_bytes: int
    modified_s: float | None  # seconds since the epoch, by the store's clock


def is_store(location: str) -> bool:
    """Whether a location is in an object store."""
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


@dataclass(frozen=True)
class ObjectStore:
    """The objects whose names begin with a URL and "/". May be used from many threads, and pickled.

    Every method is tried again as long as the store is only overloaded or breaks off (``RemoteOptions.tries``).

    Raises:
        MachineError: the store cannot be had, or refuses: the message says what to do.
    """

    url: str  # without "/" at its end
    options: RemoteOptions
    shared: Path | None = None  # folder in which the processes of a machine share what they know of the store's host

    def read(self, key: str) -> bytes | None:
        """A whole object; None if there is none."""
        try:
            with RemoteFile(self._url(key), self.options, self.shared) as file:
                return file.readall()
        except RemoteError as error:
            if error.reason == "not_found":
                return None
            raise self._explained(error) from error

    def opened(self, key: str) -> BinaryIO:
        """A seekable file of which only what is asked for is fetched.

        Raises:
            FileNotFoundError: there is no such object.
        """
        try:
            return cast(BinaryIO, RemoteFile(self._url(key), self.options, self.shared))
        except RemoteError as error:
            if error.reason == "not_found":
                raise FileNotFoundError(self._url(key)) from error
            raise self._explained(error) from error

    def put(self, key: str, content: bytes) -> None:
        """Write an object, in place of an earlier one if there is one."""
        self._patiently(key, lambda: self._backend.put(self._url(key), content, False))

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Write an object whose name is free; False if it is taken.

        A request that is repeated because its answer was lost finds its own object: then the name counts as taken.
        """
        return self._patiently(key, lambda: self._backend.put(self._url(key), content, True))

    def upload(self, key: str, path: Path) -> None:
        """Copy a file to an object, which appears whole or not at all."""
        size = path.stat().st_size
        if size <= ONE_REQUEST_BYTES:
            self._patiently(key, lambda: self._backend.put(self._url(key), path.read_bytes(), False))
        else:
            self._backend.upload_in_pieces(self._url(key), path, size, partial(self._patiently, key))

    def copy(self, source: str, key: str) -> None:
        """Copy an object of this store within the store."""
        self._backend.copy(self._url(source), self._url(key), partial(self._patiently, key))

    def exists(self, key: str) -> bool:
        """Whether there is such an object now."""
        return self._patiently(key, lambda: self._backend.exists(self._url(key)))

    def found(self, prefix: str) -> list[Found]:
        """The objects whose keys begin so, in the order of their keys."""
        return self._patiently(prefix, lambda: list(self._listed(prefix)))

    def folders(self, prefix: str) -> list[str]:
        """Names directly below a prefix that ends in "/" which others lie below."""
        return sorted(set(self._patiently(prefix, lambda: self._backend.folders(self._url(prefix)))))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are none too many."""
        names = list(keys)
        for at in range(0, len(names), DELETED_AT_ONCE):
            some = [self._url(key) for key in names[at : at + DELETED_AT_ONCE]]
            self._patiently(names[at], partial(self._backend.delete, some))

    def check(self) -> None:
        """See that the store does what runs rely on.

        Raises:
            MachineError: it does not, or cannot be written to.
        """
        key = f"{CHECKS}/{uuid.uuid4().hex}"
        try:
            first, second = self.put_if_absent(key, b"1"), self.put_if_absent(key, b"2")
            found = self.read(key)
            if second or found != b"1" or [f.key for f in self.found(key)] != [key]:
                raise MachineError(
                    f"{shown(self.url)} does not refuse a name that is taken, or does not show at once what was "
                    f"written (first {first}, second {second}, read {found!r}): a run there could lose or double "
                    "documents. Use a store with conditional writes, or a shared file system"
                )
        finally:
            self.delete([key])

    def clock_s(self) -> float:
        """The store's time, in seconds since the epoch: the machines' clocks may differ from it."""
        key = f"{CHECKS}/{uuid.uuid4().hex}"
        self.put(key, b"")
        try:
            (found,) = self.found(key)
        finally:
            self.delete([key])
        if found.modified_s is None:
            raise MachineError(f"{shown(self.url)} does not tell when its objects were written")
        return found.modified_s

    def unfinished_uploads(self) -> list[tuple[str, str, float]]:
        """Key, id and start (seconds since the epoch) of uploads in pieces that nobody finished; S3 keeps, and bills,
        their pieces. Other stores forget them."""
        base = len(self._url(""))
        return [
            (url[base:], upload, began)
            for url, upload, began in self._patiently("", lambda: self._backend.unfinished(self._url("")))
        ]

    def abort_upload(self, key: str, upload: str) -> None:
        """Delete the pieces of an unfinished upload."""
        self._patiently(key, lambda: self._backend.abort(self._url(key), upload))

    def _listed(self, prefix: str) -> Iterator[Found]:
        base = len(self._url(""))
        for url, size, modified in self._backend.listed(self._url(prefix)):
            yield Found(url[base:], size, modified)

    def _url(self, key: str) -> str:
        return f"{self.url}/{key}"

    @property
    def _backend(self) -> _S3 | _Fsspec:
        return _S3(self.options) if self.url.startswith("s3://") else _Fsspec()

    def _patiently(self, key: str, attempt: Callable[[], T]) -> T:
        url = self._url(key)
        try:
            return host(host_of(url, self.options), self.options, self.shared).patiently(lambda: shown(url), attempt)
        except RemoteError as error:
            raise self._explained(error) from error

    def _explained(self, error: RemoteError) -> MachineError:
        advice = {
            "forbidden": "give this machine credentials that may read, write, list and delete there",
            "not_found": "see that the bucket exists",
        }.get(error.reason, "see that the store is well")
        return MachineError(f"{error}. To go on, {advice}, and give the same command again: what was committed is kept")


class _S3:
    def __init__(self, options: RemoteOptions) -> None:
        self._options = options

    def _call(self, operation: str, url: str, **arguments: Any) -> Mapping[str, Any]:
        bucket, key = bucket_and_key(url)
        named = {"Bucket": bucket, "Key": key} if "Prefix" not in arguments and "Delete" not in arguments else {}
        with s3_faults(url, self._options):
            answer: Mapping[str, Any] = getattr(s3_client(self._options), operation)(
                **{"Bucket": bucket, **named, **arguments}
            )
            return answer

    def put(self, url: str, content: bytes, if_absent: bool) -> bool:
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if if_absent else {}
        bucket, key = bucket_and_key(url)
        with s3_faults(url, self._options):
            try:
                s3_client(self._options).put_object(Bucket=bucket, Key=key, Body=content, **condition)
            except ClientError as error:
                status = error.response["ResponseMetadata"].get("HTTPStatusCode")
                if if_absent and status == 412:
                    return False
                if if_absent and status == 409:  # another conditional request for it was under way
                    raise TransientError("409 Conflict") from error
                raise
        return True

    def upload_in_pieces(self, url: str, path: Path, size: int, patiently: Callable[[Callable[[], Any]], Any]) -> None:
        upload = patiently(lambda: self._call("create_multipart_upload", url)["UploadId"])
        piece_bytes = max(ONE_REQUEST_BYTES, -(-size // 10_000))  # S3 takes 10,000 pieces

        def piece(number: int) -> str:
            with path.open("rb") as file:
                file.seek((number - 1) * piece_bytes)
                body = file.read(piece_bytes)
            return str(self._call("upload_part", url, UploadId=upload, PartNumber=number, Body=body)["ETag"])

        self._in_pieces(url, upload, -(-size // piece_bytes), piece, patiently)

    def copy(self, source: str, url: str, patiently: Callable[[Callable[[], Any]], Any]) -> None:
        bucket, key = bucket_and_key(source)
        origin = {"Bucket": bucket, "Key": key}
        size = patiently(lambda: self._call("head_object", source)["ContentLength"])
        if size <= COPIED_PIECE_BYTES:
            patiently(lambda: self._call("copy_object", url, CopySource=origin))
            return
        upload = patiently(lambda: self._call("create_multipart_upload", url)["UploadId"])

        def piece(number: int) -> str:
            first = (number - 1) * COPIED_PIECE_BYTES
            span = f"bytes={first}-{min(size, first + COPIED_PIECE_BYTES) - 1}"
            answer = self._call(
                "upload_part_copy", url, UploadId=upload, PartNumber=number, CopySource=origin, CopySourceRange=span
            )
            return str(answer["CopyPartResult"]["ETag"])

        self._in_pieces(url, upload, -(-size // COPIED_PIECE_BYTES), piece, patiently)

    def _in_pieces(
        self,
        url: str,
        upload: str,
        pieces: int,
        piece: Callable[[int], str],
        patiently: Callable[[Callable[[], Any]], Any],
    ) -> None:
        try:
            parts = [
                {"PartNumber": number, "ETag": patiently(partial(piece, number))} for number in range(1, pieces + 1)
            ]
            patiently(partial(self._complete, url, upload, parts))
        except BaseException:
            patiently(lambda: self.abort(url, upload))
            raise

    def _complete(self, url: str, upload: str, parts: list[dict[str, Any]]) -> None:
        self._call("complete_multipart_upload", url, UploadId=upload, MultipartUpload={"Parts": parts})

    def exists(self, url: str) -> bool:
        _, key = bucket_and_key(url)
        page = self._call("list_objects_v2", url, Prefix=key, MaxKeys=1)  # the first in order is the key itself
        return any(found["Key"] == key for found in page.get("Contents", ()))

    def listed(self, url: str) -> Iterator[tuple[str, int, float | None]]:
        bucket, prefix = bucket_and_key(url)
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", url, Prefix=prefix, **more)
            for found in page.get("Contents", ()):
                yield f"s3://{bucket}/{found['Key']}", int(found["Size"]), found["LastModified"].timestamp()
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def folders(self, url: str) -> list[str]:
        _, prefix = bucket_and_key(url)
        names, more = [], dict[str, str]()
        while True:
            page = self._call("list_objects_v2", url, Prefix=prefix, Delimiter="/", **more)
            names += [found["Prefix"][len(prefix) : -1] for found in page.get("CommonPrefixes", ())]
            if not page.get("IsTruncated"):
                return names
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, urls: list[str]) -> None:
        names = [{"Key": bucket_and_key(url)[1]} for url in urls]
        answer = self._call("delete_objects", urls[0], Delete={"Objects": names, "Quiet": True})
        if errors := answer.get("Errors"):
            raise TransientError(f"{errors[0].get('Key')}: {errors[0].get('Code')}")

    def unfinished(self, url: str) -> list[tuple[str, str, float]]:
        bucket, prefix = bucket_and_key(url)
        page = self._call("list_multipart_uploads", url, Prefix=prefix)
        return [
            (f"s3://{bucket}/{found['Key']}", found["UploadId"], found["Initiated"].timestamp())
            for found in page.get("Uploads", ())
        ]

    def abort(self, url: str, upload: str) -> None:
        self._call("abort_multipart_upload", url, UploadId=upload)


class _Fsspec:
    """Whatever fsspec's package for the scheme does; each gives ``mode="create"`` for a name that must be free."""

    def put(self, url: str, content: bytes, if_absent: bool) -> bool:
        try:
            with fsspec_faults(url):
                files, path = fsspec_file(url)
                try:
                    files.pipe_file(path, content, mode="create" if if_absent else "overwrite")
                except Exception as error:
                    if if_absent and _says_taken(error):
                        raise _TakenError from error
                    raise
        except _TakenError:
            return False
        return True

    def upload_in_pieces(self, url: str, path: Path, size: int, patiently: Callable[[Callable[[], Any]], Any]) -> None:
        def attempt() -> None:
            with fsspec_faults(url):
                files, name = fsspec_file(url)
                files.put_file(str(path), name)

        patiently(attempt)

    def copy(self, source: str, url: str, patiently: Callable[[Callable[[], Any]], Any]) -> None:
        def attempt() -> None:
            with fsspec_faults(url):
                files, name = fsspec_file(url)
                files.cp_file(fsspec_file(source)[1], name)

        patiently(attempt)

    def exists(self, url: str) -> bool:
        with fsspec_faults(url):
            files, path = fsspec_file(url)
            files.invalidate_cache()
            return bool(files.isfile(path))

    def listed(self, url: str) -> Iterator[tuple[str, int, float | None]]:
        above, _, _ = url.rpartition("/")
        with fsspec_faults(url):
            files, folder = fsspec_file(above)
            files.invalidate_cache()
            for name, status in sorted(files.find(folder, detail=True).items()):
                found = f"{above}/{name.strip('/').removeprefix(folder.strip('/') + '/')}"
                if found.startswith(url) and status.get("type") != "directory":
                    yield found, int(status["size"]), _modified_s(status)

    def folders(self, url: str) -> list[str]:
        with fsspec_faults(url):
            files, path = fsspec_file(url)
            files.invalidate_cache()
            folder = path.rstrip("/")
            if not files.exists(folder):
                return []
            found = files.ls(folder, detail=True)
            return [f["name"].rstrip("/").rpartition("/")[2] for f in found if f["type"] == "directory"]

    def delete(self, urls: list[str]) -> None:
        for url in urls:
            with fsspec_faults(url):
                files, path = fsspec_file(url)
                try:
                    files.rm_file(path)
                except FileNotFoundError:
                    continue

    def unfinished(self, url: str) -> list[tuple[str, str, float]]:
        return []

    def abort(self, url: str, upload: str) -> None:
        raise NotImplementedError(f"{shown(url)}: nothing to abort")


class _TakenError(RemoteError):
    def __init__(self) -> None:
        super().__init__("unreadable", "the name is taken")


def _says_taken(error: Exception) -> bool:
    """gcsfs raises FileExistsError, or an HttpError of code 412; adlfs FileExistsError."""
    return isinstance(error, FileExistsError) or str(getattr(error, "code", "")) in ("409", "412")


def _modified_s(status: Mapping[str, Any]) -> float | None:
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        found = status.get(name)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, int | float):
            return float(found)
        if isinstance(found, str):
            return datetime.fromisoformat(found).timestamp()
    return None


def parsed_store(location: str) -> str:
    """The URL of a folder in an object store, without "/" at its end.

    Raises:
        RecipeError: runs cannot be kept at such a URL.
    """
    url = location.rstrip("/")
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in SCHEMES or "?" in rest or "#" in rest or not rest.partition("/")[0]:
        raise RecipeError(
            f"{shown(location)}: Sluice writes into folders, and into object stores: s3://BUCKET/FOLDER, "
            "gs://BUCKET/FOLDER or az://CONTAINER/FOLDER"
        )
    return f"{scheme.lower()}://{rest}"

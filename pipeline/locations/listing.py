"""Patterns over URLs: which files of a server they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.locations.hosts import host
from pipeline.locations.location import InputFile, RemoteError, RemoteOptions, shown
from pipeline.locations.transports import (
    bucket_and_key,
    fsspec_faults,
    fsspec_file,
    fsspec_version,
    host_of,
    s3_client,
    s3_faults,
)

_MAGIC = re.compile(r"[*?\[]")


def matching_urls(pattern: str, suffixes: tuple[str, ...], options: RemoteOptions) -> list[InputFile]:
    """The files that a URL means: itself, those that its glob characters match, or those below a folder of a store.

    An object of a store stands for itself; a prefix that ends in "/", or that no object is called, is a folder: all
    below it that end in one of ``suffixes`` (any if empty). ``*`` and ``?`` stay within a name, ``**`` does not.

    Raises:
        InputError: nothing matches, or the store cannot be listed; https:// servers never can.
    """
    scheme = urlsplit(pattern).scheme.lower()
    if scheme in ("http", "https"):
        return [_http_file(pattern)]
    try:
        found = list((_s3_files if scheme == "s3" else _fsspec_files)(pattern, suffixes, options))
    except RemoteError as error:
        raise InputError(str(error)) from error
    if not found:
        ending = f" that ends in {' or '.join(suffixes)}" if suffixes and not _MAGIC.search(pattern) else ""
        raise InputError(f"no file{ending} matches {shown(pattern)}")
    return found


def _http_file(url: str) -> InputFile:
    if re.search(r"[*\[]", urlsplit(url).path):
        raise InputError(f"{shown(url)}: a web server cannot be listed, so * and [] mean nothing here: name each file")
    return InputFile(shown(url), url)


def _glob(pattern: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(pattern))


# ----------------------------------------------------------------------------------------------------------------- S3


def _s3_files(pattern: str, suffixes: tuple[str, ...], options: RemoteOptions) -> Iterator[InputFile]:
    bucket, key = bucket_and_key(pattern)
    if magic := _MAGIC.search(key):
        matches = _glob(key).match
        for file in _s3_objects(bucket, key[: magic.start()], options):
            if matches(bucket_and_key(file.location)[1]):
                yield file
        return
    if key and not key.endswith("/"):
        try:
            yield _s3_object(bucket, key, options)
            return
        except RemoteError as error:
            if error.reason != "not_found":
                raise
    folder = key and key.rstrip("/") + "/"
    for file in _s3_objects(bucket, folder, options):
        if file.location.lower().endswith(tuple(map(str.lower, suffixes)) or ("",)):
            yield file


def _s3_object(bucket: str, key: str, options: RemoteOptions) -> InputFile:
    found = _s3_call("head_object", options, Bucket=bucket, Key=key)
    return _s3_file(bucket, {"Key": key, "Size": found["ContentLength"], "ETag": found["ETag"]})


def _s3_objects(bucket: str, prefix: str, options: RemoteOptions) -> Iterator[InputFile]:
    """All objects below a prefix, without the empty ones that some tools create to stand for folders."""
    more: dict[str, str] = {}
    while True:
        page = _s3_call("list_objects_v2", options, Bucket=bucket, Prefix=prefix, **more)
        yield from (_s3_file(bucket, found) for found in page.get("Contents", ()) if not found["Key"].endswith("/"))
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _s3_file(bucket: str, found: Mapping[str, Any]) -> InputFile:
    url = f"s3://{bucket}/{found['Key']}"
    return InputFile(shown(url), url, int(found["Size"]), str(found["ETag"]).strip('"'))


def _s3_call(operation: str, options: RemoteOptions, **arguments: str) -> Mapping[str, Any]:
    url = f"s3://{arguments['Bucket']}/{arguments.get('Key', arguments.get('Prefix', ''))}"

    def attempt() -> Mapping[str, Any]:
        with s3_faults(url, options):
            answer: Mapping[str, Any] = getattr(s3_client(options), operation)(**arguments)
            return answer

    return host(host_of(url, options), options, None).patiently(lambda: url, attempt)


# ------------------------------------------------------------------------------------------------------------- fsspec


def _fsspec_files(pattern: str, suffixes: tuple[str, ...], options: RemoteOptions) -> Iterator[InputFile]:
    files, path = fsspec_file(pattern)
    head, separator, behind = pattern.partition("::")  # "zip://*.txt::s3://b/a.zip": one store inside another
    before, after = head.removesuffix(path), separator + behind  # the host, which the path of many stores leaves out

    def attempt() -> dict[str, Mapping[str, Any]]:
        with fsspec_faults(pattern):
            if files.isfile(path):
                return {path: files.info(path)}
            if _MAGIC.search(path):
                found: dict[str, Mapping[str, Any]] = files.glob(path, detail=True)
                return found
            return {
                name: status
                for name, status in files.find(path, detail=True).items()
                if name == path or name.lower().endswith(tuple(map(str.lower, suffixes)) or ("",))
            }

    found = host(host_of(pattern, options), options, None).patiently(lambda: shown(pattern), attempt)
    for name, status in sorted(found.items()):
        if status.get("type") != "directory":
            url = before + name + after if head.endswith(path) else files.unstrip_protocol(name)
            yield InputFile(shown(url), url, status.get("size"), fsspec_version(status))

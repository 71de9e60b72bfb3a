"""Runs in an object store are compared as those in folders."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import arguments
from pipeline.compare.comparison import compare
from pipeline.run import Run
from tests.servers import put_objects, s3_server


def test_a_run_in_a_store_is_compared_with_one_in_a_folder(
    base: Run, strict: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.relative_to(strict.folder).as_posix(): path for path in strict.folder.rglob("*") if path.is_file()}
    with s3_server() as endpoint:
        put_objects(endpoint, "compared", {f"run/{name}": path.read_bytes() for name, path in files.items()})
        for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("SLUICE_SCRATCH", str(tmp_path))
        stored = compare(base.folder, arguments.folder("s3://compared/run"))
    assert stored.b.folder == "s3://compared/run"
    in_folder = compare(base.folder, strict.folder)
    assert replace(stored, b=in_folder.b) == in_folder

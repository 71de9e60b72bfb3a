"""The corpus as a whole: its layout, its bytes, and when it is built again."""

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest

from stages.demo_corpus import build
from stages.demo_corpus.build import _SITES, _child
from stages.demo_corpus.code import write_code
from stages.demo_corpus.python_pages import Request, standard_library_roots
from tests.stages.demo_corpus.conftest import Built, digests


def test_another_process_builds_the_same_bytes(tiny: Built, tmp_path: Path) -> None:
    program = "import sys, pathlib, stages.demo_corpus as d; d.build(pathlib.Path(sys.argv[1]), size='tiny')"
    environment = {**os.environ, "PYTHONHASHSEED": "4321"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "again")], check=True, env=environment)
    assert digests(tmp_path / "again") == digests(tiny.folder)


def test_a_second_build_returns_the_summary_and_writes_nothing(tiny: Built) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("*")}
    assert build(tiny.folder, size="tiny") == tiny.summary
    assert {path: path.stat().st_mtime_ns for path in tiny.folder.rglob("*")} == before


def test_an_interrupted_build_is_built_again(tiny: Built, tiny_copy: Path) -> None:
    (tiny_copy / "corpus.json").unlink()  # as if the process had died before its last write
    (tiny_copy / "code" / "half.py").write_text("x = ")
    leftover = tiny_copy.with_name(f".{tiny_copy.name}.building")
    leftover.mkdir()
    (leftover / "rest").touch()
    assert build(tiny_copy, size="tiny") == tiny.summary
    assert digests(tiny_copy) == digests(tiny.folder)
    assert not leftover.exists()


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no demo corpus"):
        build(tmp_path, size="tiny")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_no_file_names_a_folder_of_this_build(tiny: Built) -> None:
    for name in ("web", "papers", "readmes"):
        for path in (tiny.folder / name).iterdir():
            assert str(tiny.folder).encode() not in path.read_bytes(), path
    assert str(tiny.folder) not in (tiny.folder / "corpus.json").read_text()


def test_code_is_the_standard_librarys_own(tiny: Built) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    files = [path for path in (tiny.folder / "code").rglob("*") if path.is_file()]
    assert len(files) == tiny.summary.code_files == 30
    assert sum(path.stat().st_size for path in files) == tiny.summary.code_bytes
    for path in files:
        relative = path.relative_to(tiny.folder / "code")
        assert path.read_bytes() == (library / relative).read_bytes()
        assert not {"test", "tests", "site-packages"}.intersection(relative.parts)


def test_the_seed_chooses_the_code(tmp_path: Path) -> None:
    write_code(tmp_path / "one", 5, seed=1)
    write_code(tmp_path / "two", 5, seed=2)
    assert digests(tmp_path / "one").keys() != digests(tmp_path / "two").keys()


def test_readmes_are_json_lines_about_installed_distributions(tiny: Built) -> None:
    with pa.CompressedInputStream(str(tiny.folder / "readmes" / "readmes.jsonl.zst"), "zstd") as stream:
        rows = [json.loads(line) for line in stream.read().decode().splitlines()]
    assert len(rows) == tiny.summary.readmes == 30
    for row in rows:
        assert set(row) == {"id", "title", "text", "url", "licence"}
        assert len(row["text"]) >= 200
    assert sum(row["licence"] is not None for row in rows) >= 7
    assert sum((row["url"] or "").startswith("http") for row in rows) >= 7


def test_a_failing_child_is_an_error_that_says_what_failed(tmp_path: Path) -> None:
    incomplete = {"site": "python", "roots": ["json"], "seed": 1}
    with pytest.raises(RuntimeError, match=r"(?s)python_pages of json failed with code 1.*KeyError: 'limit'"):
        _child("python_pages", incomplete, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "site", ["python", "numpy", "scipy", "sklearn", "pandas", "networkx", "torch", "pyarrow", "nltk"]
)
def test_every_site_of_the_full_corpus_is_documented_alike_twice(site: str, tmp_path: Path) -> None:
    # Guards against docstrings made at import: of sets, of addresses, of draws from an unseeded generator.
    request = asdict(Request(site, _SITES[site][2] or standard_library_roots(), 10_000, seed=1))
    first, second = (_child("python_pages", request, tmp_path) for _ in range(2))
    assert first == second
    assert len(first.splitlines()) > 100

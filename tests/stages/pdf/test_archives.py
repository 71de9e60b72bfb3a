"""PDFs inside zip and tar archives: each is a document, whatever else is in there or broken."""

import io
import random
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pdf import archives
from tests.stages.intake.packing import PACKINGS
from tests.stages.pdf.page_rows import PROSE, Read, prose_bytes
from tests.stages.pdf_files import text_pdf


def zipped(path: Path, members: Mapping[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, member in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(member)
            archive.addfile(header, io.BytesIO(member))
    return content.getvalue()


def papers(folder: Path) -> dict[str, bytes]:
    return {
        "README.md": b"# two papers",
        "x/": b"",
        "x/one.pdf": prose_bytes(folder, 2),
        "x/two.PDF": prose_bytes(folder, 1, start=2),
        "x/inner.zip": b"PK\x03\x04",
    }


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.zst", "tar.xz", "tar.bz2"])
def test_every_pdf_of_an_archive_is_a_document(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    members = {name: content for name, content in papers(tmp_path).items() if not name.endswith("/")}
    packing = {"tar.gz": "gzip", "tgz": "gzip", "tar.zst": "zstd", "tar.xz": "xz", "tar.bz2": "bzip2"}.get(
        suffix, "plain"
    )
    if suffix == "zip":
        zipped(path, members)
    else:
        path.write_bytes(PACKINGS[packing](tarred(members)))
    found = Read(files=path)
    assert found.texts == [PROSE.format(number) for number in range(3)]
    names = [f"a.{suffix}!x/one.pdf", f"a.{suffix}!x/one.pdf", f"a.{suffix}!x/two.PDF"]
    assert [row["origin"]["path"] for row in found.rows] == names
    assert [row["pdf.document"].partition("#")[0] for row in found.rows] == [f"papers/{name}" for name in names]
    assert [row["pdf.page"] for row in found.rows] == [0, 1, 0]
    assert found.noted == {"member_no_pdf": 2}  # nested archives are not opened
    assert not found.removed


def test_a_folder_may_hold_files_and_archives(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(prose_bytes(tmp_path))
    zipped(folder / "b.zip", {"c.pdf": prose_bytes(tmp_path, start=1)})
    assert Read(files=folder).texts == [PROSE.format(0), PROSE.format(1)]


def test_members_that_cannot_be_read_fail_alone(tmp_path):
    sound, large = prose_bytes(tmp_path), prose_bytes(tmp_path, 50)
    secret = text_pdf(tmp_path / "secret", [PROSE], password="secret").read_bytes()
    path = zipped(
        tmp_path / "a.zip",
        {"large.pdf": large, "secret.pdf": secret, "text.pdf": b"no PDF", "../up.pdf": sound, "sound.pdf": sound},
    )
    found = Read(files=path, max_file_bytes=len(large) - 1)
    assert found.texts == [PROSE.format(0)]
    assert {removal.evidence.partition(":")[0]: (removal.verdict, removal.reason) for removal in found.removed} == {
        "a.zip!large.pdf": ("failed", "too_large"),
        "a.zip!secret.pdf": ("failed", "encrypted"),
        "a.zip!text.pdf": ("failed", "unreadable"),
        "a.zip!../up.pdf": ("dropped", "unsafe_path"),
    }


def test_a_link_is_not_followed(tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        link = tarfile.TarInfo("a.pdf")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "a.tar").write_bytes(content.getvalue())
    assert Read(files=tmp_path).ends == [("dropped", "not_a_file")]


def test_two_members_of_one_name_are_two_documents(tmp_path):
    content = prose_bytes(tmp_path)
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as archive:
        for _ in range(2):
            header = tarfile.TarInfo("a.pdf")
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    (tmp_path / "a.tar").write_bytes(twice.getvalue())
    found = Read(files=tmp_path / "a.tar")
    assert found.texts == [PROSE.format(0)] * 2
    assert len({row["pdf.document"] for row in found.rows}) == 2


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_large_archive_is_shared_among_tasks(tmp_path, monkeypatch, suffix):
    members = {f"{number}.pdf": prose_bytes(tmp_path, 1, number) for number in range(7)}
    path = tmp_path / f"a.{suffix}"
    zipped(path, members) if suffix == "zip" else path.write_bytes(tarred(members))
    whole = Read(files=path)
    monkeypatch.setattr(archives, "RANGE_BYTES", -(-path.stat().st_size // 3))
    shared = Read(files=path)
    assert [split.files[0].name for split in shared.splits] == [f"a.{suffix} (members {n} of 3)" for n in (1, 2, 3)]
    assert shared.rows == whole.rows
    assert shared.texts == [PROSE.format(number) for number in range(7)]


def test_an_archive_that_breaks_off_gives_what_stands_before_the_break(tmp_path):
    content = tarred({f"{number}.pdf": prose_bytes(tmp_path, 1, number) for number in range(5)})
    (tmp_path / "a.tar").write_bytes(content[: content.index(b"3.pdf") + 1000])
    found = Read(files=tmp_path / "a.tar")
    assert found.texts == [PROSE.format(number) for number in range(3)]
    assert found.ends == [("failed", "damaged")]
    assert found.removed[0].id == "papers/a.tar#damage"


def test_a_bomb_is_read_up_to_the_limit(tmp_path):
    members = {"a.pdf": prose_bytes(tmp_path), "b.pdf": bytes(100_000_000), "c.pdf": prose_bytes(tmp_path, 1, 1)}
    found = Read(files=zipped(tmp_path / "a.zip", members))
    assert found.texts == [PROSE.format(0)]
    assert found.ends == [("failed", "decompression_bomb")] * 3  # b, c, and the archive
    assert "times its size" in found.removed[0].evidence


def test_a_member_that_is_too_large_is_not_unpacked(tmp_path):
    members = {"a.pdf": prose_bytes(tmp_path), "b.pdf": bytes(100_000_000), "c.pdf": prose_bytes(tmp_path, 1, 1)}
    found = Read(files=zipped(tmp_path / "a.zip", members), max_file_bytes=50_000_000)
    assert found.texts == [PROSE.format(0), PROSE.format(1)]
    assert found.ends == [("failed", "too_large")]


def test_the_damage_of_an_archive_that_tasks_share_is_told_once(tmp_path, monkeypatch):
    content = tarred({f"{number}.pdf": prose_bytes(tmp_path, 1, number) for number in range(5)})
    (tmp_path / "a.tar").write_bytes(content[: content.index(b"3.pdf") + 1000])
    monkeypatch.setattr(archives, "RANGE_BYTES", 3000)
    found = Read(files=tmp_path / "a.tar")
    assert len(found.splits) > 1
    assert found.texts == [PROSE.format(number) for number in range(3)]
    assert [removal.id for removal in found.removed] == ["papers/a.tar#damage"]


def test_what_is_no_archive_fails(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    (tmp_path / "b.tar.gz").write_bytes(b"nor this")
    found = Read(files=tmp_path)
    assert found.ends == [("failed", "damaged")] * 2
    assert not found.rows


@settings(max_examples=15)
@given(st.integers(0, 10**9), st.sampled_from(["zip", "tar"]), st.integers(1, 20))
def test_no_damage_stops_reading_or_loses_count(tmp_path_factory, seed, suffix, flips):
    folder = tmp_path_factory.mktemp("damaged")
    members = {f"{number}.pdf": prose_bytes(folder, 1, number) for number in range(3)}
    path = folder / f"a.{suffix}"
    zipped(path, members) if suffix == "zip" else path.write_bytes(tarred(members))
    numbers = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(flips):
        content[numbers.randrange(len(content))] = numbers.randrange(256)
    path.write_bytes(content)
    found = Read(files=path)  # checks counts and ids
    assert found.rows or found.removed or found.noted

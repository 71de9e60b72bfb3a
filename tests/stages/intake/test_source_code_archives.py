"""Archives of repositories in, the same documents as from their folders out; and no harm from hostile ones."""

import bz2
import email
import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stages.intake.test_source_code import PROGRAM, checkout, git, read, write

PACK = {
    ".tar": lambda content: content,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.compress,
}


def tar_of(files: dict[str, bytes | tarfile.TarInfo], **options: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **options) as archive:
        for path, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return out.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("a-b/link.py")
    info.type, info.linkname = kind, target
    return info


def contents(rows: list[dict]) -> dict[str, tuple[str, str, int]]:
    return {row["meta"]["path"]: (row["text"], row["origin"]["digest"], row["origin"]["length"]) for row in rows}


@pytest.mark.parametrize("suffix", [*PACK, ".zip"])
def test_an_archive_gives_the_documents_of_its_folder(tmp_path, suffix):
    library = Path(email.__file__).parent
    files = {f"email-1a2b3c/{path.relative_to(library)}": path.read_bytes() for path in sorted(library.rglob("*.py"))}
    packed = zip_of(files) if suffix == ".zip" else PACK[suffix](tar_of(files))
    rows, _ = read(write(tmp_path / "packed", {f"owner.email{suffix}": packed}))
    expected, _ = read(write(tmp_path / "unpacked", files))
    assert contents(rows) == contents(expected)
    assert len(rows) > 20
    assert {row["meta"]["repository"] for row in rows} == {"owner.email"}
    assert {row["origin"]["path"] for row in rows} == {f"owner.email{suffix}"}


def test_a_document_can_be_fetched_again_by_its_origin(tmp_path):
    packed = tar_of({"r/a.py": PROGRAM.encode(), "r/b.py": b"b = 'b'\n"})
    (tmp_path / "r.tar").write_bytes(packed)
    for row in read(tmp_path)[0]:
        origin = row["origin"]
        assert packed[origin["offset"] : origin["offset"] + origin["length"]] == row["text"].encode()


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_an_archive_made_by_git_tells_its_commit(tmp_path, form):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "a.py").write_text(PROGRAM)
    commit = checkout(tmp_path / "r")
    (tmp_path / "in").mkdir()
    git(tmp_path / "r", "archive", f"--output={tmp_path}/in/r.{form}", "--prefix=r-main/", "HEAD")
    ((row,), removed) = read(tmp_path / "in")
    assert row["meta"] == {"code_language": "python", "repository": "r", "path": "a.py", "commit": commit}
    assert removed == []


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_licences_hold_for_members_before_and_after_them(tmp_path, pack):
    files = {"r/A/a.py": PROGRAM.encode(), "r/LICENSE": b"SPDX: MIT License\n", "r/z.py": PROGRAM.encode()}
    (tmp_path / ("r.tar" if pack is tar_of else "r.zip")).write_bytes(pack(files))
    rows, _ = read(tmp_path)
    assert [(row["meta"]["path"], row["meta"]["licence"]) for row in rows] == [("A/a.py", "MIT"), ("z.py", "MIT")]


@pytest.mark.parametrize(
    ("kind", "evidence"),
    [
        (tarfile.SYMTYPE, "a link to /etc/passwd"),
        (tarfile.LNKTYPE, "a link to /etc/passwd"),
        (tarfile.CHRTYPE, "a device or the like"),
        (tarfile.FIFOTYPE, "a device or the like"),
    ],
)
def test_links_and_devices_are_not_followed(tmp_path, kind, evidence):
    packed = tar_of({"a-b/a.py": PROGRAM.encode(), "a-b/link.py": special(kind, "/etc/passwd")})
    (tmp_path / "r.tar").write_bytes(packed)
    rows, removed = read(tmp_path)
    assert [row["meta"]["path"] for row in rows] == ["a.py"]
    assert removed == [("dropped", "not_a_file", f"r.tar/a-b/link.py: a-b/link.py is {evidence}")]


def test_links_of_a_zip_are_not_followed(tmp_path):
    info = zipfile.ZipInfo("link.py")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert [reason for _, reason, _ in read(tmp_path)[1]] == ["not_a_file"]


@pytest.mark.parametrize("path", ["/etc/a.py", "../a.py", "lib/../../a.py", "C:/a.py"])
@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_members_that_lead_out_of_the_archive_are_dropped(tmp_path, pack, path):
    (tmp_path / ("r.tar" if pack is tar_of else "r.zip")).write_bytes(
        pack({path: PROGRAM.encode(), "b.py": b"b = 'b'"})
    )
    rows, removed = read(tmp_path)
    assert [row["meta"]["path"] for row in rows] == ["b.py"]
    assert [reason for _, reason, _ in removed] == ["unsafe_path"]


def test_version_control_is_not_counted(tmp_path):
    (tmp_path / "r.tar").write_bytes(tar_of({"r/.git/hooks/a.py": b"a", "r/a.py": PROGRAM.encode()}))
    rows, removed = read(tmp_path)
    assert (len(rows), removed) == (1, [])


def test_of_a_member_that_comes_twice_the_last_one_counts(tmp_path):
    first = tar_of({"a.py": b"old = 'old'\n"})[:1024]
    (tmp_path / "r.tar").write_bytes(first + tar_of({"a.py": b"new = 'new'\n"}))
    ((row,), removed) = read(tmp_path)
    assert row["text"] == "new = 'new'\n"
    assert removed == [("dropped", "superseded", "r.tar/a.py@512: the archive holds it again")]


def test_names_that_are_no_text_can_be_written(tmp_path):
    (tmp_path / "r.tar").write_bytes(tar_of({"caf\udce9.py": PROGRAM.encode()}, format=tarfile.GNU_FORMAT))
    assert [row["meta"]["path"] for row in read(tmp_path)[0]] == ["caf?.py"]


def test_an_archive_among_the_files_of_a_repository_is_no_repository(tmp_path):
    (tmp_path / "r" / "tests").mkdir(parents=True)
    (tmp_path / "r" / "a.py").write_text(PROGRAM)
    (tmp_path / "r" / "tests" / "input.tar").write_bytes(tar_of({"b.py": PROGRAM.encode()}))
    rows, removed = read(tmp_path)
    assert [row["meta"]["path"] for row in rows] == ["a.py"]
    assert [reason for _, reason, _ in removed] == ["not_code"]


def test_archives_in_folders_are_repositories_named_by_their_path(tmp_path):
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "SHA256SUMS").write_text("0 r.tar\n")
    (tmp_path / "owner" / "r.tar").write_bytes(tar_of({"r/b.py": PROGRAM.encode()}))
    assert [row["meta"]["repository"] for row in read(tmp_path)[0]] == ["owner/r"]


# ---------------------------------------------------------------------------------------------- damage

LETTERS = str.maketrans("0123456789", "ghijklmnop")


def program(n: int) -> bytes:
    """A program that does not compress well."""
    lines = (f"# {hashlib.sha256(b'%d %d' % (n, line)).hexdigest()}\n" for line in range(40))
    return f"n = 'number {n}'\n{''.join(lines).translate(LETTERS)}".encode()


FILES = {f"r/{n}.py": program(n) for n in range(40)}


@pytest.mark.parametrize("suffix", PACK)
def test_of_a_truncated_tar_stays_what_came_before(tmp_path, suffix):
    packed = PACK[suffix](tar_of(FILES))
    (tmp_path / f"r{suffix}").write_bytes(packed[: len(packed) * 3 // 4])
    rows, removed = read(tmp_path)
    assert [(verdict, reason) for verdict, reason, _ in removed] == [("failed", "damaged")]
    assert removed[0][2].startswith(f"r{suffix}: ")
    least = (
        0 if suffix in (".tar.xz", ".tar.bz2", ".tar.zst") else 20
    )  # blocks of these hold the whole of so small a tar
    assert least <= len(rows) < len(FILES)
    assert {row["text"].encode() for row in rows} <= set(FILES.values())


def test_a_tar_without_its_end_is_told(tmp_path):
    packed = tar_of({"a.py": PROGRAM.encode()})
    (tmp_path / "r.tar").write_bytes(packed[:1024])
    rows, removed = read(tmp_path)
    assert len(rows) == 1
    assert removed == [("failed", "damaged", "r.tar: empty header at byte 1024 of the tar")]


def test_a_broken_header_within_a_tar_is_no_silent_end(tmp_path):
    packed = bytearray(tar_of(FILES))
    position = packed.index(b"r/30.py")
    packed[position + 148 : position + 156] = b"000000\0 "  # its checksum
    (tmp_path / "r.tar").write_bytes(packed)
    rows, removed = read(tmp_path)
    assert len(rows) == 30
    assert removed == [("failed", "damaged", f"r.tar: bad checksum at byte {position} of the tar")]


def test_of_a_zip_with_a_bad_member_the_others_stay(tmp_path):
    packed = bytearray(zip_of(FILES))
    position = packed.index(b"r/7.py") + 30
    packed[position : position + 8] = bytes(8)
    (tmp_path / "r.zip").write_bytes(packed)
    rows, removed = read(tmp_path)
    assert len(rows) == len(FILES) - 1
    assert [(verdict, reason) for verdict, reason, _ in removed] == [("failed", "damaged")]
    assert removed[0][2].startswith("r.zip/r/7.py: ")


def test_a_zip_without_its_directory_fails(tmp_path):
    (tmp_path / "r.zip").write_bytes(zip_of(FILES)[:-200])
    assert read(tmp_path) == ([], [("failed", "damaged", "r.zip: File is not a zip file")])


def test_encrypted_members_fail(tmp_path):
    packed = bytearray(zip_of({"a.py": PROGRAM.encode()}))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "r.zip").write_bytes(packed)
    assert read(tmp_path)[1] == [("failed", "encrypted", "r.zip/a.py: a.py is encrypted")]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_archives_in_several_compressed_streams_are_read_whole(tmp_path, suffix):
    packed = tar_of(FILES)
    half = len(packed) // 2
    (tmp_path / f"r{suffix}").write_bytes(PACK[suffix](packed[:half]) + PACK[suffix](packed[half:]))
    rows, removed = read(tmp_path)
    assert (len(rows), removed) == (len(FILES), [])


@pytest.mark.parametrize("suffix", [*PACK, ".zip"])
@settings(max_examples=25)
@given(position=st.floats(0, 0.999), byte=st.integers(0, 255), cut=st.booleans())
def test_no_damage_loses_a_record_or_stops_the_run(tmp_path_factory, suffix, position, byte, cut):
    files = dict(list(FILES.items())[:8])
    packed = bytearray(zip_of(files) if suffix == ".zip" else PACK[suffix](tar_of(files)))
    place = int(position * len(packed))
    packed[place] = byte
    folder = tmp_path_factory.mktemp("damaged")
    (folder / f"r{suffix}").write_bytes(packed[:place] if cut else packed)
    read(folder)  # counts each outcome


# ---------------------------------------------------------------------------------------------- bombs


def test_an_archive_is_read_up_to_its_cap(tmp_path):
    (tmp_path / "r.tar").write_bytes(tar_of({f"{n}.py": bytes(1_000_000) for n in range(5)}))
    _, removed = read(tmp_path, max_unpacked_bytes=3_000_000)
    assert removed[-1][:2] == ("failed", "decompression_bomb")
    assert removed[-1][2].startswith("r.tar: ")
    assert [reason for _, reason, _ in removed[:-1]] == ["not_text"] * (len(removed) - 1)


def test_an_archive_that_unpacks_to_far_more_than_its_size_ends_there(tmp_path):
    with tarfile.open(tmp_path / "r.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.addfile(sized("a.py", len(PROGRAM)), io.BytesIO(PROGRAM.encode()))
        archive.addfile(sized("zeros.bin", 150_000_000), Zeros())
    rows, removed = read(tmp_path, max_ratio=100)
    assert len(rows) == 1
    assert [(verdict, reason) for verdict, reason, _ in removed] == [("failed", "decompression_bomb")]
    assert "times its size > 100" in removed[0][2]


def test_a_header_that_would_fill_memory_ends_the_archive(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    (tmp_path / "r.tar").write_bytes(
        tar_of({"a.py": PROGRAM.encode()})[:1024] + info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)
    )
    rows, removed = read(tmp_path)
    assert len(rows) == 1
    assert removed == [("failed", "damaged", "r.tar: a header of 4294967296 bytes")]


def test_memory_does_not_grow_with_members_that_are_not_read(tmp_path):
    with tarfile.open(tmp_path / "r.tar", "w") as archive:
        archive.addfile(sized("a.py", len(PROGRAM)), io.BytesIO(PROGRAM.encode()))
        archive.addfile(sized("weights.bin", 60_000_000), Zeros())
    read(tmp_path)  # imports and caches
    tracemalloc.start()
    rows, _ = read(tmp_path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows) == 1
    assert peak_bytes < 8_000_000


class Zeros(io.RawIOBase):
    """As many zeros as are asked for."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def sized(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def test_two_archives_of_one_repository_give_two_documents_with_ids_of_their_own(tmp_path):
    files = {"pkg-1.0/a.py": b"x = 1\n"}
    (tmp_path / "pkg-1.0.zip").write_bytes(zip_of(files))
    (tmp_path / "pkg-1.0.tar").write_bytes(tar_of(files))
    rows, _ = read(tmp_path, documents="repositories")
    assert len({row["id"] for row in rows}) == len(rows) == 2


def test_a_zip_member_packed_in_a_way_that_cannot_be_bounded_fails(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.py", "x = 1\n" * 1000)
    rows, [(_, reason, evidence)] = read(tmp_path / "a.zip")
    assert not rows
    assert reason == "unreadable"
    assert "neither stored nor deflated" in evidence

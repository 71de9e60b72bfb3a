"""Archives from anywhere: whatever their members are called or link to, nothing appears outside what is read."""

import ast
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import py7zr
import pytest

from tests.conftest import REPOSITORY, Sluice

ROOMS = ("pipeline", "stages", "mixes", "proxy_models")
OPENERS = {  # where archives are opened
    "stages/filters/urls/block_lists.py",
    "stages/intake/epub.py",
    "stages/intake/source_code/archives.py",
    "stages/intake/stack_exchange.py",
}
NAMES = ("../escaped", "../../escaped", "/tmp/sluice-escaped", "a/../../escaped", "..\\escaped", "C:/escaped", "fine")
POSTS = (
    b'<posts><row Id="1" PostTypeId="1" Score="3" Title="Question" Body="&lt;p&gt;A body of text.&lt;/p&gt;" '
    b'CreationDate="2020-01-01T00:00:00.000" ContentLicense="CC BY-SA 4.0" /></posts>'
)


def zip_of(path: Path, suffix: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.writestr(name + suffix, content)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(path.parent))
        archive.writestr(f"link/through{suffix}", content)


def tar_of(path: Path, suffix: str, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for kind, target in ((tarfile.SYMTYPE, str(path.parent)), (tarfile.LNKTYPE, "/etc/passwd")):
            link = tarfile.TarInfo("link" if kind == tarfile.SYMTYPE else f"hard{suffix}")
            link.type, link.linkname = kind, target
            archive.addfile(link)
        device = tarfile.TarInfo(f"pipe{suffix}")
        device.type = tarfile.FIFOTYPE
        archive.addfile(device)
        for name in (*NAMES, "link/through"):
            member = tarfile.TarInfo(name + suffix)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def seven_zip_of(path: Path, suffix: str, content: bytes) -> None:
    """Folders, a link and a name that leads away, which py7zr would refuse to write."""
    made = path.parent / "made"
    (made / "evil").mkdir(parents=True)
    (made / "evil/Posts.xml").write_bytes(content)
    (made / "Posts.xml").symlink_to("evil/Posts.xml")
    with pytest.MonkeyPatch.context() as writer:
        writer.setattr("py7zr.py7zr.check_archive_path", lambda name: True)
        with py7zr.SevenZipFile(path, "w") as archive:
            archive.write(made / "evil/Posts.xml", "../../escaped/Posts.xml")
            archive.write(made / "evil", "evil")
            archive.write(made / "Posts.xml", "Posts.xml")
    shutil.rmtree(made)


def epub_of(path: Path, suffix: str, content: bytes) -> None:
    """A book whose package lies outside it, and which has a member that does so too."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="../../escaped.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
        )
        for name in NAMES:
            archive.writestr(name + suffix, content)


CASES: dict[str, tuple[str, str, Callable[[Path, str, bytes], None], str, bytes]] = {
    "source code, zip": ("source_code", "a.zip", zip_of, ".py", b"value = 'a program'\n"),
    "source code, tar": ("source_code", "a.tar.gz", tar_of, ".py", b"value = 'a program'\n"),
    "PDFs, zip": ("pdf", "a.zip", zip_of, ".pdf", b"%PDF-1.4\nno more"),
    "PDFs, tar": ("pdf", "a.tar.gz", tar_of, ".pdf", b"%PDF-1.4\nno more"),
    "7z": ("stack_exchange", "cooking.stackexchange.com.7z", seven_zip_of, "", POSTS),
    "EPUB": ("epub", "a.epub", epub_of, ".xhtml", b"<html><body><p>A page.</p></body></html>"),
}


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("case", CASES)
def test_reading_a_hostile_archive_leaves_nothing_behind(tmp_path: Path, case: str) -> None:
    stage, name, pack, suffix, content = CASES[case]
    work, temporary = tmp_path / "a/b/work", tmp_path / "c/d/temporary"
    for folder in (work, temporary):
        folder.mkdir(parents=True)
    pack(work / name, suffix, content)
    before = listing(tmp_path)
    done = subprocess.run(
        Sluice("").command("try", stage, name),
        **{"cwd": work, "capture_output": True, "text": True, "timeout": 240},
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temporary), "RAY_TMPDIR": "/tmp"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout  # each member is told of
    assert listing(tmp_path) == before
    assert not Path("/tmp/sluice-escaped").exists()
    assert not Path(f"/tmp/sluice-escaped{suffix}").exists()
    assert "root:" not in done.stdout  # of /etc/passwd


def test_nothing_unpacks_an_archive_into_a_folder() -> None:
    opening, unpacking = set(), set()
    for room in ROOMS:
        for path in (REPOSITORY / room).rglob("*.py"):
            name, tree = path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Import) and {a.name for a in node.names} & {"zipfile", "tarfile", "py7zr"}:
                    opening.add(name)
                if isinstance(node, ast.ImportFrom) and node.module in ("zipfile", "tarfile", "py7zr", "rarfile"):
                    opening.add(name)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    into_memory = any(keyword.arg == "factory" for keyword in node.keywords)
                    if node.func.attr in ("extractall", "unpack_archive", "makefile", "_extract_member"):
                        unpacking.add(f"{name}:{node.lineno}")
                    if node.func.attr == "extract" and name in OPENERS and not into_memory:
                        unpacking.add(f"{name}:{node.lineno}")
    assert opening == OPENERS
    assert unpacking == set()

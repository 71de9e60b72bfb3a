"""Which of the input files make up a repository, and what Git's own files say of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from pipeline.locations.location import InputFile, is_url
from pipeline.stage import Split
from stages.intake.source_code.archives import is_archive, without_archive_suffix
from stages.intake.source_code.languages import KIND_BY_LANGUAGE, language_of_path
from stages.intake.source_code.licences import states_licence

_OF_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr"})
_GIT_FILE = re.compile(r"(?:(.*)/)?\.git(?:/(HEAD|config|packed-refs|refs/heads/.+))?")


@dataclass(slots=True)
class Repository:
    """Files that belong together: a folder's, or an archive."""

    name: str
    root: str  # folder that its files' names start with, "" for none
    is_certain: bool = True  # False: that the topmost folder is a repository is only likely
    archive: InputFile | None = None
    files: list[InputFile] = field(default_factory=list)  # sorted by name; of an archive none
    git_files: list[InputFile] = field(default_factory=list)  # what tells commit and URL

    def path_of(self, file: InputFile) -> str:
        """A file's path inside the repository."""
        return file.name[len(self.root) + 1 :] if self.root else file.name

    def inputs(self) -> list[InputFile]:
        """All that a task needs to read it."""
        return [*self.git_files, *self.files] if self.archive is None else [self.archive]


def repositories(files: Sequence[InputFile]) -> list[Repository]:
    """Group files by the repository they belong to, sorted by name.

    A folder that holds ``.git`` is a repository, and so is the whole, called ``.``, if a licence or package metadata
    lies in no folder. Elsewhere the topmost folder of a file's name is one (of a URL: the file's own folder). An
    archive is one too, unless it lies in a folder that is a repository with code of its own, as a test's input does.
    What lies in ``.git`` and the like is left out, but for the files that tell commit and URL.
    """
    files = [file for file in files if _GIT_FILE.fullmatch(file.name) or not is_of_version_control(file.name)]
    git_roots = {match[1] or "" for file in files if (match := _GIT_FILE.fullmatch(file.name))}
    is_one = any("/" not in file.name and states_licence(file.name) for file in files)
    certain = git_roots | {""} if is_one else git_roots
    roots = [_root(file.name, certain) for file in files]
    with_code = {
        root for root, file in zip(roots, files, strict=True) if (root or is_one) and _is_code(file.name)
    } | git_roots
    found: dict[tuple[str, bool], Repository] = {}
    for root, file in zip(roots, files, strict=True):
        if is_archive(file.name) and root not in with_code:
            found[file.name, True] = Repository(without_archive_suffix(file.name), "", archive=file)
            continue
        repository = found.setdefault((root, False), Repository(root or ".", root, is_certain=root in certain))
        (repository.git_files if _GIT_FILE.fullmatch(file.name) else repository.files).append(file)
    return [found[key] for key in sorted(found) if found[key].inputs()]


def is_of_version_control(path: str) -> bool:
    """Whether a path lies in a version control system's own folder, or is what stands for one (``.git``)."""
    return not _OF_VERSION_CONTROL.isdisjoint(path.split("/"))


def _root(name: str, certain: set[str]) -> str:
    """The folder that is the repository of the file called ``name``; "" if it lies in no folder."""
    folder = name.rpartition("/")[0]
    inner = folder
    while inner:
        if inner in certain:
            return inner
        inner = inner.rpartition("/")[0]
    if "" in certain:
        return ""
    return folder if is_url(name) else folder.split("/", 1)[0]


def _is_code(name: str) -> bool:
    return KIND_BY_LANGUAGE.get(language_of_path(name) or "") == "code"


def splits_of_repositories(found: Sequence[Repository], max_bytes: int, max_files: int) -> list[Split]:
    """Consecutive repositories grouped into tasks of at most ``max_bytes`` and ``max_files``.

    A larger repository stands alone, and so does an archive of unknown size.
    """
    splits: list[Split] = []
    group: list[InputFile] = []
    size = 0
    for repository in found:
        inputs = repository.inputs()
        bytes_here = sum(max_bytes if file.size_bytes is None else file.size_bytes for file in inputs)
        if group and (size + bytes_here > max_bytes or len(group) + len(inputs) > max_files):
            splits.append(Split(tuple(group)))
            group, size = [], 0
        group += inputs
        size += bytes_here
    if group:
        splits.append(Split(tuple(group)))
    return splits


def commit_and_url(contents: dict[str, bytes]) -> dict[str, str]:
    """``commit`` and ``repository_url`` as far as Git's files tell them.

    Args:
        contents: by path below ``.git``: HEAD, config, packed-refs, refs/heads/...
    """
    texts = {path: content.decode("utf-8", "replace") for path, content in contents.items()}
    told = {}
    head = texts.get("HEAD", "").strip()
    if head.startswith("ref: "):
        branch = head.removeprefix("ref: ")
        packed = re.search(rf"^([0-9a-f]+) {re.escape(branch)}$", texts.get("packed-refs", ""), re.MULTILINE)
        head = texts.get(branch, packed[1] if packed else "").strip()
    if re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", head):
        told["commit"] = head
    origin = re.search(
        r'^\[remote "origin"\]\s*\n(?:[ \t]+[^\n]*\n)*?[ \t]+url\s*=\s*(\S+)', texts.get("config", ""), re.M
    )
    if origin:
        told["repository_url"] = _without_password(origin[1])
    return told


def _without_password(url: str) -> str:
    if not is_url(url):
        return url  # git@host:owner/name
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

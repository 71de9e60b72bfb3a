"""Source files in, documents and reasons out."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.stage import Context, Outcome, documents
from stages.intake.source_code import SourceCode, SourceCodeConfig

PROGRAM = "def area(width, height):\n    return width * height\n"


def outcomes(files: object, **options: object) -> list[Outcome]:
    stage = SourceCode(SourceCodeConfig(files=files, **options))
    found = []
    for split in stage.splits():
        for outcome in stage.read(split, "code", Context(seed=1)):
            assert outcome.created == {"code": len(outcome.kept) + len(outcome.removed)}
            found.append(outcome)
    return found


def read(files: object, **options: object) -> tuple[list[dict], list[tuple[str, str, str]]]:
    """Rows kept, with ``meta`` as a dictionary, and (verdict, reason, evidence) of those removed."""
    found = outcomes(files, **options)
    rows = [row | {"meta": dict(row["meta"])} for outcome in found for row in outcome.kept.to_pylist()]
    removed = [removed for outcome in found for removed in outcome.removed]
    identities = [row["id"] for row in rows] + [r.id for r in removed]
    assert max(Counter(identities).values(), default=1) == 1
    return rows, [(r.verdict, r.reason, r.evidence) for r in removed]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def paths(rows: list[dict]) -> list[str]:
    return [row["meta"]["path"] for row in rows]


def languages(folder: Path, **options: object) -> dict[str, str]:
    return {row["meta"]["path"]: row["meta"]["code_language"] for row in read(folder, **options)[0]}


# ---------------------------------------------------------------------------------------------- files


def test_a_file_is_a_document_with_its_language_its_repository_and_its_path(tmp_path):
    ((row,), _) = read(write(tmp_path, {"lib/sub/a.py": "x = 1\n\nprint('ä')\n"}))
    assert re.fullmatch(r"code/lib/sub/a\.py#[0-9a-f]{12}", row["id"])
    assert row["text"] == "x = 1\n\nprint('ä')\n"
    assert row["meta"] == {"code_language": "python", "repository": "lib", "path": "sub/a.py"}
    assert row["origin"]["path"] == "lib/sub/a.py"
    assert (row["language"], row["source_code.lines"]) == (None, 3)


@pytest.mark.parametrize("content", [b"int a;\r\nint b;", b"int a;\nint b;\n", b"int a;\rint b;", b"int a;\nint b;"])
def test_lines_are_counted_however_they_end(tmp_path, content):
    ((row,), _) = read(write(tmp_path, {"a.c": content}))
    assert row["source_code.lines"] == 2


def test_every_file_of_a_folder_is_accounted_for(tmp_path):
    rows, removed = read(write(tmp_path, {"a.rs": "fn main() {}\n", "notes.txt": "notes\n", "logo.png": b"\x89PNG"}))
    assert paths(rows) == ["a.rs"]
    assert removed == [
        ("dropped", "not_code", "logo.png: the suffix '.png' is not among the suffixes of code"),
        ("dropped", "other_kind", "notes.txt: text is documentation, not code"),
    ]


def test_documentation_and_configuration_are_kept_on_request(tmp_path):
    write(tmp_path, {"README.md": "# Title\n", "a.json": '{"a": 1}\n', "b.rst": "Title\n=====\n", "c.py": PROGRAM})
    assert languages(tmp_path, kinds=["documentation"]) == {"README.md": "markdown", "b.rst": "restructuredtext"}
    assert set(languages(tmp_path, kinds=["code", "configuration"])) == {"a.json", "c.py"}


def test_languages_can_be_chosen(tmp_path):
    write(tmp_path, {"a.py": PROGRAM, "b.c": "int main;\n", "c.h": "class A { int b; };\n"})
    rows, removed = read(tmp_path, languages=["python", "cpp"])
    assert paths(rows) == ["a.py", "c.h"]
    assert removed == [("dropped", "other_language", "b.c: c is not python or cpp")]


def test_a_language_that_is_not_known_is_refused_with_the_nearest_one():
    with pytest.raises(ValidationError, match=r"unknown language 'pyton': do you mean python\?"):
        SourceCodeConfig(files="x", languages=["pyton"])


def test_suffixes_can_be_added(tmp_path):
    write(tmp_path, {"a.moo": "moo\n", "b.py": PROGRAM})
    assert languages(tmp_path, suffixes={".moo": "moo"}) == {"a.moo": "moo", "b.py": "python"}


@pytest.mark.parametrize(
    ("content", "evidence"),
    [
        (b"a = 1 # \xe9\n", "a.py: not UTF-8 at byte 8"),
        (b"a\0b", "a.py: a NUL at byte 1"),
        (b"# coding: ascii\nb = '\xe9'", "a.py: not ascii at byte 21"),
        (b"# coding: hex\nb = 1", "a.py: not UTF-8 at byte 0"),
    ],
)
def test_a_file_that_is_not_text_fails(tmp_path, content, evidence):
    if b"hex" in content:
        evidence = "a.py: hex is no encoding of text"
    assert read(write(tmp_path, {"a.py": content}))[1] == [("failed", "not_text", evidence)]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.cs", b"\xef\xbb\xbfclass A {}\n", "class A {}\n"),
        ("a.cs", "class Ä {}\n".encode("utf-16"), "class Ä {}\n"),
        ("a.py", "# -*- coding: latin-1 -*-\ns = 'é'\n".encode("latin-1"), "# -*- coding: latin-1 -*-\ns = 'é'\n"),
        ("a.py", b"#!/usr/bin/python\n# vim: fileencoding=cp1252\ns = '\x80'\n", None),
        ("a.py", b"# coding: nonsense\ns = 1\n", "# coding: nonsense\ns = 1\n"),
    ],
)
def test_byte_order_marks_and_declarations_tell_the_encoding(tmp_path, name, content, text):
    ((row,), _) = read(write(tmp_path, {name: content}))
    assert row["text"] == text if text else row["text"].endswith("s = '€'\n")


def test_an_empty_file_is_dropped(tmp_path):
    removed = read(write(tmp_path, {"__init__.py": " \n"}))[1]
    assert removed == [("dropped", "empty", "__init__.py: no visible character")]


def test_a_line_of_more_than_1000_characters_drops_the_file(tmp_path):
    short = "x\n" * 100
    rows, removed = read(write(tmp_path, {"a.js": short + "a" * 1000 + "\n", "b.js": short + "a" * 1001 + "\n"}))
    assert paths(rows) == ["a.js"]
    assert removed == [("dropped", "longest_line", "b.js: a line of 1001 characters > 1000")]


def test_lines_of_more_than_100_characters_on_average_drop_the_file(tmp_path):
    long = "a" * 150
    rows, removed = read(write(tmp_path, {"a.js": f"{long}\n{'a' * 50}\n", "b.js": f"{long}\n{'a' * 51}\n"}))
    assert paths(rows) == ["a.js"]
    assert removed == [("dropped", "mean_line", "b.js: mean line 100.5 characters > 100")]


def test_paragraphs_of_prose_may_be_long_lines(tmp_path):
    write(tmp_path, {"README.md": "A paragraph of prose. " * 60 + "\n"})
    assert len(read(tmp_path, kinds=["documentation"])[0]) == 1


def test_tables_of_numbers_are_dropped(tmp_path):
    table = "TABLE = [\n" + "    0x12, 0x34, 1234, 5678,\n" * 40 + "]\n"
    rows, removed = read(write(tmp_path, {"a.py": table, "b.py": PROGRAM * 10, "c.py": "x = 1\n"}))
    assert paths(rows) == ["b.py", "c.py"]  # the letters of three words say nothing
    assert removed == [("dropped", "few_letters", "a.py: 7.5% of the characters are letters < 25%")]


def test_letters_of_any_script_are_letters(tmp_path):
    assert len(read(write(tmp_path, {"a.py": "names = [\n" + "    'на', 'по',\n" * 40 + "]\n"}))[0]) == 1


def test_a_file_over_the_cap_is_dropped_unread(tmp_path):
    write(tmp_path, {"a.py": "x = 1\n"})
    assert len(read(tmp_path, max_file_bytes=6)[0]) == 1
    assert read(tmp_path, max_file_bytes=5)[1] == [("dropped", "too_large", "a.py: 6 bytes > 5")]


def test_a_file_that_has_gone_fails(tmp_path):
    write(tmp_path, {"a.py": PROGRAM})
    stage = SourceCode(SourceCodeConfig(files=tmp_path))
    (split,) = stage.splits()
    (tmp_path / "a.py").unlink()
    (outcome,) = stage.read(split, "code", Context(seed=1))
    (removed,) = outcome.removed
    assert (removed.reason, removed.evidence) == ("unreadable", "a.py: No such file or directory")


def test_links_are_not_followed(tmp_path):
    write(tmp_path, {"repo/a.py": PROGRAM, "secret.py": "password = 'hunter2'\n"})
    (tmp_path / "repo" / "b.py").symlink_to(tmp_path / "secret.py")
    rows, removed = read(tmp_path / "repo")
    assert paths(rows) == ["a.py"]
    assert removed == [("dropped", "not_a_file", f"b.py: a link to {tmp_path}/secret.py")]


# ---------------------------------------------------------------------------------------------- languages


@pytest.mark.parametrize(
    ("name", "content", "language"),
    [
        ("Makefile", "all:\n\tcc main.c\n", "makefile"),
        ("Dockerfile.dev", "FROM debian\n", "dockerfile"),
        ("CMakeLists.txt", "project(area)\n", "cmake"),
        ("BUILD", "cc_library(name = 'area')\n", "starlark"),
        ("a.PY", PROGRAM, "python"),
        ("a.C", "int main() { return 0; }\n", "cpp"),
        ("a.c", "int main() { return 0; }\n", "c"),
        ("manage", "#!/usr/bin/env python3\nprint('hello')\n", "python"),
        ("run", "#!/bin/sh\necho hello\n", "shell"),
        ("run", "#!/usr/bin/env -S node --harmony\nconsole.log('hello')\n", "javascript"),
        ("a.h", "#include <stdio.h>\nint area(int w);\n", "c"),
        ("a.h", "#include <vector>\nint area(int w);\n", "cpp"),
        ("a.h", "#import <UIKit/UIKit.h>\n@interface Area\n@end\n", "objective_c"),
        ("a.m", "@implementation Area\n@end\n", "objective_c"),
        ("a.m", "function a = area(w, h)\n% product\na = w * h;\nend\n", "matlab"),
        ("a.pl", "use strict;\nmy $area = 1;\n", "perl"),
        ("a.pl", "area(W, H, A) :- A is W * H.\n", "prolog"),
        ("a.v", "module area(input w);\nendmodule\n", "verilog"),
        ("a.v", "Theorem area : True.\nProof. trivial. Qed.\n", "coq"),
        ("a.ts", "export const area: number = 1;\n", "typescript"),
        ("a.d", "import std.stdio;\nvoid main() {}\n", "d"),
        ("a.d", "area.o: area.c area.h\n", "makefile"),
    ],
)
def test_language_follows_from_name_first_line_or_content(tmp_path, name, content, language):
    assert languages(write(tmp_path, {name: content})) == {name: language}


def test_a_translation_file_called_ts_is_no_code(tmp_path):
    write(tmp_path, {"de.ts": '<?xml version="1.0"?>\n<!DOCTYPE TS>\n<TS language="de"></TS>\n'})
    assert read(tmp_path)[1] == [("dropped", "other_kind", "de.ts: xml is configuration, not code")]


def test_a_file_with_neither_suffix_nor_first_line_is_no_code(tmp_path):
    write(tmp_path, {"data": "1 2 3\n", "play": "#!/usr/bin/brainfuck\n+\n"})
    assert [reason for _, reason, _ in read(tmp_path)[1]] == ["not_code", "not_code"]


# ---------------------------------------------------------------------------------------------- made by others


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("api_pb2.py", PROGRAM),
        ("api.pb.go", "package api\n"),
        ("a.go", "// Code generated by stringer; DO NOT EDIT.\npackage area\n"),
        ("a.js", "/**\n * @generated SignedSource\n */\nlet a;\n"),
        ("a.cs", "// <auto-generated>\nclass A {}\n"),
        ("configure", "#! /bin/sh\n# Guess values\n# Generated by GNU Autoconf 2.71 for area.\n"),
        ("Makefile.in", "# Makefile.in generated by automake 1.16 from Makefile.am.\n"),
        ("parser.c", "/* A Bison parser, made by GNU Bison 3.8.  */\nint yyparse;\n"),
        ("a.py", '"""This file was automatically generated."""\nx = 1\n'),
        (".ipynb_checkpoints/a.py", PROGRAM),
        ("dist/app.js", "let a = 1;\n"),
    ],
)
def test_generated_files_are_dropped_unless_wanted(tmp_path, path, content):
    write(tmp_path, {path: content})
    ((verdict, reason, _),) = read(tmp_path)[1]
    assert (verdict, reason) == ("dropped", "generated")
    assert len(read(tmp_path, keep_generated=True)[0]) == 1


def test_lock_files_are_generated(tmp_path):
    write(
        tmp_path, {"package-lock.json": '{"name": "area"}\n', "Cargo.lock": "version = 3\n", "a.json": '{"name": 1}\n'}
    )
    rows, removed = read(tmp_path, kinds=["configuration"])
    assert paths(rows) == ["a.json"]
    assert [reason for _, reason, _ in removed] == ["generated", "generated"]


@pytest.mark.parametrize(
    "content",
    [
        "# This module writes files that are automatically generated later.\n".join(["x = 1\n"] * 7),
        "def generated(edit):\n    return edit\n",
        "<auto-generated\n",
    ],
)
def test_code_that_speaks_of_generated_files_is_kept(tmp_path, content):
    assert len(read(write(tmp_path, {"a.py": "a = 1\n" * 6 + content}))[0]) == 1


@pytest.mark.parametrize(
    "path",
    ["node_modules/left-pad/index.js", "third_party/a.py", "pip/_vendor/a.py", "js/jquery-3.6.0.js", "gradlew.bat"],
)
def test_other_projects_code_is_dropped_unless_wanted(tmp_path, path):
    write(tmp_path, {path: "let a = 1;\n"})
    ((verdict, reason, _),) = read(tmp_path)[1]
    assert (verdict, reason) == ("dropped", "vendored")
    assert len(read(tmp_path, keep_vendored=True)[0]) == 1


def test_minified_files_are_dropped_by_name(tmp_path):
    removed = read(write(tmp_path, {"app.min.js": "let a=1\n", "style.min.css": "a{}\n"}))[1]
    assert [reason for _, reason, _ in removed] == ["minified", "minified"]


# ---------------------------------------------------------------------------------------------- notebooks

CELLS = [
    {"cell_type": "markdown", "source": ["# Areas\n", "of fields"]},
    {"cell_type": "code", "source": "area = 2 * 3\narea", "outputs": [{"data": {"text/plain": ["6"]}}]},
    {"cell_type": "code", "source": []},
]
NOTEBOOK = {"cells": CELLS, "metadata": {"kernelspec": {"language": "julia"}}, "nbformat": 4}


def test_a_notebook_is_its_prose_and_code_without_outputs(tmp_path):
    ((row,), _) = read(write(tmp_path, {"a.ipynb": json.dumps(NOTEBOOK)}))
    assert row["text"] == "# Areas\nof fields\n\n```julia\narea = 2 * 3\narea\n```\n"
    assert row["meta"]["code_language"] == "julia"


def test_the_prose_of_a_notebook_may_have_long_lines(tmp_path):
    prose = {"cell_type": "markdown", "source": "A paragraph of prose. " * 60}
    notebook = {"cells": [prose, {"cell_type": "code", "source": "area = width * height"}]}
    assert len(read(write(tmp_path, {"a.ipynb": json.dumps(notebook)}))[0]) == 1


def test_a_notebook_of_format_3_is_read(tmp_path):
    sheets = {"worksheets": [{"cells": [{"cell_type": "code", "input": ["width = height"]}]}], "nbformat": 3}
    ((row,), _) = read(write(tmp_path, {"a.ipynb": json.dumps(sheets)}))
    assert row["text"] == "```python\nwidth = height\n```\n"


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": 1}', '{"cells": [1]}', "[" * 100_000])
def test_a_broken_notebook_fails(tmp_path, content):
    ((verdict, reason, _),) = read(write(tmp_path, {"a.ipynb": content}))[1]
    assert (verdict, reason) == ("failed", "bad_notebook")


def test_notebooks_can_be_left_out(tmp_path):
    write(tmp_path, {"a.ipynb": json.dumps(NOTEBOOK)})
    assert read(tmp_path, notebooks=False)[1] == [("dropped", "not_code", "a.ipynb: a notebook")]


# ---------------------------------------------------------------------------------------------- repositories


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def checkout(folder: Path) -> str:
    """Make a Git repository of a folder; returns the commit."""
    git(folder, "init")
    git(folder, "remote", "add", "origin", "https://user:secret@example.org/owner/name.git")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkout_tells_its_commit_and_where_it_came_from(tmp_path, packed):
    write(tmp_path, {"owner/name/lib/a.py": PROGRAM, "owner/name/b.py": PROGRAM})
    commit = checkout(tmp_path / "owner" / "name")
    if packed:
        git(tmp_path / "owner" / "name", "pack-refs", "--all")
    rows, removed = read(tmp_path)
    assert [row["meta"] for row in rows] == [
        {
            "code_language": "python",
            "repository": "owner/name",
            "path": path,
            "commit": commit,
            "repository_url": "https://example.org/owner/name.git",  # without the password
        }
        for path in ("b.py", "lib/a.py")
    ]
    assert removed == []  # nothing of .git is counted


def test_a_folder_may_be_one_checkout(tmp_path):
    write(tmp_path, {"lib/a.py": PROGRAM})
    checkout(tmp_path)
    ((row,), _) = read(tmp_path)
    assert (row["meta"]["repository"], row["meta"]["path"]) == (".", "lib/a.py")


def test_a_folder_with_a_licence_is_one_repository(tmp_path):
    write(tmp_path, {"pyproject.toml": "[project]\nlicense = 'MIT'\n", "lib/a.py": PROGRAM, "test/b.py": PROGRAM})
    rows, _ = read(tmp_path)
    assert [(row["meta"]["repository"], row["meta"]["path"]) for row in rows] == [(".", "lib/a.py"), (".", "test/b.py")]
    assert {row["meta"]["licence"] for row in rows} == {"MIT"}


def test_files_of_a_repository_stay_together_whatever_the_size_of_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.intake.source_code.stage._SPLIT_FILES", 3)
    write(tmp_path, {f"{repository}/{n}.py": PROGRAM for repository in "abc" for n in range(4)} | {"d/1.py": PROGRAM})
    splits = SourceCode(SourceCodeConfig(files=tmp_path)).splits()
    assert [sorted({file.name[0] for file in split.files}) for split in splits] == [["a"], ["b"], ["c"], ["d"]]


def test_small_repositories_share_a_part_and_a_batch(tmp_path):
    write(tmp_path, {f"{n}/a.py": PROGRAM for n in range(20)})
    assert len(SourceCode(SourceCodeConfig(files=tmp_path)).splits()) == 1
    assert len(outcomes(tmp_path)) == 1


def test_a_repository_is_one_document_on_request(tmp_path):
    files = {"r/b.py": "b = 'b'\n", "r/a.py": "a = 'a'\n\n", "r/readme.md": "# Areas\n", "r/lib/README.md": "lib\n"}
    ((row,), removed) = read(write(tmp_path, files), documents="repositories", kinds=["code", "documentation"])
    assert row["text"] == (
        "==> readme.md <==\n# Areas\n\n==> a.py <==\na = 'a'\n\n==> b.py <==\nb = 'b'\n\n==> lib/README.md <==\nlib\n"
    )
    assert re.fullmatch(r"code/r@0#[0-9a-f]{12}", row["id"])
    assert row["meta"] == {"code_language": "python", "repository": "r", "files": "4"}
    assert removed == []


def test_a_large_repository_is_several_documents_cut_between_files(tmp_path):
    write(tmp_path, {f"r/{n}.py": PROGRAM for n in range(5)})
    rows, _ = read(tmp_path, documents="repositories", max_document_bytes=2 * len(PROGRAM))
    assert [row["meta"]["files"] for row in rows] == ["2", "2", "1"]
    assert [row["text"].count(PROGRAM) for row in rows] == [2, 2, 1]


def test_the_line_before_a_file_can_be_chosen(tmp_path):
    write(tmp_path, {"r/a.py": "a = 'a'\n"})
    ((row,), _) = read(tmp_path, documents="repositories", file_header="<file_sep>{path}")
    assert row["text"] == "<file_sep>a.py\na = 'a'\n"
    with pytest.raises(ValidationError, match=r"must hold \{path\}"):
        SourceCodeConfig(files="x", file_header="file")


# ---------------------------------------------------------------------------------------------- real code


def test_the_standard_library_is_read_almost_whole():
    import asyncio

    folder = Path(asyncio.__file__).parent
    rows, removed = read(folder)
    assert {row["origin"]["path"] for row in rows} == {path.name for path in folder.glob("*.py")}
    assert {reason for _, reason, _ in removed} <= {"not_code"}  # compiled files


def test_batches_have_the_columns_of_documents(tmp_path):
    (outcome,) = outcomes(write(tmp_path, {"a.py": PROGRAM}))
    assert outcome.kept.schema.names == [*documents([]).schema.names, "source_code.lines"]


@pytest.mark.parametrize(
    "notebook",
    ['{"cells": [{"cell_type": "code", "source": "a\\ud800b"}], "metadata": {}}', '{"worksheets": [{"cells": null}]}'],
)
def test_a_malformed_notebook_costs_one_document(tmp_path, notebook):
    rows, removed = read(write(tmp_path, {"a.ipynb": notebook, "b.py": "x = 1\n"}))
    assert paths(rows) == ["b.py"]
    assert len(removed) == 1


def test_a_header_with_other_braces_is_refused():
    with pytest.raises(ValidationError, match="no braces but those of"):
        SourceCodeConfig(files=("x",), file_header="{path} {x}")

"""Which licence holds for a file, from real licence texts and from what repositories state."""

import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.intake.source_code import SourceCodeConfig
from stages.intake.source_code.licences import (
    RepositoryLicences,
    is_allowed,
    is_licence_file,
    licence_of_text,
    metadata_licence,
    spdx,
)
from tests.stages.intake.test_source_code import PROGRAM, read, write

MIT = """Copyright (c) 2020 A

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction. The above copyright notice and this
permission notice shall be included in all copies or substantial portions of the Software.
"""
BSD = """Redistribution and use in source and binary forms, with or without modification, are permitted provided that
1. Redistributions of source code must retain the above copyright notice.
2. Redistributions in binary form must reproduce the above copyright notice.
"""
ISC = """Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby
granted"""
GPL3 = (
    "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007\n either version 3, or (at your option) any later version"
)


def licences_in(folder: Path, files: dict[str, str], **options: object) -> dict[str, tuple[str | None, str | None]]:
    rows, _ = read(write(folder, files), **options)
    return {row["meta"]["path"]: (row["meta"].get("licence"), row["meta"].get("licence_from")) for row in rows}


def test_the_nearest_licence_up_the_tree_holds(tmp_path):
    files = {
        "LICENSE": MIT,
        "a.py": PROGRAM,
        "lib/b.py": PROGRAM,
        "lib/fast/COPYING": GPL3,
        "lib/fast/src/c.py": PROGRAM,
    }
    assert licences_in(tmp_path, files) == {
        "a.py": ("MIT", "file:LICENSE"),
        "lib/b.py": ("MIT", "file:LICENSE"),
        "lib/fast/src/c.py": ("GPL-3.0-only", "file:lib/fast/COPYING"),
    }


def test_a_line_in_the_file_overrules_the_licence_file(tmp_path):
    header = "// SPDX-License-Identifier: (GPL-2.0+ OR BSD-3-Clause) */\nint a;\n"
    late = "int a;\n" * 1000 + "// SPDX-License-Identifier: ISC\n"
    files = {"LICENSE": MIT, "a.c": header, "b.c": late, "c.c": "# SPDX-License-Identifier: mine\nint a;\n"}
    assert licences_in(tmp_path, files) == {
        "a.c": ("GPL-2.0-or-later OR BSD-3-Clause", "header"),
        "b.c": ("MIT", "file:LICENSE"),
        "c.c": ("MIT", "file:LICENSE"),
    }


def test_metadata_counts_where_there_is_no_licence_file(tmp_path):
    files = {
        "package.json": '{"license": "ISC"}',
        "a.js": "let a = 1;\n",
        "py/PKG-INFO": "License: BSD\n\nText",
        "py/a.py": PROGRAM,
    }
    assert licences_in(tmp_path, files) == {
        "a.js": ("ISC", "metadata:package.json"),
        "py/a.py": ("ISC", "metadata:package.json"),  # which BSD licence is not said
    }


def test_metadata_says_how_licence_files_combine(tmp_path):
    cargo = '[package]\nlicense = "MIT/Apache-2.0"\n'
    apache = "Apache License\nVersion 2.0, January 2004\n"
    files = {"r/LICENSE-MIT": MIT, "r/LICENSE-APACHE": apache, "r/Cargo.toml": cargo, "r/a.rs": "fn main() {}\n"}
    assert licences_in(tmp_path, files) == {"a.rs": ("MIT OR Apache-2.0", "file:LICENSE-APACHE")}
    (tmp_path / "r" / "Cargo.toml").unlink()
    assert licences_in(tmp_path, {}) == {"a.rs": ("Apache-2.0 AND MIT", "file:LICENSE-APACHE")}


def test_a_licence_that_is_not_known_is_not_that_of_the_folder_above(tmp_path):
    files = {
        "LICENSE": MIT,
        "lib/LICENSE": "All rights reserved. Ask us.\n",
        "lib/a.py": PROGRAM,
        "lib/NOTICE": "By A.\n",
    }
    assert licences_in(tmp_path, files) == {"lib/a.py": ("NOASSERTION", "file:lib/LICENSE")}


def test_the_licences_of_contained_code_do_not_count_beside_the_own_one(tmp_path):
    files = {"r/LICENSE": MIT, "r/LICENSE-3RD-PARTY.txt": GPL3, "r/NOTICE": BSD, "r/a.py": PROGRAM}
    assert licences_in(tmp_path, files) == {"a.py": ("MIT", "file:LICENSE")}


def test_a_folder_of_licences_can_be_kept_out(tmp_path):
    files = {"a/LICENSE": MIT, "a/a.py": PROGRAM, "b/COPYING": GPL3, "b/b.py": PROGRAM, "c/c.py": PROGRAM}
    rows, removed = read(write(tmp_path, files), licences="permissive")
    assert [row["meta"]["path"] for row in rows] == ["a.py"]
    assert [r for r in removed if r[1] == "licence"] == [
        ("dropped", "licence", "b/b.py: GPL-3.0-only (file:COPYING) is not to be kept"),
        ("dropped", "licence", "c/c.py: no licence is stated"),
    ]
    assert len(read(tmp_path, licences=["permissive", "GPL-3.0-only"])[0]) == 2


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-2.0-only", False),
        ("MIT OR GPL-2.0-only", True),
        ("MIT AND GPL-2.0-only", False),
        ("GPL-2.0-only OR MIT AND ISC", True),
        ("(GPL-2.0-only OR MIT) AND ISC", True),
        ("GPL-2.0-only OR (MIT AND LGPL-2.1-only)", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("NOASSERTION", False),
    ],
)
def test_of_alternatives_one_must_be_allowed_of_joined_licences_all(expression, allowed):
    assert is_allowed(expression, frozenset({"MIT", "ISC", "Apache-2.0"})) is allowed


def test_a_licence_that_is_no_spdx_id_is_refused():
    with pytest.raises(ValidationError, match=r"'GPL-3\.0' is not the SPDX id .* do you mean GPL-3\.0-only\?"):
        SourceCodeConfig(files="x", licences=["GPL-3.0"])
    with pytest.raises(ValidationError, match=r"see https://spdx\.org/licenses"):
        SourceCodeConfig(files="x", licences=["free"])


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        (MIT.split("The above")[0], "MIT-0"),
        (MIT + "Except as contained in this notice, the name of A shall not be used.", "X11"),
        (MIT + "The Software shall be used for Good, not Evil.", "JSON"),
        (BSD, "BSD-2-Clause"),
        (BSD + "3. Neither the name of A nor the names of its contributors may be used", "BSD-3-Clause"),
        (BSD + "3. All advertising materials mentioning features of this software must display", "BSD-4-Clause"),
        (ISC + ", provided that the above copyright notice appear in all copies. THE AUTHOR DISCLAIMS", "ISC"),
        (ISC + ".\n", "0BSD"),
        (GPL3, "GPL-3.0-only"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999", "LGPL-2.1-only"),
        ("under the GNU General Public License, either version 2 of the License, or (at your option) any later version",
         "GPL-2.0-or-later"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("Creative Commons Attribution-ShareAlike 4.0 International Public License", "CC-BY-SA-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International", "CC-BY-NC-ND-4.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("The MIT Licence", "MIT"),
        (MIT + "\n----\n" + BSD, "MIT AND BSD-2-Clause"),
        ("Mine.", None),
    ],
)  # fmt: skip
def test_licences_are_told_apart_by_their_wording(text, licence):
    assert licence_of_text(text) == licence


@pytest.mark.parametrize(
    ("stated", "expression"),
    [
        ("mit", "MIT"),
        ("MIT License", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-3.0 or mit", "GPL-3.0-only OR MIT"),
        ("BSD", None),
        ("Proprietary", None),
    ],
)
def test_what_people_write_in_metadata_becomes_spdx(stated, expression):
    assert spdx(stated) == expression


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("pyproject.toml", '[project]\nlicense = {text = "MIT License"}\n', "MIT"),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n', "MIT"),
        ("pyproject.toml", '[tool.poetry]\nlicense = "BSD-3-Clause"\n', "BSD-3-Clause"),
        ("pyproject.toml", "[project\n", None),
        ("package.json", '{"licenses": [{"type": "MIT"}]}', "MIT"),
        ("package.json", '["MIT"]', None),
        ("package.json", '{"license": {"type": 1}}', None),
        ("Cargo.toml", '[package]\nlicense.workspace = true\n', None),
        ("METADATA", "License: BSD\nLicense-Expression: BSD-3-Clause\n\nLicense: MIT\n", "BSD-3-Clause"),
    ],
)  # fmt: skip
def test_metadata_states_a_licence(name, text, licence):
    assert metadata_licence(name, text) == licence


@pytest.mark.parametrize(
    "name", ["LICENSE", "licence.txt", "LICENSE-MIT", "MIT-LICENSE.txt", "COPYING.LESSER", "UNLICENSE"]
)
def test_licence_files_are_known_by_name(name):
    assert is_licence_file(f"lib/{name}")


@pytest.mark.parametrize(
    "name", ["license.py", "licences.go", "license-check.sh", "my_notes.txt", "noticeboard.c", "relicensed"]
)
def test_code_about_licences_is_no_licence(name):
    assert not is_licence_file(name)


def test_installed_packages_have_the_licence_that_they_declare():
    """Real texts: the licence files of everything installed here, against the declared SPDX expressions."""
    agree, differ = [], []
    for distribution in distributions():
        declared = distribution.metadata.get("License-Expression")
        texts = [file for file in distribution.files or () if is_licence_file(str(file)) and ".dist-info" in str(file)]
        texts = [file for file in texts if file.locate().is_file() and file.locate().read_bytes().strip()]
        if not declared or " " in declared or not texts:
            continue  # where parts are under different licences, the files say more than the declaration
        found = RepositoryLicences()
        for file in texts:
            found.add(file.name, Path(str(file.locate())).read_bytes())
        stated = found.of("module.py", "")
        licences = re.split(r"[() ]+(?:AND|OR)[() ]+|[()]", stated[0]) if stated else []
        family = re.sub(r"-(only|or-later)$", "", declared)
        matches = any(re.sub(r"-(only|or-later)$", "", licence) == family for licence in licences)
        (agree if matches else differ).append((distribution.name, declared, stated))
    assert differ == []
    assert len(agree) > 30

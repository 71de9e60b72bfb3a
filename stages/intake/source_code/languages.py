"""Which language a file is written in: by name, suffix or shebang, and by content where a suffix has two meanings."""

from __future__ import annotations

import re
from typing import Literal, get_args

Kind = Literal["code", "documentation", "configuration"]

_CODE = """
ada: .adb .ads
agda: .agda
apex: .trigger
apl: .apl .dyalog
arduino: .ino
assembly: .asm .nasm .s .S
awk: .awk
batch: .bat .cmd
c: .c .h .idc
clojure: .clj .cljc .cljs .edn
cmake: .cmake CMakeLists.txt
cobol: .cbl .cob .cpy
coffeescript: .coffee Cakefile
common_lisp: .lisp .lsp .asd
coq: .coq
cpp: .cc .cpp .cxx .c++ .C .hpp .hh .hxx .h++ .H .ipp .tpp .ixx
crystal: .cr
csharp: .cs .csx
css: .css .less .sass .scss .styl
cuda: .cu .cuh
cython: .pyx .pxd .pxi
d: .d .di
dart: .dart
dockerfile: .dockerfile Dockerfile Containerfile
elixir: .ex .exs
elm: .elm
emacs_lisp: .el
erlang: .erl .hrl .escript rebar.config
fortran: .f .for .f77 .f90 .f95 .f03 .f08 .F .F90
fsharp: .fs .fsi .fsx
gdscript: .gd
gherkin: .feature
glsl: .glsl .vert .frag .geom .comp .tesc .tese .fsh .vsh
go: .go
graphql: .graphql .gql
groovy: .groovy .gradle Jenkinsfile
hack: .hack
haskell: .hs .lhs .hsc
haxe: .hx
hcl: .tf .hcl .tfvars
hlsl: .hlsl .fx
idris: .idr
java: .java
javascript: .js .jsx .mjs .cjs .es6 Jakefile
julia: .jl
jupyter_notebook: .ipynb
kotlin: .kt .kts
lean: .lean
lex: .lex .flex
llvm: .ll
lua: .lua .rockspec
m4: .m4 configure.ac configure.in
makefile: .mk .mak Makefile makefile GNUmakefile Makefile.am Makefile.in Kbuild
mathematica: .wl .wls .nb
matlab: .matlab
meson: meson.build meson_options.txt
metal: .metal
mlir: .mlir
move: .move
nim: .nim .nims
nix: .nix
objective_c: .m
objective_cpp: .mm
ocaml: .ml .mli .mll .mly
opencl: .cl
pascal: .pas .dpr .lpr .pp
perl: .pl .pm .t .PL
php: .php .phtml .php5 .phps
powershell: .ps1 .psm1 .psd1
prolog: .prolog
protobuf: .proto
puppet: Puppetfile
purescript: .purs
python: .py .pyi .pyw SConstruct SConscript wscript
r: .r .R
racket: .rkt
raku: .raku .rakumod .p6
reason: .re .rei
rescript: .res .resi
ruby: .rb .rake .gemspec .ru .podspec Rakefile Gemfile Podfile Vagrantfile Brewfile Guardfile
rust: .rs
sas: .sas
scala: .scala .sc .sbt
scheme: .scm .ss .sld
shell: .sh .bash .zsh .ksh .fish .bats
smalltalk: .st
solidity: .sol
sql: .sql .psql .plsql
standard_ml: .sml .sig .fun
starlark: .bzl .star BUILD BUILD.bazel WORKSPACE WORKSPACE.bazel MODULE.bazel Tiltfile
stata: .do .ado
svelte: .svelte
swift: .swift
systemverilog: .sv .svh
tcl: .tcl .tk
thrift: .thrift
typescript: .ts .tsx .mts .cts
vala: .vala .vapi
verilog: .v .vh
vhdl: .vhd .vhdl
vim_script: .vim .vimrc vimrc
visual_basic: .vb .vbs .bas
vue: .vue
webassembly: .wat
wgsl: .wgsl
yacc: .y .yy
zig: .zig .zon
"""

_DOCUMENTATION = """
asciidoc: .adoc .asciidoc .asc
html: .html .htm .xhtml
markdown: .md .markdown .mdx .mkd .qmd .rmd .Rmd
org: .org
pod: .pod
restructuredtext: .rst .rest
roff: .1 .2 .3 .4 .5 .6 .7 .8 .man .roff
rdoc: .rdoc
tex: .tex .sty .ltx .dtx .bib
texinfo: .texi .texinfo
text: .txt .text README CHANGELOG CHANGES AUTHORS CONTRIBUTING CONTRIBUTORS INSTALL NEWS TODO HACKING
"""

_CONFIGURATION = """
csv: .csv .tsv
desktop: .desktop .service
editorconfig: .editorconfig
git_config: .gitignore .gitattributes .gitmodules
go_module: go.mod go.sum
ini: .ini .cfg .conf .properties
json: .json .jsonc .json5 .geojson .webmanifest composer.lock Pipfile.lock flake.lock deno.lock
requirements: requirements.txt constraints.txt
toml: .toml Cargo.lock poetry.lock uv.lock pdm.lock Pipfile
xml: .xml .xsd .xsl .xslt .svg .plist .csproj .fsproj .vbproj .props .targets .ui .qrc
yaml: .yaml .yml .clang-format Podfile.lock pubspec.lock
"""

_INTERPRETERS = """
awk: awk gawk mawk
erlang: escript
groovy: groovy
javascript: node nodejs deno bun
julia: julia
lua: lua luajit
makefile: make
ocaml: ocaml
perl: perl
php: php
powershell: pwsh
python: python pypy
r: Rscript
racket: racket
raku: raku
ruby: ruby jruby
scala: scala
scheme: guile
shell: sh bash zsh ksh dash ash fish bats
swift: swift
tcl: tclsh wish expect
"""


def _table(lines: str) -> dict[str, str]:
    rows = (line.split(": ") for line in lines.strip().splitlines())
    return {name: language for language, names in rows for name in names.split()}


_LANGUAGE_BY_NAME: dict[str, str] = {}  # by whole file name, or by suffix with its dot
KIND_BY_LANGUAGE: dict[str, Kind] = {}
"""Kind of every known language. They follow GitHub Linguist's types: code is its "programming" and the style sheets,
documentation its "prose" with TeX and HTML, configuration its "data"."""

for _kind, _lines in zip(get_args(Kind), (_CODE, _DOCUMENTATION, _CONFIGURATION), strict=True):
    _names = _table(_lines)
    _LANGUAGE_BY_NAME |= _names
    KIND_BY_LANGUAGE |= dict.fromkeys(_names.values(), _kind)

_INTERPRETER_LANGUAGES = _table(_INTERPRETERS)
_SHEBANG = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+)*(?:\w+=\S*\s+)*)?(?:\S*/)?([A-Za-z]+)")


def suffix_of(path: str) -> str:
    """The suffix with its dot, in its own case; "" if there is none. ``.vimrc`` is a name without suffix."""
    name = path.rsplit("/", 1)[-1]
    dot = name.rfind(".")
    return name[dot:] if dot > 0 else ""


def language_of_path(path: str) -> str | None:
    """The language that a file's name tells, or None."""
    name = path.rsplit("/", 1)[-1]
    if name.startswith("._"):
        return None  # the Finder's attributes of another file, as archives made on macOS hold them
    suffix = suffix_of(name)
    found = _LANGUAGE_BY_NAME.get(name) or _LANGUAGE_BY_NAME.get(suffix) or _LANGUAGE_BY_NAME.get(suffix.lower())
    if found is None and name.startswith(("Dockerfile.", "Makefile.")):
        return _LANGUAGE_BY_NAME[name.split(".", 1)[0]]
    return found


def language_of_shebang(text: str) -> str | None:
    """The language of the interpreter that the first line names, or None."""
    match = _SHEBANG.match(text[:200])
    return _INTERPRETER_LANGUAGES.get(match[1]) if match else None


def _pattern(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.MULTILINE)


# First match wins; no match leaves the language that the suffix is listed under. Only suffixes whose second meaning
# is common on GitHub are here.
_OTHER_MEANINGS: dict[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    ".h": (
        (_pattern(r"^\s*(?:@(?:interface|protocol|class|property|end)\b|#import\b)"), "objective_c"),
        (
            _pattern(
                r"^\s*(?:class\s+\w[^;()]*\{|class\s+\w+\s*[:;]|(?:inline )?namespace\b|template\s*<|using\s+\w"
                r"|(?:public|private|protected):|constexpr\b|#\s*include\s*<\w+>)|\bstd::|\bstatic_cast<"
            ),
            "cpp",
        ),
    ),
    ".m": (
        (
            _pattern(r"^\s*(?:@(?:interface|implementation|import|end|protocol|class)\b|#import\b|#include\b)"),
            "objective_c",
        ),
        (_pattern(r"^\s*:-\s*(?:module|interface)\b"), "mercury"),
        (_pattern(r"^\s*\(\*|:=|\[\["), "mathematica"),
        (_pattern(r"^\s*(?:%|function\b|end\b|clear\b|clc\b|classdef\b)"), "matlab"),
    ),
    ".pl": (
        (_pattern(r"^\s*(?:use\s+\w|sub\s+\w|my\s+[$@%]|package\s+\w|#!.*perl)"), "perl"),
        (_pattern(r"^\s*:-|^[a-z]\w*(?:\(.*\))?\s*:-"), "prolog"),
    ),
    ".r": ((_pattern(r"(?i)\A\s*rebol\b"), "rebol"),),
    ".v": (
        (
            _pattern(
                r"^\s*(?:Require|Theorem|Lemma|Proof\b|Qed\.|Inductive|Fixpoint|Definition|Section|Module Type)\b"
            ),
            "coq",
        ),
        (_pattern(r"^\s*(?:(?:macro)?module\b.*[(;]|endmodule\b|always\b|assign\b|`\w+)"), "verilog"),
        (_pattern(r"^(?:pub )?fn\s|^module \w+$|^import \w"), "v"),
    ),
    ".ts": ((re.compile(r"\A\s*(?:<\?xml|<!DOCTYPE TS|<TS\b)"), "xml"),),
    ".md": ((_pattern(r"\A\s*;;|^\(define_(?:insn|expand|attr|mode|predicate)"), "machine_description"),),
    ".d": (
        (_pattern(r"^\s*[\w*$]*:[\w*]*:[\w*]*:[\w*-]+\s*$"), "dtrace"),
        (re.compile(r"\A[^\n:]+\.l?o\s*:"), "makefile"),
    ),
    ".fs": ((_pattern(r"^\s*(?:#version\b|precision\s+\w+p\b|void main\b|uniform\s)"), "glsl"),),
    ".cl": ((_pattern(r"^\s*\((?:def|in-package|use-package|require)"), "common_lisp"),),
    ".pp": ((_pattern(r"^\s*(?:class|define|node)\s+[\w:'\"]+.*\{"), "puppet"),),
    ".t": ((_pattern(r"^\s*(?:%|var\s+\w+\s*:)"), "turing"),),
}
KIND_BY_LANGUAGE |= {
    name: "code" for rules in _OTHER_MEANINGS.values() for _, name in rules if name not in KIND_BY_LANGUAGE
}

AMBIGUOUS_SUFFIXES = frozenset(_OTHER_MEANINGS)

_CHARACTERS_FOR_LANGUAGE = 20_000


def language_of_content(suffix: str, language: str, text: str) -> str:
    """``language``, or another one that shares its suffix if the text says so."""
    rules = _OTHER_MEANINGS.get(suffix.lower())
    if not rules:
        return language
    start = text[:_CHARACTERS_FOR_LANGUAGE]
    return next((other for pattern, other in rules if pattern.search(start)), language)

"""From a finished token folder to a folder that another trainer reads: checked, described, published whole or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError, RecipeError
from pipeline.progress import Steps, Tick, silent
from pipeline.publishing import new_folder, refuse_taken
from pipeline.storage import flush, sha256_of, shown, store_of
from stages.tokenize.exports.formats import FORMATS
from stages.tokenize.exports.selection import HELD_OUT, TRAIN, Format, Selection, Shard

if TYPE_CHECKING:
    from proxy_models.shards import Tokens

MANIFEST = "export.json"
SPLITS = (TRAIN, HELD_OUT)


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path  # absolute; of an export in a store its mirror
    format: str
    splits: tuple[str, ...]
    sources: tuple[str, ...]
    tokens: int
    documents: int
    files: int
    size_bytes: int
    linked_bytes: int  # of these, bytes that are the token folder's own files under a second name
    notes: tuple[str, ...]


def export(
    tokens_folder: Path,
    out: Path,
    format: str,
    split: str = TRAIN,
    sources: Sequence[str] | None = None,
    tick: Tick = silent,
) -> Exported:
    """Write the tokens of a finished token folder in the format of another trainer.

    Bodies are hard links to the token folder's files wherever the format has the same bytes and the file system can.
    Every file that is read is first compared with its SHA-256. The new folder holds the tokenizer, ``export.json``
    (counts, digests) and a README beside the format's own files; it appears under its name once it is whole. In a
    store it is whole once ``export.json`` is there, which is written last.

    Args:
        tokens_folder: holds tokens.json (contract: proxy_models/shards.py).
        out: the new folder, or the mirror of one in a store; nothing may be there yet.
        format: one of FORMATS.
        split: "train" or "held_out"; nanogpt always holds both.
        sources: all if None.
        tick: told how far it is; three steps a shard.

    Raises:
        RecipeError: no such format, split or source; or the format cannot hold what is asked for.
        InputError: a file of the token folder is absent or damaged, there are no tokens, or `out` is taken.
        MachineError: no room on the disk, or the store cannot be written to.
    """
    form = _format(format)
    out = out.absolute()
    selection = _select(tokens_folder, out, form, split, sources, tick)
    _refuse_within(out, tokens_folder)
    refuse_taken(out)
    _verify(selection)
    with new_folder(out, MANIFEST) as folder:
        notes = tuple(form.write(selection, folder))
        _write_tokenizer(selection.tokens, folder)
        (folder / "README.md").write_text(_readme(form, selection, notes), encoding="utf-8")
        exported = _write_manifest(form, selection, notes, folder, out)
    return replace(exported, linked_bytes=0) if store_of(out) else exported


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise RecipeError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def _refuse_within(out: Path, tokens_folder: Path) -> None:
    in_store = store_of(out) and f"{shown(out)}/".startswith(f"{shown(tokens_folder)}/")
    if in_store or out.resolve().is_relative_to(tokens_folder.resolve()):
        raise RecipeError(f"{shown(out)} lies within the tokens themselves, which do not change: choose another folder")


def _select(folder: Path, out: Path, form: Format, split: str, sources: Sequence[str] | None, tick: Tick) -> Selection:
    from proxy_models.shards import ShardError, open_tokens

    try:
        tokens = open_tokens(folder)
    except ShardError as error:
        raise InputError(str(error)) from error
    chosen = tuple(name for name in tokens.sources if sources is None or name in sources)
    unknown = sorted(set(sources or ()) - set(tokens.sources))
    if unknown or not chosen:
        raise RecipeError(f"no source {', '.join(unknown) or 'chosen'} in {folder}; it has {', '.join(tokens.sources)}")
    splits = _splits(form, split)
    shards = tuple(_shards(tokens, chosen, splits))
    for part in splits:
        if not any(shard.split == part for shard in shards):
            raise InputError(f"{folder}: there are no {part} tokens of {', '.join(chosen)}")
    if shards[0].dtype.itemsize not in form.token_bytes:
        raise RecipeError(
            f"{form.name} reads tokens of {form.token_bytes[0]} bytes, these have {shards[0].dtype.itemsize} "
            f"(a vocabulary of {tokens.vocabulary}): the format olmo has the same raw bodies, one a shard"
        )
    return Selection(tokens, chosen, splits, shards, shown(out), Steps(tick, 3 * len(shards)))


def _splits(form: Format, split: str) -> tuple[str, ...]:
    if split not in SPLITS:
        raise RecipeError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    if not form.splits:
        return (split,)
    if split != TRAIN:
        raise RecipeError(f"{form.name} always holds {' and '.join(form.splits)}: leave the split out")
    return form.splits


def _shards(tokens: Tokens, sources: Sequence[str], splits: Sequence[str]) -> list[Shard]:
    """The files of these splits; open_tokens leaves out empty ones, which most readers could not map."""
    return [
        Shard(source, split, file.path, body.dtype, tokens.eod, file.tokens, file.sha256)
        for split in splits
        for source in sources
        for body in [tokens.bodies[source, split]]
        for file in body.files
    ]


def _verify(selection: Selection) -> None:
    """Every file that is read holds the bytes that tokens.json names."""
    tokens = selection.tokens
    damaged = [str(shard.path) for shard in selection.each() if not _is_whole(shard.path, shard.sha256)]
    if not _is_whole(tokens.tokenizer_path, tokens.tokenizer_sha256):
        damaged.append(str(tokens.tokenizer_path))
    if damaged:
        raise InputError(
            f"not the bytes that {tokens.folder / 'tokens.json'} names: {', '.join(damaged)}; tokenize again"
        )


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _write_tokenizer(tokens: Tokens, folder: Path) -> None:
    """tokenizer.json, and what transformers' AutoTokenizer asks for beside it."""
    from tokenizers import Tokenizer

    shutil.copyfile(tokens.tokenizer_path, folder / "tokenizer.json")
    eod = Tokenizer.from_file(str(tokens.tokenizer_path)).id_to_token(tokens.eod)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eod}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _counts(selection: Selection) -> dict[str, dict[str, dict[str, int]]]:
    """Tokens, documents and bytes of text of each source and split."""
    bodies = selection.tokens.bodies
    return {
        source: {
            split: {
                "tokens": bodies[source, split].tokens,
                "documents": bodies[source, split].documents,
                "bytes": bodies[source, split].bytes,
            }
            for split in selection.splits
        }
        for source in selection.sources
    }


def _write_manifest(form: Format, selection: Selection, notes: tuple[str, ...], folder: Path, out: Path) -> Exported:
    linked = {_inode(shard.path): shard.sha256 for shard in selection.shards}
    files: list[dict[str, Any]] = []
    linked_bytes = 0
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in selection.steps.of(written, len(selection.shards) / len(written)):
        size = path.stat().st_size
        digest = linked.get(_inode(path))
        if digest is None:
            digest = sha256_of(path)
            flush(path)
        else:
            linked_bytes += size
        files.append({"path": path.relative_to(folder).as_posix(), "size_bytes": size, "sha256": digest})
    tokens, counts = selection.tokens, _counts(selection)
    manifest = {
        "format": form.name,
        "tokens_json_sha256": tokens.fingerprint,
        "tokenizer_sha256": tokens.tokenizer_sha256,
        "vocabulary": tokens.vocabulary,
        "dtype": np.dtype(selection.dtype).name,
        "eod": tokens.eod,
        "sources": counts,
        "files": files,
        "notes": list(notes),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    flush(folder / MANIFEST)
    totals = [count for splits in counts.values() for count in splits.values()]
    return Exported(
        folder=out,
        format=form.name,
        splits=selection.splits,
        sources=selection.sources,
        tokens=sum(count["tokens"] for count in totals),
        documents=sum(count["documents"] for count in totals),
        files=len(files) + 1,
        size_bytes=sum(file["size_bytes"] for file in files),
        linked_bytes=linked_bytes,
        notes=notes,
    )


def _inode(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _readme(form: Format, selection: Selection, notes: tuple[str, ...]) -> str:
    tokens = selection.tokens
    dtype = np.dtype(selection.dtype).name
    usage = form.usage
    for word, value in {
        "TOKEN_BYTES": str(selection.dtype.itemsize),
        "DTYPE": dtype,
        "VOCABULARY": str(tokens.vocabulary),
        "EOD": str(tokens.eod),
        "SOURCE": selection.sources[0],
    }.items():
        usage = usage.replace(word, value)
    rows = [
        f"| {source} | {split} | {count['tokens']:,} | {count['documents']:,} |"
        for source, splits in _counts(selection).items()
        for split, count in splits.items()
    ]
    lines = [
        f"# {form.title}",
        "",
        f"Token ids are {dtype}, little-endian, of a vocabulary of {tokens.vocabulary:,} (`tokenizer.json`); every "
        f"document ends with token {tokens.eod}.",
        "",
        usage,
        "| source | split | tokens | documents |",
        "|---|---|---:|---:|",
        *rows,
        "",
        *[f"- {note}" for note in notes],
        f"- `{MANIFEST}` has the SHA-256 of every file, and that of the `tokens.json` behind them.",
    ]
    if form.same_bytes:
        lines.append("- The bodies may be hard links to the token folder's own files: never write into them.")
    lines.append("- Documents taken down from the token folder stay in an export made before: export again.")
    return form.front_matter + "\n".join(lines) + "\n"

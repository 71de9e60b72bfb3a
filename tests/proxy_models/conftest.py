"""A small token folder of three sources, made from text with a byte-level tokenizer of 257 ids."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, pre_tokenizers

from proxy_models.shards import Tokens, open_tokens


def sums(rng: random.Random) -> str:
    a, b = rng.randrange(100), rng.randrange(100)
    return f"{a} + {b} = {a + b}. {b} + {a} = {a + b}."


def sentences(rng: random.Random) -> str:
    nouns, verbs = ["cat", "dog", "bird", "fish"], ["sees", "likes", "follows"]
    return f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)} and sleeps."


def code(rng: random.Random) -> str:
    name = rng.choice("xyz")
    return f"def {name}(a):\n    return a * {rng.randrange(10)}\n"


def write_tokens(folder: Path, documents: dict[str, list[str]], held_out: int, file_documents: int) -> Path:
    """Write a token folder: the last `held_out` documents of each source apart, `file_documents` a file."""
    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*letters, "<eod>"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eod>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    eod = tokenizer.token_to_id("<eod>")

    def split(source: str, name: str, texts: list[str]) -> dict[str, object]:
        files = []
        for number, first in enumerate(range(0, len(texts), file_documents)):
            some = texts[first : first + file_documents]
            body = np.concatenate([[*tokenizer.encode(text).ids, eod] for text in some]).astype("<u2").tobytes()
            path = folder / source / f"{name}-{number:05d}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)
            digest = hashlib.sha256(body).hexdigest()
            files.append({"path": f"{source}/{path.name}", "tokens": len(body) // 2, "sha256": digest})
        return {
            "files": files,
            "tokens": sum(file["tokens"] for file in files),
            "documents": len(texts),
            "bytes": sum(len(text.encode()) for text in texts),
        }

    manifest = {
        "vocabulary": tokenizer.get_vocab_size(),
        "dtype": "uint16",
        "eod": eod,
        "tokenizer_sha256": hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest(),
        "sources": {
            source: {
                "train": split(source, "train", texts[:-held_out]),
                "held_out": split(source, "held_out", texts[-held_out:]),
            }
            for source, texts in documents.items()
        },
    }
    (folder / "tokens.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    documents = {
        writer.__name__: [writer(rng) for _ in range(count)]
        for writer, count in ((sums, 240), (sentences, 200), (code, 120))
    }
    return write_tokens(tmp_path_factory.mktemp("tokens") / "tokens", documents, held_out=30, file_documents=50)


@pytest.fixture
def tokens(token_folder: Path) -> Tokens:
    return open_tokens(token_folder)

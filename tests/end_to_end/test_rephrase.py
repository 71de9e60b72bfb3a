"""Rephrasing in a run: new documents reach the token shards beside the old, and are asked for once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.run import Run
from tests.conftest import Sluice
from tests.stages.rephrase.chat_server import ChatServer, Reply, Request, completion

RECIPE = """name: rephrased
artifacts:
  docs: {stage: json_lines, files: docs.jsonl}
  answers: {stage: rephrase, from: docs, style: questions, model: test}
  tokens: {stage: tokenize, from: [docs, answers], vocabulary: 300, held_out: 0.3}
"""
DOCUMENTS = 20


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """Answers each passage with a question, but one of them with a number that the passage does not have."""

    def reply(request: Request, before: int) -> Reply:
        number = "99999" if " 7 " in request.passage else "it"
        return completion(f"Question: What does the passage tell?\nAnswer: {number} tells of a river and its mill.")

    server = ChatServer(reply)
    yield server
    server.close()


def test_new_documents_reach_the_shards_and_are_asked_for_once(
    tmp_path: Path, sluice: Sluice, server: ChatServer
) -> None:
    lines = [
        json.dumps({"text": f"The river number {i} flows past the old mill and the church."}) for i in range(DOCUMENTS)
    ]
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    endpoint = ("--set", f"answers.endpoint={server.url}")
    assert "rephrasing is off" not in sluice.run(recipe, *endpoint)
    assert len(server.requests) == DOCUMENTS
    run = Run.open(tmp_path / "run")
    sources = run.artifacts()["tokens"].summary["sources"]
    written = sum(part["documents"] for part in sources["rephrased"].values())
    assert written == DOCUMENTS - 1
    ledger = run.artifacts()["answers"].ledger.steps["answers"]
    assert ledger["docs"].dropped == {"rephrased": DOCUMENTS}
    assert ledger["rephrased"].dropped == {"number_precision": 1}
    parent = "docs/docs.jsonl@0"
    story = sluice("explain", tmp_path / "run", parent)
    assert f"answers: {parent}~questions was written from it" in story
    assert "nothing was run" in sluice.run(recipe, *endpoint)
    assert len(server.requests) == DOCUMENTS

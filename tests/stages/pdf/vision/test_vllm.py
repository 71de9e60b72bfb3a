"""Pages read by a vLLM server of our own, stood in for by a small program."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from stages.models.vllm_server import VllmServer
from stages.pdf.vision import stage as stage_module
from tests.stages.pdf.vision.pages import row, seen, stage, table


def test_pages_are_read_by_a_server_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(port: int) -> list[str]:
        stand_in = [sys.executable, "-m", "tests.stages.models.stand_in_server", "--model", "small"]
        return [*stand_in, "--folder", str(tmp_path), "--port", str(port)]

    server = VllmServer(command)
    monkeypatch.setattr(stage_module, "vllm_command", lambda model, arguments: lambda port: [model])
    monkeypatch.setitem(stage_module._servers, "small", server)
    ready = stage(engine="vllm")
    try:
        for _ in range(2):
            kept = seen(ready.process(table(*(row(n) for n in range(5)))))
            assert Counter(kept[n]["pdf.vision"] for n in kept) == {"accepted": 5}
    finally:
        server.stop()
    assert (tmp_path / "starts").read_text() == "1"

"""The document that takes more memory than there is is found before the machine has none left."""

from pathlib import Path

from pipeline.isolation import Allowance, find_poison
from pipeline.task import PartSpec, StepSpec
from stages.intake.json_lines import JsonLines
from tests.faults.stages import TakesMemory

MEGABYTE = 1_000_000


def test_a_document_that_takes_more_memory_than_allowed_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text('{"text": "hungry"}\n')
    source = JsonLines(JsonLines.config_type(files=str(tmp_path / "docs.jsonl")))
    memory = TakesMemory.config_type(document="hungry", megabytes=2000, seconds=1)
    steps = (StepSpec("docs", JsonLines, source.config, {}), StepSpec("kept", TakesMemory, memory, {}))
    (split,) = source.splits()
    spec = PartSpec(tmp_path / "run", "kept", "0" * 32, "docs", steps, 1, split=split, source="docs")
    (poison,) = find_poison(spec, Allowance(60, memory_bytes=1000 * MEGABYTE))
    assert (poison.step, poison.id, poison.reason) == ("kept", "docs/docs.jsonl@0", "out_of_memory")
    assert poison.evidence == "took more than 1,000 MB of memory"
    assert find_poison(spec, Allowance(60)) == ()

"""Pages of a run read by one server on the cluster; a small program stands in for vLLM's."""

from pathlib import Path

import yaml

from pipeline.run import Run
from tests.conftest import Sluice
from tests.stages.models.processes import await_that, is_alive, starts
from tests.stages.pdf_files import text_pdf


def test_one_server_reads_the_pages_of_all_tasks_of_a_run_and_ends_with_its_stage(
    tmp_path: Path, sluice: Sluice
) -> None:
    artifacts = {}
    for name in ("one", "two", "three"):
        text_pdf(tmp_path / f"{name}.pdf", [f"The first page of {name}.", "The second page."])
        artifacts[name] = {"stage": "pdf_pages", "files": f"{name}.pdf", "pictures": "all", "picture_side": 400}
    asked = {"engine": "vllm", "model": str(tmp_path), "pages": "all"}
    artifacts["seen"] = {"stage": "tests.stages.pdf.vision.test_vllm:StandInVision", "from": list(artifacts), **asked}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"name": "seen", "artifacts": artifacts}))
    (tmp_path / "child").touch()
    sluice.run(tmp_path / "recipe.yaml")
    found = Run.open(tmp_path / "run").artifacts()["seen"]
    noted = [counts.noted for sources in found.ledger.steps.values() for counts in sources.values()]
    assert (len(found.parts), sum(n["vision_accepted"] for n in noted)) == (3, 6)
    assert starts(tmp_path) == 1
    await_that(lambda: not is_alive(int((tmp_path / "child").read_text())))

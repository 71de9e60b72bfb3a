"""Pages read by servers of our own, which serve all tasks of the stage; a small program stands in for vLLM's."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pipeline.services import LocalProcess
from pipeline.stage import Context, Service
from stages.models.vllm.server_worker import ServerOptions, server_host
from stages.pdf.vision.stage import REPETITION_DETECTION, PdfVision, PdfVisionConfig
from tests.stages.models.processes import starts
from tests.stages.models.vllm.test_server_worker import stand_in
from tests.stages.pdf.vision.pages import HEIGHT, WIDTH, row, seen, table

PAGES = 12


class StandInVision(PdfVision):
    """The stage, with a program in place of vLLM's server; its folder is the name of the model."""

    def service(self) -> Service | None:
        service = super().service()
        assert service is not None
        (options,) = service.make.args
        return replace(service, make=partial(server_host, replace(options, program=stand_in(Path(options.model)))))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProcess]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4]))
    service = vision(tmp_path).service()
    assert service is not None
    process = LocalProcess(service.make)
    yield process
    process.close()


def vision(folder: Path) -> StandInVision:
    return StandInVision(PdfVisionConfig(engine="vllm", model=str(folder), concurrency=4))


def test_one_server_reads_the_pages_of_all_tasks(process: LocalProcess, tmp_path: Path) -> None:
    for _ in range(2):  # tasks, each with a stage of its own
        ready = vision(tmp_path)
        ready.setup(Context(seed=1, service=(process,)))
        batches = [table(*(row(n) for n in range(first, first + 4))) for first in range(0, PAGES, 4)]
        kept = [page for outcome in ready.stream(iter(batches)) for page in seen(outcome).values()]
        assert Counter(page["pdf.vision"] for page in kept) == {"accepted": PAGES}
        assert str((WIDTH, HEIGHT)) in kept[0]["text"]
    assert starts(tmp_path) == 1


def test_a_server_that_dies_is_started_anew_and_no_page_is_lost(process: LocalProcess, tmp_path: Path) -> None:
    (tmp_path / "dies").touch()
    ready = vision(tmp_path)
    ready.setup(Context(seed=1, service=(process,)))
    kept = seen(ready.process(table(*(row(n) for n in range(PAGES)))))
    assert Counter(page["pdf.vision"] for page in kept.values()) == {"accepted": PAGES}
    assert starts(tmp_path) == 2


def test_the_server_is_started_as_the_models_profile_and_the_options_say() -> None:
    options = {"concurrency": 7, "timeout_s": 9.0, "extra_body": {"top_k": 3}, "server_arguments": ("--seed=1",)}
    service = PdfVision(PdfVisionConfig(engine="vllm", model="m", profile="olmocr", **options)).service()
    assert service is not None
    (asked,) = service.make.args
    body = {"repetition_detection": REPETITION_DETECTION, "top_k": 3}
    assert asked == ServerOptions("m", ("--max-model-len", "16384", "--seed=1"), 7, 9.0, body)

"""Reports in a real browser: nothing fails or loads, sliders work, samples open, hostile texts stay texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from mixes.explorer import explorer
from mixes.limits import Limits
from mixes.objective import Objective, checked_weights, minimum
from mixes.regression import fit
from mixes.stored_fit import StoredFit
from mixes.target import Target
from pipeline.report import write_report
from pipeline.report.script import script
from pipeline.rethreshold import rethreshold
from pipeline.run import Run
from tests.pipeline.report.runs import made

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
FLAGS = [
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, chromium_sandbox=False)
        yield opened
        opened.close()


class Page:
    """An open report and what the browser complained about or asked for."""

    def __init__(self, browser: Any, path: Path, size: dict[str, int], **options: Any) -> None:
        self.page = browser.new_page(viewport=size, **options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def explored(self) -> Any:
        """The explorer, once it has solved."""
        place = self.page.locator(".explorer").first
        place.scroll_into_view_if_needed()
        self.page.locator(".explorer[data-ratios]").first.wait_for()
        return place

    def ratios(self) -> list[float]:
        found: list[float] = json.loads(self.page.locator(".explorer").first.get_attribute("data-ratios"))
        return found


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_without_a_complaint_and_asks_for_nothing(
    browser: Any, trained: Run, size: dict[str, int], scheme: str
) -> None:
    path = write_report(trained)
    opened = Page(browser, path, size, color_scheme=scheme)
    opened.explored()
    assert opened.complaints == []
    assert opened.requests == [path.as_uri()]
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 27)")


def test_a_report_is_printed_dark_on_white_also_where_screens_are_dark(browser: Any, trained: Run) -> None:
    opened = Page(browser, write_report(trained), DESKTOP, color_scheme="dark")
    opened.page.emulate_media(media="print")
    background, ink = (
        opened.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    assert (background, ink) == ("rgb(255, 255, 255)", "rgb(28, 32, 36)")


def test_the_explorer_begins_with_the_mix_of_the_recipe(browser: Any, trained: Run) -> None:
    opened = Page(browser, write_report(trained), DESKTOP)
    opened.explored()
    (mix,) = (a for a in trained.artifacts().values() if a.kind == "mix")
    stored = StoredFit.load(next(mix.file_paths("fit.json")))
    weights = np.array(mix.summary["used_weights"])
    slopes = None if stored.transfer is None else stored.transfer.extrapolated
    objective = Objective.of(stored.fit, checked_weights(stored.fit, weights, slopes), 1.0)
    assert stored.target is not None
    limits = stored.target.limits(stored.runs.sources)
    found = np.array(opened.ratios())
    assert limits.hold(found[None, :]).all()
    of_recipe, _ = objective(np.array(mix.summary["optimum"]["best"]["ratios"]))
    assert objective(found)[0] <= of_recipe + 1e-4 * objective.spread


def test_moving_a_weight_solves_again(browser: Any, trained: Run) -> None:
    opened = Page(browser, write_report(trained), DESKTOP)
    place = opened.explored()
    before = place.get_attribute("data-ratios")
    place.get_by_label("second").fill("0")
    expect(place).not_to_have_attribute("data-ratios", before)
    place.get_by_role("button", name="As in the recipe").click()
    opened.page.wait_for_timeout(200)
    assert opened.ratios() == pytest.approx(json.loads(before), abs=2e-3)


def test_a_training_that_the_tokens_cannot_serve_is_told(browser: Any, trained: Run) -> None:
    opened = Page(browser, write_report(trained), DESKTOP)
    place = opened.explored()
    place.get_by_label("Tokens to train on").fill("2")
    place.get_by_role("status").get_by_text("No mix: the tokens that may be used fill only").wait_for()


@pytest.mark.parametrize(("sources", "metrics", "has_groups"), [(2, 1, False), (3, 4, False), (6, 3, True)])
def test_the_pages_solver_finds_what_the_command_line_finds(
    browser: Any, tmp_path: Path, sources: int, metrics: int, has_groups: bool
) -> None:
    rng = np.random.default_rng(sources)
    suits = rng.dirichlet(np.full(sources, 0.4), metrics)
    mixtures = rng.dirichlet(np.ones(sources), 12 + 4 * sources)
    losses = 0.5 + 0.4 * (mixtures @ suits.T + 0.05) ** -0.35 + 0.004 * rng.standard_normal((len(mixtures), metrics))
    fitted = fit(mixtures, losses, [f"m{i}" for i in range(metrics)], 1)
    names = [f"s{j}" for j in range(sources)]
    limited = {name: {"tokens": 10**9, "highest": 0.7} for name in names}
    groups = {"g": {"members": names[:2], "lowest": 0.1, "highest": 0.3}} if has_groups else {}
    target = Target.model_validate(
        {"target_tokens": 3 * 10**9, "max_epochs": 2.0, "sources": limited, "groups": groups}
    )
    limits: Limits = target.limits(names)
    weights, slopes = rng.dirichlet(np.ones(metrics)), rng.uniform(0.5, 1.0, metrics)
    natural = limits.bring(np.full((1, sources), 1 / sources))[0]
    told = explorer(fitted, target, limits, weights, slopes, 1.0, natural)
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{script()}")
    page = Page(browser, tmp_path / "page.html", DESKTOP).page
    found = page.evaluate(
        """([model, weights, mixture]) => {
            const ready = solver.prepared(model);
            const limits = solver.limitsOf(model, model.target_tokens, model.max_epochs);
            const best = solver.optimum(ready, weights, limits, model.pessimism, model.natural);
            const there = ready.objective(mixture, weights, model.pessimism);
            return { best: Array.from(best.ratios), value: there.value, sd: there.sd, slope: Array.from(there.slope) };
        }""",
        [told, (weights * slopes).tolist(), mixtures[0].tolist()],
    )
    objective = Objective.of(fitted, checked_weights(fitted, weights, slopes), 1.0)
    value, slope = objective(mixtures[0])
    assert found["value"] == pytest.approx(value, abs=1e-9)
    assert found["slope"] == pytest.approx(slope.tolist(), abs=1e-7)
    best = np.array(found["best"])
    assert limits.hold(best[None, :]).all()
    starts = np.concatenate([mixtures, natural[None, :]])
    assert objective(best)[0] <= objective(minimum(objective, limits, starts))[0] + 1e-5 * objective.spread


def test_a_threshold_that_is_moved_keeps_what_rethreshold_keeps(browser: Any, filtered: Run) -> None:
    opened = Page(browser, write_report(filtered), DESKTOP)
    slider = opened.page.get_by_label("clean.min_words")
    slider.fill("60")
    selection = rethreshold(filtered.folder, "clean", ["clean.min_words=60"])
    kept = sum(n for (_, verdict, *_), n in selection.after.items() if verdict == "kept")
    assert int(opened.page.locator(".rules").first.get_attribute("data-kept")) == kept
    assert "--set clean.min_words=60" in opened.page.locator(".what-if").first.inner_text()
    opened.page.get_by_role("button", name="As in the recipe").first.click()
    kept = sum(n for (_, verdict, *_), n in selection.before.items() if verdict == "kept")
    assert int(opened.page.locator(".rules").first.get_attribute("data-kept")) == kept


def test_scores_that_share_an_option_share_its_threshold(browser: Any, filtered: Run) -> None:
    page = Page(browser, write_report(filtered), DESKTOP).page
    first, second = page.get_by_label("clean.max_symbol_ratio").all()
    second.fill("0.005")
    selection = rethreshold(filtered.folder, "clean", [f"clean.max_symbol_ratio={first.input_value()}"])
    kept = sum(n for (_, verdict, *_), n in selection.after.items() if verdict == "kept")
    assert int(page.locator(".rules").first.get_attribute("data-kept")) == kept
    assert page.locator(".what-if").first.inner_text().count("--set") == 1


def test_samples_open_by_keyboard(browser: Any, filtered: Run) -> None:
    page = Page(browser, write_report(filtered), DESKTOP).page
    sample = page.locator("#removed details", has=page.locator("pre")).first
    assert not sample.locator("pre").first.is_visible()
    sample.locator("summary").focus()
    page.keyboard.press("Enter")
    assert sample.locator("pre").first.is_visible()


def test_hostile_documents_stay_texts(browser: Any, tmp_path: Path) -> None:
    texts = [
        "<script>alert(1)</script> and <img src=x onerror=alert(2)> and more words of this kind here",
        "</script><script>alert(3)</script> ]]> <!-- <a href='javascript:alert(4)'>here</a> are some words",
        "data:text/html,<script>alert(5)</script> \u202egnp.exe\u2066 and still more words are written here",
        "<svg onload=alert(6)> " + "a long text of one kind of word " * 160_000,  # 5 MB
    ]
    rows = [{"text": text, "url": f"https://evil.example/{text[:40]}", "source": text[:30]} for text in texts]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "docs": {"stage": "json_lines", "files": "docs.jsonl"},
        "kept": {"from": "docs", "chain": [{"gopher_quality": {"min_words": 5}}]},
    }
    path = write_report(made(tmp_path, recipe))
    opened = Page(browser, path, DESKTOP)
    opened.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    opened.page.wait_for_timeout(300)
    assert opened.complaints == []
    assert opened.requests == [path.as_uri()]
    assert "alert(" in opened.page.inner_text("body")
    assert (
        opened.page.evaluate("document.querySelectorAll('img, iframe, a:not([href^=\"#\"]), svg[onload]').length") == 0
    )
    assert path.stat().st_size < 1e6


def test_a_report_prints_with_its_samples_and_without_its_sliders(browser: Any, trained: Run) -> None:
    opened = Page(browser, write_report(trained), DESKTOP)
    opened.explored()
    opened.page.emulate_media(media="print")
    assert not opened.page.locator(".explorer fieldset").first.is_visible()
    assert opened.page.locator(".explorer table").first.is_visible()
    assert opened.page.pdf().startswith(b"%PDF")

"""What the pages of deploy/ tell people to type."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.deploy.commands import runs_on_a_cluster

PAGES = sorted((REPOSITORY / "deploy").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(r"(?<![\w/])deploy/[\w./-]+\w", text):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_a_page_starts_from_nothing_ends_with_a_report_and_is_in_the_index(page: Path) -> None:
    text = page.read_text()
    assert "sluice demo" in text
    assert "report.html" in text
    assert f"]({page.name})" in (REPOSITORY / "deploy/README.md").read_text()


def test_placeholders_of_files_are_filled_in_by_their_pages() -> None:
    files = {
        "aws.md": ("aws/cluster.yaml", "recipe/recipe.yaml"),
        "gcp.md": ("gcp/cluster.yaml", "recipe/recipe.yaml"),
        "kuberay.md": ("kuberay/rayjob.yaml", "kuberay/raycluster.yaml"),
    }
    for page, paths in files.items():
        written = "".join((REPOSITORY / "deploy" / path).read_text() for path in paths)
        filled = re.findall(r"s\|(?:s3://)?(YOUR-[A-Z-]+)\|", (REPOSITORY / "deploy" / page).read_text())
        assert set(re.findall(r"YOUR-[A-Z]+(?:-[A-Z]+)*", written)) == set(filled)


def test_the_recipe_of_the_manifests_is_that_of_the_pages() -> None:
    manifest = yaml.safe_load_all((REPOSITORY / "deploy/kuberay/rayjob.yaml").read_text())
    (recipe,) = [found["data"]["recipe.yaml"] for found in manifest if found["kind"] == "ConfigMap"]
    assert recipe == (REPOSITORY / "deploy/recipe/recipe.yaml").read_text()


def test_every_way_to_a_cluster_has_a_command_to_run() -> None:
    assert set(runs_on_a_cluster()) == {"rayjob.yaml", "sluice.sbatch", "aws.md", "gcp.md", "kuberay.md"}

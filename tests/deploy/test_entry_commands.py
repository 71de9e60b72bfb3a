"""The command that each manifest, script and page gives, run as it stands there, on a Ray cluster of several raylets.

Only what a cluster would provide is put in its place: a folder for the bucket, and a folder for the recipe's mount.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.demo_corpus import build
from tests.conftest import REPOSITORY, Sluice
from tests.deploy.commands import runs_on_a_cluster
from tests.end_to_end.test_demo import contents

pytestmark = pytest.mark.slow

COMMANDS = runs_on_a_cluster()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with the CPUs that the manifests give it, and two raylets."""
    from ray.cluster_utils import Cluster

    (job,) = [
        found
        for found in yaml.safe_load_all((REPOSITORY / "deploy/kuberay/rayjob.yaml").read_text())
        if found["kind"] == "RayJob"
    ]
    cpus = int(job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"])
    head = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:  # raylets hand their environment on
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=80 << 20)
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages have put into the bucket."""
    folder = tmp_path_factory.mktemp("bucket")
    build(folder / "corpus", size="tiny")
    return folder


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, str]]:
    """Digests of the tokens of each run."""
    return {}


@pytest.mark.parametrize("place", COMMANDS)
def test_the_command_ends_in_a_report_and_in_the_same_tokens(
    place: str, cluster: Any, bucket: Path, tmp_path: Path, seen: dict[str, dict[str, str]]
) -> None:
    recipe = (REPOSITORY / "deploy/recipe/recipe.yaml").read_text().replace("s3://YOUR-BUCKET", str(bucket))
    (tmp_path / "recipe.yaml").write_text(recipe)
    mounts = {
        **dict.fromkeys(("/home/sluice/recipe", "/recipe"), str(tmp_path)),
        **dict.fromkeys(("s3://YOUR-BUCKET", "s3://$BUCKET", "gs://$BUCKET"), str(tmp_path / "out")),
        **{"$recipe": str(tmp_path / "recipe.yaml"), "$run": str(tmp_path / "out/runs/first")},
    }
    words = []
    for word in COMMANDS[place]:
        prefix = next((mount for mount in mounts if word.startswith(mount)), "")
        words.append(mounts.get(prefix, "") + word.removeprefix(prefix))
    done = subprocess.run(
        Sluice("").command(*words),
        env={**os.environ, "RAY_ADDRESS": cluster.address},  # as Ray gives it to jobs and to its machines
        **{"capture_output": True, "text": True, "timeout": 240},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "out/runs/first"
    assert f"Report: {run / 'report.html'}" in done.stdout
    assert "<html" in (run / "report.html").read_text()
    seen[place] = contents(run, "tokens")
    assert all(digests == seen[place] for digests in seen.values())

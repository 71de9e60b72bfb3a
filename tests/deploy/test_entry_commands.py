"""The command that each manifest, script and page gives, run as it stands there, on a Ray cluster of several raylets.

Only what a cluster would provide is put in its place: a bucket of an S3 server here, or a folder for the bucket, and a
folder for the recipe's mount.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.demo_corpus import build
from tests.conftest import REPOSITORY, S3_SECRET, Sluice
from tests.deploy.commands import runs_on_a_cluster
from tests.end_to_end.test_demo import contents
from tests.servers import put_objects, s3_server

pytestmark = pytest.mark.slow

COMMANDS = runs_on_a_cluster()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that leads to an S3 server, as a secret's variables and the manifests would."""
    with s3_server() as url:
        yield {
            **{"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": S3_SECRET},
            **{"AWS_DEFAULT_REGION": "us-east-1", "SLUICE_SCRATCH": str(tmp_path_factory.mktemp("scratch"))},
        }


@pytest.fixture(scope="module")
def cluster(store: dict[str, str]) -> Iterator[Any]:
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
        for variable, value in store.items():
            patch.setenv(variable, value)
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


def run(words: list[str], cluster: Any, environment: dict[str, str]) -> str:
    """Give a command to its end, as Ray gives it to jobs and to its machines; returns what it printed."""
    done = subprocess.run(
        Sluice("").command(*words),
        env={**os.environ, **environment, "RAY_ADDRESS": cluster.address},
        **{"capture_output": True, "text": True, "timeout": 240},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def replaced(words: list[str], mounts: dict[str, str]) -> list[str]:
    """The words of a command, their beginnings replaced by what stands for them here."""
    found = []
    for word in words:
        prefix = next((mount for mount in mounts if word.startswith(mount)), "")
        found.append(mounts.get(prefix, "") + word.removeprefix(prefix))
    return found


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
    printed = run(replaced(COMMANDS[place], mounts), cluster, {})
    folder = tmp_path / "out/runs/first"
    assert f"Report: {folder / 'report.html'}" in printed
    assert "<html" in (folder / "report.html").read_text()
    seen[place] = contents(folder, "tokens")
    assert all(digests == seen[place] for digests in seen.values())


def test_the_jobs_command_reads_and_writes_a_bucket(
    cluster: Any, store: dict[str, str], bucket: Path, tmp_path: Path
) -> None:
    corpus = {str(path.relative_to(bucket)): path.read_bytes() for path in bucket.glob("corpus/web/*")}
    put_objects(store["AWS_ENDPOINT_URL"], "a-bucket", corpus)
    recipe = (REPOSITORY / "deploy/recipe/recipe.yaml").read_text().replace("YOUR-BUCKET", "a-bucket")
    (tmp_path / "recipe.yaml").write_text(recipe)
    mounts = {"/recipe": str(tmp_path), "s3://YOUR-BUCKET": "s3://a-bucket"}
    printed = run(replaced(COMMANDS["rayjob.yaml"], mounts), cluster, store)
    assert "Report: s3://a-bucket/runs/first/report.html" in printed
    told = run(["status", "s3://a-bucket/runs/first"], cluster, store)
    assert "first: done, " in told

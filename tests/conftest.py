"""Fixtures shared by all tests."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

with socket.create_server(("127.0.0.1", 0)) as free_port:  # another run of the tests may be going on beside this one
    RAY_CLIENT_PORT = free_port.getsockname()[1]
S3_SECRET = "a-secret-of-the-tests"
settings.register_profile("shared machine", deadline=None)  # a loaded machine is no reason to fail
settings.load_profile("shared machine")
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real inputs beside the checkout; a user's checkout has none, so these tests then skip."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real inputs are not on this machine: ../shared/data is absent")
    return folder


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Address of a Ray cluster on this machine: a head and a second raylet, one CPU each."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": S3_SECRET}  # of the tests' own S3 server
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # raylets hand their environment on: workers find the tests' own stages
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    node["ray_client_server_port"] = RAY_CLIENT_PORT
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield cluster.address
    cluster.shutdown()


@dataclass(frozen=True)
class Sluice:
    """The command line as a user would call it, in a process of its own."""

    address: str

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]

    def __call__(self, *arguments: str | Path, status: int = 0) -> str:
        """Run to the end; returns what it printed on both streams. Fails on any other exit status than `status`."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=600, cwd=REPOSITORY)
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        assert "Traceback" not in output, output
        return output

    def run(self, recipe: Path, *arguments: str | Path, status: int = 0) -> str:
        """`sluice run` on the tests' cluster, the run's folder beside the recipe."""
        return self("run", recipe, "--out", recipe.parent / "run", "--address", self.address, *arguments, status=status)


@pytest.fixture
def sluice(ray_address: str) -> Sluice:
    return Sluice(ray_address)


@pytest.fixture
def sluice_alone() -> Sluice:
    """For commands that need no Ray."""
    return Sluice("")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for almost nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", folder], capture_output=True
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("mounting a small file system is refused here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)

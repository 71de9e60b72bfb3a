"""Commands by which runs on a cluster begin, as manifests, scripts and pages give them."""

from __future__ import annotations

from tests.conftest import REPOSITORY
from tests.docs.pages import commands_in, commands_of_page


def runs_on_a_cluster() -> dict[str, list[str]]:
    """The arguments of `sluice run` with which a run on a cluster begins, by where they stand."""
    places = [REPOSITORY / "deploy/kuberay/rayjob.yaml", REPOSITORY / "deploy/slurm/sluice.sbatch"]
    found = {path.name: commands_in(path.read_text()) for path in places}
    for path in sorted((REPOSITORY / "deploy").glob("*.md")):
        if path.name != "README.md":
            found[path.name] = list(commands_of_page(path))
    starts = {
        name: [words for words in commands if words[0] == "run" and "--address" in words]
        for name, commands in found.items()
    }
    return {name: commands[0] for name, commands in starts.items() if commands}

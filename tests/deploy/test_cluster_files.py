"""The files of `ray up`, held against Ray's own schema as Ray prepares them; no cloud is asked."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import REPOSITORY

CLOUDS = ("aws", "gcp")


def cluster(cloud: str) -> dict[str, Any]:
    """A cluster file as it is written."""
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / f"deploy/{cloud}/cluster.yaml").read_text())
    return loaded


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """A cluster file as Ray makes it whole, when Ray finds it valid.

    Raises:
        jsonschema.ValidationError, ValueError, NotImplementedError: Ray would refuse it.
    """
    whole: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(whole)
    return whole


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_accepts_the_file(cloud: str) -> None:
    prepared(cluster(cloud))


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "misspelt section": lambda c: c.update(docker_image=c.pop("docker")),
    "misspelt limit": lambda c: c.update(maximum_workers=c.pop("max_workers")),
    "misspelt docker option": lambda c: c["docker"].update(run_option=c["docker"].pop("run_options")),
    "misspelt limit of a type": lambda c: c["available_node_types"]["cpu"].update(maximum_workers=3),
    "limit as a text": lambda c: c.update(max_workers="24"),
    "commands as a text": lambda c: c.update(initialization_commands="true"),
    "resources as a text": lambda c: c["available_node_types"]["cpu"].update(resources={"CPU": "16"}),
    "no configuration of a type": lambda c: c["available_node_types"]["cpu"].pop("node_config"),
    "head of an unknown type": lambda c: c.update(head_node_type="heads"),
    "unknown cloud": lambda c: c["provider"].update(type="awss"),
}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused(cloud: str, change: Callable[[dict[str, Any]], None]) -> None:
    config = cluster(cloud)
    change(config)
    with pytest.raises((ValidationError, ValueError, NotImplementedError)):
        prepared(config)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_installed_beside_the_image(cloud: str) -> None:
    """Ray's defaults would install clients of the clouds over the image's, and a nightly Ray where they find none."""
    config = prepared(cluster(cloud))
    for key in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        assert config[key] == []


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_head_is_on_demand_and_takes_no_parts_and_workers_are_spot(cloud: str) -> None:
    config = prepared(cluster(cloud))
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == 0
    assert "spot" not in str(head["node_config"]).lower()
    assert set(types) == {"cpu", "gpu"}
    assert all("spot" in str(node["node_config"]).lower() for node in types.values())
    assert all(node["max_workers"] > node["min_workers"] for node in types.values())
    assert config["max_workers"] >= sum(node["max_workers"] for node in types.values())


@pytest.mark.parametrize(("cloud", "key"), [("aws", "IamInstanceProfile"), ("gcp", "serviceAccounts")])
def test_machines_have_an_identity_and_no_keys(cloud: str, key: str) -> None:
    for node in cluster(cloud)["available_node_types"].values():
        assert node["node_config"][key]
    written = (REPOSITORY / f"deploy/{cloud}/cluster.yaml").read_text()
    assert not any(word in written for word in ("AWS_SECRET", "AWS_ACCESS", "GOOGLE_APPLICATION_CREDENTIALS"))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_the_gpu_type_has_the_gpu_image(cloud: str) -> None:
    config = cluster(cloud)
    assert config["docker"]["image"].endswith("sluice:cpu")
    for name, node in config["available_node_types"].items():
        image = node.get("docker", {}).get("worker_image", config["docker"]["image"])
        assert image.endswith("sluice:gpu") == ("GPU" in node["resources"])
        assert (name == "gpu") == ("GPU" in node["resources"])

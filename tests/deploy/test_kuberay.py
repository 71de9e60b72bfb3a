"""KubeRay's manifests: what the server would make of them, and what a run on spot machines needs of them."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.deploy.kuberay_schema import KUBERNETES, forbid_unknown_fields, validate

FOLDER = REPOSITORY / "deploy/kuberay"
CRDS = (
    "SLUICE_KUBERAY_CRDS"  # environment: folder of a KubeRay release's ray.io_rayjobs.yaml and ray.io_rayclusters.yaml
)
MANIFESTS = ("rayjob.yaml", "raycluster.yaml")
Change = Callable[[dict[str, Any]], None]


def objects(name: str) -> dict[str, dict[str, Any]]:
    """The objects of a manifest by kind."""
    with (FOLDER / name).open() as file:
        return {found["kind"]: found for found in yaml.safe_load_all(file)}


def ray_object(name: str) -> dict[str, Any]:
    (found,) = [o for kind, o in objects(name).items() if kind.startswith("Ray")]
    return found


def cluster_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = ray_object(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def pods(name: str) -> dict[str, dict[str, Any]]:
    """Pod specs by group."""
    spec = cluster_spec(name)
    groups = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {group: found["template"]["spec"] for group, found in groups.items()}


@pytest.mark.parametrize("name", MANIFESTS)
def test_ray_objects_have_only_fields_that_kuberay_knows(name: str) -> None:
    validate(ray_object(name))


@pytest.mark.parametrize("name", MANIFESTS)
def test_other_objects_have_only_fields_that_kubernetes_knows(name: str) -> None:
    others = [found for kind, found in objects(name).items() if not kind.startswith("Ray")]
    assert others
    for found in others:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", MANIFESTS)
def test_ray_objects_fit_the_crds_of_a_release(name: str) -> None:
    if not (folder := os.environ.get(CRDS)):
        pytest.skip(f"KubeRay's CRDs are not on this machine: no Python package has them; {CRDS} may name their folder")
    manifest = ray_object(name)
    crd = yaml.safe_load((Path(folder) / f"ray.io_{manifest['kind'].lower()}s.yaml").read_text())
    (version,) = [version for version in crd["spec"]["versions"] if version["name"] == "v1"]
    schema = forbid_unknown_fields(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # the server's own
    jsonschema.Draft202012Validator(schema).validate(manifest)


def renamed(*path: str | int, to: str) -> Change:
    """Misspell a field."""

    def change(manifest: dict[str, Any]) -> None:
        target = manifest
        for step in path[:-1]:
            target = target[step]  # type: ignore[index]
        target[to] = target.pop(path[-1])  # type: ignore[index, arg-type]

    return change


def replaced(*path: str | int, by: Any) -> Change:
    """Give a field another value."""

    def change(manifest: dict[str, Any]) -> None:
        target = manifest
        for step in path[:-1]:
            target = target[step]  # type: ignore[index]
        target[path[-1]] = by  # type: ignore[index]

    return change


CLUSTER = ("spec", "rayClusterSpec")
HEAD = (*CLUSTER, "headGroupSpec")
CPU = (*CLUSTER, "workerGroupSpecs", 0)
CONTAINER = ("template", "spec", "containers", 0)
WRONG: dict[str, Change] = {
    "misspelt entrypoint": renamed("spec", "entrypoint", to="entryPoint"),
    "misspelt backoffLimit": renamed("spec", "backoffLimit", to="backOffLimit"),
    "misspelt deadline": renamed("spec", "activeDeadlineSeconds", to="activeDeadlineSecond"),
    "misspelt ttl": renamed("spec", "ttlSecondsAfterFinished", to="ttlSecondsAfterFinish"),
    "misspelt cluster": renamed(*CLUSTER, to="rayCluster"),
    "misspelt autoscaling": renamed(*CLUSTER, "enableInTreeAutoscaling", to="enableInTreeAutoScaling"),
    "misspelt head group": renamed(*HEAD, to="headGroupSpecs"),
    "misspelt start parameters": renamed(*HEAD, "rayStartParams", to="rayStartParameters"),
    "misspelt replicas": renamed(*CPU, "maxReplicas", to="maxReplica"),
    "misspelt group name": renamed(*CPU, "groupName", to="name"),
    "misspelt probe": renamed(*HEAD, *CONTAINER, "livenessProbe", to="livelinessProbe"),
    "misspelt probe option": renamed(*HEAD, *CONTAINER, "livenessProbe", "periodSeconds", to="period"),
    "misspelt limits": renamed(*CPU, *CONTAINER, "resources", "limits", to="limit"),
    "misspelt credentials": renamed(*CPU, *CONTAINER, "envFrom", to="environmentFrom"),
    "misspelt secret": renamed(*CPU, *CONTAINER, "envFrom", 0, "secretRef", to="secretReference"),
    "misspelt account": renamed(*CPU, "template", "spec", "serviceAccountName", to="serviceAccountname"),
    "misspelt tolerations": renamed(*CPU, "template", "spec", "tolerations", to="toleration"),
    "retries as a word": replaced("spec", "backoffLimit", by="three"),
    "deadline of zero": replaced("spec", "activeDeadlineSeconds", by=0),
    "entrypoint as a list": replaced("spec", "entrypoint", by=["sluice", "run"]),
    "unknown submission mode": replaced("spec", "submissionMode", by="JobMode"),
    "unknown autoscaler": replaced(*CLUSTER, "autoscalerOptions", "version", by="v3"),
    "unknown mode of authentication": replaced(*CLUSTER, "authOptions", "mode", by="tokens"),
    "CPUs of a start parameter as a number": replaced(*HEAD, "rayStartParams", "num-cpus", by=0),
    "Ray's version as a number": replaced(*CLUSTER, "rayVersion", by=2.60),
    "replicas as a text": replaced(*CPU, "replicas", by="1"),
    "no containers": replaced(*CPU, "template", "spec", "containers", by=None),
    "environment as a mapping": replaced(*CPU, *CONTAINER, "env", by={"SLUICE_SCRATCH": "/scratch"}),
    "variable without quotes": replaced(*CPU, *CONTAINER, "env", by=[{"name": "RAY_USAGE_STATS_ENABLED", "value": 0}]),
    "older version of the API": replaced("apiVersion", by="ray.io/v1alpha1"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_is_refused(change: Change) -> None:
    manifest = copy.deepcopy(ray_object("rayjob.yaml"))
    change(manifest)
    with pytest.raises(jsonschema.ValidationError):
        validate(manifest)


def test_job_and_standing_cluster_have_one_spec_and_one_recipe() -> None:
    assert cluster_spec("rayjob.yaml") == cluster_spec("raycluster.yaml")
    for kind in ("ServiceAccount", "ConfigMap"):
        assert objects("rayjob.yaml")[kind] == objects("raycluster.yaml")[kind]


def test_ray_is_of_the_version_that_the_images_install() -> None:
    pins = (REPOSITORY / "constraints.txt").read_text().split()
    assert f"ray=={cluster_spec('rayjob.yaml')['rayVersion']}" in pins


def test_the_head_takes_no_parts_and_stays_off_spot_machines() -> None:
    head = cluster_spec("rayjob.yaml")["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    (container,) = pods("rayjob.yaml")["head"]["containers"]
    assert container["resources"]["limits"]["memory"] == "16Gi"
    affinity = pods("rayjob.yaml")["head"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    refused = {rule["key"] for rule in term["matchExpressions"] if rule["operator"] == "NotIn"}
    wanted = pods("rayjob.yaml")["cpu"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert refused == {rule["key"] for w in wanted for rule in w["preference"]["matchExpressions"]}


def test_the_cluster_grows_by_itself_in_every_group() -> None:
    spec = cluster_spec("rayjob.yaml")
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert all(group["minReplicas"] < group["maxReplicas"] for group in spec["workerGroupSpecs"])
    assert all(pod["restartPolicy"] == "Never" for pod in pods("rayjob.yaml").values())


@pytest.mark.parametrize("group", ["head", "cpu", "gpu"])
def test_every_pod_is_limited_probed_and_no_root_and_has_its_credentials(group: str) -> None:
    pod = pods("rayjob.yaml")[group]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 1000
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert pod["serviceAccountName"] == objects("rayjob.yaml")["ServiceAccount"]["metadata"]["name"]
    assert container["envFrom"] == [{"secretRef": {"name": "sluice-object-store", "optional": True}}]


def test_every_mount_has_its_volume() -> None:
    for pod in pods("rayjob.yaml").values():
        (container,) = pod["containers"]
        assert {m["name"] for m in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_only_the_gpu_group_asks_for_gpus_and_for_their_image() -> None:
    for group, pod in pods("rayjob.yaml").items():
        (container,) = pod["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (group == "gpu")
        assert container["image"] == f"YOUR-REGISTRY/sluice:{'gpu' if group == 'gpu' else 'cpu'}"


def test_a_job_tries_again_ends_in_time_and_leaves_nothing() -> None:
    spec = ray_object("rayjob.yaml")["spec"]
    assert spec["backoffLimit"] >= 3
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["shutdownAfterJobFinishes"]
    assert spec["ttlSecondsAfterFinished"] > 0


def test_no_key_stands_in_a_manifest() -> None:
    for path in FOLDER.glob("*.yaml"):
        kinds = [found["kind"] for found in yaml.safe_load_all(path.read_text())]
        assert "Secret" not in kinds

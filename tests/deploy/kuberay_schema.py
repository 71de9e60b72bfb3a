"""What KubeRay accepts of RayJob and RayCluster, as JSON Schema with unknown fields forbidden.

No Python package carries KubeRay's CRDs, so the fields of ray.io/v1 are told here, as of its CRD reference
(https://docs.ray.io/en/master/cluster/kubernetes/references/api.html, KubeRay 1.7). Fields newer than KubeRay 1.5.1,
the oldest that deploy/kuberay.md names, are left out, as are the objects that our manifests have no use for. Pods and
what is in them are of Kubernetes' own schemas, which kubernetes-validate carries.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
from referencing import Registry, Resource

KUBERNETES = "1.34"  # whose schemas are held against; what 1.34 knows, later ones know
DEFINITIONS = "https://kubernetes.io/api/_definitions.json"  # as kubernetes-validate's own schemas name it


def _closed(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


def _core(name: str) -> dict[str, Any]:
    return {"$ref": f"{DEFINITIONS}#/$defs/io.k8s.api.core.v1.{name}"}


STRING, BOOLEAN, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "number"}
INT32 = {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}
STRINGS = {"type": "object", "additionalProperties": STRING}
TEMPLATE = _core("PodTemplateSpec")

AUTOSCALER = _closed(
    version={"enum": ["v1", "v2"]},
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    idleTimeoutSeconds=INT32,
    image=STRING,
    imagePullPolicy=STRING,
    env=_listed(_core("EnvVar")),
    envFrom=_listed(_core("EnvFromSource")),
    volumeMounts=_listed(_core("VolumeMount")),
    resources=_core("ResourceRequirements"),
    securityContext=_core("SecurityContext"),
)
HEAD_GROUP = _closed(
    ("template",),
    template=TEMPLATE,
    rayStartParams=STRINGS,
    resources=STRINGS,
    labels=STRINGS,
    serviceType=STRING,
    enableIngress=BOOLEAN,
)
WORKER_GROUP = _closed(
    ("groupName", "maxReplicas", "minReplicas", "template"),
    groupName=STRING,
    replicas=INT32,
    minReplicas=INT32,
    maxReplicas=INT32,
    numOfHosts=INT32,
    idleTimeoutSeconds=INT32,
    rayStartParams=STRINGS,
    resources=STRINGS,
    labels=STRINGS,
    suspend=BOOLEAN,
    scaleStrategy=_closed(workersToDelete=_listed(STRING)),
    template=TEMPLATE,
)
CLUSTER_SPEC = _closed(
    ("headGroupSpec",),
    rayVersion=STRING,
    authOptions=_closed(mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=BOOLEAN,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=STRINGS,
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs=_listed(WORKER_GROUP),
    managedBy=STRING,
    suspend=BOOLEAN,
    upgradeStrategy=_closed(type={"enum": ["Recreate", "None"]}),
)
JOB_SPEC = _closed(
    entrypoint=STRING,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=STRING,
    runtimeEnvYAML=STRING,
    jobId=STRING,
    metadata=STRINGS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=_closed(backoffLimit=INT32),
    submitterPodTemplate=TEMPLATE,
    backoffLimit=INT32,
    activeDeadlineSeconds={**INT32, "minimum": 1},
    shutdownAfterJobFinishes=BOOLEAN,
    ttlSecondsAfterFinished=INT32,
    clusterSelector=STRINGS,
    rayClusterSpec=CLUSTER_SPEC,
    managedBy=STRING,
    suspend=BOOLEAN,
)
SPECS = {"RayJob": JOB_SPEC, "RayCluster": CLUSTER_SPEC}


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a whole object."""
    return _closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata={"$ref": f"{DEFINITIONS}#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
        spec=SPECS[kind],
    )


def core_definitions() -> Registry[Any]:
    """Kubernetes' own definitions, unknown fields forbidden."""
    schemas = files("kubernetes_validate") / "kubernetes-json-schema"
    (folder,) = [f for f in schemas.iterdir() if f.name.startswith(f"v{KUBERNETES}.") and f.name.endswith("-strict")]
    contents = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    return Registry().with_resource(DEFINITIONS, Resource.from_contents(contents))


def validate(manifest: dict[str, Any]) -> None:
    """Hold a RayJob or RayCluster against its schema.

    Raises:
        jsonschema.ValidationError: it does not fit.
    """
    validator = jsonschema.Draft202012Validator(schema_of(manifest["kind"]), registry=core_definitions())
    validator.validate(manifest)


def forbid_unknown_fields(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD's openAPIV3Schema, made to refuse fields that it does not name: the server drops these without a word."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"):
        return schema
    closed = dict(schema)
    if "properties" in closed:
        closed["properties"] = {name: forbid_unknown_fields(value) for name, value in closed["properties"].items()}
        closed.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(closed.get(key), dict):
            closed[key] = forbid_unknown_fields(closed[key])
    return closed

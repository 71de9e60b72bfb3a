"""The networks in RapidOCR's wheel, each run in one thread by OpenVINO, or by ONNX Runtime where that is not installed.

Only the model files of the wheel are used: its code is 1.2 to 1.4 times as slow, and can fetch models.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import numpy as np

log = logging.getLogger(__name__)

Runtime = Literal["openvino", "onnxruntime"]
Network = Callable[[np.ndarray], np.ndarray]
"""From a (batch, channels, height, width) float32 array to the network's answer. The answer is overwritten by the next
call."""

DETECTION = "PP-OCRv6_det_small.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"


@cache
def installed_runtime() -> Runtime:
    """OpenVINO, unless it is not installed.

    It is 1.7 times as fast as ONNX Runtime where the CPU multiplies bfloat16, its own choice there (word F1 is the same
    within 0.001), and as fast elsewhere.
    """
    if find_spec("openvino") is not None:
        return "openvino"
    log.warning("openvino is not installed: OCR runs on ONNX Runtime, up to 1.7 times as long (pip install openvino)")
    return "onnxruntime"


def model_path(name: str) -> Path:
    """A model file of the installed RapidOCR wheel."""
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("OCR needs the models in the package rapidocr: pip install 'rapidocr>=3.10'")
    path = Path(spec.submodule_search_locations[0]) / "models" / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: this release of rapidocr does not bring the model; install 3.10 (constraints.txt)"
        )
    return path


def load_network(name: str, runtime: Runtime) -> tuple[Network, list[str]]:
    """A network, and the characters that it knows (none for detection)."""
    if runtime == "openvino":
        return _openvino_network(model_path(name))
    return _onnx_network(model_path(name))


def _openvino_network(path: Path) -> tuple[Network, list[str]]:
    # openvino would otherwise send a notice of each use to Google Analytics, and write to ~/intel; where this package,
    # which it requires to be installed, cannot be imported, it does neither
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(pictures: np.ndarray) -> np.ndarray:
        request.infer([pictures], share_inputs=True)
        return np.asarray(request.get_output_tensor().data)

    info = model.get_rt_info()
    characters = info["framework"]["character"].value.splitlines() if "framework" in info else []
    return run, characters


def _onnx_network(path: Path) -> tuple[Network, list[str]]:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it keeps the largest page for ever
    options.log_severity_level = 3
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()

    def run(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {source.name: pictures})[0])

    return run, session.get_modelmeta().custom_metadata_map.get("character", "").splitlines()

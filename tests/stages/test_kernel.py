"""Compiled kernels are kept on disk, and never outlive the sources they were made from."""

import subprocess
import sys
from pathlib import Path

KERNEL = """
from stages.kernel import kernel
from {package}.constants import FACTOR

@kernel
def scaled(number):
    return number * FACTOR
"""


def scaled(folder: Path, number: int) -> int:
    program = f"from package.kernels import scaled; print(scaled({number}))"
    environment = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{folder}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_change_of_a_constant_in_another_module_is_compiled_anew(tmp_path: Path) -> None:
    """numba alone would go on with the kernel that it compiled for the old constant."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "kernels.py").write_text(KERNEL.format(package="package"))
    (package / "constants.py").write_text("FACTOR = 2")
    assert scaled(tmp_path, 21) == 42
    kept = sorted(package.rglob("*.nbi"))
    assert kept
    assert scaled(tmp_path, 21) == 42
    assert sorted(package.rglob("*.nbi")) == kept
    (package / "constants.py").write_text("FACTOR = 3")
    assert scaled(tmp_path, 21) == 63

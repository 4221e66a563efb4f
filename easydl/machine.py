"""What this computer is: versions, processor, memory, GPU and folders, in facts and in sentences. It installs nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "tensorflow",
    "keras",
    "keras-cv",
    "numpy",
    "pandas",
    "pydicom",
    "highdicom",
    "scikit-image",
    "streamlit",
)


def versions() -> dict[str, str]:
    """Versions of easydl, Python and the packages that decide a result; "not installed" where one is missing."""
    found = {"easydl": _version("easydl-med"), "python": platform.python_version()}
    return found | {name: _version(name) for name in PACKAGES}


def device() -> str:
    """The GPU that TensorFlow uses, or the processor, in words. Loads TensorFlow."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"{len(gpus)} GPU: {details.get('device_name', 'unnamed')}"
    return f"CPU, {cores()} cores"


def cores() -> int:
    """Processor cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def doctor() -> dict[str, Any]:
    """Everything a person helping from afar would ask, and what to do about it.

    Returns:
        ``versions``, ``device``, ``memory_gb`` (total), ``folders`` (weights, runs) and ``advice`` (sentences).
    """
    from easydl.networks.pretrained.sources import folders

    advice = []
    here = device()
    if not here.startswith("CPU"):
        advice.append("TensorFlow uses the GPU.")
    elif sys.platform == "linux":
        advice.append(
            "TensorFlow sees no GPU. With an NVIDIA card run: python -m pip install 'tensorflow[and-cuda]' . "
            "Without one everything works, at the speed of the processor."
        )
    elif sys.platform == "win32":
        advice.append(
            "TensorFlow has used no GPU on Windows since version 2.11: install WSL2 and easydl inside it. Without, "
            "everything works at the speed of the processor."
        )
    else:
        advice.append("TensorFlow uses no GPU on macOS here: everything works, at the speed of the processor.")
    if _version("streamlit") == "not installed":
        advice.append("The app needs streamlit: python -m pip install streamlit")
    places = folders()
    folder = places[0]
    files = sorted({path.name for place in places if place.is_dir() for path in place.glob("*.h5")})
    if not files:
        advice.append(f"There are no pretrained weights in {folder}: pretrained=True needs a network the first time.")
    return {
        "versions": versions(), "device": here, "memory_gb": memory_gb(),
        "folders": {"weights": str(folder), "weights files": files, "runs": str(workspace())}, "advice": advice,
    }  # fmt: skip


def memory_gb() -> float | None:
    """Memory of the machine in GB, or None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def gpu_memory_gb() -> float | None:
    """Memory of the smallest NVIDIA card in GB, as its driver's ``nvidia-smi`` tells, or None where it does not."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        return round(min(float(line) for line in told.split()) * 2**20 / 1e9, 1)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def workspace() -> Path:
    """Where runs and uploads are kept: ``EASYDL_WORKSPACE``, or ``easydl`` in the home folder."""
    return Path(os.environ.get("EASYDL_WORKSPACE") or Path.home() / "easydl").expanduser()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

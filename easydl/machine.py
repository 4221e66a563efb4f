"""What this computer has: versions, processor, memory, GPU, folders, and what to do about it. It installs nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from easydl._tf import load_tensorflow
from easydl.fileio import workspace

PACKAGES = ("tensorflow", "keras", "keras-cv", "numpy", "pandas", "pydicom", "highdicom", "scikit-image", "streamlit")
NOT_INSTALLED = "not installed"


def versions() -> dict[str, str]:
    """Versions of easydl, Python and the packages that decide a result; "not installed" where one is missing."""
    own = {"easydl": _version("easydl-med"), "python": platform.python_version()}
    return own | {name: _version(name) for name in PACKAGES}


def device() -> str:
    """The GPU that TensorFlow uses, or the processor, as text. Loads TensorFlow."""
    load_tensorflow()
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
    from easydl.networks.pretrained.sources import SHIPPED, folders, shipped

    places = folders()
    files = sorted({path.name for place in places if place.is_dir() for path in place.glob("*.h5")})
    here, weights = device(), str(places[0])
    advice = [_gpu_advice(here)]
    if _version("streamlit") == NOT_INSTALLED:
        advice.append("The app needs streamlit: python -m pip install streamlit")
    if any(shipped().glob("*.h5")):
        advice.append(
            f"The ImageNet weights of {SHIPPED} come with easydl: pretrained=True works with it offline. Those of another "
            f"network need the internet the first time, or a file in {weights}."
        )
    else:
        advice.append(f"The weights that come with easydl are missing from {shipped()}: install easydl again.")
    return {
        "versions": versions(),
        "device": here,
        "memory_gb": memory_gb(),
        "folders": {"weights": weights, "weights files": files, "runs": str(workspace())},
        "advice": advice,
    }


def _gpu_advice(here: str) -> str:
    if not here.startswith("CPU"):
        return "TensorFlow uses the GPU."
    return {
        "linux": "TensorFlow sees no GPU. With an NVIDIA card run: python -m pip install 'tensorflow[and-cuda]' . "
        "Without one everything works, at the speed of the processor.",
        "win32": "TensorFlow has used no GPU on Windows since version 2.11: install WSL2 and easydl inside it. Without, "
        "everything works at the speed of the processor.",
    }.get(sys.platform, "TensorFlow uses no GPU on macOS here: everything works, at the speed of the processor.")


def memory_gb() -> float | None:
    """Memory of the machine in GB, or None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def peak_memory_gb() -> float | None:
    """The most memory in GB that this process has held: on a GPU that of its first card. None where nobody tells."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9)
    try:
        import resource
    except ImportError:  # Windows
        return None
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def gpu_memory_gb() -> float | None:
    """Memory of the smallest NVIDIA card in GB as ``nvidia-smi`` reports it, or None where there is none."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        return round(min(float(line) for line in output.split()) * 2**20 / 1e9, 1)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED

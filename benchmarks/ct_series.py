"""A CT of 300 slices, 512 x 512: easydl's whole reading (sorted, checked, in HU) against pydicom's decoding alone.

Run: python benchmarks/ct_series.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import common
import numpy as np

SLICES, SIDE = 300, 512


def write(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from made import dicom_series

    slices = np.random.default_rng(0).integers(0, 2000, (SIDE, SIDE)).astype(np.uint16)
    dicom_series(folder, np.broadcast_to(slices, (SLICES, SIDE, SIDE)))


def growth(folder: Path) -> float:
    """Peak memory of one reading over that of the imports, in MB, in a separate process (Linux)."""
    program = """
import sys
from pathlib import Path
import highdicom.spatial, pydicom
from easydl.images.volumes import read_series
def peak(): return int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM"))) / 1024
files = sorted(Path(sys.argv[1]).iterdir())
read_series(files[:2], "warm")
before = peak()
scan = read_series(files, "ct")
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    import pydicom

    from easydl.images.volumes import read_series

    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        files = sorted(Path(place).iterdir())
        works = {
            "easydl": lambda: read_series(files, "ct"),
            "pydicom": lambda: [pydicom.dcmread(path).pixel_array for path in files],
        }
        seconds = common.interleaved(works, repeats=9)
        figures = {name: common.summary(took) for name, took in seconds.items()}
        ratio = float(np.median(np.asarray(seconds["easydl"]) / np.asarray(seconds["pydicom"])))
        float32_mb = SLICES * SIDE * SIDE * 4 / 2**20
        common.write("ct_series", {
            "seconds": figures, "median_of_paired_ratios": round(ratio, 2),
            "memory_over_float32": round(growth(Path(place)) / float32_mb, 2),
        })  # fmt: skip

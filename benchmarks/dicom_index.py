"""The index of many DICOM headers: one pass, memory, interrupted and resumed, asked again.

Run: python benchmarks/dicom_index.py [files]   (100,000 by default; small files, written on the spot, about 200 MB)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np

PROGRAM = """
import os, sys, time, threading
from easydl.images.series import find_series
from easydl.images import index
def peak(): return int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM"))) / 1024
index.MAX_WORKERS = int(sys.argv[3])
before, start = peak(), time.perf_counter()
if float(sys.argv[2]):
    threading.Timer(float(sys.argv[2]), lambda: os._exit(9)).start()
found = find_series(sys.argv[1])
print(time.perf_counter() - start, peak() - before, sum(len(one.files) for one in found.series))
"""


def write(folder: Path, count: int) -> None:
    """Series of 100 slices; the bytes of one file with other positions and identifiers."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from made import dicom_slice

    template = dicom_slice(folder / "t.dcm", np.zeros((4, 4), np.uint16), SeriesInstanceUID="1.2.000000",
                           SOPInstanceUID="1.3.00000000", ImagePositionPatient=["0", "0", "000000"])  # fmt: skip
    raw = template.read_bytes()
    template.unlink()
    for number in range(count):
        series, place = divmod(number, 100)
        changed = raw.replace(b"1.2.000000", b"1.2.%06d" % (series + 1)).replace(
            b"1.3.00000000", b"1.3.%08d" % (number + 1)
        )
        changed = changed.replace(b"0\\0\\000000", b"0\\0\\%06d" % place)
        path = folder / f"{series:05d}"
        if place == 0:
            path.mkdir()
        (path / f"{place:03d}.dcm").write_bytes(changed)


def ask(folder: Path, cache: Path, stop_after: float = 0.0, workers: int = 8) -> tuple[float, float, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(stop_after), str(workers)], capture_output=True, text=True,
        env={**os.environ, "EASYDL_CACHE": str(cache)}, check=False,
    )  # fmt: skip
    if done.returncode == 9:
        return stop_after, 0.0, 0
    seconds, growth, files = done.stdout.split()
    return float(seconds), float(growth), int(files)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "files"
        folder.mkdir()
        start = time.perf_counter()
        write(folder, count)
        print(f"{count} files written in {time.perf_counter() - start:.0f} s", flush=True)
        single, _, files = ask(folder, Path(place) / "one", workers=1)
        first, growth, same = ask(folder, Path(place) / "two")
        again, _, _ = ask(folder, Path(place) / "two")
        stopped, _, _ = ask(folder, Path(place) / "three", stop_after=first / 2)
        rest, _, _ = ask(folder, Path(place) / "three")
        assert files == same == count
        common.write("dicom_index", {
            "files": count, "seconds_one_process": round(single, 1), "seconds": round(first, 1),
            "files_per_second": round(count / first), "seconds_asked_again": round(again, 1),
            "seconds_after_a_kill_half_way": round(rest, 1), "memory_mb": round(growth),
            "bytes_per_file": round(growth * 2**20 / count),
        })  # fmt: skip

"""CPU seconds for 200 simulated slices, against scikit-image's own forward projection of as many images."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Prints both times and their ratio."""
    from skimage.transform import radon

    from easydl.simulation import simulate
    from easydl.simulation.physics import view_angles

    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        simulate(Path(folder) / "warm", patients=1)
        warm = time.process_time() - start
        start = time.process_time()
        simulate(Path(folder) / "study", patients=100, images_per_patient=2, size=128)
        ours = time.process_time() - start
        start = time.process_time()
        simulate(Path(folder) / "volumes", kind="volumes", patients=20)
        volumes = time.process_time() - start
    image = np.zeros((128, 128))
    image[40:90, 30:100] = 1.0
    start = time.process_time()
    for _ in range(20):
        radon(image, view_angles(128), circle=True)
    projection = 10 * (time.process_time() - start)
    print(f"200 slices of 128 x 128, from anatomy to DICOM files: {ours:.1f} CPU s (imports before that: {warm:.1f} s)")
    print(f"20 volumes of 32 x 64 x 64: {volumes:.1f} CPU s")
    print(f"scikit-image radon alone, 200 images of 128 x 128: {projection:.1f} CPU s")
    print(f"ratio of the whole study to that projection alone: {ours / projection:.2f}")


if __name__ == "__main__":
    main()

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from easydl.images import Scan


class Studied:
    """As much of a Study as the augmentation room uses."""

    def __init__(self, scans, masks=None, *, classes=("a", "b"), frame=None):
        self.scans, self.masks, self.classes = scans, masks, list(classes)
        self.task = "classification" if masks is None else "segmentation"
        self.units = "HU" if scans[0].units == "HU" else "0-255"
        self.channels = scans[0].pixels.shape[-1]
        self.image_columns = ["image"]
        self.frame = frame if frame is not None else pd.DataFrame({"image": [f"{k}.png" for k in range(len(scans))]})
        if masks is not None:
            self.frame["mask"] = "mask.png"

    def __len__(self):
        return len(self.scans)

    def scan(self, row):
        return self.scans[row]

    def has_mask(self, row):
        return self.masks is not None

    def reference(self, row):
        return self.masks[row]


@pytest.fixture
def make():
    rng = np.random.default_rng(3)

    def blob(shape, centre, radius):
        grid = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"), -1)
        return (np.linalg.norm(grid - np.asarray(centre), axis=-1) <= radius).astype(np.int32)

    def mask(shape):
        first = blob(shape, [side * 0.4 for side in shape], min(shape) * 0.25)
        second = blob(shape, [side * 0.65 for side in shape], min(shape) * 0.15)
        return np.where(second, 4, first).astype(np.int32)

    def image(shape, channels=1):
        return rng.uniform(0, 255, (*shape, channels)).astype(np.float32)

    return SimpleNamespace(mask=mask, image=image, scan=Scan, study=Studied)

"""Thick slices: a 3D U-Net that halves them later than their plane, beside one that halves all axes alike.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/thick_slices.py [--seed 0]
The volumes of ``msd_hippocampus`` (1 mm) with every fourth slice from front to back kept, as if they had been measured with
4 mm: 50 drawn for the test, 10 held out, 120 in training. The same study, epochs and seed for both networks; the one beside
it has ``levels=2``, all that some thirteen slices allow when every level halves every axis.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common
from msd_hippocampus import HELD, TEST, dice, interval

import easydl

KEPT, AXIS = 4, 1


def thinned(source: Path, target: Path) -> str:
    """One file with every fourth slice, said to be 4 mm apart."""
    image = nibabel.load(source)
    slices = tuple(slice(None, None, KEPT) if axis == AXIS else slice(None) for axis in range(3))
    nibabel.save(image.slicer[slices], target)
    return str(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    root = common.real_data() / "msd_hippocampus"
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            {
                "image": thinned(path, Path(folder) / f"image_{path.name}"),
                "mask": thinned(root / "masks" / path.name, Path(folder) / f"mask_{path.name}"),
            }
            for path in sorted((root / "images").iterdir())
        ]
        study = easydl.load(pd.DataFrame(rows), patient=None, mask="mask")
        order = [int(row) for row in np.random.default_rng(seed).permutation(len(study))]
        test, chosen = order[:TEST], order[TEST:]
        held, train = (study.rows(study.frame.index[rows]) for rows in (chosen[:HELD], chosen[HELD:]))
        found = {}
        for name, levels in (("halved_later", None), ("all_alike", 2)):
            begin = time.perf_counter()
            model = easydl.unet3d(study, levels=levels, seed=seed)
            history = easydl.fit(model, train, held, seed=seed, verbose=False)
            seconds = round(time.perf_counter() - begin)
            scores = np.asarray(
                [dice(easydl.predict(model, study.scan(row)).mask, study.reference(row)) for row in test]
            )
            found[name] = {
                "seconds": seconds, "parameters": model.count_params(), "epochs": len(history.epoch),
                "plan": history.params["plan"], "dice": interval(scores), "scores": scores,
            }  # fmt: skip
            print(name, seconds, found[name]["dice"], *found[name]["plan"], sep="\n", flush=True)
    one, other = (found[name].pop("scores") for name in ("halved_later", "all_alike"))
    common.write(
        "accuracy_thick_slices",
        {"test_volumes": TEST, "training_volumes": len(train), **found, "difference": interval(one - other)},
        seed,
    )

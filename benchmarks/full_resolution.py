"""What it costs a U-Net that thin vessels are downsampled before it sees them, and what full resolution costs.

Run: EASYDL_REAL_DATA=... python benchmarks/full_resolution.py [--seed 0] [--epochs 6] [--limit N]
DRIVE's films have 584 x 565 pixels and no need of downsampling. Here the working grid is 374 pixels long instead of 640, as much
shorter than the films as 640 is than photographs of 999 pixels; all else is the defaults of `fit`. 14 films in training and
validation, 20 in the test, Dice inside the field of view of both ways, and their difference film by film.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))
import common
import numpy as np
from segmentation import means
from segmentation_sets import SETS

import easydl
from easydl.networks import metadata_of
from easydl.training import full_resolution, segmentation

GRID, FILMS = 374, {"train": 11, "val": 3, "test": 20}


def scores(frame, parts, wanted: bool | str, options: argparse.Namespace):
    """The Dice of every test film, and the plan."""
    train, val, test = parts
    model = easydl.unet(train, seed=options.seed)
    begin = time.process_time()
    history = easydl.fit(
        model, train, val, full_resolution=wanted, epochs=options.epochs, seed=options.seed, verbose=False
    )
    trained = time.process_time()
    found = []
    rows = frame.set_index("image", drop=False).loc[test.frame["image"]]
    for case in range(len(test)):
        mask = easydl.predict(model, test.scan(case)).mask > 0
        found.append({"dice": SETS["drive_vessels"].scores(mask, test.reference(case), rows.iloc[case])["dice"]})
    facts = {
        "max_side": metadata_of(model).max_side,
        "training_processor_s": round(trained - begin),
        "prediction_processor_s": round((time.process_time() - trained) / len(test), 1),
        "why": [one for one in history.params["plan"] if "longer than" in one],
    }
    return found, facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument(
        "--limit", type=int, help="use so many films of each part, to try the script; writes no figures"
    )
    options = parser.parse_args()
    for module in (full_resolution, segmentation):
        module.SIDE_2D = GRID
    frame = next(SETS["drive_vessels"].folds(common.real_data(), options.seed))
    frame = frame[frame["split"] != ""]
    frame = frame.groupby("split").apply(lambda one: one.head(options.limit or FILMS[one.name]), include_groups=False)
    frame = frame.reset_index(level=0).reset_index(drop=True)
    why = SETS["drive_vessels"].reason
    parts = easydl.load(frame[["image", "mask", "split"]], patient=None, split="split", override=why).split()
    facts, every = {"films": FILMS, "grid": GRID, "epochs": options.epochs}, {}
    for name, wanted in (("downsampled", False), ("auto", "auto")):
        every[name], facts[name] = scores(frame, parts, wanted, options)
        facts[name]["dice"] = means(every[name])["dice"]
        print(name, facts[name], flush=True)
    gain = [{"dice": b["dice"] - a["dice"]} for a, b in zip(every["downsampled"], every["auto"], strict=True)]
    facts["auto_minus_downsampled"] = means(gain)["dice"]
    facts["films_better"] = int(np.sum([one["dice"] > 0 for one in gain]))
    common.write(None if options.limit else "full_resolution", facts, options.seed)

"""How long until the first number: from a folder of 500 PNG to the quick result, in a new process with an empty cache.

Run: EASYDL_REAL_DATA=... python benchmarks/first_answer.py [--images 500]
The images are public chest films of 64 pixels, enlarged to 512 x 512 with grain added, because files of real size are
what takes time: the AUC that is said of them is not quoted. Two cores. The seconds of every step are kept, by the clock
and of the processor (all threads and processes), so that one sees which of them dominates, and what a busy machine adds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDE, GRAIN, CORES = 512, 4.0, 2


def films(folder: Path, images: int) -> None:
    import common
    import numpy as np
    import pandas as pd
    from PIL import Image

    rng, source = np.random.default_rng(0), common.real_data() / "nih1000_cxr"
    table = pd.read_csv(source / "metadata.csv").sample(images, random_state=0)
    for number, (name, label) in enumerate(zip(table["filename"], table["label"], strict=True)):
        pixels = Image.open(source / name).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        grained = np.asarray(pixels, float) + rng.normal(0, GRAIN, (SIDE, SIDE))
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number:04d}.png")


class Watched(io.StringIO):
    """What is printed; ends the process with the times when the quick result is among it."""

    def __init__(self, stamps: dict[str, list[float]]) -> None:
        super().__init__()
        self.stamps = stamps

    def write(self, text: str) -> int:
        for mark, name in (("images read", "decoded"), ("Features of", "features"), ("Quick result", "quick result")):
            if mark in text:
                self.stamps.setdefault(name, now())
        if "quick result" in self.stamps:
            print(json.dumps({"stamps": self.stamps, "said": text.strip()}), file=sys.__stdout__, flush=True)
            os._exit(0)
        return len(text)


def now() -> list[float]:
    """The clock, and the processor's seconds so far."""
    return [time.time(), sum(os.times()[:4])]


def answer(folder: str) -> None:
    """In the new process: what somebody types."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    stamps: dict[str, list[float]] = {}
    import easydl

    study = easydl.load(folder, patient=None)
    stamps["loaded"] = now()
    easydl.audit(study)
    stamps["audited"] = now()
    train, val, _ = study.split(seed=0)
    model = easydl.classifier("efficientnetlite0", train, pretrained=True)
    stamps["network built"] = now()
    sys.stdout = Watched(stamps)
    easydl.fit(model, train, val, verbose=True, override="the films of one patient are not known here")


def main(images: int) -> None:
    import common
    import numpy as np

    with tempfile.TemporaryDirectory() as place:
        folder, own = Path(place) / "films", Path(place) / "own"
        folder.mkdir()
        films(folder, images)
        cold = {"EASYDL_CACHE": str(own / "cache"), "EASYDL_WORKSPACE": str(own / "workspace")}
        begun = time.time()
        words = [sys.executable, __file__, "--answer", str(folder)]
        run = subprocess.run(words, env={**os.environ, **cold}, check=True, capture_output=True, text=True)
    found = json.loads(run.stdout.splitlines()[-1])
    before, steps = [begun, 0.0], {}
    for name, stamp in found["stamps"].items():
        steps[name] = dict(
            zip(("clock_s", "processor_s"), np.round(np.subtract(stamp, before), 1).tolist(), strict=True)
        )
        before = stamp
    facts: dict[str, Any] = {
        "images": images,
        "pixels": f"{SIDE} x {SIDE}",
        "load": round(os.getloadavg()[0], 1),
        "steps": steps,
    }
    for kind in ("clock_s", "processor_s"):
        facts[f"first_answer_{kind}"] = round(sum(step[kind] for step in steps.values()), 1)
    common.write("first_answer", facts | {"said": found["said"]})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer(given.answer)
    else:
        main(given.images)

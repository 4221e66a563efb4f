"""Memory and processor time of `easydl.audit` as the images become more: 30 columns, small films, each audit a new process.

    python benchmarks/audit_memory.py [images ...]

What the pixels tell is known beforehand (a first audit in a process of its own), so that the tests themselves are measured.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS, SIDE = 30, 64


def films(folder: Path, images: int) -> Path:
    import numpy as np
    import pandas as pd
    from PIL import Image
    from scipy import ndimage

    rng = np.random.default_rng(0)
    table = {"image": [f"{k}.png" for k in range(images)], "label": np.array(list("ab"))[rng.integers(0, 2, images)],
             "patient": [f"p{k}" for k in range(images)]}  # fmt: skip
    for number in range(COLUMNS):
        kinds = (2, 5, 40, 2000)[number % 4]
        table[f"column {number}"] = [f"v{k}" for k in rng.integers(0, kinds, images)]
    for name in table["image"]:
        values = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 2)
        Image.fromarray((120 + 40 * values / values.std()).clip(0, 255).astype(np.uint8)).save(folder / str(name))
    pd.DataFrame(table).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def measured(table: str) -> None:
    """In the new process: one audit of a split study."""
    import easydl

    study = easydl.load(table)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.process_time()
    easydl.audit(study)
    audited = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    study.split(seed=0)
    print(json.dumps({"images": len(study), "processor_s": round(audited - begun, 1), "loaded_mb": round(loaded),
                      "audit_peak_mb": round(peak), "split_processor_s": round(time.process_time() - audited, 1),
                      "split_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}))  # fmt: skip


def main(sizes: list[int]) -> None:
    import common

    rows = []
    for images in sizes:
        with tempfile.TemporaryDirectory() as place:
            own = {**os.environ, "EASYDL_CACHE": f"{place}/cache", "EASYDL_WORKSPACE": f"{place}/workspace"}
            folder = Path(place) / "films"
            folder.mkdir()
            words = [sys.executable, __file__, "--measured", str(films(folder, images))]
            for _ in range(2):
                run = subprocess.run(words, env=own, check=True, capture_output=True, text=True)
            rows.append(json.loads(run.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    common.write("audit_memory", {"columns": COLUMNS, "rows": rows, "load": round(os.getloadavg()[0], 1)})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        measured(sys.argv[2])
    else:
        main([int(word) for word in sys.argv[1:]] or [1000, 3000, 10000])

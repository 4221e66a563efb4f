"""Films of two scanners, one brighter than the other; the disease is a small square that random weights hardly see."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl

SIDE = 32


@pytest.fixture(scope="session")
def two_scanners(tmp_path_factory):
    """60 films of 60 patients: half of each class from scanner B, which exposes brighter."""
    folder = tmp_path_factory.mktemp("scanners")
    rng, rows = np.random.default_rng(0), []
    for number in range(60):
        scanner, label = "AB"[number % 2], ("healthy", "disease")[number // 2 % 2]
        pixels = rng.normal(70 if scanner == "A" else 180, 8, (SIDE, SIDE))
        if label == "disease":
            pixels[12:16, 12:16] += 6
        name = f"{number:03d}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        rows.append({"image": name, "label": label, "patient": f"p{number}", "scanner": scanner})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return easydl.load(folder / "table.csv")


@pytest.fixture(scope="session")
def untrained(two_scanners):
    return easydl.classifier("tiny", two_scanners, size=SIDE, seed=0)

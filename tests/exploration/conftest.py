"""Films of two scanners, one brighter than the other, and random weights; a model that is a known rule of brightness."""

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


RULE = 120.0


@pytest.fixture(scope="session")
def shades(once):
    """Two films each of 60 patients, of known mean brightness, contrast and disc; labels that no model here looks at."""

    def make(folder):
        folder.mkdir(parents=True)
        rng = np.random.default_rng(3)
        y, x = np.mgrid[:32, :32] - 16
        rows = []
        for number in range(120):
            pixels = rng.normal(0, rng.uniform(5, 35), (32, 32)) + rng.uniform(-40, 40) * (x**2 + y**2 < 60)
            pixels += rng.uniform(70, 170) - pixels.mean()
            Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)).save(folder / f"{number}.png")
            rows.append(
                {"image": f"{number}.png", "patient": f"p{number // 2}", "label": ["dark", "bright"][number % 2]}
            )
        pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)

    return easydl.load(once("exploration_shades", make) / "scans.csv", classes=["dark", "bright"])


@pytest.fixture(scope="session")
def rule():
    """Softmax of the mean grey value, built by hand of Keras layers."""
    import keras

    from easydl.networks import set_classes

    image = keras.Input((32, 32, 1))
    dense = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([np.array([[0.0, 1.0]]), np.array([0.0, -RULE])])
    return set_classes(model, ["dark", "bright"])

"""What the audit finds: planted faults and their clean twins, at n a class; and how long it takes.

    python benchmarks/audit.py [draws] [n a class]

A fault is found when an issue (not a note) speaks of its column or of the pixels; a clean twin is flagged when any does.
Films are simulated: one anatomy for all, a fine structure of their own, exposure and noise that vary.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

import easydl

SIDE = 160
Rng = np.random.Generator


def film(rng: Rng, anatomy: np.ndarray) -> Image.Image:
    """One film of an anatomy."""
    own = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 4)
    grey = rng.uniform(0.8, 1) * (40 * (anatomy + 0.5 * own / own.std()) + 120) + rng.normal(
        0, rng.uniform(3, 5), own.shape
    )
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def drawn(image: Image.Image, text: str, fill: int = 255) -> Image.Image:
    """With a text in the upper left corner."""
    ImageDraw.Draw(image).text((6, 6), text, fill=fill)
    return image


def grey(image: Image.Image, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """With other grey levels."""
    return Image.fromarray(change(np.asarray(image, float)).clip(0, 255).astype(np.uint8))


def day(rng: Rng, late: int) -> pd.Timestamp:
    """A day of one of two years."""
    return pd.Timestamp("2023-01-01") + pd.Timedelta(int(rng.integers(0, 365)) + 365 * late, "D")


PIXELS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a letter in the corner": lambda image: drawn(image, "L"),
    "text in the corner": lambda image: drawn(image, "PORTABLE 14:05"),
    "grey text in the corner": lambda image: drawn(image, "PORTABLE 14:05", 128),
    "15 grey levels brighter": lambda image: grey(image, lambda values: values + 15),
    "contrast 0.8": lambda image: grey(image, lambda values: 0.8 * values),
    "blur, sigma 1": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "inverted": lambda image: grey(image, lambda values: 255 - values),
}
COLUMNS: dict[str, Callable[[Rng, int], str]] = {
    "scanner agrees 80%": lambda rng, k: "AB"[k if rng.random() < 0.8 else 1 - k],
    "ISO date": lambda rng, k: day(rng, k).strftime("%Y-%m-%d"),
    "date with dots": lambda rng, k: day(rng, k).strftime("%d.%m.%Y"),
    "time of day": lambda rng, k: f"{rng.integers(8, 12) + 5 * k:02d}:{rng.integers(0, 60):02d}:00",
    "30 hospitals": lambda rng, k: f"Hospital {'abcdefghijklmnopqrstuvwxyzäöüß'[rng.integers(0, 15) + 15 * k]}",
    "accession number": lambda rng, k: f"A{rng.integers(0, 4000) + 5000 * k:05d}",
    "free text": lambda rng, k: f"Exam {rng.integers(1e6)}. {'Suspicious mass.' if k else 'No suspicious finding.'}",
    "10 years older": lambda rng, k: str(int(rng.normal(55 + 10 * k, 12))),
    "missing age": lambda rng, k: "" if k and rng.random() < 0.8 else str(int(rng.normal(55, 12))),
}


def study(
    folder: Path, rng: Rng, n: int, change: Callable[[Image.Image], Image.Image] | None, cell: Callable[[Rng, int], str] | None,
    clean: bool,
) -> easydl.Study:  # fmt: skip
    """A study of random labels with one fault; in its clean twin the fault follows a coin and not the label."""
    y = rng.permutation(np.repeat([0, 1], n))
    told = rng.integers(0, 2, len(y)) if clean else y
    anatomy = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 24)
    rows = []
    for number, (label, k) in enumerate(zip(y, told, strict=True)):
        image = film(rng, anatomy / anatomy.std())
        (change(image) if change is not None and k else image).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "label": "ab"[label], "patient": f"p{number}"})
        if cell is not None:
            rows[-1]["column"] = cell(rng, int(k))
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    frame.to_csv(folder / "t.csv", index=False)
    return easydl.load(folder / "t.csv")


def main(draws: int = 10, n: int = 100) -> None:
    """Print a line for each fault."""
    print(f"fault | found of {draws} | clean twins flagged of {draws} | s an audit\n---|---|---|---")
    faults = [(name, change, None) for name, change in PIXELS.items()] + [
        (name, None, cell) for name, cell in COLUMNS.items()
    ]
    for name, change, cell in faults:
        counts, seconds = [0, 0], 0.0
        for draw in range(draws):
            for clean in (False, True):
                with tempfile.TemporaryDirectory() as place:
                    loaded = study(Path(place), np.random.default_rng([draw, clean]), n, change, cell, clean)
                    began = time.perf_counter()
                    issues = easydl.audit(loaded).issues
                    seconds += time.perf_counter() - began
                counts[clean] += any(issue.severity == "WARN" and issue.p is not None for issue in issues)
        print(f"{name} | {counts[0]} | {counts[1]} | {seconds / draws / 2:.1f}", flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))

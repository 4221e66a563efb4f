"""Films of a disc of known size with or without a bright corner and stripes: something to learn for every task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

GRADES = ["small", "middle", "large"]


def discs(folder: Path, n: int = 90, side: int = 32, seed: int = 0) -> Path:
    """``scans.csv`` with ``size_mm``, ``grade``, ``corner``, ``stripes``, ``outcome`` (is there a corner), ``age``, ``sex``.

    ``sign`` is told by no image: it is yes where ``marker`` is high.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:side, :side] - side // 2
    rows = []
    for number in range(n):
        pixels = rng.integers(20, 90, (side, side)).astype(float)
        radius, corner, stripes = rng.uniform(3, side / 2 - 3), rng.random() < 0.4, rng.random() < 0.25
        pixels[x**2 + y**2 < radius**2] += 90
        pixels[:7, :7] += 140 * corner
        pixels[-5:, ::2] += 70 * stripes
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        marker = rng.normal()
        rows.append(
            {
                "image": f"{number}.png", "patient": f"p{number}", "size_mm": round(radius, 2),
                "grade": GRADES[min(2, int((radius - 3) / (side / 2 - 6) * 3))], "corner": int(corner),
                "stripes": int(stripes), "outcome": "yes" if corner else "no", "age": int(rng.integers(30, 80)),
                "sex": ["F", "M", ""][int(rng.integers(3))], "marker": round(marker, 3), "sign": "yes" if marker > 0 else "no",
            }
        )  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"

"""What the audit finds: planted faults and their clean twins, at n a class.

    python benchmarks/audit.py [draws] [n a class] [the first draw]

A fault is found when an issue (not a note) speaks of its column or of the pixels; a clean twin is flagged when any does.
Films are simulated: one anatomy for all of a draw, a fine structure of their own, exposure and noise that vary. The faults
of a draw share its films, and each has labels of its own. Letters anywhere in the border are asked as `full=True` does.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import RESULTS
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

import easydl
from easydl.evaluation.intervals import wilson
from easydl.traps.border_network import border_seen
from easydl.traps.confounders import confounders
from easydl.traps.fields import fields

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


def anywhere(image: Image.Image, letter: str, rng: Rng) -> Image.Image:
    """With a letter at one of the four sides."""
    along, near = int(rng.integers(16, SIDE - 28)), int(rng.integers(0, 3))
    ends = [(along, near), (along, SIDE - 15 - near), (near + 2, along), (SIDE - 12 - near, along)]
    ImageDraw.Draw(image).text(ends[rng.integers(4)], letter, fill=250, font=ImageFont.load_default(14))
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
LETTERS = "L or R, anywhere in the border"
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


def films(folder: Path, rng: Rng, n: int) -> list[Path]:
    """The films of one draw, which all its faults share: they are decoded once."""
    anatomy = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 24)
    anatomy /= anatomy.std()
    paths = [folder / f"{number}.png" for number in range(n)]
    for path in paths:
        film(rng, anatomy).save(path)
    return paths


def study(
    folder: Path, rng: Rng, clear: list[Path], change: Callable[[Image.Image], Image.Image] | str | None,
    cell: Callable[[Rng, int], str] | None, clean: bool,
) -> easydl.Study:  # fmt: skip
    """A study of random labels with one fault; in its clean twin the fault follows a coin and not the label."""
    y = rng.permutation(np.arange(len(clear)) % 2)
    follows = rng.integers(0, 2, len(y)) if clean else y
    rows = []
    for number, (path, label, k) in enumerate(zip(clear, y, follows, strict=True)):
        if change == LETTERS:
            with Image.open(path) as image:
                anywhere(image.copy(), "LR"[k], rng).save(folder / path.name)
        elif callable(change) and k:
            with Image.open(path) as image:
                change(image.copy()).save(folder / path.name)
        else:
            shutil.copy(path, folder / path.name)
        rows.append({"image": path.name, "label": "ab"[label], "patient": f"p{number}"})
        if cell is not None:
            rows[-1]["column"] = cell(rng, int(k))
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    frame.to_csv(folder / "t.csv", index=False)
    return easydl.load(folder / "t.csv")


def draw_once(draw: int, n: int, counts: dict[str, list[int]]) -> None:
    """Count what is found, and what is flagged, in one draw of all faults."""
    faults: list[tuple[str, Any, Any]] = [(name, change, None) for name, change in PIXELS.items()]
    faults += [(LETTERS, LETTERS, None), *((name, None, cell) for name, cell in COLUMNS.items())]
    with tempfile.TemporaryDirectory() as shared:
        clear = films(Path(shared), np.random.default_rng(draw), 2 * n)
        for place, (name, change, cell) in enumerate(faults):
            for clean in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    rng = np.random.default_rng([draw, place, clean])
                    loaded = study(Path(folder), rng, clear, change, cell, clean)
                    # Of all that `easydl.audit` asks these are the questions that have a p value.
                    border = border_seen(loaded) if change == LETTERS else None
                    issues = confounders(loaded, list(fields(loaded)), draw, border)
                counts[name][clean] += any(issue.severity == "WARN" and issue.p is not None for issue in issues)


def main(draws: int = 10, n: int = 100, first: int = 0) -> None:
    """Print a line for each fault, and keep what is finished after every draw."""
    counts = {name: [0, 0] for name in (*PIXELS, LETTERS, *COLUMNS)}
    for done in range(1, draws + 1):
        draw_once(first + done - 1, n, counts)
        table = [
            {"fault": name, "found": found, "found_ci95": ends(found, done), "clean_flagged": flagged}
            for name, (found, flagged) in counts.items()
        ]
        flags = sum(flagged for _, flagged in counts.values())
        facts = {"n_per_class": n, "draws": done, "first": first, "faults": table, "clean_flagged_rate": flags / done / len(counts),
                 "clean_flagged_ci95": ends(flags, done * len(counts))}  # fmt: skip
        (RESULTS / f"audit_{n}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"fault | found of {draws} (95% CI) | clean twins flagged of {draws}\n---|---|---")
    for name, (found, flagged) in counts.items():
        low, high = ends(found, draws)
        print(f"{name} | {found} ({low:.0%}-{high:.0%}) | {flagged}")


def ends(count: int, of: int) -> list[float]:
    """The 95% interval of a proportion (Wilson)."""
    interval = wilson(count / of, of)
    return [round(interval.low, 3), round(interval.high, 3)]


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))

"""What every benchmark shares: the machine's own speed beside each figure, medians, and one JSON per benchmark."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

RESULTS = Path(__file__).parent / "results"
PNEUMONIA_CLASSES = ("normal", "pneumonia")


def calibration() -> float:
    """GFLOP/s of a float32 matrix product here and now: figures of different days are not comparable without it."""
    a = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    best = min(_seconds(lambda: a @ a) for _ in range(5))
    return 2 * 1024**3 / best / 1e9


def interleaved(works: dict[str, Callable[[], Any]], repeats: int = 5) -> dict[str, list[float]]:
    """Seconds of each work, in turns (A B A B ...), the first round dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(repeats + 1):
        for name, work in works.items():
            took = _seconds(work)
            if round_:
                seconds[name].append(took)
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and interquartile range."""
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (seconds[0],) * 3
    return {"median_s": round(statistics.median(seconds), 4), "iqr_s": round(high - low, 4), "n": len(seconds)}


def write(name: str | None, facts: dict[str, Any], seed: int | None = None) -> None:
    """Print the figures and keep them in ``benchmarks/results/<name>.json``; with a seed, beside those of other seeds.

    Without a name they are printed only.
    """
    from easydl.machine import versions

    facts = {**facts, "sgemm_gflops": round(calibration()), "cores": os.cpu_count(), "versions": versions()}
    print(json.dumps(facts, indent=1))
    if name is None:
        return
    path = RESULTS / f"{name}.json"
    if seed is not None:
        known = json.loads(path.read_text("utf-8"))["by_seed"] if path.exists() else {}
        facts = {"by_seed": dict(sorted({**known, str(seed): facts}.items()))}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def real_data() -> Path:
    """The folder of public images."""
    return Path(os.environ["EASYDL_REAL_DATA"])


def interval(values: list[float]) -> list[float | None]:
    """Mean and its 95% interval over seeds; of one seed there is none."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return [round(mean, 3), None, None]
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return [round(mean, 3), round(mean - half, 3), round(mean + half, 3)]


def pneumonia() -> dict[str, np.ndarray]:
    """The arrays of PneumoniaMNIST: images and labels of train, val and test."""
    return dict(np.load(real_data() / "pneumoniamnist/pneumoniamnist.npz"))


def pneumonia_table(folder: Path, images: np.ndarray, labels: np.ndarray, parts: list[str]) -> pd.DataFrame:
    """The images as PNG files, and their table."""
    rows = []
    for number, (pixels, label, part) in enumerate(zip(images, labels.ravel(), parts, strict=True)):
        path = folder / f"{number:05d}.png"
        Image.fromarray(pixels).save(path)
        rows.append({"image": str(path), "label": PNEUMONIA_CLASSES[label], "split": part})
    return pd.DataFrame(rows)


def pneumonia_study(folder: Path, data: Any, chosen: np.ndarray, parts: list[str]) -> Any:
    """Some of the training images in these parts, and all official test images behind them, as a split study."""
    import easydl

    images, labels = (
        np.concatenate([data[f"train_{kind}"][chosen], data[f"test_{kind}"]]) for kind in ("images", "labels")
    )
    frame = pneumonia_table(folder, images, labels, [*parts, *["test"] * len(data["test_images"])])
    return easydl.load(frame, patient=None, split="split", override="the official split; 1 copy in 5,856")


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

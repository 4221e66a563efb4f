"""One segmentation benchmark: train on each fold of its table, score the test cases and the baselines, write the means."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd

import easydl

Scores = dict[str, float]


@dataclass
class Fold:
    """One training and its test cases, for the baselines."""

    frame: pd.DataFrame
    parts: tuple[Any, Any, Any]
    seed: int
    epochs: int | None
    seconds: float
    score: Callable[[int, np.ndarray], Scores]

    @property
    def test(self) -> pd.DataFrame:
        """The rows of the test cases, in the order of the test part."""
        return self.frame.set_index("image", drop=False).loc[self.parts[2].frame["image"]]


@dataclass(frozen=True)
class Benchmark:
    """What differs between the data sets.

    ``folds(root, seed)`` gives tables with the columns image, mask and split (train, val, test, or blank: excluded), and
    whatever the scores and baselines need. ``scores(mask, reference, row)`` are those of one case.
    """

    folds: Callable[[Path, int], Iterator[pd.DataFrame]]
    scores: Callable[[np.ndarray, np.ndarray, pd.Series], Scores]
    build: Callable[..., Any]
    reason: str
    epochs: int | None = None
    augment: str = "auto"
    baselines: dict[str, Callable[[Fold], list[Scores]]] = field(default_factory=dict)
    group: str | None = None
    published: dict[str, Any] = field(default_factory=dict)


def run(name: str, benchmark: Benchmark, options: argparse.Namespace) -> None:
    """Train, test, compare and write."""
    epochs = None if options.full else options.epochs or benchmark.epochs
    rows: dict[str, list[Scores]] = {}
    folds, groups, seconds = [], [], 0
    facts: dict[str, Any] = {}
    for number, frame in enumerate(benchmark.folds(common.real_data(), options.seed)):
        frame = frame[frame["split"] != ""]
        frame = frame.groupby("split").head(options.limit) if options.limit else frame
        fold, training = _trained(benchmark, frame.reset_index(drop=True), epochs, options.seed, rows)
        for baseline, compare in benchmark.baselines.items():
            rows.setdefault(baseline, []).extend(compare(fold))
        folds += [number] * len(fold.test)
        groups += list(fold.test[benchmark.group]) if benchmark.group else []
        seconds += training["seconds"]
        facts = {**training, "seconds": seconds}
        print(number, training, means(rows["easydl"], folds), flush=True)
    several = folds if folds[-1] else None
    facts |= {name: means(scores, several) for name, scores in rows.items()}
    for baseline in benchmark.baselines:
        facts[f"easydl_minus_{baseline}"] = means(_differences(rows["easydl"], rows[baseline]), several)
    if groups:
        facts[f"by_{benchmark.group}"] = pd.DataFrame(rows["easydl"]).groupby(groups).mean().round(4).to_dict("index")
    facts = {"test_cases": len(folds), "folds": folds[-1] + 1, **facts, "published": benchmark.published}
    common.write(None if options.limit else f"accuracy_{name}", facts, options.seed)


def _trained(
    benchmark: Benchmark, frame: pd.DataFrame, epochs: int | None, seed: int, rows: dict[str, list[Scores]]
) -> tuple[Fold, dict[str, Any]]:
    study = easydl.load(frame[["image", "mask", "split"]], patient=None, split="split", override=benchmark.reason)
    train, val, test = study.split()
    begin = time.perf_counter()
    model = benchmark.build(study, seed=seed)
    history = easydl.fit(model, train, val, augment=benchmark.augment, epochs=epochs, seed=seed, verbose=False)
    seconds = time.perf_counter() - begin

    def score(case: int, mask: np.ndarray) -> Scores:
        return benchmark.scores(mask, test.reference(case), fold.test.iloc[case])

    fold = Fold(frame, (train, val, test), seed, epochs, seconds, score)
    found = [score(case, easydl.predict(model, test.scan(case)).mask) for case in range(len(test))]
    rows.setdefault("easydl", []).extend(found)
    return fold, {
        "seconds": round(seconds),
        "parameters": model.count_params(),
        "training_cases": len(train),
        "validation_cases": len(val),
        "epochs": len(history.epoch),
        "plan": history.params["plan"],
    }


def each(mask: Callable[[pd.Series], np.ndarray]) -> Callable[[Fold], list[Scores]]:
    """A baseline that needs no training: a mask for each case."""
    return lambda fold: [fold.score(case, mask(row)) for case, (_, row) in enumerate(fold.test.iterrows())]


def dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """Dice of two boolean masks; 0 where both are empty."""
    return 2 * float((mask & reference).sum()) / max(1.0, float(mask.sum() + reference.sum()))


def means(rows: Sequence[Scores], blocks: Sequence[int] | None = None) -> dict[str, list[float]]:
    """Mean of every column and its 95% interval from 2,000 resamplings of the cases, or of blocks of them."""
    table = pd.DataFrame(rows)
    group = np.arange(len(table)) if blocks is None else np.asarray(blocks)
    names = np.unique(group)
    inside = {name: np.flatnonzero(group == name) for name in names}
    rng = np.random.default_rng(0)
    drawn = [np.concatenate([inside[name] for name in rng.choice(names, len(names))]) for _ in range(2000)]
    intervals = {}
    for column in table.columns:
        values = table[column].to_numpy()
        low, high = np.percentile([values[index].mean() for index in drawn], [2.5, 97.5])
        intervals[column] = [round(float(number), 4) for number in (values.mean(), low, high)]
    return intervals


def _differences(one: list[Scores], other: list[Scores]) -> list[Scores]:
    return [{name: a[name] - b[name] for name in a} for a, b in zip(one, other, strict=True)]

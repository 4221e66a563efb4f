"""Which images of a pool to label next: as unlike each other as can be, from the most uncertain on. It labels none.

Of what the network sees, each image is the farthest from those before it (greedy k-centre), so that the list covers the pool
instead of repeating one doubt. More weight on uncertainty was tried and brought less than chance (decision 0035).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.prediction.seen import COLUMN
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.prediction.results import Predictions

KEPT = 64
"""Numbers that are kept of an image's features; of more, so many random projections, which keep distances (Johnson, Lindenstrauss)."""
LARGEST_SPREAD = 0.5
"""The largest standard deviation that a probability can have."""


def kept_features(seen: np.ndarray | None, index: pd.Index) -> pd.DataFrame | None:
    """What the last layer saw in the images ``(images, features)``, by the row of the table; None where it is not known."""
    if seen is None:
        return None
    if seen.shape[1] > KEPT:
        from sklearn.random_projection import GaussianRandomProjection

        seen = GaussianRandomProjection(KEPT, random_state=0).fit_transform(seen)
    return pd.DataFrame(np.asarray(seen, np.float32), index=index)


def most_useful(predictions: Predictions, n: int, per_patient: int | None) -> pd.DataFrame:
    """As `Predictions.most_useful`."""
    for name, count in (("n", n), ("per_patient", per_patient)):
        if count is not None and (isinstance(count, bool) or int(count) != count or count < 1):
            raise InputError(f"{name}={count!r} was given.", "a whole number from 1.", f"Use {name}=20, for instance.")
    if predictions.features is None:
        raise InputError(
            "These predictions do not hold what the network sees in the images.",
            "what easydl.predict gives for a study, a table or a folder of many images, with a classifier of easydl.",
            "Use easydl.predict(model, pool).most_useful(20).",
        )
    scores, reasons = _uncertainty(predictions)
    pool = _one_of_each(predictions, scores, per_patient)
    alike = pool[~_unlike(predictions)[pool]]
    chosen, stand_for = _spread_out(predictions, alike, min(n, len(alike)))
    if len(chosen) < n:  # the others only where nothing else is left
        others = pool[_unlike(predictions)[pool]][: n - len(chosen)]
        chosen, stand_for = np.concatenate([chosen, others]), [*stand_for, *[0] * len(others)]
    frame = predictions.frame.iloc[chosen]
    texts = [
        " ".join(filter(None, [reasons[row], _company(count), _warning(predictions, row)]))
        for row, count in zip(chosen, stand_for, strict=True)
    ]
    columns = list(frame.columns[: list(frame.columns).index("patient") + 1])
    return frame[columns].assign(score=scores[chosen].round(3), reason=texts)


def _uncertainty(predictions: Predictions) -> tuple[np.ndarray, list[str]]:
    """How unsure the model is of every image, from 0 to 1, and a sentence on it; of several heads the mean."""
    names = list(predictions.heads) or [""]
    known = [(name, _of_one(predictions.head(name) if name else predictions)) for name in names]
    found = [(name, *one) for name, one in known if one is not None]
    if not found:
        raise InputError(
            "The model gives one value for an image, and nothing says how unsure it is of it.",
            "several answers to each image.",
            'Train it with fit(members=5), or use predict(model, pool, uncertainty="mc_dropout").',
        )
    scores = np.mean([score for _, score, _ in found], axis=0)
    texts = [
        f"The model says: {'; '.join(f'{name}: {one[row]}' if name else one[row] for name, _, one in found)}."
        for row in range(len(scores))
    ]
    return scores, texts


def _of_one(one: Predictions) -> tuple[np.ndarray, list[str]] | None:
    """Of one head: the entropy as a fraction of the largest there can be, and half of it the spread where that is known."""
    task = Task(one.task)
    spread = one.frame["spread"].to_numpy(float) if "spread" in one.frame.columns else None
    if task.is_value:
        if spread is None:
            return None
        return spread / max(float(spread.max()), 1e-12), [f"its answers differ by {each:.3g} (SD)" for each in spread]
    shares = one.frame[[f"p({name})" for name in one.classes]].to_numpy(float)
    if task.exclusive:
        entropy = _entropy(shares).sum(axis=1) / np.log(max(2, shares.shape[1]))
        order = np.argsort(-shares, axis=1)[:, :2]
    else:
        entropy = (_entropy(shares) + _entropy(1 - shares)).mean(axis=1) / np.log(2)
        order = np.argsort(np.abs(shares - 0.5), axis=1)[:, :1]
    texts = [
        ", ".join(f"{one.classes[k]} {shares[row, k]:.2f}" for k in columns) for row, columns in enumerate(order)
    ]  # fmt: skip
    if spread is None:
        return entropy, texts
    texts = [f"{text} (answers differ by {each:.2f} SD)" for text, each in zip(texts, spread, strict=True)]
    return (entropy + np.minimum(1, spread / LARGEST_SPREAD)) / 2, texts


def _entropy(shares: np.ndarray) -> np.ndarray:
    inside = np.clip(shares, 1e-12, 1)
    return -inside * np.log(inside)


def _one_of_each(predictions: Predictions, scores: np.ndarray, per_patient: int | None) -> np.ndarray:
    """The rows that may be chosen, the most uncertain first: nothing of a patient whom the model has seen."""
    frame, order = predictions.frame, np.argsort(-scores, kind="stable")
    if COLUMN in frame.columns:
        order = order[frame[COLUMN].to_numpy()[order] == ""]
    if per_patient is None or not predictions.patients_known:
        return order
    place = frame["patient"].iloc[order].groupby(frame["patient"].iloc[order].to_numpy()).cumcount().to_numpy()
    return order[place < per_patient]


def _unlike(predictions: Predictions) -> np.ndarray:
    from easydl.prediction.results import UNLIKE

    frame = predictions.frame
    return frame[UNLIKE].to_numpy() != "" if UNLIKE in frame.columns else np.zeros(len(frame), bool)


def _spread_out(predictions: Predictions, rows: np.ndarray, n: int) -> tuple[np.ndarray, list[int]]:
    """So many rows, each the farthest from those before it, and how many rows each is the nearest to; the first stays first.

    References:
        Gonzalez 1985, Clustering to minimize the maximum intercluster distance, doi:10.1016/0304-3975(85)90224-5.
    """
    if n == len(rows):
        return rows, [0] * n
    features = predictions.features
    assert features is not None
    seen = features.loc[predictions.frame.index[rows]].to_numpy(np.float64)
    chosen, nearest = [0], np.zeros(len(rows), int)
    far = np.linalg.norm(seen - seen[0], axis=1)
    far[0] = -1.0  # what is chosen is never chosen again, not even among copies
    while len(chosen) < n:
        place = int(np.argmax(far))
        own = np.linalg.norm(seen - seen[place], axis=1)
        nearest[own < far] = len(chosen)
        nearest[place] = len(chosen)
        chosen.append(place)
        far = np.minimum(far, own)
        far[chosen] = -1.0
    return rows[chosen], [int(count) for count in np.bincount(nearest, minlength=n)]


def _company(count: int) -> str:
    return (
        f"It stands for {count} images of the pool."
        if count > 1
        else "Nothing else in the pool is like it."
        if count
        else ""
    )


def _warning(predictions: Predictions, row: int) -> str:
    from easydl.prediction.results import UNLIKE

    text = predictions.frame[UNLIKE].iloc[row] if UNLIKE in predictions.frame.columns else ""
    return f"Look at it first, it is unlike the training images: {text}" if text else ""

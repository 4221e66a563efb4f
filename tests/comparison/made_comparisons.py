"""Films loaded once for every task, and predictions that are as good as a test wants them."""

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from made_tasks import GRADES

import easydl
from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions, output_columns
from easydl.tasks import Task

TASKS = {
    "classification": {"label": "outcome"},
    "multilabel": {"label": ["corner", "stripes"]},
    "regression": {"label": "size_mm", "task": "regression"},
    "ordinal": {"label": "grade", "task": "ordinal", "classes": GRADES},
    "multitask": {"heads": ["outcome", "size_mm"]},
}


@lru_cache
def split_study(films, task):
    """Loaded and decoded once: a study is never changed."""
    train, val, test = easydl.load(films, **TASKS[task]).split(seed=1)
    return train.parent, {"val": val, "test": test}


def predicted(part, noise, seed=0):
    """What a network might say of a part: the truth with so much noise."""
    rng = np.random.default_rng(seed)
    frame, targets = part.frame[["image", "patient"]].copy(), part.targets()
    heads = {name: part.schema.head(name) for name in part.heads} or {"": part.schema}
    for head, schema in heads.items():
        start, truth = (f"{head}: ", targets[head]) if head else ("", targets)
        said = np.clip(truth + rng.normal(0, noise, truth.shape), 1e-3, None)
        task = Task(schema.task)
        if not task.is_value:
            said = said / said.sum(axis=1, keepdims=True) if task.exclusive else said / said.max()
        frame[f"{start}label"] = part.frame[head or "label"]
        for name, cells in output_columns(said, Decision(task, tuple(schema.classes), {})).items():
            frame[f"{start}{name}"] = cells
    if not part.heads:
        return Predictions(frame, tuple(part.classes), True, "", str(part.task))
    named = {name: SimpleNamespace(classes=tuple(one.classes), task=str(one.task)) for name, one in heads.items()}
    return Predictions(frame, tuple(named), True, "", "multitask", named)

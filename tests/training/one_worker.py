"""Run by test_two_processes: one of two workers, or one process that plays both, trains on a study; prints its history as JSON."""

import json
import sys
from contextlib import nullcontext

from small_models import as_pretrained

import easydl
from easydl.networks import classifiers
from easydl.training import denoising, patch_plan
from easydl.training.workers import Team, Workers, joined, playing

kind, table, number, addresses = sys.argv[1:]

patch_plan.LEAST_STEPS_AN_EPOCH = denoising.LEAST_STEPS = 4
LABELS = {
    "members": {"label": "outcome"},
    "fine-tuning": {"label": "outcome"},
    "regression": {"label": "size_mm", "task": "regression"},
    "heads": {"heads": ["outcome", "size_mm"]},
}
OPTIONS = {"members": {"members": 2}, "fine-tuning": {"strategy": "finetune", "fine_tune": 1}}


def classifier(study):
    """Without statistics of the batch and dropout, which are each worker's own."""
    classifiers.DROPOUT = 0.0
    model = easydl.classifier("lenet", study, size=32, seed=2)
    return as_pretrained(model) if kind == "fine-tuning" else model


one = None if number == "one" else Workers.of(addresses, int(number))
with joined(one, {}), playing(Team(2, (0, 1))) if one is None else nullcontext():
    given = LABELS.get(kind) or {"mask": None if kind == "images" else "mask"}
    train, val, _ = easydl.load(table, **given).split(seed=1)
    model = {
        "masks": lambda: easydl.unet(train, width=4),
        "volumes": lambda: easydl.unet3d(train, width=4, deep_supervision=True),
        "images": lambda: easydl.image_to_image("denoising_autoencoder", width=4),
    }.get(kind, lambda: classifier(train))()
    options = OPTIONS.get(kind, {}) | ({} if kind == "images" else {"augment": "none"})
    history = easydl.fit(model, train, val, epochs=2, batch_size=4, seed=2, verbose=False, **options)
    weights = [float(abs(one).sum()) for one in model.get_weights()]
print(json.dumps({"loss": history.history["loss"], "val_loss": history.history["val_loss"], "weights": weights}))

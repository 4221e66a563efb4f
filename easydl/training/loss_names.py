"""The losses that can be asked for by name, known before TensorFlow is loaded. `losses` and `objective` make them."""

from __future__ import annotations

from easydl.errors import InputError, unknown_name
from easydl.tasks import Task

LOSSES: dict[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("cross_entropy", "focal"),
    Task.MULTILABEL: ("cross_entropy", "focal"),
    Task.ORDINAL: ("earth_mover", "cross_entropy"),
    Task.REGRESSION: ("huber", "squared_error", "absolute_error"),
    Task.SEGMENTATION: ("dice_cross_entropy", "dice", "tversky", "focal", "cross_entropy", "boundary"),
}
"""By task, the default first."""


def check_loss(loss: str, task: Task | None = None) -> None:
    """Refuse the name of a loss that the task does not have; without a task, one that no task has.

    Raises:
        InputError: No such loss.
    """
    known = LOSSES.get(task, ()) if task else tuple(dict.fromkeys(name for names in LOSSES.values() for name in names))
    if loss == "auto" or loss in known:
        return
    found = f"loss={loss!r} is not known{f' for a model whose task is {task}' if task else ''}."
    if not known:
        raise InputError(found, 'loss="auto".', "Leave it out.")
    raise unknown_name(found, loss, ("auto", *known), do="Choose one, or leave it out.")

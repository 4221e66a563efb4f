"""The settings of a run as a file in its folder; the names in them are checked before anything is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError, model_validator

from easydl.errors import RunError, unknown_name
from easydl.fileio import write_text
from easydl.option_model import settings_error
from easydl.options import RunOptions
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study


class RunConfig(RunOptions):
    """Everything that repeats a run. Each setting is the argument of the same name of the function it goes to."""

    @model_validator(mode="after")
    def _known(self) -> RunConfig:
        check_names(self)
        return self

    def save(self, folder: Path) -> None:
        """Write config.json into a run folder; paths in it hold wherever the run is gone on with.

        It says where the study lies, so only this user can read it.
        """
        write_text(folder / "config.json", json.dumps(self.with_absolute_paths().model_dump(), indent=1), mode=0o600)

    def with_absolute_paths(self) -> RunConfig:
        """The same settings, with files and folders by their whole paths."""
        paths = {"source": self.source}
        for name in ("pretrained", "teacher", "unlabelled"):
            path = getattr(self, name)
            if isinstance(path, str) and Path(path).expanduser().exists():
                paths[name] = path
        return self.model_copy(update={name: os.path.abspath(Path(path).expanduser()) for name, path in paths.items()})

    @classmethod
    def open(cls, folder: Path) -> RunConfig:
        """Read config.json of a run folder.

        Raises:
            EasyDLError: There is none, or it holds other settings than these.
        """
        try:
            return cls.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
        except OSError as problem:
            raise RunError(
                f"{folder} is not a run folder: it has no config.json.",
                "the folder of a run.",
                "Choose another folder.",
            ) from problem
        except ValidationError as problem:
            raise settings_error(problem, cls.model_fields) from problem


def check_names(options: RunOptions) -> None:
    """Refuse the name of a network, preset, window or loss that nothing has, whatever the study is.

    Raises:
        InputError: Such a name, with the one that was probably meant.
    """
    from easydl.augmentation import check_augment
    from easydl.networks.listing import find
    from easydl.networks.registry import SOURCES
    from easydl.training.loss_names import check_loss
    from easydl.training.plan import named_window

    if options.model != "auto":
        find(options.model, ("classifier", "segmenter"))
    if options.encoder is not None:
        find(options.encoder, "classifier")
    start = options.pretrained
    if isinstance(start, str) and start.isidentifier() and start not in ("auto", *SOURCES) and not Path(start).exists():
        raise unknown_name(f"There are no pretrained weights {start!r}.", start, ("auto", *SOURCES))
    check_augment(options.augment)
    masks = options.mask is not None or options.task == Task.SEGMENTATION
    task = Task.SEGMENTATION if masks else None if options.task == "auto" else Task(options.task)
    check_loss(options.loss, task)
    if isinstance(options.window, str):
        named_window(options.window)


def check_study(options: RunOptions, study: Study) -> None:
    """Refuse the names that a study's columns, classes, task or units do not have, before its images are read.

    Raises:
        InputError: Such a name, with the one that was probably meant.
    """
    from easydl.evaluation.asked import check_asked
    from easydl.studies.tables import column_of
    from easydl.training.class_weights import check_weighted
    from easydl.training.loss_names import check_loss
    from easydl.training.plan import named_window

    task = Task(study.task)
    for column in (options.time, options.column, *(options.covariates or ())):
        if column not in (None, "split"):
            column_of(study.frame, column)
    # A test that would be refused is, before hours of training.
    if options.by is not None or options.prevalence is not None:
        named = () if task.is_multiple or task.has_masks else study.classes
        check_asked(study.frame, task, named, study.heads, by=options.by, prevalence=options.prevalence)
    check_loss(options.loss, task)
    if isinstance(options.class_weight, dict) and task.has_classes and not task.has_masks:
        check_weighted(options.class_weight, study.classes)
    if isinstance(options.window, str):
        named_window(options.window, study.units)

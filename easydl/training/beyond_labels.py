"""What a training learns from beside the labels of its part: a teacher's answers, or images without labels. It trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.errors import InputError, LeakageError, ModelError
from easydl.images.patients import patient_key
from easydl.networks import metadata_of
from easydl.networks.metadata import ModelMetadata
from easydl.networks.seen import Seen
from easydl.prediction.cascades import load_model
from easydl.prediction.seen import seen_rows, sentence, with_training
from easydl.studies import Study, load
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.training.feeder import Feeder

MODEL_FILE = "model.keras"
IN_PARTS = {"validation": "in the validation part", "test": "in the test part of the same split"}


@dataclass(frozen=True)
class BeyondLabels:
    """A teacher or a pool of images without labels, checked; or neither.

    Attributes:
        teacher: A trained Keras model of the same task.
        pool: Images without labels, of no patient of the validation or test part.
        overrides: What goes on the record.
    """

    teacher: Any = None
    pool: Study | None = None
    overrides: list[str] = field(default_factory=list)

    @classmethod
    def checked(
        cls,
        metadata: ModelMetadata,
        parts: tuple[Study, Study],
        teacher: Any = None,
        unlabelled: Any = None,
        override: str | None = None,
    ) -> BeyondLabels:
        """What was given, opened, and refused where it does not fit or leaks.

        Raises:
            InputError: A task that cannot use it, or both at once.
            ModelError: The teacher is of another task or other classes.
            LeakageError: The teacher has seen patients of the validation or test part, or the pool holds some.
        """
        if teacher is None and unlabelled is None:
            return cls()
        if teacher is not None and unlabelled is not None:
            raise InputError("teacher and unlabelled were given together.", "one of them.", "Leave one out.")
        name = "teacher" if unlabelled is None else "unlabelled"
        task = Task(metadata.task)
        usable = not task.per_pixel if name == "teacher" else task.per_image and task.has_classes
        if not usable:
            needs = (
                "a classifier (classes, labels, values)" if name == "teacher" else "a classifier for classes or labels"
            )
            raise InputError(f"{name} was given for a model whose task is {task}.", f"{needs}.", f"Leave {name} out.")
        train, val = parts
        if unlabelled is not None:
            pool = _opened_pool(unlabelled)
            _check_pool(metadata, pool)
            return cls(pool=_new(pool, train), overrides=_refuse_pool(pool, train, val, override))
        model = _opened_teacher(teacher)
        _check_teacher(metadata, metadata_of(model))
        return cls(teacher=model, overrides=_refuse_teacher(metadata_of(model), train, val, override))

    def feeder(self, plain: Callable[..., Feeder]) -> Callable[..., Feeder]:
        """The way of training that uses it."""
        if self.teacher is not None:
            from easydl.training.distillation import TaughtFeeder

            return partial(TaughtFeeder, teacher=self.teacher)
        if self.pool is not None:
            from easydl.training.pseudo_labels import PseudoLabelFeeder

            return partial(PseudoLabelFeeder, pool=self.pool)
        return plain

    def seen(self, metadata: ModelMetadata, train: Study, val: Study) -> Seen:
        """What the model will have seen: the parts, the pool, and all that its teacher has seen, for that is passed on."""
        earlier = metadata.learned_from
        if self.teacher is not None:
            passed_on = metadata_of(self.teacher).learned_from or Seen.new(complete=False)
            earlier = passed_on if earlier is None else earlier.beside(passed_on)
        found = with_training(earlier, train, val)
        return found if self.pool is None else with_training(found, self.pool, val)


def test_part(train: Study) -> Study | None:
    """The test part of the split that a training part is of; None where it is of none."""
    whole = train.parent
    if whole is None or "split" not in whole.frame.columns or not (whole.frame["split"] == "test").any():
        return None
    return whole.part("test")


def _opened_teacher(teacher: Any) -> Any:
    if not isinstance(teacher, (str, Path)):
        return teacher
    path = Path(teacher).expanduser()
    return load_model(path / MODEL_FILE if (path / MODEL_FILE).is_file() else path)


def _check_teacher(student: ModelMetadata, teacher: ModelMetadata) -> None:
    heads = {name: set(one.classes) for name, one in student.heads.items()}
    others = {name: set(one.classes) for name, one in teacher.heads.items()}
    same = heads == others and (Task(student.task).is_value or set(student.classes) == set(teacher.classes))
    if student.task == teacher.task and student.dimension == teacher.dimension and same:
        return
    raise ModelError(
        f"The teacher's task is {teacher.task} ({', '.join(teacher.classes)}), {teacher.dimension}D; the model's is "
        f"{student.task} ({', '.join(student.classes)}), {student.dimension}D.",
        "the same task, classes and dimension in both.",
        "Train the teacher on the same study, or build the model for the teacher's task.",
    )


def _refuse_teacher(teacher: ModelMetadata, train: Study, val: Study, override: str | None) -> list[str]:
    """A teacher that has learned from a patient passes on what it knows of him.

    Being chosen by the validation part is no leak into it: so is the student.
    """
    test, found = test_part(train), []
    rows = [row if row.startswith("training") else "" for row in seen_rows([teacher], val)[0]]
    found += [(IN_PARTS["validation"], rows)] if any(rows) else []
    rows = seen_rows([teacher], test)[0] if test is not None else []
    found += [(IN_PARTS["test"], rows)] if any(rows) else []
    if not found:
        return []
    said = " ".join(f"Of the images {where}: {sentence(rows)}" for where, rows in found)
    return _blocked(
        f"The teacher has seen images that its student is chosen or tested on. {said}",
        "a teacher that was trained on the training part only, whose knowledge it passes on.",
        "Train the teacher on the same training part: easydl.fit(teacher, train, val).",
        override,
    )


def _opened_pool(unlabelled: Any) -> Study:
    pool = load(unlabelled) if isinstance(unlabelled, (str, Path)) else unlabelled
    if isinstance(pool, Study) and len(pool):
        return pool
    raise InputError(
        f"unlabelled is a {type(unlabelled).__name__}{' without images' if isinstance(pool, Study) else ''}.",
        "a study (easydl.load), or the path of a table or folder.",
        "Load the images without labels as a study of their own.",
    )


def _check_pool(metadata: ModelMetadata, pool: Study) -> None:
    if pool.dimension != metadata.dimension:
        raise ModelError(
            f"The unlabelled images are {pool.dimension}D, the model takes {metadata.dimension}D.",
            "the same dimension.",
            "Give other images.",
        )


def _new(pool: Study, train: Study) -> Study:
    """The pool without copies of training images, whose label is known."""
    known = set(train.digests())
    rows = [digest not in known for digest in pool.digests()]
    new = pool.rows(pool.frame.index[rows], "unlabelled")
    if not len(new):
        raise InputError(
            "All of the unlabelled images are in the training part already.",
            "other images, without labels.",
            "Leave unlabelled out.",
        )
    return new


def _refuse_pool(pool: Study, train: Study, val: Study, override: str | None) -> list[str]:
    found = []
    for name, part in (("validation", val), ("test", test_part(train))):
        if part is None:
            continue
        images = len(set(pool.digests()) & set(part.digests()))
        keys = [set(one.frame["patient"].map(patient_key)) if one.patients_known else set() for one in (pool, part)]
        if images or keys[0] & keys[1]:
            who = f"{len(keys[0] & keys[1])} patients and " if pool.patients_known and part.patients_known else ""
            found.append(f"{who}{images} images are {IN_PARTS[name]}")
    if not found:
        return []
    return _blocked(
        f"Of the unlabelled images {', '.join(found)}.",
        "images of other patients: a test on images that the network has learned from, with labels or without, is too good.",
        "Leave their rows out of the unlabelled images.",
        override,
    )


def _blocked(found: str, expected: str, do: str, override: str | None) -> list[str]:
    if (override or "").strip():
        return [f"{found} Reason given: {(override or '').strip()}"]
    raise LeakageError(found, expected, f"{do} Or pass override='your reason', which every report will repeat.")

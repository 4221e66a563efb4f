"""Trained models on one test set that none of them has seen. It fits nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.comparison.costs import Cost, cost_of, with_costs
from easydl.comparison.paired_rows import side_by_side
from easydl.comparison.results import Comparison
from easydl.errors import ModelError
from easydl.evaluation.evaluating import case_metrics
from easydl.evaluation.leakage import without_seen
from easydl.evaluation.looking import counted_together
from easydl.evaluation.measuring import RESAMPLES
from easydl.networks.metadata import ModelMetadata
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study


def compare_trained(test: Study, models: Sequence[Any], seed: int) -> Comparison:
    """Compare trained models; each is counted as a look at the test part.

    Args:
        test: The test set; images that any of the models has seen are left out.
        models: Models, model files, or run folders.
        seed: Of the bootstrap.

    Raises:
        ModelError: They are not of the test set's task, or not of the same classes.
        LeakageError: They have seen it.
    """
    opened = _opened(test, models)
    texts = {name: f"{model.name}, {model.count_params():,} parameters" for name, (model, _) in opened.items()}
    costs: dict[str, Cost] = {}

    def answers(unseen: Study) -> dict[str, Any]:
        found = _answers(opened, unseen, seed)
        costs.update({name: cost_of(*one, unseen) for name, one in opened.items()})
        return found

    return with_costs(on_unseen(opened, test, answers, texts, seed), costs)


def on_unseen(
    opened: Mapping[str, tuple[Any, ModelMetadata]],
    test: Study,
    answers: Callable[[Study], dict[str, Any]],
    texts: dict[str, str],
    seed: int,
    reference: str | None = None,
) -> Comparison:
    """What is to be compared, side by side, on the images that no model has seen; the models' looks are counted.

    Args:
        opened: The models by name.
        test: The test set.
        answers: From the images that are left to Predictions (or Metrics of cases) by name.
        texts: What each is, by name.
        seed: Of the bootstrap.
        reference: Which of them all others are compared with; the best when None.

    Raises:
        LeakageError: All images were seen.
    """
    from easydl.prediction.provenance import provenance
    from easydl.prediction.seen import metadata_of_all, seen_rows
    from easydl.prediction.tables import against

    kinds = {name: metadata_of_all(model, metadata) for name, (model, metadata) in opened.items()}
    seen, notes = [""] * len(test), []
    for name, parts in kinds.items():
        rows, said = seen_rows(parts, test)
        seen = [one or other for one, other in zip(seen, rows, strict=True)]
        notes += [f"{name}: {note}" for note in [*said, *(note for one in parts for note in against(one))]]
    units = test.frame["patient"] if test.patients_known else test.frame.index.to_series()
    unseen = without_seen(seen, units, " ".join(test.overrides))
    if not unseen.kept.all():
        test = test.rows(test.frame.index[unseen.kept])

    def measured() -> Comparison:
        return side_by_side(answers(test), texts, {}, every=True, against=reference, seed=seed)

    counted = counted_together(
        test.frame,
        [provenance(model, metadata, test) for model, metadata in opened.values()],
        measured,
        lambda found: [_headline(found, name) for name in opened],
        patients_known=test.patients_known,
    )
    first = [*filter(None, [unseen.warning]), *counted.warnings]
    return replace(counted.found, part="test", notes=[*first, *counted.notes, *dict.fromkeys(notes)])


def _headline(found: Comparison, name: str) -> str:
    row = next(row for row in found.rows if row.name == name)
    return f"{found.measure} {found.value_text(row)}, {row.n} {found.unit_of_n}"


def _opened(test: Study, models: Sequence[Any]) -> dict[str, tuple[Any, ModelMetadata]]:
    """The models by name, all of which can be tested on the test set and compared with each other."""
    from easydl.networks.pretrained.sources import MODEL_FILE
    from easydl.prediction.cascades import open_model

    opened: dict[str, tuple[Any, ModelMetadata]] = {}
    for given in models:
        path = Path(given) if isinstance(given, (str, Path)) else None
        file = path / MODEL_FILE if path is not None and path.is_dir() else path
        model, metadata = open_model(file if file is not None else given)
        task = Task(metadata.task)
        if task.is_multiple or not (task.makes_images or metadata.task == test.task):
            raise ModelError(
                f"A model's task is {metadata.task}; the test set's is {test.task}.",
                "models of the test set's task, with one answer for each image.",
                "Test it alone with easydl.evaluate(model, test).",
            )
        opened[_name(path, model, opened)] = (model, metadata)
    known = [metadata for _, metadata in opened.values()]
    if len({metadata.task for metadata in known}) > 1:
        raise ModelError("The models have different tasks.", "one task.", "Compare models of one task.")
    if len({tuple(sorted(metadata.classes)) for metadata in known}) > 1 and not Task(known[0].task).is_value:
        raise ModelError("The models have different classes.", "the same classes.", "Compare models of one task.")
    return opened


def _answers(opened: dict[str, tuple[Any, ModelMetadata]], test: Study, seed: int) -> dict[str, Any]:
    """For each model its Predictions of the test set, or the Metrics of its masks or images."""
    if Task(next(iter(opened.values()))[1].task).per_pixel:
        options: dict[str, Any] = {"seed": seed, "resamples": RESAMPLES}
        return {name: case_metrics(*one, test, {}, **options) for name, one in opened.items()}
    from easydl.prediction.tables import predict_study

    found = {name: predict_study(*one, test) for name, one in opened.items()}
    order = next(iter(found.values())).classes  # two models may list the same classes in another order
    return {name: replace(one, classes=order) for name, one in found.items()}


def _name(path: Path | None, model: Any, taken: dict[str, Any]) -> str:
    """The run folder's or the file's name, or the network's; numbered where it is taken."""
    if path is None:
        name = str(model.name)
    else:
        name = path.parent.name if path.name == "model.keras" else path.stem if path.suffix else path.name
    numbered = (f"{name} ({count})" for count in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)

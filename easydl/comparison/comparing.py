"""`easydl.compare`: baselines and networks on folds by patient, or trained models on one test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from easydl.comparison.baselines import BASELINES, LeftOut
from easydl.comparison.beside import as_predictions, side_by_side
from easydl.comparison.entrants import Arena, check_names, without_test
from easydl.comparison.frozen import Backbone
from easydl.comparison.results import Comparison
from easydl.errors import InputError, ModelError
from easydl.evaluation import evaluate
from easydl.evaluation.bootstrap import MINIMUM_RESAMPLES
from easydl.evaluation.leakage import without_seen
from easydl.evaluation.level import over_looks
from easydl.option_model import documented
from easydl.options_of_planning import CompareOptions
from easydl.prediction.results import Predictions
from easydl.prediction.seen import COLUMN
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

RANKED = (
    "Scores were ranked within each fold, so that the models of different folds can be taken together: each predicts on a "
    "scale of its own."
)
LOOKS = (
    "This test part has been looked at {} times, these included; choose nothing by it. The intervals are those of all looks "
    "together at 95%."
)
LEARNT = "Networks are stopped by a fold of their own, which baselines learn from."


@documented(CompareOptions)
def compare(
    study: Study,
    models: Sequence[Any],
    *,
    folds: int = 5,
    seed: int = 0,
    epochs: int | None = None,
    pretrained: bool | str = False,
    size: int | None = None,
) -> Comparison:
    """Compare baselines and networks on folds by patient, or trained models on one test set.

    With names, each is fitted anew for every fold. A study that is split is compared without its test part: what is
    chosen here can still be tested there. With trained models nothing is fitted: all predict the same test set.

    Args:
        study: A `Study`; with trained models the third part of ``study.split()``.
        models: Names: the baselines ``prevalence``, ``metadata``, ``thumbnail``, ``forest`` (on 32 readable features) and
            ``features`` (logistic regression on frozen features), and networks of `easydl.models`. Or trained models:
            of easydl, or their ``.keras`` files or run folders.
        {options}

    Returns:
        A `Comparison`, the best first, with the number that the task is judged by (AUC, kappa, mean absolute error), its
        95% interval by patient, the paired difference of the best and each other, and the time. ``.table`` is a
        DataFrame, ``.plot()`` a figure.

    Raises:
        InputError: An unknown name, names and trained models in one list, too few patients for the folds, or a test part
            with names.
        LeakageError: A trained model has seen the test set.

    Example:
        >>> easydl.compare(study, ["forest", "tiny", "resnet18"])  # doctest: +SKIP
        >>> easydl.compare(test, [model_a, "runs/2026-11-20_1530_tiny"])  # doctest: +SKIP

    References:
        Sun X, Xu W. IEEE Signal Process Lett 2014;21:1389-1393 (DeLong's test of two AUCs, computed fast).
    """
    CompareOptions.checked(folds=folds, seed=seed, epochs=epochs, pretrained=pretrained, size=size)
    models = [models] if isinstance(models, (str, Path)) or not isinstance(models, Sequence) else list(models)
    trained = [_is_trained(model) for model in models]
    if not models or any(trained) != all(trained):
        raise InputError(
            "There is nothing to compare." if not models else "Names and trained models were given together.",
            "names of baselines and networks, or trained models.",
            "Compare names on the study, and trained models on its test part.",
        )
    if all(trained):
        return _trained(study, models, seed)
    check_names(models, study)
    kept, notes = without_test(study)
    networks = [name for name in models if name not in BASELINES]
    backbone = Backbone(networks[0], pretrained, size) if pretrained and networks else None
    arena = Arena(kept, seed, epochs, pretrained, size, backbone)
    return _on_folds(arena, models, folds, notes)


def _is_trained(model: Any) -> bool:
    return not isinstance(model, str) or model.endswith(".keras") or (Path(model).is_dir() and model not in BASELINES)


def _on_folds(arena: Arena, names: Sequence[str], folds: int, notes: list[str]) -> Comparison:
    study, seed = arena.study, arena.seed
    parts = [_split(train) for train, _, _ in study.folds(folds, seed=seed)]
    task, classes = Task(study.task), tuple(study.classes)
    width = 1 if task.is_value else len(classes)
    ranked = task.has_classes and not task.ordered
    found, left_out = {}, {}
    for name in names:
        outputs = np.full((len(study), width), np.nan)
        try:
            for split in parts:
                train, val, test = (np.flatnonzero(split == part) for part in ("train", "val", "test"))
                one = arena.outputs(name, train, val, test, seed)
                outputs[test] = rankdata(one, axis=0) / (len(one) + 1) if ranked else one
        except LeftOut as reason:
            left_out[name] = str(reason)
            continue
        found[name] = outputs
    if not found:
        raise InputError(
            "; ".join(f"{name}: {why}" for name, why in left_out.items()) + ".",
            "at least one model that this study allows.",
            "Choose others.",
        )
    # Rows of patients in no fold are tested by nobody.
    tested = np.isfinite(next(iter(found.values()))).all(axis=1)
    label = study.frame["label"].astype(str)
    frame = pd.DataFrame(
        {"image": study.frame[study.image_columns[0]], "patient": study.frame["patient"], "label": label}
    )
    like = Predictions(frame[tested], classes, study.patients_known, study.name, str(task))
    entries = {name: as_predictions(like, outputs[tested]) for name, outputs in found.items()}
    facts = {
        "part": "folds",
        "left_out": left_out,
        "notes": [*notes, f"{folds} folds by patient, seed {seed}.", LEARNT, *([RANKED] if ranked else [])],
    }
    return side_by_side(entries, arena.texts, arena.seconds, seed=seed, facts=facts)


def _split(part: Study) -> np.ndarray:
    """The column of the fold that a part is of, for all rows."""
    assert part.parent is not None
    return part.parent.frame["split"].to_numpy()


def _trained(test: Study, models: Sequence[Any], seed: int) -> Comparison:
    """Trained models on the images of a test set that none of them has seen."""
    from easydl.networks.pretrained.sources import MODEL_FILE
    from easydl.prediction.cascades import open_model
    from easydl.prediction.tables import against, predict_study

    entries: dict[str, Predictions] = {}
    texts: dict[str, str] = {}
    notes: list[str] = []
    reason, looks = " ".join(test.overrides), 1
    for given in models:
        path = Path(given) if isinstance(given, (str, Path)) else None
        file = path / MODEL_FILE if path is not None and path.is_dir() else path
        model, metadata = open_model(file if file is not None else given)
        task = Task(metadata.task)
        if not task.per_image or metadata.task != test.task:
            raise ModelError(
                f"A model's task is {metadata.task}; the test set's is {test.task}.",
                "models of the test set's task, with one answer for each image.",
                "Test it alone with easydl.evaluate(model, test).",
            )
        name = _name(path, model, entries)
        entries[name] = predict_study(model, metadata, test)
        # Each is a test of its own: it is counted in the ledger, and widens the intervals of all.
        metrics = evaluate(entries[name], seed=seed, resamples=MINIMUM_RESAMPLES, override=reason)
        looks = max(looks, metrics.look.number if metrics.look else 1)
        texts[name] = f"{model.name}, {model.count_params():,} parameters"
        notes += [f"{name}: {note}" for note in against(metadata)]
    first = next(iter(entries.values()))
    if len({tuple(sorted(one.classes)) for one in entries.values()}) > 1 and not Task(first.task).is_value:
        raise ModelError("The models have different classes.", "the same classes.", "Compare models of one question.")
    seen = _seen(list(entries.values()))
    units = test.frame["patient"] if test.patients_known else test.frame.index.to_series()
    unseen = without_seen(seen, units, reason)
    order = first.classes
    entries = {
        name: replace(one, frame=one.frame[unseen.kept], classes=order if not Task(one.task).is_value else one.classes)
        for name, one in entries.items()
    }
    if looks > 1:
        notes.append(LOOKS.format(looks))
    facts = {"part": "test", "notes": [*filter(None, [unseen.warning]), *dict.fromkeys(notes)]}
    with over_looks(looks):
        return side_by_side(entries, texts, {}, seed=seed, facts=facts)


def _seen(predictions: Sequence[Predictions]) -> list[str]:
    """For every row what any of the models has seen of it."""
    columns = [one.frame[COLUMN].tolist() for one in predictions if COLUMN in one.frame.columns]
    return [next(filter(None, row), "") for row in zip(*columns, strict=True)] or [""] * len(predictions[0].frame)


def _name(path: Path | None, model: Any, taken: dict[str, Predictions]) -> str:
    """The run folder's or the file's name, or the network's; numbered where it is taken."""
    if path is None:
        name = str(model.name)
    else:
        name = path.parent.name if path.name == "model.keras" else path.stem if path.suffix else path.name
    numbered = (f"{name} ({count})" for count in range(2, len(taken) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)

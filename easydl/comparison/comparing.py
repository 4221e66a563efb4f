"""`easydl.compare`: baselines and networks on folds by patient, or trained models on one test set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from easydl.comparison.baselines import BASELINES, LeftOut
from easydl.comparison.candidates import Candidates, check_names, folds_text, for_choosing
from easydl.comparison.costs import with_costs
from easydl.comparison.frozen import Backbone
from easydl.comparison.paired_rows import as_predictions, over_seeds
from easydl.comparison.results import Comparison
from easydl.comparison.trained import compare_trained
from easydl.errors import InputError
from easydl.option_model import documented
from easydl.options_of_planning import CompareOptions
from easydl.prediction.results import Predictions
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

RANKED = (
    "Scores were ranked within each fold, so that the models of different folds can be taken together: each predicts on a "
    "scale of its own."
)
LEARNT = "Networks are stopped by a fold of their own, which baselines learn from."
REPEATED = (
    "Networks were trained from {} seeds on the same folds: their numbers are means over the seeds. The 95% CI says how much "
    "other patients would change them, the standard deviation (SD) how much another seed would."
)


@documented(CompareOptions)
def compare(
    study: Study,
    models: Sequence[Any],
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    pretrained: bool | str = False,
    size: int | None = None,
    verbose: bool = False,
) -> Comparison:
    """Compare baselines and networks on folds by patient, or trained models on one test set.

    With names, each is fitted anew for every fold. A study that is split is compared without its test part: what is
    chosen here can still be tested there. With trained models nothing is fitted: all predict the same test set, of whatever
    task they are, and each is counted as a look at it, as by `easydl.evaluate`.

    Args:
        study: A `Study`; with trained models the third part of ``study.split()``.
        models: Names: the baselines ``prevalence``, ``metadata``, ``thumbnail``, ``forest`` (on 32 readable features) and
            ``features`` (logistic regression on frozen features), and networks of `easydl.models`. Or trained models:
            of easydl, or their ``.keras`` files or run folders.
        {options}
        verbose: Whether a line is printed before each model is fitted on each fold.

    Returns:
        A `Comparison`, the best first, with the number that the task is judged by (AUC, kappa, mean absolute error; of trained
        models also Dice, PSNR), its 95% interval by patient, the paired difference of the best and each other, the time, and for networks
        the milliseconds for an image on this machine and the megabytes of parameters. ``.table`` is a DataFrame, ``.show()``
        a figure, ``.show(against="ms")`` (or ``"mb"``) the numbers over that cost; of trained models ``.details`` has every number compared, with p
        (DeLong's test, McNemar's, paired bootstrap). Readers stand beside a model with `easydl.evaluation.compare_readers`.

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
    given = {"folds": folds, "repeats": repeats, "seed": seed, "epochs": epochs, "pretrained": pretrained, "size": size}
    CompareOptions.checked(**given)
    models = [models] if isinstance(models, (str, Path)) or not isinstance(models, Sequence) else list(models)
    trained = [_is_trained(model) for model in models]
    if not models or any(trained) != all(trained):
        raise InputError(
            "There is nothing to compare." if not models else "Names and trained models were given together.",
            "names of baselines and networks, or trained models.",
            "Compare names on the study, and trained models on its test part.",
        )
    if all(trained):
        if repeats > 1:
            raise InputError(
                f"repeats={repeats} was given for trained models.",
                "names of networks, which are trained here.",
                "Leave it out; models that were trained with several seeds can all be named.",
            )
        return compare_trained(study, models, seed)
    check_names(models, study)
    kept, notes = for_choosing(study)
    networks = [name for name in models if name not in BASELINES]
    backbone = Backbone(networks[0], pretrained, size) if pretrained and networks else None
    candidates = Candidates(kept, seed, epochs, pretrained, size, backbone, costs={})
    return _on_folds(candidates, models, folds, repeats, notes, verbose)


def _is_trained(model: Any) -> bool:
    return not isinstance(model, str) or model.endswith(".keras") or (Path(model).is_dir() and model not in BASELINES)


def _on_folds(
    candidates: Candidates, names: Sequence[str], folds: int, repeats: int, notes: list[str], verbose: bool
) -> Comparison:
    study, seed = candidates.study, candidates.seed
    parts = [fold_column(train) for train, _, _ in study.folds(folds, seed=seed)]
    task, classes = Task(study.task), tuple(study.classes)
    width = 1 if task.is_value else len(classes)
    ranked = task.has_classes and not task.ordered
    found: dict[str, list[np.ndarray]] = {}
    left_out = {}
    for name in names:
        try:
            for repeat in range(1 if name in BASELINES else repeats):
                outputs = np.full((len(study), width), np.nan)
                for fold, split in enumerate(parts, start=1):
                    if verbose:
                        print(f"Fold {fold} of {folds}, {name}", flush=True)
                    train, val, test = (np.flatnonzero(split == part) for part in ("train", "val", "test"))
                    one = candidates.outputs(name, train, val, test, seed + repeat)
                    outputs[test] = rankdata(one, axis=0) / (len(one) + 1) if ranked else one
                found.setdefault(name, []).append(outputs)
        except LeftOut as reason:
            left_out[name] = str(reason)
    if not found:
        raise InputError(
            "; ".join(f"{name}: {why}" for name, why in left_out.items()) + ".",
            "at least one model that this study allows.",
            "Choose others.",
        )
    # Rows of patients in no fold are tested by nobody.
    tested = np.isfinite(next(iter(found.values()))[0]).all(axis=1)
    label = study.frame["label"].astype(str)
    frame = pd.DataFrame(
        {"image": study.frame[study.image_columns[0]], "patient": study.frame["patient"], "label": label}
    )
    like = Predictions(frame[tested], classes, study.patients_known, study.name, str(task))
    seeds = [repeats] if any(len(one) > 1 for one in found.values()) else []
    sentence = [REPEATED.format(count) for count in seeds]
    repeated = [
        {name: as_predictions(like, one[min(repeat, len(one) - 1)][tested]) for name, one in found.items()}
        for repeat in range(max(map(len, found.values())))
    ]
    facts = {
        "part": "folds",
        "left_out": left_out,
        "notes": [*notes, folds_text(study, folds, seed), LEARNT, *sentence, *([RANKED] if ranked else [])],
    }
    compared = over_seeds(repeated, candidates.texts, candidates.seconds, seed=seed, facts=facts)
    return with_costs(compared, candidates.costs or {})


def fold_column(part: Study) -> np.ndarray:
    """The column of the fold that a part is of, for all rows."""
    assert part.parent is not None
    return part.parent.frame["split"].to_numpy()

"""One new case put to a model, as a page that holds everything it shows. It trains nothing and compares with no test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import replacing, write_text
from easydl.prediction.conformal import UNCERTAIN, with_sets
from easydl.reporting import figures

PAGE, FACTS = "case.html", "case.json"
SINGLE = "One case (n = 1) has no interval"
OF_SCORES = f"{SINGLE}, and a score is not the probability that the answer is right."
OF_SIZES = f"{SINGLE}."
COVERAGE = 0.9


@dataclass
class _Shown:
    """What the page says; the fields of ``case.json`` and the figures of the page."""

    answer: str
    probabilities: dict[str, float] = field(default_factory=dict)
    threshold: float | dict[str, float] | None = None
    doubt: list[str] = field(default_factory=list)  # what else the answer may be, and how far several answers differ
    rules: list[str] = field(default_factory=list)  # from which score on something is called, and how that was chosen
    sizes: dict[str, tuple[float, str]] = field(default_factory=dict)
    verdict: dict[str, str] | None = None
    notes: list[str] = field(default_factory=list)
    figures_of_page: dict[str, str] = field(default_factory=dict)  # by file name, as in the page


def case_page(
    model: Any,
    source: Any,
    folder: str | Path,
    *,
    covariates: Mapping[str, Any] | None = None,
    units: str = "auto",
    method: str = "gradcam",
    seed: int = 0,
    **options: Any,
) -> Path:
    """Put one image, volume or series to a model and write what came of it: ``case.html``, ``case.json``, figures.

    Neither holds the name of a file or of a patient. ``case.json`` has the keys ``answer``, ``probabilities`` (by class or
    label), ``doubt`` (the classes, or the interval, that hold the truth for 90% of new patients; how far an ensemble's members
    differ), ``threshold`` (a number for two classes, one for each label, else None), ``rules`` (how the thresholds were chosen,
    and that one case has no interval), ``reference`` (None unless a table gives it), ``verdict`` (on the heatmap: level, word,
    sentence, and where it lies in words), ``unlike`` (sentences), ``volumes_ml`` and ``images``.

    Args:
        model: A model of easydl or its ``.keras`` file; a cascade or its folder.
        source: A path, a `Scan`, an array, or a `Study` of one image.
        folder: Where to write; it is made when it is not there.
        covariates: As for `easydl.predict`.
        units: As for `easydl.predict`.
        method: Of the heatmap, as for `easydl.saliency`.
        seed: Of the verdict on the heatmap.
        **options: Further ones of `easydl.predict`.

    Returns:
        The path of ``case.html``.

    Raises:
        InputError: Nothing readable there, or more than one case.
        ModelError: The model does not fit the image.

    Example:
        >>> case_page("model.keras", "case.dcm", "case")  # doctest: +SKIP
        PosixPath('case/case.html')
    """
    from easydl.prediction import predict
    from easydl.tasks import Task

    opened = opened_case(model, source, units)
    model, metadata, given, reference = opened.model, opened.metadata, opened.given, opened.reference
    task = Task(metadata.task)
    result = _with_doubt(predict(model, given, covariates=covariates, units=units, **options), metadata)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shown = _of_pixels(result, folder) if task.per_pixel else _of_the_image(result, metadata)
    if not task.per_pixel:
        _explained(shown, model, given, folder, covariates=covariates, method=method, seed=seed)
    differences = list(result.unlike)
    volumes = {name: round(size, 3) for name, (size, unit) in shown.sizes.items() if unit == "mL"}
    facts = {
        "answer": shown.answer,
        "probabilities": shown.probabilities,
        "doubt": shown.doubt,
        "threshold": shown.threshold,
        "rules": shown.rules,
        "reference": reference,
        "verdict": shown.verdict,
        "unlike": differences,
        "volumes_ml": volumes,
        "images": list(shown.figures_of_page),
        "notes": shown.notes,
        "research_use": RESEARCH_USE,
    }
    write_text(folder / FACTS, json.dumps(facts, indent=1))
    return write_text(folder / PAGE, _page(shown, reference, differences, metadata))


@dataclass(frozen=True)
class Opened:
    """A model and the one case that is put to it.

    Attributes:
        model: Opened.
        metadata: Its own.
        scan: The case.
        given: What the model is called with: the scan, or a study of one row with its covariates.
        reference: What a table says of the case, as text; None where there is none.
    """

    model: Any
    metadata: Any
    scan: Any
    given: Any
    reference: str | None


def opened_case(model: Any, source: Any, units: str = "auto") -> Opened:
    """Open a model and the one case of a source.

    Raises:
        InputError: Nothing readable there, or more than one case.
        ModelError: The model cannot be opened.
    """
    from easydl.images import Scan
    from easydl.prediction.cascades import check_paths, open_model
    from easydl.prediction.predicting import as_source
    from easydl.tasks import Task

    check_paths(model, source)
    model, metadata = open_model(model)
    case = as_source(source, metadata, units)
    if not isinstance(case, Scan) and len(case) != 1:
        raise InputError(
            f"There are {len(case)} images there.", "one case: an image, a volume or a series.", "Choose one of them."
        )
    scan = case if isinstance(case, Scan) else case.scan(0)
    reference = None if isinstance(case, Scan) else _reference(case)
    given: Any = scan if isinstance(case, Scan) or Task(metadata.task).per_pixel else case
    return Opened(model, metadata, scan, given, reference)


def _reference(study: Any) -> str | None:
    """The reference of the only row of a study, as text."""
    row = study.frame.iloc[0]
    if study.heads:
        return "; ".join(f"{name}: {row[name]}" for name in study.heads if str(row[name]))
    return str(row["label"]) if "label" in study.frame.columns and str(row["label"]) else None


def _with_doubt(result: Any, metadata: Any) -> Any:
    """With what holds the truth for 90% of new patients, where the validation part was large enough to say it."""
    from easydl.errors import ModelError
    from easydl.prediction import Predictions

    if not isinstance(result, Predictions) or any(name.endswith(("set", "low")) for name in result.frame.columns):
        return result
    try:
        return with_sets(result, metadata.training.get("conformal"), COVERAGE)
    except ModelError:
        return result


def _doubt(row: Any, start: str) -> list[str]:
    """What else the answer may be, and how far several answers differ, as sentences."""
    said = []
    if row.get("set"):
        several = " It cannot distinguish them here." if UNCERTAIN in row["set"] else ""
        said.append(
            f"what holds the right answer for {COVERAGE:.0%} of new patients: {row['set'].removeprefix(UNCERTAIN)}.{several}"
        )
    if "low" in row:
        ends = f"{_number(row['low'])} to {_number(row['high'])}"
        said.append(f"what holds the value for {COVERAGE:.0%} of new patients: {ends}.")
    if "spread" in row:
        said.append(f"the answers of the ensemble's members differ by {_number(row['spread'])} (standard deviation).")
    return [f"{start}{one}" if start else f"{one[0].upper()}{one[1:]}" for one in said]


def _of_the_image(predictions: Any, metadata: Any) -> _Shown:
    """The answer of a classifier, with what it was decided by."""
    from easydl.networks.decision import Threshold

    shown = _Shown("", notes=list(predictions.notes))
    answers, thresholds = [], {}
    for head in predictions.heads or [""]:
        one = predictions.head(head) if head else predictions
        start = f"{head}: " if head else ""
        row, own = one.frame.iloc[0], getattr(one, "thresholds", {})
        shown.doubt += _doubt(row, start)
        if "value" in row:
            answers.append(f"{start}{_number(row['value'])}")
            continue
        answers.append(f"{start}{row['prediction'] or 'none of the labels'}")
        shown.probabilities |= {start + name: round(float(row[f"p({name})"]), 4) for name in one.classes}
        yes_or_no = one.classes[1:] if len(one.classes) == 2 and one.task == "classification" else ()
        for name in one.classes if one.task == "multilabel" else yes_or_no:
            threshold = own.get(name) or Threshold(reason="not chosen on validation images")
            thresholds[start + name] = threshold.value
            shown.rules.append(f"{start}{name} is called from a score of {threshold.number} on{_chosen(threshold)}.")
    shown.answer = "; ".join(answers)
    shown.rules += [OF_SCORES] if shown.probabilities else []
    single = metadata.task == "classification" and len(thresholds) == 1
    shown.threshold = next(iter(thresholds.values())) if single else thresholds or None
    return shown


def _chosen(threshold: Any) -> str:
    """On how many a threshold was chosen, or why it was not, to stand behind it."""
    if threshold.n:
        return f", a threshold chosen on {threshold.n} validation {threshold.unit_of_n}"
    return f" ({threshold.reason})" if threshold.reason else ""


def _of_pixels(result: Any, folder: Path) -> _Shown:
    """A mask with the size of every structure, or an image."""
    sizes = result.sizes() if hasattr(result, "sizes") else {}
    listed = ", ".join(f"{name} {_number(size)} {unit}" for name, (size, unit) in sizes.items())
    shown = _Shown(listed or "an image made by the network", sizes=sizes, notes=list(result.notes))
    shown.rules += [OF_SIZES] if sizes else []
    name, figure = ("segmentation.png" if sizes else "image.png"), result.show()
    with replacing(folder / name) as draft:
        figure.savefig(draft, format="png", dpi=150)
    shown.figures_of_page[name] = figures.svg(figure)
    return shown


def _explained(shown: _Shown, model: Any, source: Any, folder: Path, **how: Any) -> None:
    """Add the heatmap of the answer, with its verdict."""
    from easydl.explanation import saliency

    heatmap = saliency(model, source, **how)
    path = heatmap.save(folder / "heatmap.png")
    shown.figures_of_page[path.name] = figures.png(path.read_bytes())
    if heatmap.verdict is not None:
        shown.verdict = {
            "level": heatmap.verdict.level,
            "word": heatmap.verdict.word,
            "sentence": heatmap.verdict.sentence,
            "words": heatmap.in_words(),
        }
    shown.notes += [note for note in heatmap.notes if note not in shown.notes]


def _page(shown: _Shown, reference: str | None, differences: list[str], metadata: Any) -> str:
    from easydl.reporting.page import environment

    likeness = metadata.training.get("likeness") or {}
    rows = [
        {"name": name, "score": _number(score), "width": round(100 * score, 1)}
        for name, score in shown.probabilities.items()
    ]
    sizes = [{"name": name, "size": f"{_number(size)} {unit}"} for name, (size, unit) in shown.sizes.items()]
    return environment().get_template("case.html.j2").render(
        research_use=RESEARCH_USE,
        shown=shown,
        reference=reference,
        unlike=differences,
        compared=likeness.get("n", 0),
        rows=rows,
        sizes=sizes,
        model=str(metadata.arguments.get("name") or "model"),
        trained_on=metadata.training.get("images"),
    )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"

"""`easydl.describe`: one case as sentences by a template, each with its number. It trains nothing and draws nothing."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.formatting import number, unit_of
from easydl.fileio import write_text
from easydl.networks.decision import Threshold
from easydl.option_model import documented
from easydl.options_of_use import DescribeOptions
from easydl.reporting.case_page import Opened, opened_case
from easydl.tasks import Task

TEMPLATE = "description.txt.j2"
NOT_CHOSEN = "not chosen on validation images"


@dataclass(frozen=True)
class Answer:
    """One answer of a model, as a template takes it.

    Attributes:
        sentence: All of it, with its number.
        name: The class, label, value or structure.
        kind: ``call`` (present or absent), ``class``, ``value`` or ``size``.
        number: Its number as text, with its unit.
        head: Of several tasks the one that it belongs to.
        score: 0 to 1; None for values and sizes.
        threshold: From which score on it is called; None where no threshold decides.
        chosen: How the threshold was chosen, as text.
        present: Whether it is called present; None where nothing is called.
    """

    sentence: str
    name: str
    kind: str
    number: str
    head: str = ""
    score: float | None = None
    threshold: float | None = None
    chosen: str = ""
    present: bool | None = None


@dataclass(frozen=True, repr=False)
class Description:
    """One case in words.

    Attributes:
        text: What the template made of the answers; the research-use sentence is always in it.
        answers: What it was made of.
        heatmap: The sentence on where the model looks; empty where no heatmap was asked for.
        notes: What must be known about the case.
    """

    text: str
    answers: tuple[Answer, ...]
    heatmap: str = ""
    notes: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each answer, each with its number."""
        return tuple(one.sentence for one in self.answers)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in self.text.splitlines() if line.strip())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        answers = [vars(one) for one in self.answers]
        said = {"text": self.text, "heatmap": self.heatmap, "notes": list(self.notes)}
        return {"research_use": RESEARCH_USE, **said, "answers": answers}

    def save(self, path: str | Path) -> Path:
        """Write the text, readable by you only (mode 0600), all or nothing. Returns the path."""
        return write_text(path, f"{self.text}\n", mode=0o600)


@documented(DescribeOptions)
def describe(
    model: Any,
    case: Any,
    *,
    covariates: Mapping[str, Any] | None = None,
    units: str = "auto",
    template: str | None = None,
    heatmap: bool = True,
    seed: int = 0,
) -> Description:
    """Describe one case in sentences, each with its number: the model's answers, its threshold, where it looks.

    The sentences are put together by a Jinja template, which may be your own: it gets ``answers`` (see
    `easydl.reporting.Answer`), ``heatmap``, ``notes``, ``reference``, ``sentences`` and ``research_use``. The name of a file
    or a patient is not among them.

    Args:
        model: A model of easydl for classes, labels, values, several tasks or masks, or its ``.keras`` file.
        case: One image, volume or series, as for `easydl.predict`; or a study of one row.
        covariates: As for `easydl.predict`.
        units: As for `easydl.predict`.
        {options}

    Returns:
        A `Description`: ``.text``, ``.sentences``, ``.save(path)``.

    Raises:
        InputError: Nothing readable there, more than one case, a template that cannot be used, or a model that makes images.
        ModelError: The model does not fit the image.

    Example:
        >>> easydl.describe(model, "case.dcm")  # doctest: +SKIP
        Effusion is called present: score 0.87, threshold 0.41, chosen on 124 validation patients for sensitivity 0.95.
    """
    DescribeOptions.checked(template=template, heatmap=heatmap, seed=seed)
    from easydl.prediction import predict

    used = _template(template)  # a template that cannot be used is said before the model is opened
    opened = opened_case(model, case, units)
    task = Task(opened.metadata.task)
    if task.makes_images:
        raise InputError(
            "The model makes an image.",
            "a model that says something about one.",
            "Use easydl.predict(model, case).show().",
        )
    result: Any = predict(opened.model, opened.given, covariates=covariates, units=units)
    answers = tuple(_sizes(result) if task.has_masks else _answers(result))
    where = _where(opened, covariates, seed) if heatmap and not task.has_masks else ""
    said = {"heatmap": where, "notes": list(result.notes), "reference": opened.reference or ""}
    text = _rendered(
        used, answers=answers, sentences=[one.sentence for one in answers], research_use=RESEARCH_USE, **said
    )
    return Description(text, answers, where, tuple(result.notes))


def _answers(predictions: Any) -> Iterator[Answer]:
    """The answers for the only row, of every head those of its own."""
    for head in predictions.heads or [""]:
        one = predictions.head(head) if head else predictions
        task, row = Task(one.task), one.frame.iloc[0]
        if task.is_value:
            unit = unit_of(one.classes[0])
            text = number(float(row["value"]), unit)
            yield Answer(f"{head or one.classes[0]} is estimated as {text}.", one.classes[0], "value", text, head)
        elif not task.exclusive or (len(one.classes) == 2 and not task.ordered):
            called = one.classes if not task.exclusive else one.classes[1:]
            yield from (_call(one, row, name, head) for name in called)
        else:
            yield _choice(one, row, head)


def _call(one: Any, row: Any, name: str, head: str) -> Answer:
    """Whether the positive of two classes, or a label, is called present."""
    from easydl.networks.decision import Decision

    score = float(row[f"p({name})"])
    threshold = one.thresholds.get(name) or Threshold(reason=NOT_CHOSEN)
    decision = Decision(Task(one.task), tuple(one.classes), one.thresholds)
    scores = row[[f"p({each})" for each in one.classes]].to_numpy(float)[None]
    place = one.classes.index(name)
    present = bool(
        decision.labels(scores)[0, place] if not decision.task.exclusive else decision.classes_of(scores)[0] == place
    )
    text, who = number(score), f"{head}: {name}" if head else name
    called = "present" if present else "absent"
    sentence = f"{who} is called {called}: score {text}, {threshold.text}."
    return Answer(sentence, name, "call", text, head, score, threshold.value, threshold.text, present)


def _choice(one: Any, row: Any, head: str) -> Answer:
    """The class of several, with the scores of all."""
    name = str(row["prediction"])
    score = float(row[f"p({name})"])
    others = ", ".join(f"{each} {number(float(row[f'p({each})']))}" for each in one.classes if each != name)
    rule = "the median of the ordered classes" if Task(one.task).ordered else "the highest score"
    sentence = f"{f'{head}: ' if head else ''}{name} is the answer: score {number(score)}, {rule} ({others})."
    return Answer(sentence, name, "class", number(score), head, score)


def _sizes(result: Any) -> Iterator[Answer]:
    for name, (size, unit) in result.sizes().items():
        if size:
            text = f"{size:,.0f} {unit}" if unit == "pixels" else number(size, unit)
            yield Answer(f"{name} measures {text}.", name, "size", text, present=True)
        else:
            yield Answer(f"{name} was not found (0 {unit}).", name, "size", f"0 {unit}", present=False)


def _where(opened: Opened, covariates: Mapping[str, Any] | None, seed: int) -> str:
    """What the heatmap of the model's own answer is worth, and where it lies."""
    from easydl.explanation import saliency

    heatmap = saliency(opened.model, opened.given, covariates=covariates, seed=seed)
    verdict = heatmap.verdict
    judged = f"{verdict.word}. {verdict.sentence}" if verdict is not None else "It was not tested."
    return f"Heatmap of {heatmap.prediction()}: {judged} Where it lies: {heatmap.in_words()}"


def _template(path: str | None) -> jinja2.Template:
    """The template of the package, or one of the user's own, which can run nothing."""
    loader = jinja2.PackageLoader("easydl.reporting") if path is None else None
    options: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = SandboxedEnvironment(loader=loader, **options)
    if path is None:
        return environment.get_template(TEMPLATE)
    try:
        return environment.from_string(Path(path).expanduser().read_text("utf-8"))
    except (OSError, UnicodeDecodeError, jinja2.TemplateError) as problem:
        raise _unusable(problem) from problem


def _rendered(template: jinja2.Template, **content: Any) -> str:
    try:
        text = template.render(**content).strip()
    except Exception as problem:  # whatever a template of somebody's own does wrong
        raise _unusable(problem) from problem
    return text if RESEARCH_USE in text else f"{text}\n{RESEARCH_USE}"


def _unusable(problem: Exception) -> InputError:
    return InputError(
        f"The template cannot be used: {str(problem).splitlines()[0] if str(problem) else type(problem).__name__}.",
        "a text file in UTF-8 in Jinja's language, such as {{ answers[0].sentence }}.",
        "Correct it, or leave template= (--template) out.",
    )

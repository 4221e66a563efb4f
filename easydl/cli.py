"""The command ``easydl``: the same words as in Python, a few lines each. All logic is in the functions they call."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from easydl.errors import RESEARCH_USE, EasyDLError, Stopped
from easydl.study_options import reads_a_study
from easydl.weights_commands import weights as weights_commands

app = typer.Typer(
    name="easydl", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help=f"Deep learning for clinicians: from a folder of scans to a trained, honestly tested, explained model.\n\n"
    f"{RESEARCH_USE}",
)  # fmt: skip
app.add_typer(weights_commands, name="weights")

Source = Annotated[str, typer.Argument(help="A table (CSV, Excel), a folder of class folders, or a folder of DICOM.")]
Model = Annotated[Path, typer.Argument(help="A model file (.keras) of easydl.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
Folder = Annotated[Path | None, typer.Option(help="The run folder; made in the workspace when not given.")]
Seed = Annotated[int, typer.Option(help="Fixes the split, the training and the intervals.")]
Told = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="For one image, what the model is told beside it: age=61; repeat it."),
]
Mirror = Annotated[bool, typer.Option("--mirror", help="Outlines: average over mirror images, if trained with them.")]
Largest = Annotated[bool, typer.Option("--largest-component", help="Outlines: only the largest piece of a structure.")]
Fill = Annotated[bool, typer.Option("--fill-holes", help="Outlines: fill background that a structure encloses.")]
Override = Annotated[
    str | None, typer.Option(help="A reason for going on in spite of a blocking trap (on the record).")
]


@app.command()
def demo(
    folder: Folder = None,
    seed: Seed = 7,
) -> None:
    """The whole way on a simulated study: make it, check, train, test, explain, report. About a minute, no network."""
    from easydl import runs

    target = folder or _new_folder("demo")
    _done(runs.demo(target, seed=seed, progress=typer.echo))


@app.command()
@reads_a_study
def train(
    source: Source,
    *,
    model: Annotated[str, typer.Option(help="A name from `easydl models`, or auto.")] = "auto",
    encoder: Annotated[
        str | None, typer.Option(help="Classifier from `easydl models` that a segmenter is built on.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from ImageNet weights.")] = False,
    weights: Annotated[
        str | None,
        typer.Option(help="Start from these instead: radimagenet, a file, a run folder or an https address."),
    ] = None,
    augment: Annotated[str, typer.Option(help="From `easydl presets`, auto or none; extras: auto+mixup.")] = "auto",
    epochs: Annotated[int | None, typer.Option(help="At most so many in each phase.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images (or patches) in a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak.")] = None,
    fine_tune: Annotated[
        bool | None, typer.Option(help="Whether pretrained weights are trained too; by default from 60 images on.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the network's input in pixels.")] = None,
    covariates: Annotated[
        list[str] | None, typer.Option(help="Column that the model is told beside the image, such as age; repeat it.")
    ] = None,
    window: Annotated[str | None, typer.Option(help="CT window by name: lung, bone, brain, ...")] = None,
    normalise: Annotated[str, typer.Option(help="MR values: percentile or z-score of each image.")] = "percentile",
    spacing_mm: Annotated[
        list[float] | None, typer.Option(help="Grid of a segmenter in mm; once for each axis, depth first.")
    ] = None,
    loss: Annotated[str, typer.Option(help="auto, or by name: focal, tversky, huber, ... (see easydl.fit).")] = "auto",
    study: dict[str, Any],
    split: Annotated[str | None, typer.Option(help="Column with a ready-made split.")] = None,
    seed: Seed = 0,
    heatmaps: Annotated[int, typer.Option(help="How many test images to explain.")] = 6,
    override: Override = None,
    folder: Folder = None,
) -> None:
    """Load, check, split by patient, train, test, explain and report, into one run folder."""
    from easydl import runs

    config = _config(
        source=source, model=model, encoder=encoder, pretrained=weights or pretrained, augment=augment, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, fine_tune="auto" if fine_tune is None else fine_tune, size=size,
        window=window, normalise=normalise, spacing_mm=spacing_mm or None, loss=loss, split=split, seed=seed, heatmaps=heatmaps,
        override=override, covariates=covariates or None, **study,
    )  # fmt: skip
    _done(runs.run(config, folder or _new_folder(model), progress=typer.echo))


@app.command()
def resume(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Go on with a run: a killed one trains on from its last checkpoint, a stopped one is tested as it is."""
    from easydl import runs

    (folder / "stop").unlink(missing_ok=True)
    _done(runs.run(runs.RunConfig.open(folder), folder, progress=typer.echo))


@app.command()
@reads_a_study
def evaluate(
    model: Model,
    source: Source,
    *,
    study: dict[str, Any],
    seed: Seed = 0,
    mirror: Mirror = False,
    largest_component: Largest = False,
    fill_holes: Fill = False,
    as_json: Json = False,
) -> None:
    """Test a model on a study it has not seen: every number with n and a 95% interval."""
    import easydl

    outlines = {"mirror": mirror, "largest_component": largest_component, "fill_holes": fill_holes}
    metrics = easydl.evaluate(easydl.load_model(model), easydl.load(source, **study), seed=seed, **outlines)
    words = "\n".join([metrics.table.to_string(index=False), *metrics.notes])
    _print(metrics.to_dict() if as_json else words, as_json)


@app.command()
def predict(
    model: Model,
    source: Annotated[str, typer.Argument(help="An image, a volume, a folder or a table.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="predictions.csv, or mask.nii.gz / mask.png.")
    ] = None,
    covariate: Told = None,
    mirror: Mirror = False,
    largest_component: Largest = False,
    fill_holes: Fill = False,
) -> None:
    """Apply a model: a table of probabilities or numbers, or a mask on the source grid."""
    import easydl

    outlines = {"mirror": mirror, "largest_component": largest_component, "fill_holes": fill_holes}
    found = easydl.predict(easydl.load_model(model), source, covariates=_told(covariate), **outlines)
    typer.echo(f"Written: {found.save(output)}" if output else _table(found))
    for note in getattr(found, "notes", ()):
        typer.echo(note)
    typer.echo(RESEARCH_USE)


@app.command()
def saliency(
    model: Model,
    source: Annotated[str, typer.Argument(help="An image or a volume.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")] = Path("heatmap.png"),
    method: Annotated[str, typer.Option(help="gradcam or occlusion.")] = "gradcam",
    target: Annotated[
        str | None, typer.Option(help="The class, finding or question to explain; the predicted class when not given.")
    ] = None,
    covariate: Told = None,
) -> None:
    """Show where a model looks, beside the original, with a verdict on whether to believe it."""
    import easydl

    heatmap = easydl.saliency(
        easydl.load_model(model), source, method=method, target=target, covariates=_told(covariate)
    )
    words = f"{heatmap.verdict.level}: {heatmap.verdict.sentence}\n" if heatmap.verdict else ""
    typer.echo(f"{words}Written: {heatmap.save(output)}\n{RESEARCH_USE}")


@app.command()
@reads_a_study
def audit(
    source: Source,
    *,
    study: dict[str, Any],
    as_json: Json = False,
) -> None:
    """Look for traps before training. Exit code 2 when one of them blocks."""
    import easydl

    found = easydl.audit(easydl.load(source, **study))
    _print(found.to_dict() if as_json else repr(found), as_json)
    if found.blocking:
        raise typer.Exit(2)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A folder, a table, an image, or folder#key of one series.")],
    as_json: Json = False,
) -> None:
    """Say what lies there: patients, series, images, and what is refused and why. Nothing is loaded or changed."""
    import easydl

    found = easydl.inspect(path)
    _print(found.to_dict() if as_json else found.text, as_json)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html of a run again."""
    import easydl

    typer.echo(easydl.report(folder))


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="A new folder for the study.")],
    kind: Annotated[str, typer.Option(help="slices or volumes.")] = "slices",
    patients: Annotated[int, typer.Option(help="How many.")] = 80,
    trap: Annotated[
        list[str] | None, typer.Option(help="scanner, sex, marker, same_patient or duplicates; repeatable.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Make a simulated CT study as DICOM files, with or without the classic traps."""
    import easydl

    typer.echo(easydl.simulate(folder, kind=kind, patients=patients, traps=tuple(trap or ()), seed=seed))


@app.command()
def deidentify(
    source: Annotated[Path, typer.Argument(help="A folder of DICOM files, or one file. It is never changed.")],
    output: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier run.")],
    dates: Annotated[str, typer.Option(help="shift or remove.")] = "shift",
    secret: Annotated[Path | None, typer.Option(help="The site's secret; in the easydl folder when not given.")] = None,
    release: Annotated[Path | None, typer.Option(help="Text file: quarantined files that a person looked at.")] = None,
    black_out: Annotated[
        tuple[int, int, int, int], typer.Option(help="Pixels to blacken at the top, bottom, left and right.")
    ] = (0, 0, 0, 0),
    keep_key: Annotated[
        bool, typer.Option("--keep-key", help="Keep original and new names beside the secret.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy DICOM images without identities; what a person must look at first goes into quarantine."""
    import easydl

    done = easydl.deidentify(
        source, output, dates=dates, secret=secret, release=release or (), black_out=black_out, keep_key=keep_key,
        progress=lambda words: typer.echo(words, err=True),
    )  # fmt: skip
    typer.echo(json.dumps(done.to_dict(), indent=1, default=str) if as_json else done.text)


@app.command(name="app")
def open_app(
    port: Annotated[int, typer.Option(help="Where it listens, on this computer only.")] = 8501,
    workspace: Annotated[Path | None, typer.Option(help="Where runs and uploads are kept.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Open the app in the browser."""
    from easydl.launch import launch

    raise typer.Exit(launch(port=port, workspace=workspace, open_browser=browser))


@app.command()
def models(
    kind: Annotated[str | None, typer.Option(help="classifier, segmenter or image_to_image.")] = None,
    dimension: Annotated[int | None, typer.Option(help="2 for images, 3 for volumes.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Weights from imagenet or radimagenet.")] = None,
    at_most_megabytes: Annotated[float | None, typer.Option(help="Size of the weights.")] = None,
    cost: Annotated[str | None, typer.Option(help="Time of a training step: light, medium or heavy.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks: size, cost, pretrained weights, paper."""
    import easydl

    found = easydl.models(
        kind=kind, dimension=dimension, pretrained=pretrained, at_most_megabytes=at_most_megabytes, cost=cost
    )
    _print(found.to_dict("records") if as_json else found.to_string(index=False), as_json)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the augmentation presets and their anatomy rules."""
    import easydl

    _print(easydl.presets().to_dict("records") if as_json else easydl.presets().to_string(index=False), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this computer has: versions, GPU, weights, and what to do about what is missing."""
    from easydl.machine import doctor as facts

    found = facts()
    lines = [f"{key}: {value}" for key, value in {**found["versions"], **found["folders"]}.items()]
    words = "\n".join([found["device"], *found["advice"], *lines])
    _print(found if as_json else words, as_json)


def main() -> None:
    """Run the command; whatever goes wrong becomes three plain lines and an exit code, never a traceback."""
    try:
        # Outside its standalone mode typer returns the code of typer.Exit instead of raising it.
        sys.exit(app(standalone_mode=False) or 0)
    except EasyDLError as problem:
        typer.echo(str(problem), err=True)
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt, Stopped):
        typer.echo("Stopped.", err=True)
        sys.exit(130)
    except Exception as problem:
        if hasattr(problem, "format_message"):
            typer.echo(f"{problem.format_message()}\nSee: easydl --help", err=True)
            sys.exit(2)
        _unknown(problem)


def _unknown(problem: Exception) -> None:
    import traceback

    from easydl.machine import workspace

    log = workspace() / "error.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(problem)), encoding="utf-8")
    typer.echo(
        f"Something went wrong that easydl does not know ({type(problem).__name__}).\n"
        f"What to do: please report it with the file {log}.", err=True,
    )  # fmt: skip
    sys.exit(1)


def _new_folder(model: str) -> Path:
    from easydl.machine import workspace
    from easydl.runs import new_folder

    return new_folder(workspace(), model)


def _config(**settings: Any) -> Any:
    from pydantic import ValidationError

    from easydl.runs.config import RunConfig, settings_error

    try:
        return RunConfig(**settings)
    except ValidationError as problem:
        raise settings_error(problem) from problem


def _told(texts: list[str] | None) -> dict[str, str] | None:
    from easydl.errors import InputError

    for text in texts or ():
        if not text.partition("=")[0].strip() or "=" not in text:
            raise InputError(
                f"--covariate {text!r} has no value.", "a name and its value.", "Write: --covariate age=61"
            )
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in texts or ())} or None


def _table(found: Any) -> str:
    return found.frame.to_string(index=False) if hasattr(found, "frame") else repr(found)


def _print(found: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=1, default=str))
    else:
        typer.echo(f"{found}\n{RESEARCH_USE}")


def _done(path: Path) -> None:
    typer.echo(f"Report: {path}\nOpen the app with: easydl app")

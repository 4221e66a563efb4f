"""The commands, a few lines each. All logic is in the functions they call."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from easydl.cli.arguments import (
    Addresses,
    Covariate,
    Model,
    Number,
    Source,
    Units,
    check_paths,
    covariates,
    workers_of,
)
from easydl.cli.checking import audit, inspect
from easydl.cli.comparing import compare, interval_width, learning_curve, tune
from easydl.cli.describing import describe, explain_as_tree, importance
from easydl.cli.exploring import ablation, explain, feature_maps, features, fragility, gallery, image_map, nearest
from easydl.cli.exporting import export
from easydl.cli.listing import doctor, ledger, models, presets, show
from easydl.cli.options import with_options
from easydl.cli.pretraining import pretrain
from easydl.cli.weights import Json, weights
from easydl.errors import RESEARCH_USE
from easydl.fileio import write_text
from easydl.options import LoadOptions
from easydl.options_of_planning import SimulationOptions
from easydl.options_of_training import DecisionOptions
from easydl.options_of_use import (
    CasesOptions,
    GroupOptions,
    PredictOptions,
    ReportOptions,
    SaliencyOptions,
    SegmentationOptions,
)
from easydl.runs import RunConfig

app = typer.Typer(
    name="easydl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=f"Deep learning for clinicians: from a folder of scans to a trained, honestly tested, explained model.\n\n"
    f"{RESEARCH_USE}",
)
app.add_typer(weights, name="weights")
for one in (
    inspect,
    audit,
    compare,
    tune,
    learning_curve,
    interval_width,
    features,
    gallery,
    image_map,
    nearest,
    feature_maps,
    explain,
    ablation,
    fragility,
    explain_as_tree,
    importance,
    describe,
    export,
    pretrain,
):
    app.command()(one)

Folder = Annotated[Path | None, typer.Option(help="The run folder; made in the workspace when not given.")]
Seed = Annotated[int, typer.Option(help="Fixes the split, the training and the intervals.")]


@app.command()
def demo(
    folder: Folder = None,
    seed: Seed = 7,
) -> None:
    """The whole way on a simulated study: make it, check, train, test, explain, report. Less than a minute on two cores, no network."""
    from easydl import runs

    target = folder or _new_folder("demo")
    _done(runs.demo(target, seed=seed, progress=typer.echo))


@app.command()
@with_options
def train(config: RunConfig, folder: Folder = None, workers: Addresses = None, worker: Number = None) -> None:
    """Load, check, split by patient, train, test, explain and report, into one run folder."""
    from easydl import runs

    team = workers_of(workers, worker)
    own = folder or (_new_folder(config.model) if team is None or team.is_first else Path())
    _done(runs.run(config, own, progress=typer.echo, workers=team))


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    train: Annotated[
        bool, typer.Option(help="Train on, if the training was stopped; otherwise its model is tested as it is.")
    ] = True,
    workers: Addresses = None,
    worker: Number = None,
) -> None:
    """Go on with a run that was killed, failed or was stopped: it trains on from its last checkpoint."""
    from easydl import runs

    (folder / "stop").unlink(missing_ok=True)
    team = workers_of(workers, worker)
    _done(runs.run(runs.RunConfig.open(folder), folder, train=train, progress=typer.echo, workers=team))


@app.command()
@with_options
def evaluate(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    groups: GroupOptions,
    masks: SegmentationOptions,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Test a model on a study it has not seen: every number with n and a 95% interval."""
    import easydl
    from easydl.evaluation.as_text import tables_text

    check_paths(model, source)
    study = easydl.load(source, **options.model_dump())
    given = {"seed": seed, "override": options.override, **groups.model_dump(), **masks.model_dump()}
    metrics = easydl.evaluate(easydl.load_model(model), study, **given)
    text = "\n".join([*metrics.warnings, tables_text(metrics), *metrics.notes])
    show(metrics.to_dict() if as_json else text, as_json)


@app.command()
@with_options
def accept(
    model: Model,
    cases: Annotated[str, typer.Argument(help="A hospital's own cases: a table, class folders, a folder of DICOM.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where the sheet is kept, one for each model; in the workspace when not given.")
    ] = None,
    *,
    options: LoadOptions,
    chosen: CasesOptions,
    as_json: Json = False,
) -> None:
    """Ask whether a model is ready for a hospital's own cases: alike, right, calibrated. Later calls add to the sheet."""
    import easydl
    from easydl.fileio import workspace

    check_paths(model, cases)
    given = {"override": options.override, **chosen.model_dump()}
    found = easydl.accept(model, easydl.load(cases, **options.model_dump()), **given)
    written = found.save(folder or found.folder_in(workspace()))
    show(found.to_dict() if as_json else f"{found}\nWritten: {written}", as_json)


@app.command()
@with_options
def operating_point(
    model: Model,
    source: Source,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The model file to write; the old one stays.")],
    options: LoadOptions,
    aim: DecisionOptions,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Choose from which probability on a class is called, on cases the model was not trained on, and write a new model file."""
    import easydl
    from easydl.evaluation.as_text import tables_text

    check_paths(model, source)
    network = easydl.load_model(model)
    metrics = easydl.operating_point(
        network, easydl.load(source, **options.model_dump()), **aim.model_dump(), seed=seed
    )
    easydl.save_model(network, output)
    text = "\n".join([*metrics.warnings, *metrics.notes, tables_text(metrics), f"Written: {output}"])
    show(metrics.to_dict() if as_json else text, as_json)


@app.command()
@with_options
def predict(
    model: Model,
    source: Annotated[str, typer.Argument(help="An image, a volume, a folder or a table.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="predictions.csv, or mask.nii.gz / mask.png.")
    ] = None,
    *,
    answers: PredictOptions,
    covariate: Covariate = None,
    units: Units = "auto",
    most_useful: Annotated[
        int | None,
        typer.Option(
            "--most-useful",
            min=1,
            metavar="N",
            help="Instead of all answers: the N images to label next, one of each patient.",
        ),
    ] = None,
    page: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a page about one case here.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Write a page about one case, and show it.")] = False,
) -> None:
    """Apply a model: a table of probabilities or values, a mask on the source grid, or a page about one case."""
    import easydl

    check_paths(model, source)
    if page or open_page:
        given = {"covariates": covariates(covariate), "units": units, **answers.model_dump()}
        _show_case(model, source, page, open_page, **given)
        return
    chosen, temporary = answers.model_dump(), None
    if answers.processes > 1 and answers.parts is None and output is not None:
        temporary = chosen["parts"] = f"{output}.parts"
    prediction = easydl.predict(
        easydl.load_model(model), source, covariates=covariates(covariate), units=units, **chosen
    )
    # What speaks against the answers is read before them.
    for note in getattr(prediction, "notes", ()):
        typer.echo(note)
    if most_useful is not None:
        typer.echo(_to_label(prediction, most_useful, output))
    else:
        typer.echo(f"Written: {prediction.save(output)}" if output else _table(prediction))
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    typer.echo(RESEARCH_USE)


@app.command()
@with_options
def saliency(
    model: Model,
    source: Annotated[str, typer.Argument(help="An image or a volume.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The image file to write.")] = Path("heatmap.png"),
    *,
    how: SaliencyOptions,
    target: Annotated[
        str | None, typer.Option(help="The class, label or task to explain; the predicted class when not given.")
    ] = None,
    covariate: Covariate = None,
    units: Units = "auto",
) -> None:
    """Show where a model looks, next to the original, with a verdict on whether to believe it."""
    import easydl

    check_paths(model, source)
    network, given = easydl.load_model(model), covariates(covariate)
    heatmap = easydl.saliency(network, source, target=target, covariates=given, units=units, **how.model_dump())
    verdict = f"{heatmap.verdict.word}: {heatmap.verdict.sentence}\n" if heatmap.verdict else ""
    typer.echo(f"{verdict}Written: {heatmap.save(output)}\n{RESEARCH_USE}")


@app.command()
@with_options
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file: .html, or .md for a list.")] = None,
    notebook: Annotated[Path | None, typer.Option(help="Also write the run's lines of Python: run.ipynb.")] = None,
    *,
    options: ReportOptions,
) -> None:
    """Write report.html of a run again, or a reporting checklist filled from it."""
    import easydl
    from easydl.reporting import RunRecord
    from easydl.reporting.checklist import checklist

    written = easydl.report(folder, output, **options.model_dump())
    name = options.checklist
    typer.echo(written if name is None else f"{written} ({checklist(RunRecord(folder), name).summary.rstrip('.')})")
    if notebook is not None:
        typer.echo(write_text(notebook, RunRecord(folder).notebook))


@app.command()
@with_options
def simulate(
    folder: Annotated[Path, typer.Argument(help="A new folder for the study.")],
    options: SimulationOptions,
    unseal: Annotated[bool, typer.Option("--unseal", help="Simulate nothing: say what is planted in FOLDER.")] = False,
) -> None:
    """Make a simulated study (chest CT or pelvis MR) as DICOM files, with or without the classic traps."""
    import easydl
    from easydl import simulation

    typer.echo(simulation.unseal(folder) if unseal else easydl.simulate(folder, **options.model_dump()))


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
    hold_all: Annotated[
        bool, typer.Option("--hold-all", help="Put everything into quarantine: a person looks at each image.")
    ] = False,
    keep_safe_private: Annotated[
        bool, typer.Option("--keep-safe-private", help="Keep private numbers the standard calls safe (SUV factor).")
    ] = False,
    keep_key: Annotated[
        bool, typer.Option("--keep-key", help="Keep original and new names next to the secret.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy DICOM images without identities; what a person must look at first goes into quarantine."""
    import easydl

    options: dict[str, Any] = {"dates": dates, "secret": secret, "black_out": black_out, "keep_key": keep_key}
    options |= {"hold_all": hold_all, "keep_safe_private": keep_safe_private}
    progress = partial(typer.echo, err=True)
    result = easydl.deidentify(source, output, release=release or (), progress=progress, **options)
    typer.echo(json.dumps(result.to_dict(), indent=1, default=str) if as_json else result.text)


@app.command(name="app")
def open_app(
    port: Annotated[int, typer.Option(help="Where it listens, on this computer only.")] = 8501,
    workspace: Annotated[Path | None, typer.Option(help="Where runs and uploads are kept.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Open the app in the browser."""
    from easydl.launch import launch

    raise typer.Exit(launch(port=port, workspace=workspace, open_browser=browser))


for one in (models, presets, doctor, ledger):
    app.command()(one)


def _new_folder(model: str) -> Path:
    from easydl.fileio import workspace
    from easydl.runs import new_folder

    return new_folder(workspace(), model)


def _show_case(model: Path, source: str, page: Path | None, browser: bool, **options: Any) -> None:
    """Write the page of one case; its path is printed in any case, for a computer may have no display."""
    import tempfile
    import webbrowser

    from easydl.reporting.case_page import case_page

    written = case_page(model, source, page or tempfile.mkdtemp(prefix="easydl_case_"), **options).resolve()
    typer.echo(f"Written: {written}\n{RESEARCH_USE}")
    if browser and not webbrowser.open(written.as_uri()):
        typer.echo("No browser could be opened here: open that file in one.")


def _to_label(prediction: Any, count: int, output: Path | None) -> str:
    """Write or show which images to label next."""
    from easydl.prediction.results import of_a_pool, save_table

    chosen = of_a_pool(prediction).most_useful(count)
    return f"Written: {save_table(chosen, output)}" if output else chosen.to_string(index=False)


def _table(prediction: Any) -> str:
    return prediction.frame.to_string(index=False) if hasattr(prediction, "frame") else repr(prediction)


def _done(path: Path | None) -> None:
    if path is not None:  # the first of several workers has it
        typer.echo(f"Report: {path}\nOpen the app with: easydl app")

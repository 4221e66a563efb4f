"""Train: the settings, the one button, and the run as it goes. The work is done by another process."""

from __future__ import annotations

from typing import Any

import streamlit as st
from comparing import compare_first
from option_widgets import chosen, option_widget, widgets
from shared import (
    addresses,
    current_entry,
    current_run,
    current_study,
    duration,
    guarded,
    heading,
    needs,
    page,
    plain,
    recall,
    remember,
    show_curves,
    show_error,
    workspace,
)

import easydl
from easydl.networks.registry import SOURCES, STEP_CLASSES
from easydl.reporting import RunRecord, progress
from easydl.studies import Study
from easydl.tasks import Task
from easydl.workspace import KINDS, Choice, choices, encoders, pace, pretrained
from easydl.workspace.choices import EPOCHS

MORE_OPTIONS = (
    "batch_size", "learning_rate", "optimizer", "metrics", "class_weight", "window", "normalise", "loss", "size", "heatmaps",
    "activation", "members", "sensitivity", "specificity", "cost", "confidence", "calibrate",
)  # fmt: skip
OF_MASKS = ("spacing_mm", "full_resolution")
OF_CLASSIFIERS = ("strategy", "fine_tune", "head", "stochastic_depth", "teacher", "unlabelled")
DOES = {"classifier": "classifies", "segmenter": "segments", "image_to_image": "image to image"}
FOR = {2: "images (2D)", 3: "volumes (3D)"}
MOST = ", ".join(f"{name} is up to {most:g} times MobileNetV2's step" for name, most in STEP_CLASSES[:-1])
EVERY_SECONDS = 2
PATIENCE_SECONDS = 20
WEIGHTS = {
    "here": "The weights are on this computer.",
    "download": "The weights ({megabytes:.0f} MB) are not on this computer. The run fetches them once from the "
    "network; if it cannot, it stops and says so.",
    "none": "There are no pretrained weights for this model; it starts from random weights.",
}


def settings_form() -> None:
    """What is trained, how, and the button."""
    entry, study = current_entry(), current_study()
    if entry is None or study is None:
        needs("No study is open.", "data")
        return
    who = f"{study.n_patients} patients" if study.patients_known else "patients who are not known"
    st.markdown(f"Study: **{plain(entry.name)}**, {len(study)} images of {who}")
    fitting = {choice.name: choice for choice in choices(study, pace=pace(workspace().runs.all()))}
    kind = KINDS.get(entry.shows)
    usual = {"augment": kind.preset, "window": kind.window} if kind else {}
    kept = usual | st.session_state.get("settings", {})
    large = st.toggle(
        "Large networks too",
        value=kept.get("model") in fitting and not fitting[kept["model"]].small,
        help="Networks that train for hours without a graphics card. Small studies seldom gain from them.",
    )
    names = [name for name, choice in fitting.items() if choice.small or large]
    given: dict[str, Any] = {
        "model": option_widget(
            "model",
            choices=names,
            value=kept.get("model"),
            format_func=lambda name: f"{name}: {fitting[name].sentence}",
        )
    }
    lenders = {choice.name: choice for choice in encoders(study, given["model"]) if choice.small or large}
    if lenders:
        given["encoder"] = option_widget(
            "encoder",
            choices=[None, *lenders],
            value=kept.get("encoder"),
            format_func=lambda name: f"{name}: {lenders[name].sentence}" if name else "its own, from random weights",
        )
    start = lenders[given["encoder"]] if given.get("encoder") else fitting[given["model"]]
    st.caption(f"The times are for {EPOCHS} epochs on the processor; a graphics card is faster.")
    if start.advice:
        st.caption(start.advice)
    with st.form("settings-form"):
        if kind:
            st.caption(f"Set for {kind.title}, as you said on the page Data.")
        given |= main_options(study, start, kept)
        with st.expander("More options"):
            more = OF_MASKS if Task(study.task).has_masks else OF_CLASSIFIERS
            given |= widgets((*MORE_OPTIONS, *more), kept)
            given |= widgets(("by",), kept, columns=list(study.summary.covariates))
            given["prevalence"] = option_widget(
                "prevalence", value=kept.get("prevalence"), placeholder="as in the test", by_name=len(study.classes) > 2
            )
        reason = blocked()
        pressed = st.form_submit_button("Train", type="primary", disabled=bool(reason))
    if reason:
        st.caption(reason)
    compare_first(entry, study, fitting, names)
    catalogue()
    if pressed:
        settings = chosen(given)
        if settings["pretrained"] is True:
            settings["pretrained"] = pretrained(start.name, kind)
        st.session_state["settings"] = settings
        st.session_state["split"] = split = st.session_state.get("split", {}) | {"seed": settings["seed"]}
        override = st.session_state.get("override") or None
        folder = workspace().runs.start(entry, **split | settings, override=override)
        remember("run", folder.name)
        st.rerun()


def main_options(study: Study, start: Choice, kept: dict[str, Any]) -> dict[str, Any]:
    """The options that most people look at."""
    presets = easydl.presets(study)
    purposes = dict(zip(presets["name"], presets["for what"], strict=True))
    extras = list(presets.query("kind == 'extra'")["name"])
    kept_preset, *kept_extras = str(kept.get("augment", "auto")).split("+")
    left, right = st.columns(2, gap="large")
    preset = option_widget(
        "augment",
        left,
        choices=["auto", *presets.query("kind == 'preset'")["name"]],
        value=kept_preset,
        format_func=lambda name: f"{name}: {purposes.get(name, 'chosen from the images')}",
    )
    added = left.multiselect(
        "Extras",
        extras,
        default=[name for name in kept_extras if name in extras],
        disabled=not extras,
        placeholder="none" if extras else "none works with these images",
        format_func=lambda name: purposes[name],
        help="General augmentations of deep learning that know no anatomy. They can help large networks on few images; "
        "leave them out where the label depends on a small structure.",
    )
    given = {"augment": "+".join([preset, *added])}
    given["epochs"] = option_widget("epochs", right, value=kept.get("epochs"))
    given["seed"] = option_widget("seed", right, value=st.session_state.get("split", {}).get("seed", 7))
    none = start.weights == "none"
    wanted = not none and kept.get("pretrained", start.weights == "here")
    given["pretrained"] = option_widget("pretrained", left, value=wanted, disabled=none)
    left.caption(WEIGHTS[start.weights].format(megabytes=start.megabytes))
    offered = [] if Task(study.task).has_masks else list(study.summary.covariates)
    given["covariates"] = option_widget(
        "covariates",
        right,
        choices=offered,
        value=kept.get("covariates"),
        disabled=not offered,
        placeholder="none" if offered else "no column of the table can be used",
    )
    return given


def catalogue() -> None:
    """Every network that easydl knows, with the filters of the command `easydl models`."""
    with st.expander("All networks, with their size, cost and paper"):
        kind, dimension, weights, cost, size = st.columns(5)
        found = easydl.models(
            kind=kind.selectbox("Kind", [None, *DOES], format_func=lambda name: DOES.get(name, "any")),
            dimension=dimension.selectbox("For", [None, *FOR], format_func=lambda sides: FOR.get(sides, "either")),
            pretrained=weights.selectbox(
                "Pretrained weights", [None, True, *SOURCES],
                format_func=lambda source: {None: "with or without", True: "from any source"}.get(source, source),
            ),
            cost=cost.selectbox(
                "Training step", [None, *(name for name, _ in STEP_CLASSES)], format_func=lambda name: name or "any",
                help=f"Measured on a processor: {MOST}.",
            ),
            at_most_megabytes=size.number_input(
                "Largest weights, MB", min_value=0.1, value=None, placeholder="any"
            ),
        )  # fmt: skip
        columns = st.column_config
        st.dataframe(
            found, hide_index=True,
            column_config={
                "name": "Network", "kind": "Kind", "dimension": "Dimension",
                "parameters": columns.NumberColumn("Parameters", format="compact"),
                "megabytes": columns.NumberColumn("Weights, MB", format="%.1f"),
                "gflops": columns.NumberColumn("Operations, 10⁹", format="%.2f"),
                "step": "Training step", "pretrained": columns.TextColumn("Weights from", width="medium"),
                "paper": "Paper",
            },
        )  # fmt: skip
        st.caption(f"{len(found)} networks. Image-to-image models are trained in Python, with easydl.image_to_image.")


def blocked() -> str:
    """Why training cannot begin, or nothing. A run looks for the traps again, whether or not Check was visited."""
    audited = st.session_state.get("audited")
    if audited and audited[-1].blocking and not st.session_state.get("override"):
        return "Something blocks: remove it, or give a reason in writing, on the page Check."
    return ""


@st.fragment(run_every=EVERY_SECONDS)
def watch(run_id: str) -> None:
    """The run as it goes, read again every two seconds."""
    with guarded("Train"):
        recall()
        run = workspace().runs.one(run_id)
        if not run.running:
            st.rerun()
        st.progress(run.progress, text=f"**{plain(run.sentence)}**")
        times = []
        passed, left = progress.seconds(run.status), progress.seconds_left(run.status)
        if passed is not None:
            times.append(f"{duration(passed)} so far")
        if left is not None:
            times.append(f"about {duration(left)} of training left")
        st.caption(", ".join(times) or "Starting; this takes some seconds.")
        show_curves(run)
        stop_button(run)
        st.caption(
            "The training runs in a separate process. You may close or refresh this page; this address finds it again."
        )


def stop_button(run: RunRecord) -> None:
    """Stop, which keeps the best model so far."""
    waited = run.stopping_seconds
    if st.button("Stop", icon=":material/stop_circle:", disabled=waited is not None):
        workspace().runs.stop(run.id)
        waited = 0.0
    if waited is not None:
        st.caption("Stopping after the present step. The best model so far is kept.")
    if waited is not None and waited > PATIENCE_SECONDS and st.button("End it now"):
        workspace().runs.end(run.id)


def show_run(run: RunRecord) -> None:
    """A run that has ended, or its live view."""
    st.subheader(plain(run.title), anchor=False)
    if run.running:
        watch(run.id)
        return
    state, status = run.status["state"], run.status
    if state == "finished" and run.warnings:
        st.warning(f"**Finished. {plain(' '.join(run.warnings))}**", icon=":material/warning:")
    elif state == "finished":
        st.success("Finished: trained, tested and explained.", icon=":material/check_circle:")
    elif state == "stopped":
        st.info(f"Stopped by you after epoch {status.get('epoch') or 0}.", icon=":material/stop_circle:")
    elif state == "failed":
        error = status.get("error") or {}
        show_error(
            error.get("found") or "The training failed.",
            error.get("expected") or "a training that runs to its end.",
            error.get("do") or f"The details are in {run.folder / 'log.txt'}.",
        )
    else:
        st.warning(
            "Interrupted: the process ended before the training did (the computer was switched off or ran out of "
            "memory, or the process was ended). What it has learnt so far is kept.",
            icon=":material/power_off:",
        )
    if state != "finished":
        if st.button("Go on from where it ended"):
            workspace().runs.resume(run.id)
            st.rerun()
        if run.file("model.keras") is not None and st.button("Test and explain the model as it is"):
            workspace().runs.resume(run.id, train=False)
            st.rerun()
    if not run.history.empty:
        show_curves(run)
    if run.metrics is not None and st.button("Continue to Results", type="primary"):
        st.switch_page(page("results"), query_params=addresses())


heading("train", "Choose the settings and press Train. The work goes on in the background; this page watches.")
run = current_run() or next((run for run in workspace().runs.all() if run.running), None)
if run is None:
    settings_form()
else:
    remember("run", run.id)
    show_run(run)
    if not run.running and st.button("Train another model"):
        remember("run", None)
        st.rerun()

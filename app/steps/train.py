"""Train: the settings, the one button, and the run as it goes. The work is done by another process."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from easydl_app_parts import (
    addresses,
    current_entry,
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
from easydl.workspace import RunView, choices, encoders

KINDS = {"classifier": "tells classes apart", "segmenter": "outlines", "image_to_image": "makes images"}
FOR = {2: "images (2D)", 3: "volumes (3D)"}
MOST = ", ".join(f"{word} is up to {most:g} times MobileNetV2's step" for word, most in STEP_CLASSES[:-1])
EVERY_SECONDS = 2
PATIENCE_SECONDS = 20
WEIGHTS = {
    "here": "The weights are on this computer.",
    "download": "The weights ({megabytes:.0f} MB) are not on this computer. The run fetches them once from the "
    "network; if it cannot, it stops and says so.",
    "none": "There are no pretrained weights for this model; it starts from random numbers.",
}


def settings_form() -> None:
    """What is trained, how, and the button."""
    entry, study = current_entry(), current_study()
    if entry is None or study is None:
        needs("No study is open.", "data")
        return
    who = f"{study.n_patients} patients" if study.patients_known else "patients who are not known"
    st.markdown(f"Study: **{plain(entry.name)}**, {len(study)} images of {who}")
    fitting = {choice.name: choice for choice in choices(study)}
    presets = easydl.presets(study)
    purposes = dict(zip(presets["name"], presets["for what"], strict=True))
    presets_named = ["auto", *presets.query("kind == 'preset'")["name"]]
    extras = list(presets.query("kind == 'extra'")["name"])
    kept = st.session_state.get("settings", {})
    kept_preset, *kept_extras = str(kept.get("augment", "auto")).split("+")
    large = st.toggle(
        "Large networks too", value=bool(kept.get("model")) and not fitting[kept["model"]].small
        if kept.get("model") in fitting else False,
        help="Networks that train for hours without a graphics card. Small studies seldom gain from them.",
    )  # fmt: skip
    names = [name for name, choice in fitting.items() if choice.small or large]
    model = st.selectbox(
        "Model", names, index=position(names, kept.get("model")),
        format_func=lambda name: f"{name}: {fitting[name].sentence}",
    )  # fmt: skip
    lenders = {choice.name: choice for choice in encoders(study, model) if choice.small or large}
    encoder = None
    if lenders:
        encoder = st.selectbox(
            "Encoder", [None, *lenders], index=position([None, *lenders], kept.get("encoder")),
            format_func=lambda name: f"{name}: {lenders[name].sentence}" if name else "its own, from random numbers",
            help="The network's way down can be that of a classifier, which brings pretrained weights.",
        )  # fmt: skip
    start = lenders[encoder] if encoder else fitting[model]
    if start.advice:
        st.caption(start.advice)
    weights, megabytes = start.weights, start.megabytes
    with st.form("settings-form"):
        left, right = st.columns(2, gap="large")
        preset = left.selectbox(
            "Augmentation", presets_named, index=position(presets_named, kept_preset),
            format_func=lambda name: f"{name}: {purposes.get(name, 'chosen from the images')}",
            help="How training images are varied, within what anatomy allows: a chest film is never mirrored.",
        )  # fmt: skip
        added = left.multiselect(
            "Extras", extras, default=[name for name in kept_extras if name in extras], disabled=not extras,
            placeholder="none" if extras else "none works with these images", format_func=lambda name: purposes[name],
            help="General tricks of deep learning that know no anatomy. They can help large networks on few images; "
            "leave them out where the label hangs on a small finding.",
        )  # fmt: skip
        epochs = right.number_input(
            "Epochs, at most", min_value=1, max_value=500, value=kept.get("epochs"),
            placeholder="chosen from the images",
            help="How often the model sees every training image. It stops earlier when it no longer gets better on "
            "the validation patients.",
        )  # fmt: skip
        seed = right.number_input(
            "Seed", min_value=0, max_value=2**31 - 1, value=st.session_state.get("seed", 7),
            help="The same seed gives the same split, and on the same computer the same model.",
        )  # fmt: skip
        pretrained = left.toggle(
            "Start from pretrained weights", disabled=weights == "none",
            value=weights != "none" and kept.get("pretrained", weights == "here"),
            help="Weights learnt from photographs (ImageNet). With few images they usually help.",
        )  # fmt: skip
        left.caption(WEIGHTS[weights].format(megabytes=megabytes))
        offered = [] if study.task == "segmentation" else list(study.summary.covariates)
        beside = right.multiselect(
            "Told beside the image", offered, default=[name for name in kept.get("covariates", []) if name in offered],
            disabled=not offered, placeholder="nothing" if offered else "no column of the table can be used",
            help="Columns of the table, such as age and sex, that the model learns from as well. Then they have to be "
            "known for a new image, too.",
        )  # fmt: skip
        reason = blocked()
        pressed = st.form_submit_button("Train", type="primary", disabled=bool(reason))
    if reason:
        st.caption(reason)
    catalogue()
    if pressed:
        settings = {
            "model": model,
            "encoder": encoder,
            "epochs": epochs,
            "pretrained": pretrained,
            "covariates": beside,
        }
        settings["augment"] = "+".join([preset, *added])
        st.session_state["settings"], st.session_state["seed"] = dict(settings), int(seed)
        override = st.session_state.get("override") or None
        settings |= {"covariates": beside or None}
        folder = workspace().runs.start(entry, **settings, seed=int(seed), override=override)
        remember("run", folder.name)
        st.rerun()


def catalogue() -> None:
    """Every network that easydl knows, with the filters of the command `easydl models`."""
    with st.expander("All networks, with their size, cost and paper"):
        kind, dimension, weights, cost, size = st.columns(5)
        found = easydl.models(
            kind=kind.selectbox("What it does", [None, *KINDS], format_func=lambda one: KINDS.get(one, "anything")),
            dimension=dimension.selectbox("For", [None, *FOR], format_func=lambda one: FOR.get(one, "either")),
            pretrained=weights.selectbox(
                "Pretrained weights", [None, True, *SOURCES],
                format_func=lambda one: {None: "with or without", True: "from anywhere"}.get(one, one),
            ),
            cost=cost.selectbox(
                "Training step", [None, *(word for word, _ in STEP_CLASSES)], format_func=lambda one: one or "any",
                help=f"Measured on a processor: {MOST}.",
            ),
            at_most_megabytes=size.number_input(
                "Weights, at most MB", min_value=0.1, value=None, placeholder="any"
            ),
        )  # fmt: skip
        columns = st.column_config
        st.dataframe(
            found, hide_index=True,
            column_config={
                "name": "Network", "kind": "Makes", "dimension": "Dimension",
                "parameters": columns.NumberColumn("Parameters", format="compact"),
                "megabytes": columns.NumberColumn("Weights, MB", format="%.1f"),
                "gflops": columns.NumberColumn("Operations, 10⁹", format="%.2f"),
                "step": "Training step", "pretrained": columns.TextColumn("Weights from", width="medium"),
                "paper": "Paper",
            },
        )  # fmt: skip
        st.caption(
            f"{len(found)} networks. Those that make images (translators) are trained in Python, with easydl.image_to_image."
        )


def blocked() -> str:
    """Why training cannot begin, or nothing. A run looks for the traps again, whether or not Check was visited."""
    audited = st.session_state.get("audited")
    if audited and audited[-1].blocking and not st.session_state.get("override"):
        return "Something blocks: remove it, or give a reason in writing, on the page Check."
    return ""


def position(options: Sequence[str | None], wanted: object) -> int:
    """Where an option stands, or the first."""
    return options.index(wanted) if wanted in options else 0


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
        if run.seconds is not None:
            times.append(f"{duration(run.seconds)} so far")
        if run.seconds_left is not None:
            times.append(f"about {duration(run.seconds_left)} of training left")
        st.caption(", ".join(times) or "Starting; this takes some seconds.")
        show_curves(run)
        stop_button(run)
        st.caption(
            "The training is a process of its own. You may close or refresh this page; this address finds it again."
        )


def stop_button(run: RunView) -> None:
    """Stop, which keeps the best model so far."""
    waited = run.stopping_seconds
    if st.button("Stop", icon=":material/stop_circle:", disabled=waited is not None):
        workspace().runs.stop(run.id)
        waited = 0.0
    if waited is not None:
        st.caption("Stopping after the present step. The best model so far is kept.")
    if waited is not None and waited > PATIENCE_SECONDS and st.button("End it now"):
        workspace().runs.end(run.id)


def show_run(run: RunView) -> None:
    """A run that has ended, or its live view."""
    st.subheader(plain(run.title), anchor=False)
    if run.running:
        watch(run.id)
        return
    state, status = run.status["state"], run.status
    if state == "finished":
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
            "memory, or the process was ended). What was learnt so far is kept.",
            icon=":material/power_off:",
        )
    if state != "finished":
        has_model = run.file("model.keras") is not None
        if st.button("Test and explain the model as it is" if has_model else "Go on from where it ended"):
            workspace().runs.resume(run.id)
            st.rerun()
    if not run.history.empty:
        show_curves(run)
    if run.metrics is not None and st.button("Continue to Results", type="primary"):
        st.switch_page(page("results"), query_params=addresses())


heading("train", "Choose the settings and press Train. The work goes on in the background; this page watches.")
runs = workspace().runs.all()
chosen = next((run for run in runs if run.id == st.session_state.get("run")), None)
run = chosen or next((run for run in runs if run.running), None)
if run is None:
    settings_form()
else:
    remember("run", run.id)
    show_run(run)
    if not run.running and st.button("Train another model"):
        remember("run", None)
        st.rerun()

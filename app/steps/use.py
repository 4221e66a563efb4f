"""Use on a new case: the model's answer, and whether the case is like those it learnt from; or on many: is it ready here?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st
from arriving import arrived_files, files_place
from nearest_images import ABOUT, show_nearest
from shared import (
    choose_run,
    duration,
    guarded,
    heading,
    needs,
    plain,
    recall,
    remember,
    show_error,
    show_figure,
    show_table,
    show_verdict,
    workspace,
)

from easydl import option_text
from easydl.options_of_use import SaliencyOptions
from easydl.reporting.text import many
from easydl.workspace import Case

EVERY_SECONDS = 1


def choose_model() -> Path | None:
    """A model file that was typed, else that of a run; None when there is none."""
    with st.expander("A model file from elsewhere"):
        typed = st.text_input("Model file", placeholder="/home/me/models/chest.keras", key="model-file")
    if typed.strip():
        return workspace().cases.model(typed)
    run = choose_run()
    if run is None:
        return None
    model = run.file("model.keras")
    if model is None:
        state = "It is still in progress." if run.running else "It ended before a model was kept."
        needs(f"This run has no model to use. {state}", "train")
    return model


def ask(model: Path) -> None:
    """Where the case's files are dropped; the work begins at once."""
    turn = st.session_state.get("case-turn", 0)
    option = SaliencyOptions.model_fields["method"]
    method = st.selectbox(
        option_text.title("method", option), option_text.choices(option), help=option_text.help_text(option), width=320
    )
    arrived = files_place(f"case-{turn}", "One image, or all files of one series (or a zip of them)")
    st.caption("The files are copied into the workspace on this computer, and deleted with the case.")
    if arrived:
        st.session_state["case-turn"] = turn + 1  # an empty place afterwards
        with st.spinner("Keeping the files"), arrived_files(arrived) as files:
            case = workspace().cases.begin(model, files, method=method)
        remember("case", case.id)
        st.rerun()
    ended = [case for case in workspace().cases.all() if case.state != "running"]
    if ended and st.button(f"Delete earlier cases ({len(ended)})", type="tertiary", icon=":material/delete:"):
        for case in ended:
            workspace().cases.remove(case.id)
        st.rerun()


def ask_about_many(model: Path) -> None:
    """Whether the model is ready for the cases of a study of the workspace."""
    entries = {entry.id: entry for entry in workspace().studies.all() if entry.source}
    st.markdown(
        "Cases of your own hospital, best with labels: do they look like the training images, do the numbers hold, and "
        "which cases should somebody look at?"
    )
    if not entries:
        needs("No study has been opened yet. Your cases are opened like any study.", "data")
        return
    chosen = st.selectbox("Our cases", list(entries), format_func=lambda one: entries[one].name, width=520)
    if st.button("Is the model ready for these cases?", icon=":material/rule:"):
        case = workspace().cases.accept(model, chosen)
        remember("case", case.id)
        st.rerun()
    count = st.number_input(
        "Images to label next", min_value=1, max_value=1000, value=20, width=320,
        help="Those of which the model is unsure and that are unlike each other, one of each patient. For images without labels, and "
        "never for a test part.",
    )  # fmt: skip
    if st.button("Which images to label next?", icon=":material/playlist_add_check:"):
        case = workspace().cases.label_next(model, chosen, int(count))
        remember("case", case.id)
        st.rerun()
    st.caption(
        "Other cases are opened on the page Data. Each call counts as a look at these cases and adds to the sheet."
    )


def show_to_label(case: Case) -> None:
    """Which images to label next, and the list to take away."""
    rows = case.to_label
    assert rows is not None
    st.subheader(f"{many(len(rows), 'image')} to label next", anchor=False)
    for note in case.notes:
        st.markdown(plain(note))
    if rows.empty:
        st.info("The model has seen all of these patients in its training.", icon=":material/info:")
        return
    show_table(rows, "The images to label next")
    if case.list_to_label is not None:
        st.download_button(
            "Download the list",
            data=partial(case.list_to_label.open, "rb"),
            file_name="to_label.csv",
            mime="text/csv",
            on_click="ignore",
            help="With the images and patients.",
        )


def show_ready(case: Case) -> None:
    """Whether the model is ready for many cases, what that rests on, and what to look at."""
    st.subheader(plain(case.ready), anchor=False)
    for reason in case.reasons:
        st.markdown(f"- {plain(reason)}")
    if case.sheet is not None:
        st.download_button(
            "Download the sheet",
            data=partial(case.sheet.open, "rb"),
            file_name="acceptance.html",
            mime="text/html",
            on_click="ignore",
        )
    if not case.to_look_at.empty:
        with st.expander(f"{many(len(case.to_look_at), 'case')} to look at"):
            show_table(case.to_look_at, "The cases to look at")
            if case.sheet is not None:
                st.caption(plain(f"Which images they are stands in {case.sheet.parent / 'cases.csv'}"))


@st.fragment(run_every=EVERY_SECONDS)
def watch(case_id: str) -> None:
    """The case while the model is at work on it."""
    with guarded("Use"):
        recall()
        case = workspace().cases.one(case_id)
        if case.state != "running":
            st.rerun()
        st.markdown(f":material/progress_activity: Asking the model: {duration(case.seconds)} so far")
        st.caption("Most of the first minute goes into starting. You may refresh: this address finds the case again.")
        if st.button("Stop", icon=":material/stop_circle:"):
            workspace().cases.stop(case_id)
            st.rerun()


def show_answer(case: Case) -> None:
    """What came of it: first what speaks against the answer, then the answer."""
    for sentence in case.unlike:
        st.warning(f"**Unlike the training images.** {plain(sentence)}", icon=":material/warning:")
    for note in case.notes:  # such as: this image was in the training of the model
        st.markdown(plain(note))
    st.subheader("Mask" if case.volumes else f"Answer: {plain(case.found.get('answer', ''))}", anchor=False)
    for sentence in case.doubt:
        st.markdown(plain(sentence))
    if case.found.get("reference"):
        st.markdown(f"Reference: {plain(case.found['reference'])}")
    if not case.scores.empty:
        show_table(case.scores, "The score of each class", width="content")
    for line in case.volumes:
        st.markdown(f"**{plain(line)}**")
    for rule in case.rules:
        st.caption(plain(rule))
    if case.verdict:
        show_verdict(case.verdict["level"])
        st.markdown(plain(case.verdict["sentence"]))
        if case.verdict.get("words"):
            st.markdown(plain(f"Where the map lies: {case.verdict['words']}"))
    for number, path in enumerate(case.images, start=1):
        show_figure(path, f"Figure {number}: the case with its heatmap or mask")
    if case.nearest is not None:
        st.subheader("Nearest training images", anchor=False)
        if case.nearest.images:
            st.caption(ABOUT)
        show_nearest(case.nearest)
    if case.page is not None:
        st.download_button(
            "Download this page",
            data=partial(case.page.open, "rb"),
            file_name="case.html",
            mime="text/html",
            on_click="ignore",
        )


def show_case(case: Case) -> None:
    """A case in any state, and the way to the next one."""
    if case.state == "running":
        watch(case.id)
        return
    if case.state == "finished":
        if case.to_label is not None:
            show_to_label(case)
        elif case.ready:
            show_ready(case)
        else:
            show_answer(case)
    elif case.state == "stopped":
        st.info("Stopped by you.", icon=":material/stop_circle:")
    else:
        error = case.status.get("error") or {}
        show_error(
            error.get("found") or "The work on this case ended before there was an answer.",
            error.get("expected") or "a process that runs to its end.",
            error.get("do") or f"Try it again. The details are in {case.folder / 'log.txt'}.",
        )
    about = (
        "What was asked is removed; the sheet stays."
        if case.ready
        else "This case is removed: its files and what came of it."
    )
    if st.button("Another case", type="primary", help=about):
        workspace().cases.remove(case.id)
        remember("case", None)
        st.rerun()


heading("use", "New cases: what the model says, and whether it has learnt from images like them.")
chosen = st.session_state.get("case")
case = workspace().cases.find(str(chosen)) if chosen else None
if case is not None:
    show_case(case)
else:
    if chosen:
        st.info("This case is not here any more.", icon=":material/info:")
        remember("case", None)
    model = choose_model()
    if model is not None:
        one, many_cases = st.tabs(["One new case", "Many cases: is the model ready here?"])
        with one:
            ask(model)
        with many_cases:
            ask_about_many(model)

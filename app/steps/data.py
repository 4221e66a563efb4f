"""Data: open a study by path, upload or simulation, and look at it."""

from __future__ import annotations

import secrets
from typing import Any

import streamlit as st
from arriving import arrived_files, files_place
from option_widgets import chosen, option_widget, widgets
from shared import (
    current_entry,
    current_study,
    guarded,
    heading,
    onward,
    plain,
    remember,
    show_error,
    show_table,
    workspace,
)

from easydl import option_text
from easydl.errors import EasyDLError
from easydl.launch import UPLOAD_MB
from easydl.option_text import help_text
from easydl.options_of_planning import SimulationOptions
from easydl.simulation import SEALED, TRAPS
from easydl.studies import Study
from easydl.tasks import Task
from easydl.workspace import KINDS, StudyEntry, columns_of, question
from easydl.workspace.screen import on_page
from easydl.workspace.tables import classes, numbered, numbers, table

PREVIEW_ROWS = 200
EARLIER_SHOWN = 8
TITLES = {
    Task.MULTILABEL: "Labels",
    Task.REGRESSION: "Values",
    Task.ORDINAL: "Ordered classes",
    Task.MULTITASK: "Tasks",
}
COLUMN_OPTIONS = ("image", "label", "patient", "mask")
MORE_OPTIONS = (
    "classes", "label_separator", "raters", "heads", "split", "root", "units", "exclude", "mask_labels", "override",
    "merge_labels", "resample_masks", "collapse_instances",
)  # fmt: skip
PICTURES_PX = 450
SIMULATED_PATIENTS = {"volumes": 24, "pelvis_volumes": 24}
DOORS = ("On this computer", "Upload a zip", "Upload images", "Simulated study")


def door_path() -> None:
    """A folder or table where it lies."""
    source = st.text_input(
        "Folder or table",
        placeholder="C:\\studies\\chest   or   /home/me/studies/chest.csv",
        help="A folder with one sub-folder for each class, a folder of DICOM files, or a CSV or Excel table "
        "with the columns image, label and patient. Windows: right-click it and choose Copy as path. macOS: "
        "hold Option, right-click and choose Copy as Pathname.",
    )
    st.caption("It is read where it lies. Nothing is copied, and nothing is written next to your images.")
    with st.form("open-path", border=False):
        given = reading(source)
        if st.form_submit_button("Open the study", type="primary"):
            open_entry(workspace().studies.open(source, **chosen(given)))


def reading(source: str, entry: StudyEntry | None = None) -> dict[str, Any]:
    """How a study is read; filled with what is remembered of it."""
    known = entry.load.model_dump() if entry is not None else {}
    columns = columns_of(source) if source.strip() else []
    with st.expander("My table has other column names", expanded=entry is not None):
        given = widgets((*COLUMN_OPTIONS, "task"), known, columns=columns)
    with st.expander("More options"):
        return given | widgets(MORE_OPTIONS, known, columns=columns)


def door_zip() -> None:
    """A zip, unpacked at once."""
    st.write("A zip of a folder with one sub-folder for each class, of DICOM files, or of images with their table.")
    given = st.file_uploader(
        f"Zip (maximum {UPLOAD_MB // 1000} GB)", type="zip", key=uploader_key("zip"), max_upload_size=UPLOAD_MB
    )
    st.caption("It is unpacked into the workspace on this computer. For anything larger, open the folder instead.")
    if given is not None:
        clear_uploader("zip")
        with st.spinner("Unpacking"):
            open_entry(workspace().studies.receive_zip(given.name, given))


def door_images() -> None:
    """A folder of class folders, or one class after the other."""
    how = st.radio("The images are", ["in one folder for each class", "loose files"], horizontal=True)
    if how == "in one folder for each class":
        arrived = files_place(uploader_key("folder"), "The folder that holds the class folders", folder=True)
        if arrived:
            clear_uploader("folder")
            with st.spinner("Keeping the images"), arrived_files(arrived) as files:
                entry = workspace().studies.receive_folder(files)
            open_entry(entry)
        return
    begun: StudyEntry | None = st.session_state.get("filling")
    label = st.text_input("Class", placeholder="normal", key=f"class-{uploader_key('class')}")
    if not label.strip():
        st.caption("Name the class first, then add its images. Then the next class.")
    elif arrived := files_place(uploader_key("images"), "Its images"):
        clear_uploader("class")
        clear_uploader("images")
        with st.spinner("Keeping the images"), arrived_files(arrived) as files:
            st.session_state["filling"] = workspace().studies.receive_class(label, files, entry=begun)
        st.rerun()
    counts = workspace().studies.class_counts(begun) if begun else {}
    for name, count in counts.items():
        st.markdown(f"{plain(name)}: {count} files")
    few = len(counts) < 2
    if st.button("Open the study", type="primary", disabled=few) and begun:
        st.session_state.pop("filling")
        open_entry(begun)
    if few:
        st.caption("A study needs at least two classes.")


def door_simulated() -> None:
    """An embedded study, with or without a trap."""
    st.write(
        "Simulated images, computed from physics: no patient is in them. Good for a first try and for teaching. Chest CT has "
        "a nodule or none, pelvis MR a malignant or a benign mass."
    )
    options = SimulationOptions.model_fields
    left, right = st.columns(2)
    kind = left.selectbox("Kind", option_text.choices(options["kind"]), help=help_text(options["kind"]))
    traps = right.multiselect("Traps", [*TRAPS, SEALED], help=help_text(options["traps"]))
    if st.button("Make the simulated study", type="primary"):
        bar = st.progress(0.0, text="Simulating")
        open_entry(
            workspace().studies.simulate(
                kind=kind,
                traps=traps,
                patients=SIMULATED_PATIENTS.get(kind, 80),
                seed=7 if SEALED not in traps else secrets.randbelow(2**31),
                progress=lambda done, total: bar.progress(done / total, text=f"Simulating {done} of {total}"),
            )
        )


def open_seal(entry: StudyEntry) -> None:
    """What was planted in a sealed study, for a person who asks."""
    if (seal := workspace().studies.seal(entry)) and st.button(
        "Open the seal", help="Says what was planted, if anything."
    ):
        st.info(str(seal), icon=":material/key:")


def uploader_key(name: str) -> str:
    """A key that changes when the uploader is to be empty again."""
    return f"{name}-{st.session_state.get(f'{name}-turn', 0)}"


def clear_uploader(name: str) -> None:
    """Empty an uploader: its files are kept in the workspace from here on."""
    st.session_state[f"{name}-turn"] = st.session_state.get(f"{name}-turn", 0) + 1


def open_entry(entry: StudyEntry) -> None:
    """Choose a study; the page then reads and shows it."""
    remember("study", entry.id)
    remember("run", None)
    for key in ("loaded", "audited", "override"):
        st.session_state.pop(key, None)
    st.rerun()


def show_unreadable(entry: StudyEntry, error: EasyDLError) -> None:
    """Why a study cannot be read, and how to read it otherwise; what was uploaded is kept meanwhile."""
    show_error(error.found, error.expected, error.do)
    with st.form("read-again", border=False):
        given = reading(entry.source, entry)
        if st.form_submit_button("Read it again", type="primary"):
            open_entry(workspace().studies.change(entry, **chosen(given)))


def leave_study(entry: StudyEntry) -> None:
    """Go on to another study, or forget this one."""
    st.write("Choose another study. This one stays in the list.")
    if st.button("Choose another"):
        remember("study", None)
        st.rerun()
    st.write(
        "Or forget it: its record, comparisons and uploaded copies are deleted. Images elsewhere and runs are not touched."
    )
    if st.button("Forget this study"):
        st.session_state["forgetting"] = entry.id
    if st.session_state.get("forgetting") != entry.id:
        return
    copies = workspace().studies.copies(entry)
    what = f"Its {copies} files in the workspace are deleted" if copies else "Its record is deleted"
    st.warning(f"{what}. This cannot be undone.", icon=":material/warning:")
    if st.button("Yes, forget it", type="primary"):
        workspace().comparisons.forget(entry.id)
        workspace().studies.forget(entry.id)
        for key in ("loaded", "forgetting"):
            st.session_state.pop(key, None)
        remember("study", None)
        st.rerun()
    if st.button("No, keep it"):
        st.session_state.pop("forgetting")
        st.rerun()


def list_entries(entries: list[StudyEntry]) -> None:
    """Studies that were opened before."""
    for entry in entries:
        label = f"{plain(entry.name)}, {plain(entry.when)}"
        if st.button(label, icon=":material/history:", type="tertiary", key=f"study-{entry.id}"):
            open_entry(entry)


def mask_choices(entry: StudyEntry) -> None:
    """How the masks of a segmentation are read; a change reads the study again."""
    known = entry.load
    given = {name: option_widget(name, value=getattr(known, name)) for name in ("resample_masks", "collapse_instances")}
    if any(getattr(known, name) != value for name, value in given.items()):
        open_entry(workspace().studies.change(entry, **given))


def ask_what(entry: StudyEntry, study: Study) -> str:
    """What the images are, where no header says it; it can be changed. Why the way on is closed, or nothing."""
    sentence, kinds = question(study)
    if not kinds:
        return ""
    given = st.selectbox(
        sentence,
        [kind.name for kind in kinds],
        index=next((place for place, kind in enumerate(kinds) if kind.name == entry.shows), None),
        format_func=lambda name: KINDS[name].title,
        placeholder="Choose",
        width=420,
        help="It decides how the images are varied in training, the window of CT, and which pretrained weights suit.",
    )
    if given and given != entry.shows:
        workspace().studies.describe(entry, given)
        st.rerun()
    return "" if given or study.units == "HU" else "Say first what these images are: nothing in the files does."


def show_study(entry: StudyEntry, study: Study) -> None:
    """The opened study: counts, classes, notes, first images, the table."""
    if entry.kind == "simulated":
        st.badge("Simulated images", icon=":material/science:", color="violet")
        open_seal(entry)
    reason = ask_what(entry, study)
    counts = st.columns(4)
    counts[0].metric("Images", len(study))
    counts[1].metric("Patients", study.n_patients if study.patients_known else "not known")
    counts[2].metric("Kind", "3D volumes" if study.dimension == 3 else "2D images")
    counts[3].metric("Values", "Hounsfield units" if study.units == "HU" else "grey levels 0-255")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader(TITLES.get(Task(study.task), "Classes"), anchor=False)
        if Task(study.task).has_masks:
            mask_choices(entry)
            st.markdown(f"Masks: {plain(', '.join(study.classes))}")
        elif len(counted := classes(study)):
            show_table(counted, "Images and patients of each class")
        for sentence in numbers(study):
            st.markdown(plain(sentence))
        if entry.left_out:
            st.markdown(f":material/info: {entry.left_out} uploaded files are no images or tables and were left out.")
        for note in [*study.notes, *study.overrides]:
            st.markdown(f":material/info: {plain(note)}")
    with right:
        st.subheader("First images", anchor=False)
        st.pyplot(on_page(numbered(study).show(6), PICTURES_PX), alt="Some images of each class", width="stretch")
    with st.expander(f"The table ({len(study)} rows)"):
        st.dataframe(table(study, PREVIEW_ROWS), hide_index=True, height=280)
    st.space("small")
    onward("check", reason)


heading("data", "Choose the images to learn from.")
opened = current_entry()
if opened is None:
    tabs = st.tabs(DOORS)
    for tab, door in zip(tabs, (door_path, door_zip, door_images, door_simulated), strict=True):
        with tab, guarded("Data"):
            door()
    filling = st.session_state.get("filling")
    entries = [entry for entry in workspace().studies.all() if filling is None or entry.id != filling.id]
    if entries:
        st.divider()
        st.subheader("Opened before", anchor=False)
    list_entries(entries[:EARLIER_SHOWN])
    if entries[EARLIER_SHOWN:]:
        with st.expander(f"{len(entries) - EARLIER_SHOWN} more"):
            list_entries(entries[EARLIER_SHOWN:])
else:
    name, other = st.columns([5, 2], vertical_alignment="bottom")
    name.subheader(plain(opened.name), anchor=False)
    with other, st.popover("Another study"):
        leave_study(opened)
    try:
        study = current_study()
    except EasyDLError as problem:
        show_unreadable(opened, problem)
    else:
        if study is not None:
            show_study(opened, study)

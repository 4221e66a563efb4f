"""Check: the traps of the opened study, and how it would be split."""

from __future__ import annotations

import streamlit as st
from option_widgets import OPTIONS, chosen, option_widget, widgets
from shared import (
    audited_parts,
    current_entry,
    current_study,
    heading,
    needs,
    onward,
    page,
    plain,
    show_issues,
    show_table,
    workspace,
)

from easydl.option_text import help_text
from easydl.workspace.tables import split


def leave_out(images: list[str]) -> None:
    """Read the study again without these images."""
    entry = current_entry()
    if entry is not None:
        workspace().studies.change(entry, exclude=[*(entry.load.exclude or []), *images])
        st.session_state.pop("audited", None)
        st.rerun()


heading("check", "Traps that would make a model look better than it is, and how the patients are split.")
study = current_study()
if study is None:
    needs("No study is open.", "data")
    st.stop()

kept = st.session_state.get("split", {"seed": 7})
given = {"seed": option_widget("seed", value=kept["seed"], width=200)}
with st.expander("More options"):
    given |= widgets(
        ("sizes", "time", "group", "balance"), kept, columns=[str(column) for column in study.frame.columns]
    )
st.session_state["split"] = chosen(given)
parts = audited_parts(study)
audit = st.session_state["audited"][2]

st.subheader("Split", anchor=False)
show_table(split(parts), "Patients and images in each part", width="content")
st.caption(
    "No patient is in two parts. The model learns from training, is chosen on validation, and is tested once on test."
    if study.patients_known
    else "The patients are not known: leakage between the parts cannot be excluded. Every report repeats this."
)

st.subheader("Issues", anchor=False)
issues = [vars(issue) for issue in audit.issues]
show_issues(issues, leave_out)
if not issues:
    st.write("No trap was found among those that were looked for.")
if audit.blocking:
    reason = st.text_area(
        "Go on in spite of what blocks? Give the reason in writing.",
        value=st.session_state.get("override", ""),
        help=help_text(OPTIONS["override"]),
    )
    st.session_state["override"] = reason.strip()
unsolved = bool(audit.blocking) and not st.session_state.get("override")
onward("train", "Remove what blocks, or give a reason in writing." if unsolved else "")
st.page_link(page("plan"), label="How many patients, and what has a network to beat?", icon=":material/straighten:")
if audit.blocking and not unsolved:
    st.caption(f"Reason on the record: {plain(st.session_state['override'])}")

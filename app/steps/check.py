"""Check: the traps of the opened study in words, and how it would be split."""

from __future__ import annotations

import streamlit as st
from easydl_app_parts import current_study, heading, needs, onward, plain, show_issues, show_table

import easydl
from easydl.workspace.tables import split

heading("check", "Traps that would make a model look better than it is, and how the patients are split.")
study = current_study()
if study is None:
    needs("No study is open.", "data")
    st.stop()

seed = st.number_input(
    "Seed of the split", min_value=0, max_value=2**31 - 1, value=st.session_state.get("seed", 7), width=200,
    help="The same seed gives the same split on every computer.",
)  # fmt: skip
st.session_state["seed"] = int(seed)
if st.session_state.get("audited", (None,))[0] != int(seed):
    with st.spinner("Splitting by patient and looking for traps"):
        parts = study.split(seed=int(seed))
        st.session_state["audited"] = (int(seed), parts, easydl.audit(parts[0].parent or study, seed=int(seed)))
_, parts, audit = st.session_state["audited"]

st.subheader("Split", anchor=False)
show_table(split(parts), "Patients and images in each part", width="content")
st.caption(
    "No patient is in two parts. The model learns from training, is chosen on validation, and is tested once on test."
    if study.patients_known
    else "The patients are not known: leakage between the parts cannot be excluded. Every report repeats this."
)

st.subheader("Findings", anchor=False)
issues = [vars(issue) for issue in audit.issues]
show_issues(issues)
if not issues:
    st.write("No trap was found among those that were looked for.")
if audit.blocking:
    reason = st.text_area(
        "Go on in spite of what blocks? Give the reason in writing.",
        value=st.session_state.get("override", ""),
        help="It is repeated in every report of this run.",
    )
    st.session_state["override"] = reason.strip()
unsolved = bool(audit.blocking) and not st.session_state.get("override")
onward("train", "Remove what blocks, or give a reason in writing." if unsolved else "")
if audit.blocking and not unsolved:
    st.caption(f"Reason on the record: {plain(st.session_state['override'])}")

"""Results: the numbers of one run with their n and intervals, the curves, the split and the issues."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from shared import choose_run, heading, needs, onward, plain, show_curves, show_issues, show_table

from easydl.evaluation.formatting import interval_text, number
from easydl.reporting import RunRecord
from easydl.reporting.text import looks, many
from easydl.workspace.screen import on_page
from easydl.workspace.tables import wrong

CASES_SHOWN = 12
FIGURES_PX = 860


def show_baselines(run: RunRecord) -> None:
    """The network beside its baselines on the test patients."""
    for one in run.baselines.of("test"):
        st.subheader(plain(f"Beside baselines{f': {one.head}' if one.head else ''}"), anchor=False)
        table = pd.DataFrame(
            {
                "model": [row.name for row in one.rows],
                one.measure: [one.value_text(row) for row in one.rows],
                "network less this": [one.gap_text(row) for row in one.rows],
                "n": [f"{row.n} {one.unit_of_n}" for row in one.rows],
                "what it is": [row.about for row in one.rows],
            }
        )
        show_table(table, "The network and its baselines on the test patients")
        for note in [*(f"{name} left out: {why}." for name, why in one.left_out.items()), *one.notes]:
            st.caption(plain(note))


heading("results", "How the model does on patients it has not seen.")
run = choose_run()
if run is None:
    st.stop()
metrics = run.metrics
if metrics is None:
    state = "This run is still in progress." if run.running else "This run ended before the test."
    needs(f"{state} There are no numbers yet.", "train")
else:
    for sentence in run.warnings:
        st.warning(f"**{plain(sentence)}**", icon=":material/warning:")
    st.subheader(plain(metrics.headline), anchor=False)
    for sentence in run.baselines.sentences:
        st.markdown(f"**{plain(sentence)}**")
    for sentence in (one for one in metrics.summary if one not in run.overfitting):
        st.markdown(plain(sentence))
    if run.overfitting:
        st.markdown(f"**{plain(run.overfitting)}**")
    warned = sum(issue["severity"] in ("BLOCK", "WARN") for issue in run.issues)
    if warned:
        st.markdown(
            f":material/warning: The check of the data gave {many(warned, 'warning')}, below on this page. A number is worth "
            "no more than the data it comes from."
        )
    for note in (one for one in metrics.notes if one not in run.overfitting):
        st.markdown(f":material/info: {plain(note)}")
    if counted := looks(metrics):
        st.caption(plain(counted))
    table = pd.DataFrame(
        {
            "measure": metrics.table["name"],
            "value": [number(row["value"], row["unit"]) for _, row in metrics.table.iterrows()],
            "95% interval": [interval_text(row) for _, row in metrics.table.iterrows()],
            "n": [f"{row['n']} {row['unit_of_n']}" for _, row in metrics.table.iterrows()],
            "note": metrics.table["note"],
        }
    )
    later = metrics.table["more"].astype(bool)
    show_table(table[~later], "The numbers of the test with n and interval")
    if later.any():
        with st.expander(f"{later.sum()} more numbers"):
            show_table(table[later], "Further numbers of the test with n and interval")
    st.pyplot(on_page(metrics.show(), FIGURES_PX), alt="The figures of the test", width=FIGURES_PX)
    show_baselines(run)
    sentence, cases = wrong(run)
    if sentence:
        st.subheader("Cases to look at first", anchor=False)
        st.write(sentence)
        if len(cases):
            show_table(cases.head(CASES_SHOWN), "The cases to look at first")
        if len(cases) > CASES_SHOWN:
            st.caption(f"The first {CASES_SHOWN} of {len(cases)}; all are in predictions.csv, on the page Export.")

if not run.history.empty:
    st.subheader("Training", anchor=False)
    show_curves(run)
if not run.split_table.empty:
    st.subheader("Split", anchor=False)
    show_table(run.split_table, "Patients and images in each part", width="content")
    if run.patients_known is not False:
        st.caption("No patient is in two parts.")
if run.issues:
    st.subheader("Issues of the check", anchor=False)
    show_issues([{**issue, "thumbnails": run.thumbnails(issue)} for issue in run.issues])
if metrics is not None:
    onward("heatmaps")

"""The app: the steps, the study and the runs at the side, and the sentence that every page carries."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from shared import STEPS, addresses, guarded, page, plain, recall, remember, workspace

from easydl.errors import RESEARCH_USE
from easydl.reporting import RunRecord

RUNS_SHOWN = 6
LOGO = str(Path(__file__).parent / "easydl-logo.svg")  # a named icon would be fetched from the network

st.set_page_config(page_title="easydl", page_icon=LOGO, layout="wide", initial_sidebar_state=320)
st.logo(LOGO, size="large")
recall()

pages = [
    st.Page(page(step), title=title, icon=f":material/{icon}:", url_path=step, default=step == "data")
    for step, (title, icon) in STEPS.items()
]
chosen = st.navigation(pages)


def list_run(run: RunRecord) -> None:
    """One run at the side, which leads to its page."""
    state = run.status["state"]
    good = "warning" if run.warnings else "check_circle"
    icon = {"running": "progress_activity", "finished": good}.get(state, "error")
    label = plain(run.short)
    with st.container(gap=None):
        if st.button(
            f"**{label}**" if run.id == st.session_state.get("run") else label,
            icon=f":material/{icon}:",
            key=f"run-{run.id}",
            type="tertiary",
        ):
            remember("run", run.id)
            st.switch_page(page("results" if state == "finished" else "train"), query_params=addresses())
        st.caption(f"{plain(run.study)}, {run.state}")


with st.sidebar, guarded("sidebar"):
    entry = workspace().studies.find(str(st.session_state.get("study", "")))
    if entry is not None:
        st.caption("Study")
        st.markdown(plain(entry.name))
    good, others = workspace().runs.ranked()
    if good or others:
        st.caption("Runs")
    for run in good[:RUNS_SHOWN]:
        list_run(run)
    if good[RUNS_SHOWN:]:
        with st.expander(f"Earlier ({len(good) - RUNS_SHOWN})"):
            for run in good[RUNS_SHOWN:]:
                list_run(run)
    if others:
        with st.expander(f"Not finished ({len(others)})", expanded=not good):
            for run in others:
                list_run(run)

with st.bottom:
    st.caption(RESEARCH_USE)

with guarded(chosen.title):
    chosen.run()
    recall()  # after a double click the page may know a run that the address does not

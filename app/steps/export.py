"""Export: the model, the report, the predictions, and the code that does this run again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st
from converting import for_other_programs
from shared import choose_run, heading, needs, onward, plain

from easydl.reporting.checklist import CHECKLISTS, checklist, title_of
from easydl.reporting.checklist import page as checklist_page

FILES = {
    "model.keras": ("The model", "Opens in easydl and in plain Keras. Classes and scaling are inside."),
    "report.html": ("The report", "One file with everything: numbers, split, curves, heatmaps, settings."),
    "predictions.csv": ("The predictions", "One row per test image. Opens in a spreadsheet."),
}
TYPES = {".keras": "application/zip", ".html": "text/html", ".csv": "text/csv"}


def size(path: Path) -> str:
    """A file's size as text."""
    count = path.stat().st_size
    return f"{count / 1024**2:.1f} MB" if count >= 1024**2 else f"{max(1, count // 1024)} kB"


heading("export", "What to take away from this run.")
run = choose_run()
if run is None:
    st.stop()
if run.file("model.keras") is None:
    state = "It is still in progress." if run.running else "It ended before a model was kept."
    needs(f"This run has no model to export. {state}", "train")
    st.stop()
for name, (title, sentence) in FILES.items():
    path = run.file(name)
    with st.container(border=True):
        about, action = st.columns([3, 1], vertical_alignment="center")
        about.markdown(f"**{title}**, `{name}`\n\n{sentence}")
        if path is None:
            action.caption("Not written by this run.")
            continue
        action.download_button(
            f"Download {title[0].lower()}{title[1:]}",
            data=partial(path.open, "rb"),
            file_name=name,
            mime=TYPES[path.suffix],
            type="primary" if name == "model.keras" else "secondary",
            on_click="ignore",
            width="stretch",
        )
        action.caption(size(path))
with st.container(border=True):
    about, action = st.columns([3, 1], vertical_alignment="center")
    about.markdown(
        "**A reporting checklist, or the model card**\n\nFilled from this run; `TODO (you)` where only you know."
    )
    chosen = about.selectbox("Which", CHECKLISTS, format_func=title_of, label_visibility="collapsed", width=320)
    filled = checklist(run, chosen)
    action.download_button(
        "Download checklist",
        data=checklist_page(filled),
        file_name=f"{chosen}.html",
        mime="text/html",
        on_click="ignore",
        width="stretch",
    )
    about.caption(plain(filled.summary))
st.caption(f"All files of this run lie in {run.folder}")
for_other_programs(run)

st.subheader("Show the code", anchor=False)
st.write("The same run in Python:")
st.code(run.code, language="python")
st.download_button(
    "Download the notebook",
    data=run.notebook,
    file_name="run.ipynb",
    mime="application/x-ipynb+json",
    on_click="ignore",
)
st.write("The same run as a command:")
st.code(run.command, language="bash")
onward("use")

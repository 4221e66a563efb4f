"""Export: the model, the report, the predictions, and the code that does this run again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st
from easydl_app_parts import choose_run, heading, needs

FILES = (
    (
        "model.keras",
        "The model",
        "Opens in easydl and in plain Keras. Classes and scaling are inside.",
        "Download the model",
    ),
    (
        "report.html",
        "The report",
        "One file with everything: numbers, split, curves, heatmaps, settings.",
        "Download the report",
    ),
    (
        "predictions.csv",
        "The predictions",
        "One row per test image. Opens in a spreadsheet.",
        "Download the predictions",
    ),
)
TYPES = {".keras": "application/zip", ".html": "text/html", ".csv": "text/csv"}


def size(path: Path) -> str:
    """A file's size in words."""
    count = path.stat().st_size
    return f"{count / 1024**2:.1f} MB" if count >= 1024**2 else f"{max(1, count // 1024)} kB"


heading("export", "What to take away from this run.")
run = choose_run()
if run is None:
    st.stop()
if run.file("model.keras") is None:
    words = "It is still in progress." if run.running else "It ended before a model was kept."
    needs(f"This run has no model to export. {words}", "train")
    st.stop()
for name, title, words, label in FILES:
    path = run.file(name)
    with st.container(border=True):
        about, action = st.columns([3, 1], vertical_alignment="center")
        about.markdown(f"**{title}**, `{name}`\n\n{words}")
        if path is None:
            action.caption("Not written by this run.")
            continue
        action.download_button(
            label,
            data=partial(path.open, "rb"),
            file_name=name,
            mime=TYPES[path.suffix],
            type="primary" if name == "model.keras" else "secondary",
            on_click="ignore",
            width="stretch",
        )
        action.caption(size(path))
st.caption(f"All files of this run lie in {run.folder}")

st.subheader("Show the code", anchor=False)
st.write("The same run in Python:")
st.code(run.code, language="python")
st.write("The same run as a command:")
st.code(run.command, language="bash")

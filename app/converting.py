"""The model of a run for other programs: choose a format, wait or stop, take it away with what was measured."""

from __future__ import annotations

from functools import partial

import streamlit as st
from shared import plain
from working import show_end, watch

from easydl import option_text
from easydl.options_of_use import ExportOptions
from easydl.reporting import RunRecord
from easydl.workspace.conversions import FORMATS, WEIGHTS, Conversion, Conversions, missing

FOR = {
    ".tflite": "TensorFlow Lite: phones, small computers",
    ".onnx": "ONNX: ONNX Runtime and most other programs",
    ".xml": "OpenVINO: processors of Intel",
}


def for_other_programs(run: RunRecord) -> None:
    """The place on the page Export."""
    st.subheader("For other programs", anchor=False)
    st.write(
        "The model in the format of another program. Both are asked on the validation part of the study, and what differs "
        "is said. A converted model is kept with the run."
    )
    kept = Conversions(run)
    option = ExportOptions.model_fields["to"]
    left, right, action = st.columns([3, 2, 2], vertical_alignment="bottom")
    ending = left.selectbox("Format", list(FORMATS), format_func=FOR.__getitem__)
    weights = right.selectbox(option_text.title("to", option), WEIGHTS, help=option_text.help_text(option))
    found, every = kept.find(ending, weights), kept.all()
    lacking, busy = missing(ending), any(one.running for one in every)
    done = found is not None and found.state == "finished"
    if action.button("Convert", disabled=bool(lacking or busy or done), width="stretch"):
        kept.begin(ending, weights)
        st.rerun()
    if lacking:
        st.info(f"{plain(lacking.found)} {plain(lacking.do)}, then start the app again.", icon=":material/info:")
    elif done:
        st.caption("It is made already: see below.")
    for one in every:
        show(kept, one, asked=found is not None and one.id == found.id)


def show(kept: Conversions, one: Conversion, *, asked: bool) -> None:
    """One conversion in any state; one that did not come to its end is shown while its format is chosen."""
    if one.running:
        watch(partial(kept.find, str(one.asked["ending"]), str(one.asked["weights"])), f"Making {one.title}", one.id)
    elif one.state != "finished":
        if asked:
            show_end(one)
    elif one.lines:
        with st.container(border=True):
            about, action = st.columns([3, 1], vertical_alignment="top")
            about.markdown("\n".join([f"**{plain(one.title)}**\n", *(f"- {plain(line)}" for line in one.lines)]))
            action.download_button(
                "Download",
                data=one.packed,
                file_name=f"{one.id}.zip",
                mime="application/zip",
                key=f"download-{one.id}",
                on_click="ignore",
                width="stretch",
            )
            action.caption(f"{len(one.files)} files in a zip")

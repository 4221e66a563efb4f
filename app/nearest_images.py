"""The training images that are nearest to a case, side by side with label and distance; and where they are asked for."""

from __future__ import annotations

from functools import partial

import streamlit as st
from shared import plain
from working import show_end, watch

from easydl.reporting import RunRecord
from easydl.workspace.similar import NearestImages, begin_search, of_heatmaps, search

ABOUT = (
    "The nearest training images are those in which the model sees the same: distance 0 is the same features, 1 unrelated "
    "ones. Where they share the scanner or the view and not the disease, that is what the model goes by."
)


def found_or_asked(run: RunRecord) -> dict[str, NearestImages]:
    """Those of the heatmaps of a run; before anybody has looked, the button that does."""
    found, work = of_heatmaps(run), search(run)
    if work is not None and work.running:
        watch(partial(search, run), "Looking for the nearest training images", "nearest")
    elif found:
        st.caption(ABOUT)
    else:
        if st.button("Find the nearest training images", icon=":material/compare:"):
            begin_search(run)
            st.rerun()
        st.caption(
            "Which images of the training does the model take for most alike to these? Found once, and kept with the run."
        )
        if work is not None:
            show_end(work)
    return found


def show_nearest(found: NearestImages) -> None:
    """The nearest first, then what they are and whether one may be of the same patient."""
    if found.missing:
        st.caption(plain(found.missing))
        return
    for place, one in zip(st.columns(len(found.images), gap="small"), found.images, strict=True):
        if one.path is not None:
            place.image(one.path.read_bytes(), width="stretch", alt=f"{one.name}, {one.label}")
        label = f"**{plain(one.label)}**  \n" if one.label else ""
        place.markdown(f"{label}distance {plain(f'{one.distance:.2f}')}  \n:gray[training {plain(one.name)}]")
    st.caption(plain(f"{found.same_patient} {found.sentence}"))

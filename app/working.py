"""Work that another process does for a page: how far it is, Stop, and what to do when it failed."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from shared import duration, guarded, plain, recall, show_error

from easydl.workspace.background import Work

EVERY_SECONDS = 1


@st.fragment(run_every=EVERY_SECONDS)
def watch(
    find: Callable[[], Work | None], doing: str, key: str, fraction: Callable[[Work], float] | None = None
) -> None:
    """The work while it goes on; the whole page is drawn anew when it ends.

    Args:
        find: Reads it anew.
        doing: What it is, as a title.
        key: Of its button.
        fraction: How much is done, where that is known.
    """
    with guarded(doing):
        recall()
        work = find()
        if work is None or not work.running:
            st.rerun()
        assert work is not None
        said = f"**{plain(doing)}**, {duration(work.seconds)} so far"
        if fraction is None:
            st.markdown(f":material/progress_activity: {said}")
        else:
            st.progress(min(1.0, fraction(work)), text=said)
        st.caption(plain(work.message or "Starting; this takes some seconds."))
        if st.button("Stop", icon=":material/stop_circle:", key=f"stop-{key}"):
            work.stop()
            st.rerun()


def show_end(work: Work) -> None:
    """Why there is nothing to show of work that has ended."""
    if work.state == "stopped":
        st.info("Stopped by you.", icon=":material/stop_circle:")
    elif work.state == "interrupted":
        st.warning("Interrupted: the process ended before the work did.", icon=":material/power_off:")
    elif work.state == "failed":
        show_error(**work.error)

"""What every page of the app shares: the chosen study and run, safe text, and errors in three parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import streamlit as st

import easydl
from easydl.errors import EasyDLError
from easydl.options import SplitOptions
from easydl.reporting import RunRecord
from easydl.studies import Study
from easydl.traps.issues import SEVERITIES
from easydl.workspace import StudyEntry, Workspace

STEPS = {
    "data": ("Data", "folder_open"),
    "check": ("Check", "fact_check"),
    "plan": ("Plan", "straighten"),
    "train": ("Train", "model_training"),
    "results": ("Results", "monitoring"),
    "heatmaps": ("Heatmaps", "visibility"),
    "export": ("Export", "download"),
    "use": ("Use on a new case", "image_search"),
}
"""The steps in their order: file under steps/, title, icon."""

VERDICTS: dict[str, tuple[str, Any, str]] = {
    "PASS": ("Trust", "green", "check"),
    "CAUTION": ("Caution", "orange", "warning"),
    "FAIL": ("Do not trust", "red", "block"),
}
"""The verdicts on a heatmap: word, colour, icon."""
_MARKS = {mark: f"\\{mark}" for mark in "\\`*_{}[]()#+-.!|~$:>&@"}
_SEVERITY = {
    "BLOCK": ("Blocks", "red", "block"),
    "WARN": ("Warning", "orange", "warning"),
    "NOTE": ("Note", "blue", "info"),
    "OK": ("Fine", "green", "check"),
    "UNTESTED": ("Not tested", "gray", "help"),
}


def plain(text: object) -> str:
    """Text from files, tables and people, so that nothing in it acts as format, link, image or formula."""
    line = " ".join(str(text).split())
    return "".join("&lt;" if c == "<" else _MARKS.get(c, c) for c in line)


def workspace() -> Workspace:
    """The user's workspace."""
    return Workspace()


def page(step: str) -> str:
    """A step's file as `st.page_link` and `st.switch_page` take it."""
    return f"steps/{step}.py"


def remember(key: str, value: str | None) -> None:
    """Keep the chosen ``study``, ``run`` or ``case`` in the address too, so that a refresh finds it again."""
    if value:
        st.session_state[key] = value
        if st.query_params.get(key) != value:
            st.query_params[key] = value
        return
    st.session_state.pop(key, None)
    if key in st.query_params:
        del st.query_params[key]


def recall() -> None:
    """Take study and run from the address, or put them there after a change of page."""
    for key in ("study", "run", "case"):
        if key in st.query_params:
            st.session_state[key] = st.query_params[key]
        elif key in st.session_state:
            st.query_params[key] = st.session_state[key]


def current_entry() -> StudyEntry | None:
    """What is remembered of the chosen study, or None when none was chosen; the page ends here when it is gone."""
    study_id = st.session_state.get("study")
    entry = workspace().studies.find(str(study_id)) if study_id else None
    if study_id and entry is None:
        not_here("study")
    return entry


def not_here(key: str) -> NoReturn:
    """The study or run of the address is gone: say so, and show nothing in its place."""
    st.info(f"This {key} is not here any more.", icon=":material/info:")
    if st.button(f"Choose another {key}"):
        remember(key, None)
        st.rerun()
    st.stop()


def current_study() -> Study | None:
    """The chosen study, loaded once per session; None when there is none or it has no source yet."""
    entry = current_entry()
    if entry is None or not entry.source:
        return None
    loaded, asked = st.session_state.get("loaded"), (entry.id, entry.source, entry.load)
    if loaded and loaded[0] == asked:
        return loaded[1]
    with st.spinner("Reading the study"):
        study = workspace().studies.load(entry)
    st.session_state["loaded"] = (asked, study)
    st.session_state.pop("audited", None)
    return study


def audited_parts(study: Study) -> tuple[Study, Study, Study]:
    """The parts of the chosen study, split as the page Check says; its audit is kept with them."""
    settings = st.session_state.setdefault("split", {"seed": 7})
    if st.session_state.get("audited", (None,))[0] != settings:
        with st.spinner("Splitting by patient and looking for traps"):
            parts = study.split(**SplitOptions.checked(**settings).model_dump())
            audit = easydl.audit(parts[0].parent or study, seed=settings["seed"])
            st.session_state["audited"] = (settings, parts, audit)
    return st.session_state["audited"][1]


def current_run() -> RunRecord | None:
    """The chosen run, or None when none was chosen; the page ends here when it is gone."""
    chosen = st.session_state.get("run")
    run = workspace().runs.find(str(chosen)) if chosen else None
    if chosen and run is None:
        not_here("run")
    return run


@contextmanager
def guarded(where: str) -> Iterator[None]:
    """Show an error of easydl in its three parts, and anything else as one calm sentence."""
    try:
        yield
    except EasyDLError as error:
        show_error(error.found, error.expected, error.do)
    except Exception as error:  # the last door before the screen
        try:
            kept = f"The details are in {workspace().note_error(error, where)}."
        except (OSError, EasyDLError):
            kept = "The details could not be saved, because the workspace cannot be written."
        show_error(
            "Something went wrong that easydl did not expect.",
            "Your images and runs are untouched, and a training that is running goes on.",
            f"Try again. If it happens again, send the details to whoever looks after easydl. {kept}",
            "",
        )


def show_error(found: str, expected: str, do: str, label: str = "Expected: ") -> None:
    """The three parts of an error."""
    text = f"**{plain(found)}**\n\n{label}{plain(expected)}\n\nWhat to do: {plain(do)}"
    st.error(text, icon=":material/error:")


def heading(step: str, sentence: str) -> None:
    """A step's title and what it is for."""
    st.title(STEPS[step][0], anchor=False)
    st.markdown(f":gray[{sentence}]")


def needs(what: str, step: str) -> None:
    """Say what is missing on this page and link to where it comes from."""
    st.info(what, icon=":material/info:")
    st.page_link(page(step), label=f"Go to {STEPS[step][0]}", icon=":material/arrow_back:")


def onward(step: str, reason: str = "", sentence: str = "") -> None:
    """The page's one primary button: on to a step, or the reason why not yet."""
    if st.button(f"Continue to {STEPS[step][0]}", type="primary", disabled=bool(reason), key=f"to-{step}"):
        if step == "train":
            remember("run", None)  # to the settings of a new run, not to the last one
        st.switch_page(page(step), query_params=addresses())
    if reason or sentence:
        st.caption(plain(reason or sentence))


def addresses() -> dict[str, str]:
    """The address parameters that keep study and run over a change of page."""
    return {key: str(st.session_state[key]) for key in ("study", "run", "case") if key in st.session_state}


def choose_run() -> RunRecord | None:
    """The run that a page is about, with a choice when there are several; None when there is none.

    Unless one was chosen, it is the newest that is finished.
    """
    good, others = workspace().runs.ranked()
    runs = [*good, *others]
    chosen = current_run()
    if chosen is None:
        chosen = next((run for run in runs if run.status["state"] == "finished"), runs[0] if runs else None)
    if chosen is None:
        needs("No model has been trained yet.", "train")
        return None
    ids = [run.id for run in runs]
    titles = {run.id: f"{run.title} ({run.state})" for run in runs}
    if len(runs) > 1:
        picked = st.selectbox(
            "Run", ids, index=ids.index(chosen.id), format_func=lambda run_id: titles[run_id], width=520
        )
        if picked != chosen.id:
            remember("run", picked)
            st.rerun()
    else:
        st.caption(f"Run: {plain(titles[chosen.id])}")
    return chosen


def show_verdict(level: str, place: Any = st) -> None:
    """The verdict on a heatmap as a badge."""
    name, colour, icon = VERDICTS.get(level, ("Not tested", "gray", "help"))
    place.badge(name, color=colour, icon=f":material/{icon}:")


def show_figure(path: Path, about: str) -> None:
    """A figure of the run folder without the text at its foot, which the page says itself."""
    from easydl.reporting.figures import without_text_below

    st.image(without_text_below(path.read_bytes()), width="stretch", alt=about)


def show_issues(issues: list[dict[str, Any]], leave_out: Callable[[list[str]], None] | None = None) -> None:
    """The audit's issues, the gravest first, each with what to do; what is fine lies folded below.

    ``leave_out`` takes the images of an issue out of the study, on a click.
    """
    order = list(SEVERITIES)
    ranked = sorted(issues, key=lambda f: order.index(f["severity"]) if f["severity"] in order else len(order))
    for issue in ranked:
        if issue["severity"] != "OK":
            show_issue(issue, leave_out)
    fine = [issue for issue in ranked if issue["severity"] == "OK"]
    if fine:
        with st.expander(f"Looked for and fine ({len(fine)})"):
            for issue in fine:
                st.markdown(f":material/check: {plain(issue['sentence'])} :gray[{plain(evidence(issue))}]")


def show_issue(issue: dict[str, Any], leave_out: Callable[[list[str]], None] | None = None) -> None:
    """One issue: its severity, what was found, what to do, and the numbers behind it."""
    label, colour, icon = _SEVERITY.get(issue["severity"], (issue["severity"], "gray", "info"))
    with st.container(border=True):
        mark, text = st.columns([1, 6], vertical_alignment="center")
        mark.badge(plain(label), color=colour, icon=f":material/{icon}:")
        text.markdown(f"**{plain(issue['sentence'])}**")
        if issue.get("thumbnails"):
            text.image(issue["thumbnails"], alt="The first images of this issue, side by side")
        if issue.get("fix"):
            text.markdown(f"What to do: {plain(issue['fix'])}")
        if numbers := ", ".join(filter(None, (str(issue.get("id") or ""), evidence(issue)))):
            text.caption(plain(numbers))
        images = list(issue.get("exclude") or ())
        if images and leave_out is not None:
            words = "this image" if len(images) == 1 else f"these {len(images)} images"
            if text.button(f"Leave {words} out", key=f"leave-{issue['id']}-{issue['sentence']}"):
                leave_out(images)


def show_table(frame: pd.DataFrame, alt: str, **options: Any) -> None:
    """A small table that can be read and printed whole; every cell is text, nothing in it is formatting."""
    safe = frame.rename(columns=plain).map(plain)
    st.table(safe, hide_index=True, border="horizontal", alt=alt, **options)


def show_curves(run: RunRecord) -> None:
    """Loss and metric by epoch, below what the coach says of them."""
    for sentence in run.coach:
        st.warning(plain(sentence), icon=":material/school:")
    curves = list(run.curves.items())[:2]
    if not curves:
        st.caption("The curves begin after the first epoch.")
        return
    for place, (name, curve) in zip(st.columns(2, gap="large"), curves, strict=False):
        with place:
            lower = name.lower().endswith(("loss", "error"))
            st.caption(f"{plain(name)} ({'lower' if lower else 'higher'} is better)")
            st.line_chart(curve, x_label="epoch", height=240, color=["#1f5f8b", "#d1741f"])


def evidence(issue: dict[str, Any]) -> str:
    """An issue's number with its interval and n, when it has one."""
    value, low, high, n, p = (issue.get(key) for key in ("value", "low", "high", "n", "p"))
    parts = []
    if value is not None and low is not None and high is not None:
        parts.append(f"{value:.2f} (95% CI {low:.2f}-{high:.2f})")
    if n is not None:
        parts.append(f"n = {n}")
    if isinstance(p, int | float):
        parts.append("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as text: "40 seconds", "3 minutes", "1 h 20 min"."""
    if seconds < 90:
        return "1 second" if round(seconds) <= 1 else f"{round(seconds)} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

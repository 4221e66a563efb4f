"""Networks, or learning rates, compared on the study before one is trained: asked for, watched, shown. The test part is left alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st
from shared import duration, plain, show_table, workspace
from working import show_end, watch

from easydl import option_text
from easydl.comparison.baselines import BASELINES
from easydl.options_of_planning import CompareOptions
from easydl.reporting.figures import without_text_below
from easydl.studies import Study
from easydl.tasks import Task
from easydl.workspace import Choice, StudyEntry, pace
from easydl.workspace.choices import TRAINING_PART, training_seconds
from easydl.workspace.comparisons import ComparisonWork

RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01)
FIRST_RATES, FIRST_BASELINES = (0.0003, 0.001, 0.003), ("thumbnail", "forest")
EPOCHS, FIGURE_PX = 10, 760
OPTIONS = CompareOptions.model_fields


def compare_first(entry: StudyEntry, study: Study, fitting: dict[str, Choice], names: list[str]) -> None:
    """The place on the page Train."""
    kept = workspace().comparisons.of(entry.id)
    with st.expander("Compare networks or learning rates first", expanded=bool(kept)):
        if not Task(study.task).per_image:
            st.caption("Networks can be compared where each image has one label, several labels or one value.")
            return
        st.markdown(
            "On folds by patient: every patient is tested once, by models that have not seen them. The test part of the split is "
            "left alone, so that what is chosen here can still be tested there."
        )
        running = next((one for one in kept if one.running), None)
        if running is not None:
            watch(partial(workspace().comparisons.find, running.id), running.title, running.id, _fraction)
        else:
            networks, rates = st.tabs(["Networks", "Learning rates"])
            with networks:
                ask_for_networks(entry, study, fitting, names)
            with rates:
                ask_for_rates(entry, study, fitting, names)
        for one in kept:
            if not one.running:
                show_comparison(one)


def _fraction(work: Any) -> float:
    return work.fraction if isinstance(work, ComparisonWork) else 0.0


def ask_for_networks(entry: StudyEntry, study: Study, fitting: dict[str, Choice], names: list[str]) -> None:
    """Which networks and baselines."""
    here = [name for name in names if fitting[name].weights == "here"]
    pretrained = st.checkbox(
        option_text.title("pretrained", OPTIONS["pretrained"]),
        value=bool(here),
        disabled=not here,
        key="compare-pretrained",
        help="Of the networks then those whose weights are on this computer; otherwise all begin with random weights.",
    )
    offered = here if pretrained else names
    chosen = st.multiselect("Networks", offered, default=offered[:1], key=f"compare-{pretrained}")
    plainer = st.multiselect("Simple models beside them", list(BASELINES), default=FIRST_BASELINES)
    options = _options("networks")
    _say_time(study, dict.fromkeys(chosen, 1), options)
    if st.button("Compare", key="compare-networks", disabled=len(chosen) + len(plainer) < 2):
        workspace().comparisons.networks(entry, [*plainer, *chosen], _split(), pretrained=pretrained, **options)
        st.rerun()


def ask_for_rates(entry: StudyEntry, study: Study, fitting: dict[str, Choice], names: list[str]) -> None:
    """Which learning rates of which network."""
    name = st.selectbox("Network", names, format_func=lambda name: f"{name}: {fitting[name].sentence}", key="rates-of")
    pretrained = st.checkbox(
        option_text.title("pretrained", OPTIONS["pretrained"]),
        value=fitting[name].weights == "here",
        disabled=fitting[name].weights != "here",
        key=f"rates-pretrained-{name}",
    )
    rates = st.multiselect("Learning rates", RATES, default=FIRST_RATES, format_func=lambda rate: f"{rate:g}")
    options = _options("rates")
    _say_time(study, {name: len(rates)}, options)
    if st.button("Choose among them", key="compare-rates", disabled=len(rates) < 2):
        workspace().comparisons.rates(entry, name, sorted(rates), _split(), pretrained=pretrained, **options)
        st.rerun()


def _options(key: str) -> dict[str, int]:
    places = st.columns(2)
    given = {}
    for place, (name, usual) in zip(places, (("folds", OPTIONS["folds"].default), ("epochs", EPOCHS)), strict=True):
        low, high = (None if end is None else int(end) for end in option_text.limits(OPTIONS[name]))
        label, about = option_text.title(name, OPTIONS[name]), option_text.help_text(OPTIONS[name])
        given[name] = int(place.number_input(label, low, high, usual, key=f"{key}-{name}", help=about))
    return given


def _say_time(study: Study, trainings: dict[str, int], options: dict[str, int]) -> None:
    images, here = round(TRAINING_PART * len(study)), pace(workspace().runs.all())
    each = {name: training_seconds(name, images, options["epochs"]) * count for name, count in trainings.items()}
    if each:
        roughly = duration(sum(each.values()) * options["folds"] * here)
        st.caption(f"Roughly {roughly} on this computer. It goes on while this page is closed, and can be stopped.")


def _split() -> dict[str, Any]:
    return dict(st.session_state.get("split", {"seed": 7}))


def show_comparison(one: ComparisonWork) -> None:
    """What came of it, with the way into the settings below."""
    with st.container(border=True):
        st.markdown(f"**{plain(one.title.replace('Comparing', 'Compared', 1))}**")
        if one.state != "finished":
            show_end(one)
        else:
            st.markdown(plain(one.found.get("sentence", "")))
            if one.figure is not None:
                st.image(without_text_below(one.figure.read_bytes()), width=FIGURE_PX, alt="Each with its 95% interval")
            show_table(one.table, "Each with its interval and the paired difference")
            for note in one.found.get("notes") or ():
                st.caption(plain(note))
        use, remove, _ = st.columns([2, 1, 3])
        if one.settings and use.button(f"Use {plain(_said(one))}", key=f"use-{one.id}"):
            st.session_state["settings"] = st.session_state.get("settings", {}) | one.settings
            st.rerun()
        if remove.button("Delete", key=f"delete-{one.id}", type="tertiary", icon=":material/delete:"):
            workspace().comparisons.remove(one.id)
            st.rerun()


def _said(one: ComparisonWork) -> str:
    rate = one.settings.get("learning_rate")
    return f"the learning rate {rate:g}" if rate else str(one.settings["model"])

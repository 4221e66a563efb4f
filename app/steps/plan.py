"""Plan: how many patients a test needs, what simple models reach on the study, and what more patients would bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from shared import audited_parts, current_study, heading, needs, onward, plain

import easydl
from easydl.comparison.baselines import BASELINES
from easydl.workspace.screen import on_page

FIGURES_PX = 760
EXPECTED = {"AUC": ("auc", 0.85), "Sensitivity or another proportion": ("proportion", 0.9), "Mean Dice": ("dice", 0.8)}
WITHOUT_NETWORK = tuple(name for name in BASELINES if name != "features")
"""Frozen features need TensorFlow, which a page does not load; a run has them."""


def interval() -> None:
    """How wide the interval of a test will be."""
    st.subheader("How many patients does the test need?", anchor=False)
    first, second, third = st.columns(3)
    measure = first.selectbox("What will be measured", list(EXPECTED))
    name, usual = EXPECTED[measure]
    value = second.number_input("What is expected", min_value=0.01, max_value=0.99, value=usual, step=0.01)
    patients = third.number_input("Patients tested", min_value=4, max_value=1_000_000, value=100, step=10)
    given: dict[str, Any] = {name: value, "patients": int(patients)}
    if name == "auc":
        given["positive"] = first.number_input("Fraction with the disease", 0.01, 0.99, value=0.5, step=0.05)
    if name == "dice":
        given["sd"] = first.number_input("Standard deviation between patients", 0.01, 0.5, value=0.15, step=0.01)
    found = easydl.interval_width(**given)
    st.markdown(f"**{plain(repr(found).splitlines()[0])}**")
    st.pyplot(on_page(found.show(), FIGURES_PX), alt="The interval against the number of patients", width=FIGURES_PX)


def asked(key: str, button: str, waiting: str, work: Callable[[], Any]) -> Any:
    """What a button asks for, kept until the study or its split is another."""
    of = (st.session_state.get("study"), str(st.session_state.get("split")))
    if st.button(button, key=key):
        with st.spinner(waiting):
            st.session_state[f"{key}-found"] = (of, work())
    kept = st.session_state.get(f"{key}-found")
    return kept[1] if kept is not None and kept[0] == of else None


heading("plan", "Before a network is trained: how many patients it takes, and what it has to beat.")
interval()
study = current_study()
if study is None:
    needs("No study is open. With one, this page also says what simple models reach on it.", "data")
    st.stop()
whole = audited_parts(study)[0].parent or study

st.subheader("What do simple models reach?", anchor=False)
st.markdown(
    "The same answer for everybody, the table alone, a thumbnail of 8 x 8 pixels, a random forest on readable features: a "
    "network has to beat them. Each is tested out of fold by patient; the test part is left alone."
)
compared = asked(
    "compare", "Compare simple models", "Fitting", lambda: easydl.compare(whole, WITHOUT_NETWORK, seed=0)
)  # fmt: skip
if compared is not None:
    st.markdown(f"**{plain(compared.sentence)}**")
    st.pyplot(on_page(compared.show(), FIGURES_PX), alt="Simple models with their intervals", width=FIGURES_PX)
    for line in [*(f"{name} left out: {why}." for name, why in compared.left_out.items()), *compared.notes]:
        st.caption(plain(line))

st.subheader("What would more patients bring?", anchor=False)
st.markdown("A random forest on readable features at several numbers of training patients, each drawn several times.")
curve = asked(
    "curve",
    "Draw the learning curve",
    "Fitting 100 forests: up to a minute",
    lambda: easydl.learning_curve(whole, "forest"),
)
if curve is not None:
    st.markdown(f"**{plain(curve.sentence)}**")
    st.pyplot(on_page(curve.show(), FIGURES_PX), alt="The learning curve", width=FIGURES_PX)
onward("train")

"""Heatmaps: original and overlay of some test images, each with the verdict on whether to believe it."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from nearest_images import found_or_asked, show_nearest
from shared import VERDICTS, choose_run, heading, needs, onward, plain, show_figure, show_verdict

from easydl.figures import COLOURS
from easydl.reporting.names import shown as shown_name
from easydl.workspace.tables import by_error, is_right

AT_ONCE = 6

heading("heatmaps", "Where the model looked, and whether the heatmap can be believed.")
run = choose_run()
if run is None:
    st.stop()
heatmaps = by_error([entry for entry in run.heatmaps if entry["path"]])
if not heatmaps:
    state = "They are drawn at the end of the run." if run.running else "This run ended before they were drawn."
    needs(f"There are no heatmaps yet. {state}", "train")
    st.stop()
st.caption(
    "The original is on the left, the overlay on the right. A heatmap shows what moved the model's prediction; it "
    "is not a segmentation of a lesion. Its verdict tells whether the heatmap depends on what the model learnt."
)
given = {str((entry.get("verdict") or {}).get("level", "")) for entry in heatmaps}
levels = [level for level in VERDICTS if level in given]
if len(levels) > 1:
    names = {"all": "All", **{level: name for level, (name, _, _) in VERDICTS.items()}}
    picked = (
        st.segmented_control("Verdict", ["all", *levels], default="all", format_func=lambda level: names[level])
        or "all"
    )
    heatmaps = [entry for entry in heatmaps if picked in ("all", (entry.get("verdict") or {}).get("level"))]
nearest = found_or_asked(run)
shown = st.session_state.get("heatmaps-shown", AT_ONCE)
for number, entry in enumerate(heatmaps[:shown], start=1):
    verdict = entry.get("verdict") or {}
    with st.container(border=True):
        about, mark = st.columns([5, 1], vertical_alignment="center")
        facts = [f"**{plain(shown_name(entry.get('image'), f'test image {number}').capitalize())}**"]
        if entry.get("label"):
            facts.append(f"reference: {plain(entry['label'])}")
        if is_right(entry) is not None:
            facts.append(
                "the answer is right" if is_right(entry) else f"**wrong answer: {plain(entry['prediction'])}**"
            )
        if entry.get("target"):
            chance = entry.get("probability")
            value = entry.get("value")
            score = f" (score {chance:.2f})" if isinstance(chance, int | float) else ""
            score = f" (measured {value:.4g})" if isinstance(value, int | float) else score
            facts.append(f"explained: {plain(entry['target'])}{score}")
        about.markdown(" &nbsp;&nbsp; ".join(facts))
        if verdict:
            show_verdict(verdict.get("level", ""), mark)
        show_figure(entry["path"], f"Image {number}: the original next to the overlay of the heatmap")
        if verdict:
            st.markdown(plain(verdict.get("sentence", "")))
        if entry.get("words"):
            st.markdown(plain(f"Where the map lies: {entry['words']}"))
        if verdict:
            with st.expander("What was measured"):
                for reason in verdict.get("reasons") or ():
                    st.markdown(f"- {plain(reason['sentence'])} {plain(reason['figures'])}")
                st.dataframe(pd.Series(verdict.get("numbers") or {}, dtype=object).astype(str).rename("measured"))
        if str(entry.get("file")) in nearest:
            with st.expander("Nearest training images"):
                show_nearest(nearest[str(entry["file"])])
        for note in entry.get("notes") or ():
            st.caption(plain(note))
if len(heatmaps) > shown and st.button(f"Show {min(AT_ONCE, len(heatmaps) - shown)} more"):
    st.session_state["heatmaps-shown"] = shown + AT_ONCE
    st.rerun()
if run.image_map:
    table, known = run.image_map["table"], [str(name) for name in run.image_map.get("columns") or ()]
    st.subheader("Images that the model takes for alike")
    st.caption(
        "Each point is an image; near each other are those in which the model sees the same. An island that is named by a "
        "scanner, a site or a sex shows that the model sees that, whether or not its answers use it."
    )
    colours = [name for name in known if name in table.columns]
    chosen = st.selectbox("Coloured by", colours, index=colours.index("label") if "label" in colours else 0)
    points = table.assign(value=table[chosen].astype(str).replace("", "(empty)"))
    bare = {"type": "quantitative", "axis": None, "scale": {"zero": False, "nice": False, "padding": 12}}
    value = {"field": "value", "type": "nominal", "title": chosen}
    colour = {**value, "scale": {"range": list(COLOURS)}, "legend": {"orient": "right", "symbolLimit": 12}}
    drawn = {
        "mark": {"type": "circle", "size": 55, "opacity": 0.75},
        "encoding": {
            "x": {"field": "x", **bare},
            "y": {"field": "y", **bare},
            "color": colour,
            "tooltip": [value, {"field": "island", "title": "island"}],
        },
        "height": 380,
    }
    st.vega_lite_chart(points[["x", "y", "island", "value"]], drawn, width="stretch")
    for sentence in run.image_map.get("islands") or ():
        st.markdown(f"- {plain(sentence)}")
onward("export")

"""Part of the Concepts page about one concept: pictures, words, areas, vertices, and what people wrote of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitAPIException

from brainviz.datasets.base import HEMISPHERES, MIN_ROI_VERTICES
from brainviz.errors import BrainvizError
from brainviz.figures.concept_details import roi_shares, text_bars
from brainviz.figures.contact_sheet import contact_sheet
from brainviz.figures.style import PLOTLY_CONFIG, signed
from brainviz.runs.notes import MOST_NAME, MOST_NOTE, Note, read_notes, write_note
from brainviz.runs.store import Run
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.concept_cortex import show_cortex
from brainviz.ui.concept_pictures import show_pictures
from brainviz.ui.concept_results import ConceptResults
from brainviz.ui.downloads import figure_downloads
from brainviz.ui.errors import plain, show_error

#: What a vertex's colour can mean.
QUANTITIES = {
    "weights": "cosine of each vertex's decoding weights with the concept",
    "members": "cosine of the weights with the concept, of the concept's own vertices alone",
}

#: Where a session remembers what the chosen concept was called.
_LABEL = "_concept label"

#: Words, and pictures, that stand for the negation of a concept.
NEGATED_WORDS, NEGATED_PICTURES = 5, 8

#: Pixels of what stands beside each other, three of them.
THIRD = 300


def show_concept(shown: ConceptResults) -> None:
    """Draw everything about one concept."""
    concept = pick_concept(shown)
    if concept is None:
        return
    row = shown.table.iloc[concept]
    name = str(row["name"])
    _show_facts(shown, row)
    _edit_note(shown, concept)
    about = ["Pictures", "Words", "Cortex", "Areas"]
    say_unknown("about", about, "part")
    part = st.segmented_control("About", about, default="Pictures", required=True, **bound("about"))
    parts = {"Words": _show_words, "Cortex": _show_cortex, "Areas": _show_areas}
    parts.get(str(part), show_pictures)(shown, concept, name)
    _show_relatives(shown, concept)


def pick_concept(shown: ConceptResults) -> int | None:
    """Draw the choice of a concept; None where there is none."""
    table = shown.table
    if table.empty:
        return None
    numbers = table["concept"].tolist()
    labels = dict(zip(numbers, shown.labels, strict=True))
    _stay_with_number(labels, numbers[0])
    keep_among("concept", numbers, numbers[0])
    chosen: int = st.selectbox(
        "Concept", numbers, format_func=lambda number: str(labels.get(number, number)), **bound("concept"), width=420
    )
    return chosen


def _stay_with_number(labels: Mapping[int, str], default: int) -> None:
    """Keep the concept when its label has changed: address and browser hold labels, and anyone may name a concept."""
    address = st.query_params.get("concept", "")
    numbers = {str(number): number for number in labels}
    say_unknown("concept", [text for text in [address] if text.partition(" ")[0] in numbers], "concept")
    number = numbers.get(str(st.session_state.get("concept", address)).partition(" ")[0])
    drawn_before = st.session_state.get(_LABEL)
    st.session_state[_LABEL] = labels[default if number is None else number]
    if number is None or address == (labels[number] if number != default else ""):
        if number == default and drawn_before != st.session_state[_LABEL]:
            st.session_state["concept"] = (
                number  # of the default, the address tells nothing: the browser has to be told
            )
        return
    st.session_state["concept"] = number
    # Streamlit writes the address for a control that was on the page before, and refuses others to do so; for one that
    # comes on the page with a value set in a callback, it does not.
    with suppress(StreamlitAPIException):
        st.query_params["concept"] = labels[number]


def _show_facts(shown: ConceptResults, row: pd.Series) -> None:
    with st.container(horizontal=True, gap="small"):
        facts: list[tuple[str, str, str]] = [
            ("Vertices", f"{int(row['n_vertices']):,}", f"core {int(row['n_core']):,}"),
            ("Participants", f"{int(row['n_participants'])} of {len(shown.subjects)}", "who have a vertex of it"),
            ("On the left", f"{row['share_left']:.0%}", "share of its vertices in the left hemisphere"),
            ("Consistency", number_words(row["consistency"]), "cosine between participants' versions"),
            ("Reseeded", number_words(row["reseeded"]), "cosine between two halves of the seeds"),
            (
                "Left out",
                number_words(row["left_out"]),
                "best cosine with what is found without a participant, mean",
            ),
            ("Evidence r", number_words(row["evidence_r"]), "held-out responses against pictures"),
        ]
        for label, value, help_ in facts:
            st.metric(label, value, help=help_, width=115)


def number_words(value: float) -> str:
    """Return a measure as the page says it."""
    return f"{value:.2f}" if np.isfinite(value) else "–"


def _edit_note(shown: ConceptResults, concept: int) -> None:
    """Draw the form for name, note and hiding; what is written goes beside the run."""
    note, key = shown.notes.get(concept, Note()), f"note_{shown.run.id[:12]}_{concept}"
    if note.note:
        st.info(plain(note.note).replace("\n", "  \n"), icon=":material/edit_note:")
    state = st.session_state
    error = state.pop(f"{key}_error", None)
    if error is None and state.get(f"{key}_before") != note:  # the first time, or somebody has written meanwhile
        state[f"{key}_before"] = note
        state[f"{key}_name"], state[f"{key}_text"], state[f"{key}_hidden"] = note.name, note.note, note.hidden
    with st.popover("Name, note, hide", icon=":material/edit:"), st.form(key):
        st.text_input("Name", max_chars=MOST_NAME, placeholder=str(concept), key=f"{key}_name")
        st.text_area("Note", max_chars=MOST_NOTE, key=f"{key}_text")
        st.checkbox("Hide from the overview", key=f"{key}_hidden")
        st.caption("Kept beside the run, for everyone who uses this cache; the result itself is not touched.")
        st.form_submit_button("Save", icon=":material/save:", on_click=_save_note, args=(shown.run, concept, key))
    if error is not None:
        show_error(error)


def _save_note(run: Run, concept: int, key: str) -> None:
    """Write what the form says; where somebody else was faster, say so, and let the next press of Save replace it."""
    state = st.session_state
    note = Note(state[f"{key}_name"].strip(), state[f"{key}_text"].strip(), state[f"{key}_hidden"])
    try:
        write_note(run, concept, note, before=state[f"{key}_before"])
    except BrainvizError as error:
        state[f"{key}_error"] = error
        with suppress(BrainvizError):
            state[f"{key}_before"] = read_notes(run).get(concept, Note())


def _show_words(shown: ConceptResults, concept: int, name: str) -> None:
    cosines = np.asarray(shown.text_similarity[concept])
    known = np.flatnonzero(np.isfinite(cosines))
    if not len(known):
        st.info("The network can read none of these texts. Choose others.", icon=":material/arrow_upward:")
        return
    provenance = shown.about(words=f"concept {name}")
    texts = [shown.texts[row] for row in known]
    figure = text_bars(texts, cosines[known], provenance, name=name)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="texts_chart", alt="Words of the concept")
    st.caption(f"Cosine of the concept with {shown.spec.described_by.texts}, through the text encoder.")
    table = pd.DataFrame({"text": texts, "cosine": cosines[known]}).sort_values("cosine", ascending=False)
    figure_downloads("Words", table, figure, [shown.spec], f"{shown.stem}_{concept}", provenance)


def _show_cortex(shown: ConceptResults, concept: int, name: str) -> None:
    say_unknown("cortex_shows", list(QUANTITIES), "quantity")
    quantity = st.segmented_control(
        "Shown", list(QUANTITIES), default="weights", required=True, **bound("cortex_shows")
    )
    st.caption(f"Colour: {QUANTITIES[str(quantity or 'weights')]}.")
    values = shown.vertex_cosines(np.asarray(shown.directions[concept]))
    if quantity == "members":
        values = values.assign(value=values["value"].where(shown.points["concept"] == concept))
    show_cortex(shown, values, f"concept {name}", f"{shown.stem}_{concept}_{quantity}")


def _show_areas(shown: ConceptResults, concept: int, name: str) -> None:
    table = roi_table(shown, concept)
    if table.empty:
        st.info("The data set names no ROI with enough of these vertices.", icon=":material/info:")
        return
    provenance = shown.about(words=f"concept {name}")
    figure = roi_shares(table, provenance, name=name, order=shown.subjects)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="roi_shares", alt="Share of each ROI")
    st.caption(
        "Share of a ROI's used vertices that belong to the concept, a dot per participant. Chance is the concept's "
        "share of all of the participant's used vertices. Neighbouring vertices are alike: no test is made."
    )
    figure_downloads("Areas", table, figure, [shown.spec], f"{shown.stem}_{concept}", provenance)


def roi_table(shown: ConceptResults, concept: int) -> pd.DataFrame:
    """Return which share of each ROI's used vertices belongs to a concept: ``hemi roi subject share chance n``."""
    rows = []
    for subject, own in shown.points.groupby("subject", sort=False):
        chance = float((own["concept"] == concept).mean())
        for hemi in HEMISPHERES:
            here = own[own["hemi"] == hemi]
            if here.empty:
                continue
            columns, inside = here["column"].to_numpy(), (here["concept"] == concept).to_numpy()
            for roi, mask in shown.source.dataset.rois(str(subject), hemi).items():
                of_roi = inside[mask[columns]]
                if len(of_roi) >= MIN_ROI_VERTICES:
                    share = float(of_roi.mean())
                    about: dict[str, Any] = {"hemi": hemi, "roi": roi, "subject": subject}
                    rows.append({**about, "share": share, "chance": chance, "n": len(of_roi)})
    return pd.DataFrame(rows, columns=["hemi", "roi", "subject", "share", "chance", "n"])


def _show_relatives(shown: ConceptResults, concept: int) -> None:
    """List the concepts that are nearest, what the negation is like, and participants, one by one."""
    table = shown.table
    cosines = np.asarray(shown.directions) @ np.asarray(shown.directions[concept])
    others = table.assign(cosine=cosines)[table["concept"] != concept].sort_values("cosine", ascending=False)
    beside = st.container(horizontal=True)
    left, middle, right = (beside.container(width=THIRD) for _ in range(3))
    if len(others):
        left.markdown("**Nearest concepts**")
        columns = {"cosine": NUMBER, "n_vertices": st.column_config.NumberColumn("vertices", format="localized")}
        left.dataframe(others.head(5)[["name", "cosine", "n_vertices"]], hide_index=True, column_config=columns)
    with middle:
        st.markdown("**Its negation**", help="The opposite direction: what its vertices respond to least.")
        if len(others):
            opposite = others.iloc[-1]
            st.markdown(
                f"Nearest concept: {plain(opposite['name'])}, cosine {signed(-opposite['cosine'], 2)} with the negation"
            )
        if words := shown.words_of_negation(concept, NEGATED_WORDS):
            st.markdown(f"Words: {plain(', '.join(words))}")
        least = np.argsort(shown.similarity[concept], kind="stable")[:NEGATED_PICTURES]
        st.image(contact_sheet(shown.thumbnails(least.tolist()), columns=NEGATED_PICTURES // 2), width="stretch")
    right.markdown("**Participants**")
    own = shown.points[shown.points["concept"] == concept]
    counts = own.groupby("subject").agg(vertices=("hemi", "size"), left=("hemi", lambda hemi: (hemi == "lh").sum()))
    counts = counts.reindex(shown.subjects, fill_value=0).rename_axis("participant").reset_index()
    right.dataframe(counts.assign(right=counts["vertices"] - counts["left"]), hide_index=True)


NUMBER = st.column_config.NumberColumn(format="%.2f")

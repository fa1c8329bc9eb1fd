"""Parts of the Concepts page about all concepts: the overview, the choice of eps, the decoders, the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.figures.concept_scan import scan_chart
from brainviz.figures.concepts import concept_chart, concept_matrix
from brainviz.figures.contact_sheet import contact_sheet
from brainviz.figures.decoding import loss_curves, retrieval_curves
from brainviz.figures.style import PLOTLY_CONFIG
from brainviz.runs import share
from brainviz.runs.concept_specs import DecoderSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.binding import bound
from brainviz.ui.concept_results import ConceptResults
from brainviz.ui.concept_view import NUMBER, number_words
from brainviz.ui.downloads import csv_text, download, figure_downloads
from brainviz.ui.errors import plain
from brainviz.ui.words import count

#: Concepts drawn as cards, and pictures on each.
CARDS, CARD_PICTURES, CARD_PIXELS = 24, 8, 72

#: Concepts drawn as points, and compared with each other: a small eps can make thousands, of a few vertices each.
MOST_POINTS, MOST_COMPARED = 300, 60

#: A concept that holds so large a share of the vertices is a sign of a large eps.
TOO_LARGE = 0.5


#: How the table of concepts is headed.
TABLE_COLUMNS = {
    "name": st.column_config.TextColumn("concept", pinned=True),
    "concept": st.column_config.NumberColumn("number"),
    "n_vertices": st.column_config.NumberColumn("vertices", format="localized"),
    "n_core": st.column_config.NumberColumn("core", format="localized"),
    "n_second_stage": st.column_config.NumberColumn("second stage", format="localized"),
    "n_participants": st.column_config.NumberColumn("participants"),
    "share_left": st.column_config.NumberColumn("left hemisphere", format="percent"),
    "tightness": NUMBER,
    "consistency": NUMBER,
    "least_consistency": st.column_config.NumberColumn("least consistency", format="%.2f"),
    "evidence_r": st.column_config.NumberColumn("evidence r", format="%.2f"),
    "left_out": st.column_config.NumberColumn("left out", format="%.2f"),
    "reseeded": NUMBER,
}

#: What vertices are chosen by, in words.
CHOSEN_BY = {
    "noise-ceiling": "the noise ceiling that the data set brings",
    "repeats": "noise ceiling from repeated training trials",
    "encoding": "cross-validated r in training pictures",
}


def say_outcome(shown: ConceptResults) -> None:
    """Say what was found in a sentence, and what to do where it is of little use."""
    found = shown.result
    n = found["n_concepts"]
    n_participants = len(shown.subjects) - len(found["without_vertices"])
    st.caption(
        f"{count(n, 'concept')} in {found['share_in_concepts']:.0%} of {found['n_points']:,} vertices of "
        f"{count(n_participants, 'participant')}; eps {shown.spec.eps:g}, at least "
        f"{count(shown.spec.min_participants, 'other participant')}; {found['n_second_stage']:,} vertices joined in "
        f"the second stage. {_chance_in_words(found)}"
    )
    for subject in found["without_vertices"]:
        st.warning(
            f"{plain(subject)} has no usable vertex and takes no part. Lower the threshold under “All settings”, "
            "choose the vertices in another way, or leave the participant out.",
            icon=":material/person_off:",
        )
    others = len(shown.subjects) - len(found["without_vertices"]) - 1
    if n == 0 and others < shown.spec.min_participants:
        st.warning(
            f"There can be no concept: each participant has {count(others, 'other')}, and "
            f"{shown.spec.min_participants} are asked for. Ask for fewer.",
            icon=":material/info:",
        )
    elif n == 0:
        fewer = " or fewer other participants" if shown.spec.min_participants > 1 else ""
        st.warning(
            "No vertex has enough neighbours in other participants: there is no concept. Choose a larger "
            f"eps{fewer}; “Choose eps” shows what others would give. Where none does, use more vertices, or train "
            "longer.",
            icon=":material/info:",
        )
    elif found["largest"] > TOO_LARGE:
        st.warning(
            f"One concept holds {found['largest']:.0%} of all vertices: eps is so large that meanings merge. Choose a "
            "smaller one; “Choose eps” shows what others would give.",
            icon=":material/info:",
        )


def _chance_in_words(found: Mapping[str, Any]) -> str:
    """Return what the same clustering finds in weights that have nothing in common."""
    chance = found["by_chance"]
    words = f"By chance (every participant's weights turned at random): {count(chance['n_concepts'], 'concept')}"
    if not chance["n_concepts"]:
        return f"{words}."
    alike = number_words(chance["consistency"] if chance["consistency"] is not None else np.nan)
    return f"{words} in {chance['share_in_concepts']:.1%} of the vertices, consistency {alike}."


def show_overview(shown: ConceptResults) -> None:
    """Draw the concepts as cards, largest first, and as points by size and reliability."""
    table = shown.table
    if table.empty:
        return
    hidden = int(table["hidden"].sum())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.segmented_control(
            "First", ["largest", "most consistent"], default="largest", required=True, **bound("concepts_first")
        )
        everything = st.toggle(f"Show {hidden} hidden", **bound("hidden")) if hidden else False
    listed = table if everything else table[~table["hidden"]]
    by = "n_vertices" if order == "largest" else "consistency"
    listed = listed.sort_values(by, ascending=False, kind="stable")
    if listed.empty:
        st.info("Every concept is hidden.", icon=":material/visibility_off:")
        return
    columns = st.columns(3)
    for place, (_, row) in enumerate(listed.head(CARDS).iterrows()):
        with columns[place % 3].container(border=True):
            _show_card(shown, row)
    if len(listed) > CARDS:
        st.caption(f"And {len(listed) - CARDS} more: see Table.")
    st.subheader("Size and reliability")
    figure = concept_chart(listed.head(MOST_POINTS), shown.provenance)
    picked = st.plotly_chart(
        figure, config=PLOTLY_CONFIG, theme=None, key="concept_chart", on_select="rerun", alt="Concepts by reliability"
    )
    if points := picked.selection.points:
        chosen = listed[listed["concept"] == points[0]["customdata"][0]]
        for _, row in chosen.iterrows():
            _open_button(row, "chart")
    st.caption(
        "Consistency: cosine of a participant's own version of the concept with that of the others, mean over "
        "participants; vertices were chosen for being near those of others, so compare it with what is consistent by "
        "chance (above). Size: vertices of all participants."
        + (f" Drawn are the first {MOST_POINTS} of {len(listed):,}." if len(listed) > MOST_POINTS else "")
    )
    figure_downloads("Concepts", listed, figure, [shown.spec], shown.stem, shown.provenance)


def _show_card(shown: ConceptResults, row: pd.Series) -> None:
    concept = int(row["concept"])
    st.markdown(f"**{plain(row['name'])}**")
    best = np.argsort(-shown.similarity[concept], kind="stable")[:CARD_PICTURES]
    sheet = contact_sheet(shown.thumbnails(best.tolist()), columns=CARD_PICTURES // 2, size=CARD_PIXELS)
    st.image(sheet, width="stretch")
    st.caption(
        f"{plain(', '.join(shown.words(concept, 5)))}  \n"
        f"{int(row['n_vertices']):,} vertices · {int(row['n_participants'])} participants · "
        f"consistency {number_words(row['consistency'])} · left hemisphere {row['share_left']:.0%}"
    )
    _open_button(row, "card")


def _open_button(row: pd.Series, where: str) -> None:
    concept = int(row["concept"])
    st.button(
        "Open",
        key=f"open_{where}_{concept}",
        icon=":material/zoom_in:",
        on_click=_open,
        args=(concept,),
        help=f"Pictures, words and vertices of {plain(row['name'])}.",
    )


def _open(concept: int) -> None:
    st.session_state["concept"], st.session_state["show"] = concept, "One concept"


def show_scan(shown: ConceptResults) -> None:
    """Draw what other settings would give."""
    if not shown.has(share.SCAN):
        st.info("This run was asked for without a scan.", icon=":material/arrow_upward:")
        return
    table = shown.scan()
    chosen = (shown.spec.eps, shown.spec.min_participants)
    figure = scan_chart(table, shown.provenance, chosen=chosen)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="scan", alt="Concepts by eps and participants")
    st.caption(
        "Of the first stage. Concepts merge as eps grows: look for the range in which many concepts hold many "
        "vertices, far more than by chance, none holds most, and two halves of the seeds agree (adjusted Rand index: "
        "of vertices that are in concepts of both, where these are several; overlap: share of vertices in concepts of "
        "either). By chance: the same with every participant's weights turned at random, each by a turn of their own. "
        "A concept can have fewer participants than asked for, as border vertices go to the nearest core vertex, which "
        "may be another concept's. Choose it above: it is part of the run."
    )
    figure_downloads("Scan", table, figure, [shown.spec], shown.stem, shown.provenance)


def show_decoders(shown: ConceptResults) -> None:
    """Draw how well each participant's decoders find held-out pictures, and how their training went."""
    store = Store()
    runs = {decoder.subject: store.run_of(decoder) for decoder in shown.spec.decoders}
    results = {subject: run.result() for subject, run in runs.items()}
    rows = [
        {"subject": subject, "n": result["n_candidates"], **row}
        for subject, result in results.items()
        for row in result.get("retrieval", ())
    ]
    if not rows:
        st.info("No participant has usable vertices.", icon=":material/arrow_upward:")
        return
    table = pd.DataFrame(rows)
    figure = retrieval_curves(table, shown.provenance, order=shown.subjects)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="retrieval", alt="Held-out pictures found")
    st.caption(
        "Share of held-out pictures whose own embedding is among the k nearest to what is decoded from the responses "
        "to them. Intervals: Wilson's, 95 %. Ridge: linear regression to the embedding, every "
        "dimension's penalty chosen by leaving out one training picture at a time."
    )
    figure_downloads("Retrieval", table, figure, shown.spec.decoders, shown.stem, shown.provenance)
    facts = pd.DataFrame([_decoder_facts(subject, runs[subject], results[subject]) for subject in runs])
    edge = {"ridge penalties at their grid's edge": st.column_config.NumberColumn(format="percent")}
    st.dataframe(facts, hide_index=True, column_config=edge)
    curves = {subject: run.array("loss") for subject, run in runs.items() if "loss.npy" in run.manifest()["files"]}
    if curves:
        losses = loss_curves(
            {subject: curve.T for subject, curve in curves.items()}, shown.provenance, order=shown.subjects
        )
        st.plotly_chart(losses, config=PLOTLY_CONFIG, theme=None, key="decoder_loss", alt="Training loss of decoders")
        points = pd.concat(
            [pd.DataFrame({"subject": subject, "iteration": x, "loss": y}) for subject, (x, y) in curves.items()]
        )
        figure_downloads("Loss", points, losses, shown.spec.decoders, shown.stem, shown.provenance)


def _decoder_facts(subject: str, run: Run, result: dict[str, object]) -> dict[str, object]:
    spec = run.spec
    assert isinstance(spec, DecoderSpec)
    by = "every vertex" if spec.selection == "none" else f"{CHOSEN_BY[spec.selection]} above {spec.vertex_threshold:g}"
    return {
        "participant": subject,
        "vertices used": result["n_vertices"],
        "of": result["n_considered"],
        "chosen by": by,
        "constant": result["n_constant"],
        "pictures trained on": result["n_train"],
        "held out": result["n_test"],
        "seeds": spec.n_seeds,
        "ridge penalties at their grid's edge": result.get("ridge_at_edge"),
        "run": run.id,
    }


def show_table(shown: ConceptResults) -> None:
    """Draw the table of concepts, and how alike they are to each other."""
    table = shown.table
    if table.empty:
        return
    # What people wrote comes first and last.
    written = ["hidden", "note"] if table["hidden"].any() or table["note"].any() else []
    columns = ["name", *(column for column in table.columns if column not in ("name", "hidden", "note")), *written]
    st.dataframe(table[columns], hide_index=True, column_config=TABLE_COLUMNS)
    st.caption(
        "Tightness: mean cosine of the vertices with the concept. Consistency: see Overview; the least is that of the "
        "participant most unlike the others. Reseeded: cosine of the concept in one half of the decoders' seeds with "
        "that in the other. Left out: best cosine with any concept found without a participant (fewer others are asked "
        "for where too few are left), mean over participants. "
        "Evidence r: over held-out pictures, how the decoded responses' likeness to the concept goes with the "
        "pictures' own."
    )
    download("Table, CSV", lambda: csv_text(table, shown.provenance), f"{shown.stem}.csv", key="csv_concepts")
    largest, names = np.asarray(shown.directions[:MOST_COMPARED]), table["name"].tolist()[:MOST_COMPARED]
    cosines = largest @ largest.T
    figure = concept_matrix(cosines, names, shown.provenance)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="concept_matrix", alt="Cosines between concepts")
    matrix = pd.concat([pd.Series(names, name="concept"), pd.DataFrame(cosines, columns=names)], axis=1)
    figure_downloads("Cosines", matrix, figure, [shown.spec], shown.stem, shown.provenance)

"""Part of the Concepts page about the pictures of one concept, and what responses to held-out pictures say of them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.figures.concept_details import association_histogram, evidence_curve
from brainviz.figures.contact_sheet import binned_sheet, contact_sheet
from brainviz.figures.style import PLOTLY_CONFIG, Provenance, signed
from brainviz.ui.binding import bound
from brainviz.ui.concept_results import ConceptResults
from brainviz.ui.downloads import csv_text, download, figure_downloads

#: Pictures in a row.
ROW = 10

#: Rows of pictures between the most and the least associated: where in the ranking, as a share of all.
BETWEEN = (0.01, 0.1, 0.5, 0.9)

#: Pixels of what stands beside each other, two of them.
HALF = 460


def show_pictures(shown: ConceptResults, concept: int, name: str) -> None:
    """Draw the pictures most, least and less associated with a concept, and what responses say of them."""
    held_out = st.toggle("Held-out pictures only", **bound("held_out"), help="Those that no decoder was trained on.")
    similarity, evidence = shown.similarity[concept], shown.evidence[concept]
    offered = np.flatnonzero(shown.pictures["held_out"]) if held_out else np.arange(len(similarity))
    ranked = offered[np.argsort(-similarity[offered], kind="stable")]
    rows = rank_rows(ranked)
    provenance = shown.about(words=f"concept {name}")
    for label, numbers in rows.items():
        st.caption(label)
        st.image(_sheet(shown, numbers, similarity), width="stretch")
    download(
        "Pictures, PNG",
        lambda: _png(binned_sheet([(label, shown.thumbnails(each)) for label, each in rows.items()]), provenance),
        f"{shown.stem}_{concept}_pictures.png",
        key="concept_pictures",
    )
    about = shown.pictures.iloc[ranked].assign(cosine=similarity[ranked], decoded=evidence[ranked])
    download(
        "Ranking, CSV",
        lambda: csv_text(about, provenance),
        f"{shown.stem}_{concept}_ranking.csv",
        key="concept_ranking",
    )
    st.caption(
        "Pictures of all participants by the cosine of their embedding with the concept (the numbers), most associated "
        "first. The least associated are as telling: what the concept is not."
    )
    beside = st.container(horizontal=True)  # wraps where the page is narrow
    with beside.container(width=HALF):
        figure = association_histogram(np.asarray(similarity), provenance, evidence=np.asarray(evidence), name=name)
        st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="association", alt="Association of all pictures")
    with beside.container(width=HALF):
        _show_evidence(shown, concept, name)


def rank_rows(ranked: NDArray[np.integer], n: int = ROW) -> dict[str, list[int]]:
    """Return pictures at several places of a ranking, place in words -> n pictures; no picture twice."""
    m = len(ranked)
    if m <= 2 * n:
        return {"All pictures, most associated first": ranked.tolist()}
    rows, free = {"Most associated": ranked[:n].tolist()}, n
    for share in BETWEEN:
        start = round(share * m) - n // 2
        if free <= start <= m - 2 * n:
            rows[f"At {share:.0%}: ranks {start + 1:,} to {start + n:,} of {m:,}"] = ranked[start : start + n].tolist()
            free = start + n
    rows["Least associated, from the last one"] = ranked[::-1][:n].tolist()
    return rows


def _sheet(shown: ConceptResults, numbers: Sequence[int], similarity: NDArray[np.floating]) -> NDArray[np.uint8]:
    labels = [signed(similarity[number], 2) for number in numbers]
    return contact_sheet(shown.thumbnails(numbers), columns=ROW, labels=labels)


def _png(picture: NDArray[np.uint8], provenance: Provenance) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    content, facts = io.BytesIO(), PngInfo()
    facts.add_text("Description", json.dumps(provenance.fields(), ensure_ascii=False))
    Image.fromarray(picture).save(content, "PNG", pnginfo=facts)
    return content.getvalue()


@st.cache_data(show_spinner=False, max_entries=128)
def _evidence_table(run_id: str, concept: int, _shown: ConceptResults) -> pd.DataFrame:
    from brainviz.analyses.concept_measures import evidence_bins

    bins = evidence_bins(_shown.similarity[concept], _shown.evidence[concept])
    return pd.DataFrame([{"bin": f"{each.share:.0%}", **vars(each)} for each in bins])


def _show_evidence(shown: ConceptResults, concept: int, name: str) -> None:
    table = _evidence_table(shown.run.id, concept, shown)
    if table.empty:
        st.info("There are no held-out pictures with responses.", icon=":material/info:")
        return
    provenance = shown.about(words=f"concept {name}")
    figure = evidence_curve(table, provenance, name=name)
    st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="evidence", alt="What the responses say")
    st.caption(
        "What responses to held-out pictures say: cosine of what is decoded from them with the concept, mean over "
        "pictures in at most ten bins of their own rank, with t intervals (95 %)."
    )
    figure_downloads("Evidence", table, figure, [shown.spec], f"{shown.stem}_{concept}", provenance)

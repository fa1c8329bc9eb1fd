"""Part of the Concepts page that looks for a text: the concepts, pictures and vertices that are most like it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.errors import BrainvizError
from brainviz.figures.concept_details import text_bars
from brainviz.figures.contact_sheet import contact_sheet
from brainviz.figures.style import PLOTLY_CONFIG, signed
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.embed import read_embeddings
from brainviz.runs.search import embed_text
from brainviz.runs.store import Store
from brainviz.ui.binding import bound
from brainviz.ui.concept_cortex import show_cortex
from brainviz.ui.concept_results import ConceptResults
from brainviz.ui.downloads import figure_downloads
from brainviz.ui.errors import plain, show_error

#: Pictures shown, in rows of so many.
PICTURES, ROW = 20, 10

#: Characters of a text, at most.
MOST = 300


def show_search(shown: ConceptResults) -> None:
    """Draw the field for a text, and what is most like it."""
    text = st.text_input(
        "Text",
        **bound("find"),
        max_chars=MOST,
        placeholder="food",
        help="A word or a sentence, read by the text encoder of the image-text network.",
        width=420,
    )
    if not (text or "").strip():
        st.caption("Write what to look for, such as food, hands, or a small red house.")
        return
    try:
        with st.spinner("Reading the text"):
            vector, unknown = text_vector(shown, str(text).strip())
    except BrainvizError as error:
        show_error(error)
        return
    if unknown:
        st.warning(
            f"{shown.spec.described_by.clip_network} does not know {plain(', '.join(unknown))}: looked for without.",
            icon=":material/spellcheck:",
        )
    if not shown.table.empty:
        names = [
            f"{name} (hidden)" if hidden else str(name)
            for name, hidden in zip(shown.table["name"], shown.table["hidden"], strict=True)
        ]
        cosines = np.asarray(shown.directions) @ vector
        if cosines.max() <= 0:
            st.info("No concept points towards this text: all cosines are 0 or less.", icon=":material/info:")
        figure = text_bars(names, cosines, shown.about(words=f"“{text}”"), name=str(text))
        st.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key="found_concepts", alt="Concepts like the text")
        table = pd.DataFrame({"concept": shown.table["concept"], "name": names, "cosine": cosines})
        figure_downloads(
            "Found",
            table.sort_values("cosine", ascending=False),
            figure,
            [shown.spec],
            f"{shown.stem}_search",
            shown.about(words=f"“{text}”"),
        )
    st.markdown("**Pictures most like the text**")
    cosines = picture_vectors(shown) @ vector
    best = np.argsort(-cosines, kind="stable")[:PICTURES]
    labels = [signed(cosines[number], 2) for number in best]
    st.image(contact_sheet(shown.thumbnails(best.tolist()), columns=ROW, labels=labels), width="stretch")
    st.markdown("**Vertices whose decoding weights are like the text**")
    show_cortex(shown, shown.vertex_cosines(vector), f"“{text}”", f"{shown.stem}_search")


def text_vector(shown: ConceptResults, text: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the unit vector of a text, and the words of it that are left out as the network does not know them.

    It comes from those the run knows, or from another process.

    Raises
    ------
    RunError
        The network can make nothing of the text.
    """
    described = shown.spec.described_by
    if text in shown.texts:
        known: NDArray[np.float32] = np.asarray(
            read_embeddings(Store().run_of(described))[shown.texts.index(text)], np.float32
        )
        if known.any():
            return known, ()
    fields = {name: getattr(described, name) for name in ClipFields.model_fields}
    return _embedded(tuple(sorted(fields.items())), text)


@st.cache_data(show_spinner=False, max_entries=256)
def _embedded(network: tuple[tuple[str, str], ...], text: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    return embed_text(ClipFields(**dict(network)), text)


def picture_vectors(shown: ConceptResults) -> NDArray[np.float32]:
    """Return the unit vectors of all distinct pictures, (M, p), in the order of `ConceptResults.pictures`."""
    return _picture_vectors(shown.run.id, shown)


@st.cache_resource(show_spinner="Reading the pictures' embeddings", max_entries=2)
def _picture_vectors(run_id: str, _shown: ConceptResults) -> NDArray[np.float32]:
    store = Store()
    known = {decoder.subject: read_embeddings(store.run_of(decoder.embedding)) for decoder in _shown.spec.decoders}
    pictures = _shown.pictures
    vectors = np.empty((len(pictures), next(iter(known.values())).shape[1]), np.float32)
    for subject, rows in pictures.groupby("subject"):
        vectors[rows.index] = known[str(subject)][rows["row"]]
    return vectors

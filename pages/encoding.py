"""Encoding: how well untuned and tuned networks predict responses; maps, r per ROI, share of vertices improved."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.runs.store import Store
from brainviz.ui.choices import choose, split_words
from brainviz.ui.comparison import read_results, vertex_frame
from brainviz.ui.encoding_views import pick_layers, show_map, show_rois, show_summary, show_vertices
from brainviz.ui.errors import end_page
from brainviz.ui.navigation import begin_page
from brainviz.ui.pickers import pick_hemispheres, pick_rois, pick_subject
from brainviz.ui.run_controls import live_progress, show_plan, start_button
from brainviz.ui.settings import settings_form
from brainviz.ui.sources import require_source

METHODS = ("untuned", "contrastive")

begin_page(
    "Encoding",
    "Predict every vertex's response from a network's features, on pictures that nothing was fitted on. "
    "Does a network that was tuned on brain responses predict them better than an untuned one?",
)

source = require_source()
with st.container(border=True):
    columns = st.columns([1, 1, 1.6, 1])
    with columns[0]:
        subject = pick_subject(source)
    with columns[1]:
        hemispheres = pick_hemispheres(source)
    with columns[2]:
        rois = pick_rois(source, [subject])
    with columns[3]:
        all_layers = pick_layers()
    settings = settings_form("encoding", source, all_layers=all_layers)

if not (hemispheres and rois):
    st.info("Choose at least one hemisphere and one ROI.", icon=":material/arrow_upward:")
    end_page()

choice = choose("encoding", source, [subject], hemispheres, rois, METHODS, settings)
if not choice.specs:
    st.warning(
        "This subject has too few vertices of these ROIs. Choose another ROI or subject.",
        icon=":material/arrow_upward:",
    )
    end_page()

provenance = Provenance(source.key, subject, tuple(rois), split_words(choice.specs[0]))
show_plan(choice)
start_button(choice, "encoding")
live_progress(choice.specs, provenance)

store = Store()
done = [run for run in map(store.find, choice.specs) if run is not None and run.state == "done"]
if not done:
    st.info(
        "Nothing to show for this choice yet. Press “Start encoding”: it fits encoding models on the untuned and on "
        "the tuned network, and first tunes networks that are not tuned yet.",
        icon=":material/rocket_launch:",
    )
    end_page()

results = read_results(done)
vertices = vertex_frame(results)
show_summary(results, vertices)
st.subheader("Map")
show_map(vertices, source, choice.specs, done, provenance)
st.subheader("ROIs")
show_rois(results, vertices, done, provenance)
st.subheader("Vertices")
show_vertices(vertices, done, provenance)

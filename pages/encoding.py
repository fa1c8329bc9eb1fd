"""Encoding: how well untuned and tuned networks predict responses, method against method."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.runs.bottleneck_specs import BOTTLENECK
from brainviz.runs.network_specs import UNTUNED
from brainviz.runs.store import Store
from brainviz.ui.choices import choose, split_words
from brainviz.ui.comparison import comparisons, finished, layers_fitted
from brainviz.ui.comparison_controls import pick_how
from brainviz.ui.encoding_summary import show_summary
from brainviz.ui.encoding_views import (
    pick_layers,
    pick_view,
    show_groups,
    show_layers,
    show_rois,
    show_table,
)
from brainviz.ui.errors import end_page
from brainviz.ui.navigation import begin_page
from brainviz.ui.permutation_view import show_tests
from brainviz.ui.pickers import pick_hemispheres, pick_methods, pick_rois, pick_subjects
from brainviz.ui.run_controls import asked_for, live_progress, say_nothing_yet, show_plan, start_button
from brainviz.ui.settings import bottleneck_settings, settings_form
from brainviz.ui.shown import Shown
from brainviz.ui.sources import require_source
from brainviz.ui.vertex_views import show_map, show_vertices

VIEWS = {
    "ROIs": show_rois,
    "Groups": show_groups,
    "Vertices": show_vertices,
    "Layers": show_layers,
    "Map": show_map,
    "Tests": show_tests,
    "Table": show_table,
}

begin_page(
    "Encoding",
    "Predict every vertex's response from a network's features, on pictures that nothing was fitted on. "
    "Does a network that was tuned on brain responses predict them better than an untuned one?",
)

source = require_source()
with st.container(border=True):
    with st.container(horizontal=True):
        subjects = pick_subjects(source)
        hemispheres = pick_hemispheres(source)
        rois = pick_rois(source, subjects)
    with st.container(horizontal=True):
        methods = pick_methods(BOTTLENECK)
        all_layers = pick_layers()
    states = [method for method in methods if method != BOTTLENECK] or [UNTUNED]
    settings = settings_form("encoding", source, states, all_layers=all_layers)
    settings |= {BOTTLENECK: bottleneck_settings(settings)}

if not (subjects and hemispheres and rois and methods):
    st.info("Choose at least one subject, hemisphere, ROI and method.", icon=":material/arrow_upward:")
    end_page()

choice = choose("encoding", source, subjects, hemispheres, rois, methods, settings)
if not choice.specs:
    st.warning(
        "None of the chosen subjects has enough vertices of these ROIs. Choose another ROI or subject.",
        icon=":material/arrow_upward:",
    )
    end_page()

provenance = Provenance(source.key, ", ".join(subjects), tuple(rois), split_words(choice.specs[0]))
show_plan(choice)
start_button(choice.specs, "encoding")
progress = st.container()

runs = finished(choice, Store())
if not runs:
    with progress:
        live_progress(choice.specs, provenance)
    say_nothing_yet(
        choice.specs,
        "Press “Start encoding”: it fits encoding models on the network of every "
        "method, and first tunes networks that are not tuned yet.",
    )
    end_page()

how = pick_how(methods, layers_fitted(choice))
tests = comparisons(choice, how)
with progress:
    live_progress([*choice.specs, *asked_for(tests)], provenance)

shown = Shown(source, choice, runs, how, tests, provenance)
show_summary(shown)
VIEWS[pick_view(list(VIEWS))](shown)

"""Bottleneck: one small network for both hemispheres, how its halves race, and what each of its parts adds."""

import streamlit as st

from brainviz.datasets.base import ALL_VERTICES
from brainviz.figures.style import Provenance
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import Store
from brainviz.ui.bottleneck_form import require_networks
from brainviz.ui.bottleneck_map import show_map
from brainviz.ui.bottleneck_results import BottleneckResults
from brainviz.ui.bottleneck_submission import show_submission
from brainviz.ui.bottleneck_views import show_ablations, show_overview, show_race, show_rois, show_table
from brainviz.ui.choices import split_words
from brainviz.ui.comparison import finished
from brainviz.ui.encoding_views import pick_view
from brainviz.ui.navigation import begin_page
from brainviz.ui.run_controls import live_progress, say_nothing_yet, show_plan, start_button
from brainviz.ui.sources import require_source

VIEWS = {
    "Race": show_race,
    "Ablations": show_ablations,
    "ROIs": show_rois,
    "Map": show_map,
    "Table": show_table,
}
SUBMISSION = "Submission"

begin_page(
    "Bottleneck",
    "Predict all vertices of both hemispheres at once, through one small network whose loss pushes the hemisphere that "
    "lags. What does each of its parts add?",
)

source = require_source()
asked = require_networks(source)
show_plan(asked.choice)
start_button(asked.choice.specs, "training")
progress = st.container()

runs = finished(asked.choice, Store())
split = split_words(asked.choice.specs[0])
about = f"bottleneck network on {asked.features}"
provenance = Provenance(source.key, ", ".join(asked.subjects), (ALL_VERTICES,), split, about)
shown = BottleneckResults(source, asked.choice, runs, provenance)
if runs:
    show_overview(shown)
view = pick_view([*VIEWS, SUBMISSION])
watched: list[Spec] = []
if view == SUBMISSION:
    watched = show_submission(shown)
elif runs:
    VIEWS[view](shown)
else:
    say_nothing_yet(
        asked.choice.specs,
        "Press “Start training”: it describes the pictures, trains a network on all subjects together, and from there "
        "one for each subject, variant and seed. Predictions of the challenge's pictures, by any encoder that is done, "
        "are under “Submission”.",
    )
with progress:
    live_progress([*asked.choice.specs, *watched], provenance)

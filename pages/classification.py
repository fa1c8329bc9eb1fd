"""Classification: what tuning does to what a network sees, on tasks that it was not tuned on."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.models.backbones import readout_layers
from brainviz.runs.store import Store
from brainviz.ui.choices import choose, split_words
from brainviz.ui.classification_views import show_accuracy, show_confusion, show_pictures, show_table, show_trade_off
from brainviz.ui.classified import Classified, once
from brainviz.ui.comparison import finished
from brainviz.ui.encoding_views import pick_view
from brainviz.ui.errors import end_page
from brainviz.ui.navigation import begin_page
from brainviz.ui.pickers import pick_hemispheres, pick_methods, pick_rois, pick_subjects
from brainviz.ui.run_controls import asked_for, live_progress, show_plan, start_button
from brainviz.ui.settings import encoding_settings, settings_form
from brainviz.ui.sources import require_source
from brainviz.ui.tasks import pick_readout, require_task

VIEWS = {
    "Accuracy": show_accuracy,
    "Trade-off": show_trade_off,
    "Confusion": show_confusion,
    "Pictures": show_pictures,
    "Table": show_table,
}

begin_page(
    "Classification",
    "What does tuning on brain responses do to vision itself? Classify pictures from the features of every network, "
    "and set what was lost or won in accuracy against what was gained in predicting responses.",
)

source = require_source()
with st.container(border=True):
    task = require_task(source)
    with st.container(horizontal=True):
        subjects = pick_subjects(source)
        hemispheres = pick_hemispheres(source)
        rois = pick_rois(source, subjects)
    methods = pick_methods()
    settings = settings_form("classification", source, methods)
    network = str(next(iter(settings.values()))["network"]) if settings else ""
    readout = pick_readout(network) if network else ""

if not (subjects and hemispheres and rois and methods):
    st.info("Choose at least one subject, hemisphere, ROI and method.", icon=":material/arrow_upward:")
    end_page()

of_task = {"task": task.task.name, "readouts": readout_layers(network)}
asked = {method: values | of_task for method, values in settings.items()}
choice = choose("classification", source, subjects, hemispheres, rois, methods, asked, task.fingerprint)
if not choice.specs:
    st.warning(
        "None of the chosen subjects has enough vertices of these ROIs. Choose another ROI or subject.",
        icon=":material/arrow_upward:",
    )
    end_page()
encodings = choose(
    "encoding", source, subjects, hemispheres, rois, methods, encoding_settings(source, settings, methods)
)

show_plan(choice)
start_button(choice.specs, "classification")
runs = once(finished(choice, Store()))
provenance = Provenance(
    source.key,
    ", ".join(subjects),
    tuple(rois),
    split_words(choice.specs[0]),
    f"{', '.join(methods)}: logistic regression on {readout}",
    tuple(run.id for _, run in runs),
)
live_progress([*choice.specs, *asked_for(encodings.specs)], provenance)
if not runs:
    st.info(
        "Nothing to show for this choice yet. Press “Start classification”: it fits a classifier on the network of "
        "every method, and first tunes networks that are not tuned yet.",
        icon=":material/rocket_launch:",
    )
    end_page()

shown = Classified(source, task, choice, runs, readout, encodings, provenance)
VIEWS[pick_view(list(VIEWS))](shown)

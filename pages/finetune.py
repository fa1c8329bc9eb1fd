"""Fine-tune: choose subjects, ROIs, network and settings; start, watch and cancel; see what is there."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.runs.network_specs import UNTUNED
from brainviz.runs.store import Store
from brainviz.ui.choices import choose, runs_frame, split_words
from brainviz.ui.downloads import csv_text, download, json_text
from brainviz.ui.errors import end_page
from brainviz.ui.navigation import begin_page
from brainviz.ui.pickers import pick_hemispheres, pick_rois, pick_subjects, pick_tuning
from brainviz.ui.run_controls import asked_for, encode_button, live_progress, show_plan, start_button
from brainviz.ui.runs_table import pick_runs_shown, show_runs
from brainviz.ui.settings import layers_of, settings_form
from brainviz.ui.sources import require_source

begin_page(
    "Fine-tune",
    "Teach an image network to tell which response belongs to which picture (contrastive), or to predict the response "
    "(regression). One network is tuned per subject, hemisphere and ROI; the next page asks whether it then predicts "
    "responses better.",
)

source = require_source()
with st.container(border=True):
    with st.container(horizontal=True):
        subjects = pick_subjects(source)
        hemispheres = pick_hemispheres(source)
        rois = pick_rois(source, subjects)
    methods = pick_tuning()
    settings = settings_form("finetune", source, (UNTUNED, *methods))

if not (subjects and hemispheres and rois and methods):
    st.info("Choose at least one subject, hemisphere, ROI and method.", icon=":material/arrow_upward:")
    end_page()

choice = choose("finetune", source, subjects, hemispheres, rois, methods, settings)
if not choice.specs:
    st.warning(
        "None of the chosen subjects has enough vertices of these ROIs. Choose another ROI or subject.",
        icon=":material/arrow_upward:",
    )
    end_page()

provenance = Provenance(
    source.key,
    ", ".join(subjects),
    tuple(rois),
    split_words(choice.specs[0]),
    ", ".join(methods),
    tuple(spec.run_id for spec in choice.specs),
)
show_plan(choice)
at_logits = {
    method: values | {"layers": layers_of(values["network"], all_layers=False)} for method, values in settings.items()
}
comparison = choose("encoding", source, subjects, hemispheres, rois, tuple(settings), at_logits)
asked = asked_for(comparison.specs)
with st.container(horizontal=True, vertical_alignment="center"):
    start_button(choice.specs, "fine-tuning")
    encode_button(comparison)
    if asked:
        st.page_link(
            "pages/encoding.py",
            label="See what the tuning changed",
            icon=":material/arrow_forward:",
        )
live_progress([*choice.specs, *asked], provenance)

st.subheader("Runs")
shown = runs_frame(pick_runs_shown(choice.specs, "finetune", source.index.fingerprint, Store()))
show_runs(shown)
with st.container(horizontal=True):
    download("Runs, CSV", lambda: csv_text(shown, provenance), f"{source.key}_finetune_runs.csv", key="csv_runs")
    download("Requests, JSON", lambda: json_text(choice.specs, provenance), f"{source.key}_finetune.json", key="json")

"""Fine-tune: choose subjects, ROIs, network and settings; start, watch and cancel; see what is there."""

import streamlit as st

from brainviz.figures.style import Provenance
from brainviz.runs.store import Store
from brainviz.ui.choices import choose, runs_frame, split_words, states
from brainviz.ui.downloads import csv_text, download, json_text
from brainviz.ui.errors import end_page
from brainviz.ui.navigation import begin_page
from brainviz.ui.pickers import pick_hemispheres, pick_rois, pick_subjects
from brainviz.ui.run_controls import encode_button, live_progress, show_plan, start_button
from brainviz.ui.runs_table import pick_runs_shown, show_runs
from brainviz.ui.settings import layers_of, settings_form
from brainviz.ui.sources import require_source

METHODS = ("contrastive",)

begin_page(
    "Fine-tune",
    "Teach an image network to tell which response belongs to which picture. One network is tuned per subject, "
    "hemisphere and ROI; the next page asks whether it then predicts responses better.",
)

source = require_source()
with st.container(border=True):
    columns = st.columns([1.2, 1, 1.8])
    with columns[0]:
        subjects = pick_subjects(source)
    with columns[1]:
        hemispheres = pick_hemispheres(source)
    with columns[2]:
        rois = pick_rois(source, subjects)
    settings = settings_form("finetune", source)

if not (subjects and hemispheres and rois):
    st.info("Choose at least one subject, one hemisphere and one ROI.", icon=":material/arrow_upward:")
    end_page()

choice = choose("finetune", source, subjects, hemispheres, rois, METHODS, settings)
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
    METHODS[0],
    tuple(spec.run_id for spec in choice.specs),
)
show_plan(choice)
logits = settings | {"layers": layers_of(settings["network"], all_layers=False)}
comparison = choose("encoding", source, subjects, hemispheres, rois, ("untuned", *METHODS), logits)
asked = [spec for spec, state in zip(comparison.specs, states(comparison.specs, Store()), strict=True) if state]
with st.container(horizontal=True, vertical_alignment="center"):
    start_button(choice, "fine-tuning")
    encode_button(comparison)
    if asked:
        st.page_link(
            "pages/encoding.py",
            label="See what the tuning changed",
            icon=":material/arrow_forward:",
            query_params={"subject": subjects[0]},
        )
live_progress([*choice.specs, *asked], provenance)

st.subheader("Runs")
shown = runs_frame(pick_runs_shown(choice.specs, "finetune", source.index.fingerprint, Store()))
show_runs(shown)
with st.container(horizontal=True):
    download("Runs, CSV", lambda: csv_text(shown, provenance), f"{source.key}_finetune_runs.csv", key="csv_runs")
    download("Requests, JSON", lambda: json_text(choice.specs, provenance), f"{source.key}_finetune.json", key="json")

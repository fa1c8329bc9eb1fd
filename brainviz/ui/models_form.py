"""The form in which several pages choose models: a task, and the networks that classify its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from brainviz.models.backbones import readout_layers
from brainviz.ui.choices import Choice, choose
from brainviz.ui.errors import end_page
from brainviz.ui.pickers import pick_hemispheres, pick_methods, pick_rois, pick_subjects
from brainviz.ui.settings import encoding_settings, settings_form
from brainviz.ui.sources import Source
from brainviz.ui.tasks import TaskSource, pick_readout, require_task


@dataclass(frozen=True)
class Models:
    """What the form says.

    Attributes
    ----------
    task : TaskSource
    subjects, rois, methods : tuple of str
    readout : str
        The layer that is classified from.
    choice : Choice
        The classification runs.
    encodings : Choice
        The encoding runs of the same networks, each on its own ROI.
    """

    task: TaskSource
    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    methods: tuple[str, ...]
    readout: str
    choice: Choice
    encodings: Choice


def require_models(source: Source) -> Models:
    """Draw the form and return what it says; while nothing is chosen, say so and end the page."""
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
    of_encoding = encoding_settings(source, settings, methods)
    encodings = choose("encoding", source, subjects, hemispheres, rois, methods, of_encoding)
    return Models(task, tuple(subjects), tuple(rois), tuple(methods), readout, choice, encodings)

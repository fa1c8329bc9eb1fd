"""The form of the Lateralization page: which networks, what of their answers is traced back, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from brainviz.datasets.base import MIN_ROI_VERTICES
from brainviz.models.backbones import candidate_layers, last_map, readout_layers
from brainviz.runs.fields import SettingField, field_table
from brainviz.runs.network_specs import EncodingSpec, FeaturesSpec, FinetuneSpec
from brainviz.runs.specs import ClassificationSpec
from brainviz.ui.binding import bound, follow, keep_among, say_unknown
from brainviz.ui.choices import Choice, choose
from brainviz.ui.errors import end_page
from brainviz.ui.pickers import pick_hemispheres, pick_methods, pick_rois, pick_subjects
from brainviz.ui.settings import settings_form
from brainviz.ui.sources import Source, roi_sizes
from brainviz.ui.tasks import TaskSource, pick_readout, require_task

#: Targets in words.
TARGETS = {
    "roi": "the mean predicted response of the ROI",
    "vertex": "the predicted response of one vertex of the ROI",
    "left-right": "the left hemisphere's predicted mean response of the ROI less the right's",
    "class": "the score of the true class of a task's pictures",
}

PIXELS = 220


@dataclass(frozen=True)
class Asked:
    """What the form says.

    Attributes
    ----------
    task : TaskSource or None
        Whose pictures are attributed; None for the data set's own.
    subjects, rois : tuple of str
    choice : Choice
        The lateralization runs.
    words : str
        How, in words.
    """

    task: TaskSource | None
    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    choice: Choice
    words: str


def require_attributions(source: Source) -> Asked:
    """Draw the form and return what it says; while nothing is chosen, say so and end the page."""
    fields = {field.name: field for field in field_table("lateralization")}
    with st.container(border=True):
        with st.container(horizontal=True):
            subjects = pick_subjects(source)
            hemispheres = pick_hemispheres(source)
            rois = pick_rois(source, subjects)
        methods = pick_methods()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            target = _pick(fields["target"])
            attribution = _pick(fields["attribution"])
            own: dict[str, Any] = {"target": target, "attribution": attribution}
            if target == "vertex":
                own["vertex"] = _pick_vertex(fields["vertex"], source, subjects, hemispheres, rois)
            own |= _attribution_settings(attribution, fields)
        st.caption(f"Traced back: {TARGETS[target]}.")
        task = require_task(source) if target == "class" else None
        settings = settings_form("lateralization", source, methods, without=_unused(of_class=task is not None))
        network = str(next(iter(settings.values()))["network"]) if settings else ""
        if network:
            if len(readout_layers(network)) > 1:
                own["readout"] = pick_readout(network, fields["readout"].label)
            if attribution == "grad-cam":
                own["cam_layer"] = _pick_layer(network)
    if not (subjects and hemispheres and rois and methods):
        st.info("Choose at least one subject, hemisphere, ROI and method.", icon=":material/arrow_upward:")
        end_page()
    if task is not None:
        own["task"] = task.task.name
    about = {method: values | own for method, values in settings.items()}
    fingerprint = task.fingerprint if task is not None else ""
    choice = choose("lateralization", source, subjects, hemispheres, rois, methods, about, fingerprint)
    if not choice.specs:
        st.warning(
            "None of the chosen subjects has enough vertices of these ROIs. Choose another ROI or subject.",
            icon=":material/arrow_upward:",
        )
        end_page()
    of = f"the classes of {task.task.name}" if task is not None else TARGETS[target]
    noisy = f", {own['noise_samples']} noisy copies" if own.get("noise_samples") else ""
    return Asked(task, tuple(subjects), tuple(rois), choice, f"{attribution} of {of}{noisy}")


def _unused(*, of_class: bool) -> set[str]:
    """Return the settings that mean nothing for the target: those of the encoding model, or of the classifier."""
    encoding, classifier = EncodingSpec.model_fields | FeaturesSpec.model_fields, ClassificationSpec.model_fields
    own, other = (classifier, encoding) if of_class else (encoding, classifier)
    return set(other) - set(own) - set(FinetuneSpec.model_fields)


def _pick(field: SettingField) -> str:
    """Draw the choice of a setting, with the names that links and the command line have."""
    key, options = field.name, list(field.choices)
    say_unknown(key, options, field.label.lower())
    return st.selectbox(
        field.label,
        options,
        index=options.index(field.default),
        **bound(key),
        help=field.description,
        width=PIXELS,
    )


def _pick_vertex(
    field: SettingField, source: Source, subjects: list[str], hemispheres: list[str], rois: list[str]
) -> int:
    sizes = roi_sizes(source, subjects)
    chosen = [
        size
        for (_, hemi, roi), size in sizes.items()
        if hemi in hemispheres and roi in rois and size >= MIN_ROI_VERTICES
    ]
    most = min(chosen, default=1) - 1
    keep_among("vertex", range(most + 1), 0)
    return int(
        st.number_input(
            field.label, 0, most, 0, step=1, **bound("vertex"), help=f"{field.description}: 0 to {most}", width=PIXELS
        )
    )


def _attribution_settings(attribution: str, fields: dict[str, SettingField]) -> dict[str, Any]:
    """Draw the settings that mean something for an attribution."""
    found: dict[str, Any] = {}
    if attribution == "integrated-gradients":
        found["n_steps"] = _number(fields["n_steps"], 10)
    if attribution == "occlusion":
        found["window_share"] = _number(fields["window_share"], 0.025)
    found["noise_samples"] = _number(fields["noise_samples"], 5)
    if found["noise_samples"]:
        found["noise_sd"] = _number(fields["noise_sd"], 0.05)
    return found


def _number(field: SettingField, step: float) -> Any:
    whole = field.type == "int"
    number = int if whole else float
    limits = (None if limit is None else number(limit) for limit in (field.minimum, field.maximum))
    low, high = limits
    if not whole and low is not None:
        low = step
    return st.number_input(
        field.label,
        low,
        high,
        number(field.default),
        step=number(step),
        **bound(field.name),
        help=field.description,
        width=150,
    )


def _pick_layer(network: str) -> str:
    default = last_map(network)
    layers = candidate_layers(network)
    options = list(layers[: layers.index(default) + 1])
    follow("cam_layer", network, default)
    say_unknown("cam_layer", options, "layer")
    return st.selectbox(
        "Grad-CAM at",
        options,
        index=len(options) - 1,
        **bound("cam_layer"),
        help="The later the layer, the coarser the map, and the more it is about what the network answers.",
        width=PIXELS,
    )

"""The form of the Concepts page: whose vertices, which image-text network, and how they are decoded and clustered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import streamlit as st

from brainviz.config import cache_dir, load_config
from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES, HEMISPHERES, MIN_ROI_VERTICES
from brainviz.datasets.texts import text_names
from brainviz.models.clip import CLIP_NETWORKS, default_clip_weights
from brainviz.runs.concept_requests import usual_selection, usual_threshold
from brainviz.runs.concept_specs import ConceptsSpec
from brainviz.runs.fields import default_settings, field_table
from brainviz.runs.places import Place, has_roi
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import SEPARATOR
from brainviz.ui.binding import bound, follow, say_unknown
from brainviz.ui.choices import Choice
from brainviz.ui.errors import end_page
from brainviz.ui.pickers import pick_hemispheres
from brainviz.ui.settings import draw_group, draw_setting
from brainviz.ui.sources import Source, roi_counts
from brainviz.ui.words import count

#: Beside each other above the expander; the widths of controls that name things.
SHOWN_FIRST = ("eps", "min_participants")
PIXELS, WIDE = 190, 420

#: Drawn apart, or left to the command line.
NOT_DRAWN = frozenset({"clip_network", "clip_weights", "texts", "scanned_eps", "ridge_alphas", *SHOWN_FIRST})

GROUPS = {"concepts": "Clustering", "decoder": "Decoders", "split": "Division of the pictures", "settings": "Seed"}


def require_concepts(source: Source) -> Choice:
    """Draw the form and return the run that it means; while nothing is chosen, say so and end the page."""
    fields = {field.name: field for field in field_table("concepts")}
    with st.container(border=True):
        with st.container(horizontal=True):
            participants = _pick_participants(source)
            hemispheres = pick_hemispheres(source)
            rois = _pick_rois(source, participants)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            suggested = str(default_settings("concepts", source.dataset)["clip_network"])
            values = _image_text_settings(source, suggested)
            defaults = default_settings("concepts", source.dataset, clip_network=values["clip_network"])
            for name in SHOWN_FIRST:
                values[name] = draw_setting(fields[name], name, defaults[name], defaults[name], width=PIXELS)
        if participants:
            defaults |= _usual_choice_of_vertices(source, participants[0], defaults, fields["selection"].choices)
        with st.expander("All settings", icon=":material/tune:"):
            for group, heading in GROUPS.items():
                own = [field for field in fields.values() if field.group == group and field.name not in NOT_DRAWN]
                values |= draw_group(heading, own, defaults)
    if len(participants) < 2 or not hemispheres or not rois:
        st.info("Choose at least two participants, a hemisphere and a ROI.", icon=":material/arrow_upward:")
        end_page()
    if values["min_participants"] >= len(participants):
        st.warning(
            f"There can be no concept: each participant has {count(len(participants) - 1, 'other')}, and "
            f"{values['min_participants']} are asked for. Ask for fewer, or choose more participants.",
            icon=":material/group_remove:",
        )
    if values["selection"] == "none" or values["vertex_threshold"] == defaults["vertex_threshold"]:
        del values["vertex_threshold"]
    if values["selection"] == defaults["selection"]:
        del values["selection"]  # each participant's own usual one: not all may have a noise ceiling
    picked = (tuple(participants), tuple(hemispheres), tuple(rois))
    return _choice(source.index.fingerprint, str(cache_dir()), picked, values, source)


def chosen_spec(choice: Choice) -> ConceptsSpec:
    """Return the one run that the form means."""
    spec = choice.specs[0]
    assert isinstance(spec, ConceptsSpec)
    return spec


# A page asks at every click. Not for long: the file behind weights or texts may change.
@st.cache_data(show_spinner=False, ttl="1m", max_entries=64)
def _choice(
    fingerprint: str,
    cache: str,
    picked: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    values: dict[str, Any],
    _source: Source,
) -> Choice:
    participants, hemispheres, rois = picked
    spec = make_spec(
        "concepts",
        _source.dataset,
        _source.index,
        subject=SEPARATOR.join(participants),
        hemi="both" if hemispheres == HEMISPHERES else hemispheres[0],
        roi=SEPARATOR.join(rois),
        **values,
    )
    left_out = (
        f"{roi} of {subject} in the {HEMISPHERE_NAMES[hemi]}"
        for subject, hemi, roi in product(participants, hemispheres, rois)
        if not has_roi(_source.dataset, subject, hemi, roi)
    )
    return Choice((("concepts", spec),), tuple(left_out))


def _usual_choice_of_vertices(
    source: Source, subject: str, defaults: Mapping[str, Any], selections: Sequence[str]
) -> dict[str, Any]:
    """Return by what a participant's vertices are chosen, and what they must exceed, unless somebody says otherwise.

    What they must exceed goes with what is picked in the form, whose controls are drawn later.
    """
    place = Place(source.dataset, source.index, subject, None, None, False)
    suggested = source.dataset.defaults
    selection = str(suggested.get("selection", usual_selection(place)))
    picked = st.session_state.get("selection", st.query_params.get("selection"))
    share = float(st.session_state.get("test_share", defaults["test_share"]))
    usual = usual_threshold(picked if picked in selections else selection, place, share)
    return {"selection": selection, "vertex_threshold": suggested.get("vertex_threshold", usual)}


def _pick_participants(source: Source) -> list[str]:
    subjects = list(source.dataset.subjects)
    follow("participants", source.key, subjects)
    say_unknown("participants", subjects, "participant")
    return st.multiselect(
        "Participants",
        subjects,
        default=subjects,
        **bound("participants"),
        help="Whose brains are to have concepts in common. Each gets decoders of their own.",
        width=WIDE,
    )


def _pick_rois(source: Source, participants: list[str]) -> list[str]:
    counts = roi_counts(source, participants or source.dataset.subjects[:1])
    counts = counts[counts["vertices"] >= MIN_ROI_VERTICES]
    options = [ALL_VERTICES, *counts["roi"].drop_duplicates()]
    follow("concept_roi", source.key, [ALL_VERTICES])
    say_unknown("concept_roi", options, "ROI")
    return st.multiselect(
        "ROIs",
        options,
        default=[ALL_VERTICES],
        **bound("concept_roi"),
        help="Where vertices are taken from: every vertex, or those of some ROIs that a participant has.",
        width=PIXELS,
    )


def _image_text_settings(source: Source, suggested: str) -> dict[str, Any]:
    """Draw the choice of the image-text network, its weights and the texts."""
    networks = list(dict.fromkeys([suggested, *CLIP_NETWORKS]))
    follow("clip_network", source.key, suggested)
    say_unknown("clip_network", networks, "network")
    network = st.selectbox(
        "Image-text network",
        networks,
        **bound("clip_network"),
        help="Pictures and texts become points of its space, which responses are decoded into. clip_compact is small "
        "and comes with brainviz; it knows the demo's pictures alone.",
        width=PIXELS,
    )
    defaults = default_settings("concepts", source.dataset, clip_network=network)
    weights = list(
        dict.fromkeys([defaults["clip_weights"], default_clip_weights(network), "random", *load_config().weights])
    )
    follow("clip_weights", (source.key, network), defaults["clip_weights"])
    say_unknown("clip_weights", weights, "weights")
    chosen = st.selectbox(
        "Its weights",
        weights,
        **bound("clip_weights"),
        help="openai: fetched once through open_clip. demo: the compact network's own. Name your own files in the "
        "table [weights] of brainviz.toml.",
        width=PIXELS,
    )
    texts = list(text_names())
    follow("texts", (source.key, network), defaults["texts"])
    say_unknown("texts", texts, "texts")
    described = st.selectbox(
        "Described by",
        texts,
        index=texts.index(defaults["texts"]) if defaults["texts"] in texts else 0,
        **bound("texts"),
        help="Words or captions that concepts are described by. Name your own lists, or COCO's captions, in the table "
        "[texts] of brainviz.toml.",
        width=PIXELS,
    )
    return {"clip_network": network, "clip_weights": chosen, "texts": described}

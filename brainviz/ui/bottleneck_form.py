"""The form of the Bottleneck page: whose networks, on which features, which variants of the network, how many seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import streamlit as st

from brainviz.config import cache_dir, load_config
from brainviz.datasets.base import HEMISPHERE_NAMES, HEMISPHERES, MIN_ROI_VERTICES
from brainviz.models.backbones import COMPACT, NETWORKS, candidate_layers
from brainviz.models.clip import CLIP_NETWORKS, default_clip_weights
from brainviz.runs.bottleneck_specs import FULL, BottleneckSpec, unused_fields
from brainviz.runs.fields import STATES, TUNED, SettingField, default_settings, field_table
from brainviz.runs.network_specs import RANDOM, UNTUNED
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import SEPARATOR
from brainviz.ui.binding import bound, follow, keep_among, keep_those_among, say_unknown
from brainviz.ui.choices import Choice
from brainviz.ui.errors import end_page
from brainviz.ui.pickers import FIRST_ROIS, pick_subjects
from brainviz.ui.settings import draw_group, draw_setting
from brainviz.ui.sources import Source, roi_counts

#: Variant of the network -> the switches that it is made by.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    FULL: {},
    "no leak": {"leak": False},
    "no pre-training": {"pretrain": False},
    "plain cosine": {"bottleneck_loss": "cosine"},
    "MSE": {"bottleneck_loss": "mse"},
    "linear": {"linear": True},
}
ABOUT_VARIANTS = (
    "full: as published. The others each lack one part: the leak of targets and noise; the pre-training on all "
    "subjects; the racing in the loss (plain cosine), or its cosines (MSE); the hidden layer (linear: a control, with "
    "ten times the learning rate unless you choose another)."
)

#: The switches as the full network has them, whatever the data set suggests.
SWITCHES: Mapping[str, Any] = {"leak": True, "linear": False, "bottleneck_loss": "racing", "pretrain": True}

#: What features can come from, by the names that settings have for it.
SOURCES = {"image-text": "image-text network", "network": "layers of a network"}

#: Seeds at most.
MOST_SEEDS = 20

#: Widths of controls, so that rows wrap where the page is narrow.
PIXELS, WIDE = 210, 330

#: Drawn apart, or decided by variants and seeds.
NOT_DRAWN = frozenset({*SWITCHES, "bottleneck_seed", "pooled", "source", "layers"})


@dataclass(frozen=True)
class Asked:
    """What the form says.

    Attributes
    ----------
    choice : Choice
        The networks: per subject by variant, then by seed.
    subjects : tuple of str
    features : str
        What pictures are described by, in words.
    """

    choice: Choice
    subjects: tuple[str, ...]
    features: str


def require_networks(source: Source) -> Asked:
    """Draw the form and return what it says; while nothing is chosen, say so and end the page."""
    fields = {field.name: field for field in field_table("bottleneck")}
    with st.container(border=True):
        with st.container(horizontal=True):
            subjects = pick_subjects(source)
            pooled = _pick_pooled(source)
            n_seeds = _pick_seeds()
        variants = _pick_variants()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            suggested = SOURCES[default_settings("bottleneck", source.dataset)["source"]]
            of = _pick("Features from", "source", SOURCES.values(), suggested, source.key, SOURCE_HELP)
            from_network = of == SOURCES["network"]
            values, method = _network(source, fields) if from_network else (_image_text(source), None)
        values |= {"source": "network" if from_network else "image-text", "pooled": SEPARATOR.join(sorted(pooled))}
        usual = default_settings(
            "bottleneck", source.dataset, values.get("network"), method, clip_network=values.get("clip_network")
        )
        with st.expander("All settings", icon=":material/tune:"):
            values |= _all_settings(fields, usual, method)
    if not (subjects and pooled and variants):
        st.info(
            "Choose at least one subject, one to train together with, and a variant.", icon=":material/arrow_upward:"
        )
        end_page()
    if "layers" in values and not values["layers"]:
        st.info("Choose at least one layer of the network.", icon=":material/arrow_upward:")
        end_page()
    if len(pooled) == 1:
        st.caption("One subject alone is trained together: there is no pre-training, and “full” is “no pre-training”.")
    asked_rate = values["bottleneck_rate"] != usual["bottleneck_rate"]
    picked = (tuple(subjects), tuple(variants), n_seeds)
    choice = _choice(source.index.fingerprint, str(cache_dir()), picked, method, values, asked_rate, source)
    if not choice.specs:
        st.warning(
            "None of the chosen subjects has both hemispheres, which the network is about. Choose another subject.",
            icon=":material/arrow_upward:",
        )
        end_page()
    spec = choice.specs[0]
    assert isinstance(spec, BottleneckSpec)
    return Asked(choice, tuple(subjects), spec.features.words)


# A page asks at every click. Not for long: the file behind weights may change.
@st.cache_data(show_spinner=False, ttl="1m", max_entries=64)
def _choice(
    fingerprint: str,
    cache: str,
    picked: tuple[tuple[str, ...], tuple[str, ...], int],
    method: str | None,
    values: dict[str, Any],
    asked_rate: bool,
    _source: Source,
) -> Choice:
    subjects, variants, n_seeds = picked
    dataset, asked, left_out = _source.dataset, [], []
    for subject in subjects:
        lacking = [hemi for hemi in HEMISPHERES if hemi not in dataset.hemispheres(subject)]
        left_out += [f"{subject} in the {HEMISPHERE_NAMES[hemi]}" for hemi in lacking]
        for variant, seed in product(variants if not lacking else (), range(n_seeds)):
            own = settings_of(variant, values, asked_rate=asked_rate) | {"bottleneck_seed": seed}
            spec = make_spec("bottleneck", dataset, _source.index, subject=subject, method=method, **own)
            asked.append((variant, spec))
    return Choice(tuple(asked), tuple(left_out))


def settings_of(variant: str, values: Mapping[str, Any], *, asked_rate: bool) -> dict[str, Any]:
    """Return the settings of a variant: its switches, and of the others those that mean something for it.

    Parameters
    ----------
    variant : str
        A key of `VARIANTS`.
    values : mapping
        Of the form.
    asked_rate : bool
        Whether the visitor changed the learning rate; the linear network has its own.
    """
    unused = {*unused_fields(linear=variant == "linear", leak=variant != "no leak")}
    unused |= {"bottleneck_rate"} if variant == "linear" and not asked_rate else set()
    switches = {**SWITCHES, **VARIANTS[variant]}
    return {name: value for name, value in {**values, **switches}.items() if name not in unused}


# --- whose, and which -------------------------------------------------------------------------------------------------


def _pick_pooled(source: Source) -> list[str]:
    both = [subject for subject in source.dataset.subjects if source.dataset.hemispheres(subject) == HEMISPHERES]
    follow("pooled", source.key, both)
    say_unknown("pooled", both, "subject")
    return st.multiselect(
        "Trained together",
        both,
        default=both,
        **bound("pooled"),
        help="The pre-training is on all of these, and the features' components are found on their pictures. Name the "
        "subjects on the left here, too.",
        width=WIDE,
    )


def _pick_seeds() -> int:
    return int(
        st.number_input(
            "Seeds",
            1,
            MOST_SEEDS,
            1,
            step=1,
            **bound("seeds"),
            help="How often each network is trained, with other first weights, batches and noise. Results are means "
            "over seeds.",
            width=110,
        )
    )


def _pick_variants() -> list[str]:
    say_unknown("variants", list(VARIANTS), "variant")
    chosen = st.pills(
        "Variants",
        list(VARIANTS),
        selection_mode="multi",
        default=[FULL],
        **bound("variants"),
        help=ABOUT_VARIANTS,
    )
    return [variant for variant in VARIANTS if variant in chosen]


# --- features ---------------------------------------------------------------------------------------------------------

SOURCE_HELP = (
    "What the pictures are described by: the last hidden state of an image-text network, as published, or layers of a "
    "network in any state, tuned ones too."
)


def _image_text(source: Source) -> dict[str, Any]:
    """Draw the choice of the image-text network and its weights."""
    usual = default_settings("bottleneck", source.dataset)["clip_network"]
    network = _pick(
        "Image-text network",
        "clip_network",
        [usual, *CLIP_NETWORKS],
        usual,
        source.key,
        "clip_compact is small and comes with brainviz; it knows the demo's pictures alone.",
    )
    default = default_settings("bottleneck", source.dataset, clip_network=network)["clip_weights"]
    weights = _pick(
        "Its weights",
        "clip_weights",
        [default, default_clip_weights(network), RANDOM, *load_config().weights],
        default,
        (source.key, network),
        "openai: fetched once through open_clip. demo: the compact network's own. random: untrained. Name your own "
        "files in the table [weights] of brainviz.toml.",
    )
    return {"clip_network": network, "clip_weights": weights}


def _network(source: Source, fields: Mapping[str, SettingField]) -> tuple[dict[str, Any], str]:
    """Draw the choice of a network's state and of its layers; return settings and method."""
    usual = default_settings("bottleneck", source.dataset)["network"]
    about = f"{COMPACT} is small and comes with brainviz."
    network = _pick("Network", "network", [usual, *NETWORKS], usual, source.key, about)
    defaults, followed = default_settings("bottleneck", source.dataset, network), (source.key, network)
    values: dict[str, Any] = {"network": network}
    method = _pick("State", "method", STATES, UNTUNED, source.key, "Pretrained, of random weights, or how it is tuned.")
    if method != RANDOM:
        own = "demo" if network == COMPACT else "imagenet"
        options = [defaults["weights"], own, RANDOM, *load_config().weights]
        about = "imagenet: torchvision's, downloaded once. demo: the compact network's own."
        values["weights"] = _pick("Weights", "weights", options, defaults["weights"], followed, about)
    values["image_size"] = draw_setting(
        fields["image_size"], "image_size", defaults["image_size"], followed, width=PIXELS
    )
    values["layers"] = _pick_layers(network, defaults["layers"], followed)
    if method in TUNED:
        values |= _tuned_on(source)
    return values, method


def _pick_layers(network: str, default: Sequence[str], followed: Any) -> tuple[str, ...]:
    options = candidate_layers(network)
    follow("feature_layers", followed, list(default))
    say_unknown("feature_layers", options, "layer")
    keep_those_among("feature_layers", options)
    chosen = st.multiselect(
        "Layers",
        options,
        default=list(default),
        **bound("feature_layers"),
        help="Several weigh the same, whatever their size.",
        width=WIDE,
    )
    return tuple(layer for layer in options if layer in chosen)


def _tuned_on(source: Source) -> dict[str, str]:
    """Draw the choice of what the network is tuned on."""
    subjects = source.dataset.subjects
    about = "Whose responses the network is tuned on."
    subject = _pick("Tuned on", "tuning_subject", subjects, subjects[0], source.key, about)
    hemispheres = source.dataset.hemispheres(subject)
    hemi = _pick("Hemisphere", "tuning_hemi", hemispheres, hemispheres[0], source.key, "lh is the left, rh the right.")
    counts = roi_counts(source, [subject])
    counts = counts[(counts["vertices"] >= MIN_ROI_VERTICES) & (counts["hemi"] == hemi)]
    rois = list(counts["roi"].drop_duplicates())
    first = next((roi for roi in FIRST_ROIS if roi in rois), rois[0])
    roi = _pick("ROI", "tuning_roi", rois, first, source.key, "On which a network is tuned, as on the page Fine-tune.")
    return {"tuning_subject": subject, "tuning_hemi": hemi, "tuning_roi": roi}


def _pick(label: str, key: str, options: Collection[str], default: str, followed: Any, help: str) -> str:
    """Draw the choice of one of some names, each offered once."""
    names = list(dict.fromkeys(options))
    follow(key, followed, default)
    say_unknown(key, names, label.lower())
    keep_among(key, names, default)
    return st.selectbox(label, names, index=names.index(default), **bound(key), help=help, width=PIXELS)


# --- all settings -----------------------------------------------------------------------------------------------------


def _all_settings(fields: Mapping[str, SettingField], usual: Mapping[str, Any], method: str | None) -> dict[str, Any]:
    """Draw the settings that mean something for these features, in groups."""
    left = [field for field in fields.values() if field.name not in NOT_DRAWN]
    groups = {
        "Network and training": [field for field in left if field.group == "bottleneck"],
        "Features": [field for field in left if field.group == "features"],
        "Division of the pictures": [field for field in left if field.group == "split" and not field.tuning],
        "Intervals": [field for field in left if field.name in ("n_bootstrap", "resample_seed")],
    }
    values: dict[str, Any] = {}
    for heading, own in groups.items():
        values |= draw_group(heading, own, usual)
    if method in TUNED:
        tuning = [field for field in left if field.tuning and method in field.methods and field.group != "network"]
        values |= draw_group(f"Tuning, {method}", tuning, usual, method)
    if method not in (None, UNTUNED):
        values |= draw_group("Network", [fields["seed"]], usual)
    return values

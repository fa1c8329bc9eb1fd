"""The form for a run's settings, drawn from the same table of fields that validates them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import streamlit as st

from brainviz.config import load_config
from brainviz.models.backbones import COMPACT, NETWORKS, candidate_layers, logit_layer
from brainviz.runs.fields import TUNED, SettingField, default_settings, field_table
from brainviz.runs.fields import methods as known_methods
from brainviz.runs.network_specs import RANDOM
from brainviz.ui.binding import bound, follow, say_no_number, say_unknown
from brainviz.ui.sources import Source

#: Drawn above the others.
NETWORK_FIELDS = ("network", "weights", "image_size")

#: Drawn by the page itself, or left to the command line.
NOT_DRAWN = frozenset(
    {"method", "layers", "alphas", "shuffle_images", "tuning_hemi", "tuning_roi", "task", "readouts", "readout"}
    | {"target", "vertex", "attribution", "cam_layer", "n_steps", "window_share", "noise_samples", "noise_sd"}
)

#: Of what is the same for all methods.
HEADINGS = {"encoding": "Encoding model", "classification": "Classifier", "lateralization": "Target and pictures"}

#: The method whose settings have their own names in the URL; those of others begin with the method.
PLAIN = TUNED[0]

#: Widths instead of columns: where the page is narrow, rows wrap, and no name is cut off.
NETWORK_PIXELS, SETTING_PIXELS = 220, 190

#: Settings by method, as `brainviz.ui.choices.choose` takes them.
MethodSettings = dict[str, dict[str, Any]]


def settings_form(
    kind: str, source: Source, methods: Sequence[str], *, all_layers: bool = False, without: Collection[str] = ()
) -> MethodSettings:
    """Draw the form and return every method's settings by name.

    What shapes the tuning is asked per method, as methods differ in their defaults; all else is the same for all.

    Parameters
    ----------
    kind : {"finetune", "encoding", "classification", "lateralization"}
    source : Source
        The data set, which may suggest defaults.
    methods : sequence of str
        Network states; each tuned one gets a group of settings.
    all_layers : bool
        For encoding: all candidate layers of the network, or its logits alone.
    without : collection of str
        Settings that mean nothing here and keep their defaults.

    Returns
    -------
    dict
        Method -> the settings that mean something for it; `brainviz.runs.requests.make_spec` takes them as they are.
    """
    fields = {field.name: field for field in field_table(kind) if field.name not in {*NOT_DRAWN, *without}}
    with st.container(horizontal=True):
        suggested = str(default_settings(kind, source.dataset)["network"])
        network = _pick_network(fields["network"], suggested, source.key)
        defaults = default_settings(kind, source.dataset, network)
        followed = (source.key, network)
        weights = _pick_weights(fields["weights"], network, str(defaults["weights"]), followed)
        size = draw_setting(fields["image_size"], "image_size", defaults["image_size"], followed, width=NETWORK_PIXELS)
    shared: dict[str, Any] = {"network": network, "weights": weights, "image_size": size}
    per_method = tuning_settings()
    own: MethodSettings = {method: {} for method in methods}
    with st.expander("All settings", icon=":material/tune:"):
        for method in methods:
            of_method = [field for field in fields.values() if field.name in per_method and method in field.methods]
            usual = default_settings(kind, source.dataset, network, method)
            own[method] |= draw_group(f"Tuning, {method}", of_method, usual, method)
        rest = [field for field in fields.values() if field.name not in (*NETWORK_FIELDS, *per_method)]
        split = [field for field in rest if field.group == "split"]
        shared |= draw_group(
            HEADINGS.get(kind, "All methods"), [field for field in rest if field not in split], defaults
        )
        shared |= draw_group("Division of the pictures", split, defaults)
    if kind == "encoding":
        shared["layers"] = layers_of(network, all_layers=all_layers)
    return {method: _meant_for(kind, method, shared, fields) | own[method] for method in methods}


def encoding_settings(source: Source, settings: MethodSettings, methods: Sequence[str]) -> MethodSettings:
    """Return the settings of encoding models, at the logits, on the networks that another page's form is about."""
    own: MethodSettings = {}
    for method in methods:
        known = {field.name for field in field_table("encoding") if method in field.methods}
        values = {name: value for name, value in settings[method].items() if name in known}
        # The number that draws random weights is one thing; that of folds and resamples has its own default.
        if method != RANDOM:
            values.pop("seed", None)
        own[method] = values | {"layers": layers_of(str(values["network"]), all_layers=False)}
    return own


def bottleneck_settings(settings: MethodSettings) -> dict[str, Any]:
    """Return the settings of a bottleneck network that is tested on the pictures and resamples of encoding models."""
    of_encoding = next(iter(settings.values()))
    names = {"test_share": "test_share", "split_seed": "split_seed", "n_bootstrap": "n_bootstrap"}
    return {own: of_encoding[name] for own, name in (names | {"resample_seed": "seed"}).items()}


def _meant_for(kind: str, method: str, shared: Mapping[str, Any], fields: Mapping[str, SettingField]) -> dict[str, Any]:
    """Return the settings that mean something for a method; a network with random weights has no others.

    A method that a kind of run does not know, as fine-tuning knows no untuned network, keeps them for other kinds.
    """
    known = {
        name: value
        for name, value in shared.items()
        if name not in fields or method in fields[name].methods or method not in known_methods(kind)
    }
    return {name: value for name, value in known.items() if name != "weights" or method != RANDOM}


def layers_of(network: str, *, all_layers: bool) -> tuple[str, ...]:
    """Return all candidate layers of a network, or its logits alone."""
    return candidate_layers(network) if all_layers else (logit_layer(network),)


def tuning_settings() -> frozenset[str]:
    """Return the names of the settings that shape a tuning, which every page asks per method."""
    return frozenset(field.name for field in field_table("encoding") if field.tuning)


def url_key(name: str, method: str) -> str:
    """Return under which name the URL holds a setting of a method's tuning: the same on every page."""
    return name if method == PLAIN else f"{method}_{name}"


def draw_group(
    heading: str, fields: Sequence[SettingField], defaults: Mapping[str, Any], method: str = PLAIN
) -> dict[str, Any]:
    """Draw a group of settings; each keeps what the user chose until its default changes."""
    values: dict[str, Any] = {}
    if fields:
        st.markdown(f"**{heading}**")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for field in fields:
            default = defaults[field.name]
            key = url_key(field.name, method)
            values[field.name] = draw_setting(field, key, default, default, width=SETTING_PIXELS)
    return values


def _pick_network(field: SettingField, default: str, followed: Any) -> str:
    options = list(dict.fromkeys([default, *NETWORKS]))
    follow("network", followed, default)
    about = f"{COMPACT} is small and comes with brainviz."
    return st.selectbox(field.label, options, **bound("network"), help=about, width=NETWORK_PIXELS)


def _pick_weights(field: SettingField, network: str, default: str, followed: Any) -> str:
    pretrained = "demo" if network == COMPACT else "imagenet"
    options = list(dict.fromkeys([default, pretrained, "random", *load_config().weights]))
    follow("weights", followed, default)
    return st.selectbox(
        field.label,
        options,
        **bound("weights"),
        help="imagenet: torchvision's, downloaded once. demo: the compact network's own. random: untrained. "
        "Name your own files in the table [weights] of brainviz.toml.",
        width=NETWORK_PIXELS,
    )


def draw_setting(field: SettingField, key: str, default: Any, followed: Any, **layout: Any) -> Any:
    """Draw one setting's widget, bound to the URL under its key."""
    follow(key, followed, default)
    shared: Any = {**bound(key), "help": field.description, **layout}
    if field.type == "flag":
        return st.checkbox(field.label, value=bool(default), **shared)
    if field.type == "choice":
        say_unknown(key, field.choices, field.label.lower())
        return st.selectbox(field.label, field.choices, index=field.choices.index(default), **shared)
    if field.type in ("int", "float"):
        say_no_number(key, field.label, field.minimum, field.maximum)
    if field.type == "int":
        return st.number_input(field.label, value=int(default), step=1, **_limits(field, int), **shared)
    if field.type == "float":
        step = 10.0 ** math.floor(math.log10(default)) if default > 0 else 0.01
        limits = _limits(field, float)
        return st.number_input(field.label, value=float(default), step=step, format="%g", **limits, **shared)
    return st.text_input(field.label, value=str(default), **shared)


def _limits(field: SettingField, number: type[int] | type[float]) -> dict[str, Any]:
    """Return a setting's limits as a number input takes them: of one type with the value."""
    limits = {"min_value": field.minimum, "max_value": field.maximum}
    return {name: None if limit is None else number(limit) for name, limit in limits.items()}

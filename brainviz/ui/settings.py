"""The form for a run's settings, drawn from the same table of fields that validates them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from brainviz.config import load_config
from brainviz.models.backbones import COMPACT, NETWORKS, candidate_layers, logit_layer
from brainviz.runs.requests import SettingField, default_settings, field_table
from brainviz.ui.binding import bound, follow
from brainviz.ui.sources import Source

#: Heading of each group of settings, in the order of the form.
GROUPS = {
    "settings": "Training",
    "encoding": "Encoding model",
    "head": "Contrastive heads",
    "split": "Division of the pictures",
}

#: Drawn above the others, or by the page itself.
NETWORK_FIELDS = ("network", "weights", "image_size")
NOT_DRAWN = frozenset({"layers", "alphas", "shuffle_images"})

COLUMNS = 4


def settings_form(kind: str, source: Source, *, all_layers: bool = False) -> dict[str, Any]:
    """Draw the form and return the settings by name.

    Parameters
    ----------
    kind : {"finetune", "encoding"}
    source : Source
        The data set, which may suggest defaults.
    all_layers : bool
        For encoding: all candidate layers of the network, or its logits alone.

    Returns
    -------
    dict
        Every setting drawn; `brainviz.runs.requests.make_spec` takes them as they are.
    """
    fields = {field.name: field for field in field_table(kind) if field.name not in NOT_DRAWN}
    columns = st.columns(COLUMNS)
    with columns[0]:
        network = _pick_network(fields["network"], str(default_settings(kind, source.dataset)["network"]), source.key)
    defaults = default_settings(kind, source.dataset, network)
    followed = (source.key, network)
    values: dict[str, Any] = {"network": network}
    with columns[1]:
        values["weights"] = _pick_weights(fields["weights"], network, str(defaults["weights"]), followed)
    with columns[2]:
        values["image_size"] = _draw(fields["image_size"], defaults["image_size"], followed)
    if kind == "finetune":
        with columns[3]:
            values["method"] = _draw(fields["method"], defaults["method"], followed)
    rest = [field for name, field in fields.items() if name not in (*NETWORK_FIELDS, "method")]
    with st.expander("All settings", icon=":material/tune:"):
        for group, heading in GROUPS.items():
            values |= _draw_group(heading, [field for field in rest if _group(field, kind) == group], defaults)
    if kind == "encoding":
        values["layers"] = layers_of(network, all_layers=all_layers)
    return values


def layers_of(network: str, *, all_layers: bool) -> tuple[str, ...]:
    """Return all candidate layers of a network, or its logits alone."""
    return candidate_layers(network) if all_layers else (logit_layer(network),)


def for_method(kind: str, method: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that mean something for a method: an untuned network has none of the tuning's."""
    if method != "untuned":
        return values
    tuning = {field.name for field in field_table(kind) if field.tuned_only}
    return {name: value for name, value in values.items() if name not in tuning}


def _group(field: SettingField, kind: str) -> str:
    return "encoding" if kind == "encoding" and field.group == "settings" and not field.tuned_only else field.group


def _draw_group(heading: str, fields: Sequence[SettingField], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a group of settings in rows; a setting keeps what the user chose until its default changes."""
    values: dict[str, Any] = {}
    if fields:
        st.markdown(f"**{heading}**")
    for first in range(0, len(fields), COLUMNS):
        columns = st.columns(COLUMNS, vertical_alignment="bottom")
        for column, field in zip(columns, fields[first : first + COLUMNS], strict=False):
            with column:
                values[field.name] = _draw(field, defaults[field.name], defaults[field.name])
    return values


def _pick_network(field: SettingField, default: str, followed: Any) -> str:
    options = list(dict.fromkeys([default, *NETWORKS]))
    follow("network", followed, default)
    return st.selectbox(field.label, options, **bound("network"), help=f"{COMPACT} is small and comes with brainviz.")


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
    )


def _draw(field: SettingField, default: Any, followed: Any) -> Any:
    """Draw one setting's widget, bound to the URL under the setting's name."""
    follow(field.name, followed, default)
    shared: Any = {**bound(field.name), "help": field.description}
    if field.type == "flag":
        return st.checkbox(field.label, value=bool(default), **shared)
    if field.type == "choice":
        return st.selectbox(field.label, field.choices, index=field.choices.index(default), **shared)
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

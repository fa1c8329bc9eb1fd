"""The table of settings: what can be set of each kind of run, as form, command line and docs show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from brainviz.config import nearest
from brainviz.datasets.base import Dataset
from brainviz.datasets.tasks import tasks_of
from brainviz.errors import SpecError
from brainviz.runs.bottleneck_specs import BottleneckSpec, JointFeaturesSpec, PretrainingSpec
from brainviz.runs.concept_specs import ClipFields, ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec
from brainviz.runs.network_specs import METHOD_DEFAULTS, RANDOM, UNTUNED, EncodingSpec, FeaturesSpec, FinetuneSpec
from brainviz.runs.spec_base import Spec, only_for
from brainviz.runs.specs import (
    SPEC_CLASSES,
    ClassificationSpec,
    ComparisonSpec,
    LandscapeSpec,
    LateralizationSpec,
    SubmissionSpec,
)

#: Methods of tuning, and everything that a network can be.
TUNED: tuple[str, ...] = get_args(FinetuneSpec.model_fields["method"].annotation)

STATES: tuple[str, ...] = (UNTUNED, RANDOM, *TUNED)

#: The specs that a request of each kind is made of, outermost first; the tuned network's is left out when it is
#: untuned.
LAYERS_OF_KIND: Mapping[str, tuple[type[Spec], ...]] = {
    "finetune": (FinetuneSpec,),
    "features": (FeaturesSpec, FinetuneSpec),
    "encoding": (EncodingSpec, FeaturesSpec, FinetuneSpec),
    "comparison": (ComparisonSpec, EncodingSpec, FeaturesSpec, FinetuneSpec),
    "classification": (ClassificationSpec, FinetuneSpec),
    "landscape": (LandscapeSpec, ClassificationSpec, FinetuneSpec),
    "lateralization": (LateralizationSpec, EncodingSpec, FeaturesSpec, ClassificationSpec, FinetuneSpec),
    "embedding": (EmbeddingSpec,),
    "texts": (TextsSpec,),
    "decoder": (DecoderSpec, EmbeddingSpec),
    "concepts": (ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec),
    "joint-features": (JointFeaturesSpec, FinetuneSpec),
    "pretraining": (PretrainingSpec, JointFeaturesSpec, FinetuneSpec),
    "bottleneck": (BottleneckSpec, JointFeaturesSpec, FinetuneSpec),
    "submission": (SubmissionSpec,),
}

#: Fields that are no settings: they are chosen with the data, found out, or made here.
NOT_SETTINGS = frozenset(
    {"kind", "version", "dataset", "subject", "hemi", "roi", "method", "weights_digest"}
    | {"features", "finetune", "first", "second", "models", "placed", "task_fingerprint", "logits"}
    | {"encoding", "classification", "embedding", "decoders", "clip_digest", "texts_digest", "described_by"}
    | {"pretraining", "encoders", "pictures_digests"}
)

#: Fields that a kind takes from another of its settings, and so are no settings of their own.
DERIVED: Mapping[str, frozenset[str]] = {"lateralization": frozenset({"layers", "readouts", "shuffle_images"})}

#: Kinds of run about an image-text network as it is, which no method tunes.
IMAGE_TEXT_KINDS = ("embedding", "texts", "decoder", "concepts")

#: Kinds of run about bottleneck networks, whose features come from an image-text network or from another one.
BOTTLENECK_KINDS = ("joint-features", "pretraining", "bottleneck")

#: Settings that belong to a network: a data set's suggestions for another network do not apply.
IMAGE_TEXT_SETTINGS = ("clip_weights", "texts")
NETWORK_SETTINGS = ("weights", "image_size", "layers", "readouts", "readout")


@dataclass(frozen=True)
class SettingField:
    """One setting of a kind of run, as form, command line and docs show it.

    Attributes
    ----------
    name, label, description : str
    type : str
        ``"int"``, ``"float"``, ``"text"``, ``"flag"``, ``"choice"``, ``"texts"`` or ``"numbers"`` (the last two:
        comma-separated).
    default : object
        What applies when neither data set nor network suggests anything.
    choices : tuple of str
        For ``"choice"``.
    minimum, maximum : float or None
        Limits.
    open_minimum, open_maximum : bool
        Whether the limit itself is not allowed.
    group : str
        Settings shown together.
    methods : tuple of str
        The methods for which it means something.
    """

    name: str
    label: str
    description: str
    type: str
    default: Any
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    open_minimum: bool = False
    open_maximum: bool = False
    group: str = "settings"
    methods: tuple[str, ...] = STATES

    @property
    def tuning(self) -> bool:
        """Whether it shapes the tuning, and so means nothing for an untuned network."""
        return UNTUNED not in self.methods


@cache
def field_table(kind: str) -> tuple[SettingField, ...]:
    """Return the settings of a kind of run: those of its spec and of the specs nested in it, each name once.

    Raises
    ------
    SpecError
        There is no such kind.
    """
    require_kind(kind)
    fields: dict[str, SettingField] = {}
    if kind == "finetune":
        fields["method"] = _setting_field("method", FinetuneSpec.model_fields["method"], TUNED)
    elif methods(kind):
        about = "network state: untuned, random weights, or how it is tuned"
        first = methods(kind)[0]
        fields["method"] = SettingField("method", "Method", about, "choice", first, methods(kind), group="network")
    if kind == "comparison":
        against = "network state that the method is compared with"
        fields["baseline"] = SettingField(
            "baseline", "Baseline", against, "choice", UNTUNED, STATES, group="comparison"
        )
    for cls in LAYERS_OF_KIND[kind]:
        for name, info in cls.model_fields.items():
            if name not in NOT_SETTINGS | DERIVED.get(kind, frozenset()) and name not in fields:
                fields[name] = _setting_field(name, info, TUNED if cls is FinetuneSpec else STATES)
    if kind in ("encoding", "comparison"):
        for name, what in (("tuning_hemi", "hemisphere"), ("tuning_roi", "ROI")):
            about = f"{what} that the network is tuned on; empty: the one that is predicted"
            label = f"{what[0].upper()}{what[1:]} of the tuning"
            fields[name] = SettingField(name, label, about, "text", "", group="network", methods=TUNED)
    if kind in BOTTLENECK_KINDS:
        for name, what in (("tuning_subject", "subject"), ("tuning_hemi", "hemisphere"), ("tuning_roi", "ROI")):
            about = f"{what} that the network is tuned on"
            label = f"{what[0].upper()}{what[1:]} of the tuning"
            fields[name] = SettingField(name, label, about, "text", "", group="network", methods=TUNED)
    if kind == "bottleneck":
        about = "subjects whose pictures the features are found on, and that the pre-training is on; empty: all"
        fields["pooled"] = SettingField("pooled", "Subjects together", about, "text", "", group="bottleneck")
        about = "begin from a network that was trained on all of them"
        fields["pretrain"] = SettingField("pretrain", "Pre-training", about, "flag", True, group="bottleneck")
    if kind == "submission":
        about = "ids of encoding and bottleneck runs, or enough of their first digits, with commas between them"
        fields["encoders"] = SettingField("encoders", "Encoders", about, "text", "", group="submission")
    return tuple(fields.values())


def methods(kind: str) -> tuple[str, ...]:
    """Return the methods that a kind of run knows, the usual one first; none for `IMAGE_TEXT_KINDS` and submissions."""
    if kind in IMAGE_TEXT_KINDS or kind == "submission":
        return ()
    return {"finetune": TUNED, "comparison": (*TUNED, RANDOM, UNTUNED), "landscape": TUNED}.get(kind, STATES)


def require_kind(kind: str) -> None:
    """Raise `SpecError` unless there is such a kind of run."""
    if kind not in SPEC_CLASSES:
        raise SpecError(
            "There is no such kind of run.",
            got=kind,
            expected=", ".join(SPEC_CLASSES),
            mend=suggestion(kind, SPEC_CLASSES),
        )


def default_settings(
    kind: str,
    dataset: Dataset,
    network: str | None = None,
    method: str | None = None,
    *,
    clip_network: str | None = None,
) -> dict[str, Any]:
    """Return what each setting of a kind of run is for this data set unless the user says otherwise.

    Parameters
    ----------
    kind : str
    dataset : Dataset
        Its `defaults` come first; those that belong to a network only if it is the network in question.
    network : str, optional
        The network the user chose.
    method : str, optional
        Its own defaults come before those of the fields; what the data set says of a method, in a table under its
        name, comes before all else.
    clip_network : str, optional
        The image-text network the user chose.

    Raises
    ------
    SpecError
        The data set suggests a setting that no kind of run has.
    """
    from brainviz.models import backbones

    fields = {field.name: field for field in field_table(kind)}
    by_method = {name: value for name, value in dataset.defaults.items() if name in STATES and isinstance(value, dict)}
    suggested = {name: value for name, value in dataset.defaults.items() if name not in by_method}
    suggested |= by_method.get(method or "", {})
    every = {field.name for each in SPEC_CLASSES for field in field_table(each)}
    for name in {*suggested, *(name for table in by_method.values() for name in table)}:
        if name not in every:
            raise SpecError(
                f"The data set {dataset.name!r} suggests a setting that there is not.",
                got=name,
                mend=suggestion(name, every),
            )
    if kind in IMAGE_TEXT_KINDS:
        return _image_text_settings(fields, suggested, clip_network)
    if kind == "submission":
        return {name: field.default for name, field in fields.items()}
    of_clip = {name: field for name, field in fields.items() if name in ClipFields.model_fields}
    own = suggested.get("network", FinetuneSpec.model_fields["network"].default)
    network = network or own
    if network != own:
        suggested = {name: value for name, value in suggested.items() if name not in NETWORK_SETTINGS}
    settings = {name: field.default for name, field in fields.items()}
    settings |= {name: value for name, value in METHOD_DEFAULTS.get(method or "", {}).items() if name in fields}
    settings |= {"weights": backbones.default_weights(network), "image_size": backbones.default_image_size(network)}
    if "layers" in fields:
        settings["layers"] = backbones.candidate_layers(network)
    if kind in BOTTLENECK_KINDS:
        settings["layers"] = (backbones.last_map(network),)
    if "readouts" in fields:
        settings["readouts"] = backbones.readout_layers(network)
    if "task" in fields:
        settings["task"] = next(iter(tasks_of(dataset)), "")
    if "readout" in fields:
        settings["readout"] = backbones.logit_layer(network)
    usable = {
        name: value
        for name, value in suggested.items()
        if name in fields and (method is None or method in fields[name].methods)
    }
    settings |= usable | {"network": network}
    return settings | (_image_text_settings(of_clip, suggested, clip_network) if of_clip else {})


def _image_text_settings(
    fields: Mapping[str, SettingField], suggested: Mapping[str, Any], network: str | None
) -> dict[str, Any]:
    """Return the settings of a kind of run that is about an image-text network."""
    from brainviz.models.clip import default_clip_weights

    own = suggested.get("clip_network", ClipFields.model_fields["clip_network"].default)
    network = network or own
    usable = {
        name: value
        for name, value in suggested.items()
        if name in fields and (network == own or name not in IMAGE_TEXT_SETTINGS)
    }
    settings = {name: field.default for name, field in fields.items()}
    return settings | {"clip_weights": default_clip_weights(str(network))} | usable | {"clip_network": network}


def suggestion(name: str, known: Sequence[str] | Mapping[str, Any] | set[str]) -> str | None:
    """Return a question that names the known name most like one that is not known; None where none is alike."""
    close = nearest(name, known)
    return f"did you mean {close!r}?" if close else None


def _setting_field(name: str, info: FieldInfo, methods: tuple[str, ...]) -> SettingField:
    kind, choices = _type_of(info.annotation)
    limits = {
        key: getattr(item, key) for item in info.metadata for key in ("ge", "gt", "le", "lt") if hasattr(item, key)
    }
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    return SettingField(
        name=name,
        label=info.title or name,
        description=info.description or "",
        type=kind,
        default=info.default,
        choices=choices,
        minimum=limits.get("ge", limits.get("gt")),
        maximum=limits.get("le", limits.get("lt")),
        open_minimum="gt" in limits,
        open_maximum="lt" in limits,
        group=str(extra.get("group", "settings")),
        methods=only_for(info) or methods,
    )


def _type_of(annotation: Any) -> tuple[str, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation)
    names: dict[Any, str] = {
        bool: "flag",
        int: "int",
        float: "float",
        str: "text",
        tuple[str, ...]: "texts",
        tuple[float, ...]: "numbers",
    }
    return names[annotation], ()

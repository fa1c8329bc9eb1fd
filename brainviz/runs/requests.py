"""From flat settings, as a form or a command line gives them, to a spec; and what the workers must know to compute it.

A spec names its data set and its weights by digest. The folder and the file behind them are remembered beside the
results: ``<cache>/datasets/<fingerprint>.json`` and ``<cache>/weights/<digest>.json``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import numpy as np
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from brainviz.config import cache_dir, load_config, nearest
from brainviz.datasets.base import HEMISPHERE_NAMES, HEMISPHERES, MIN_ROI_VERTICES, Dataset
from brainviz.datasets.tasks import (
    DEMO_TASKS,
    Task,
    TaskIndex,
    build_task_index,
    open_task,
    remembered_task_index,
    task_names,
    tasks_of,
)
from brainviz.errors import DatasetError, SpecError
from brainviz.runs.specs import (
    METHOD_DEFAULTS,
    RANDOM,
    SEPARATOR,
    SPEC_CLASSES,
    UNTUNED,
    ClassificationSpec,
    ComparisonSpec,
    EncodingSpec,
    FeaturesSpec,
    FinetuneSpec,
    LandscapeSpec,
    LateralizationSpec,
    Spec,
    only_for,
    spec_error,
)
from brainviz.runs.store import write_json

if TYPE_CHECKING:
    from brainviz.datasets.index import DatasetIndex
    from brainviz.models.backbones import ResolvedWeights

AnySpecClass = TypeVar("AnySpecClass", bound=Spec)

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
}

#: Fields that are no settings: they are chosen with the data, found out, or made here.
NOT_SETTINGS = frozenset(
    {"kind", "version", "dataset", "subject", "hemi", "roi", "method", "weights_digest"}
    | {"features", "finetune", "first", "second", "models", "placed", "task_fingerprint", "logits"}
    | {"encoding", "classification"}
)

#: Fields that a kind takes from another of its settings, and so are no settings of their own.
DERIVED: Mapping[str, frozenset[str]] = {"lateralization": frozenset({"layers", "readouts", "shuffle_images"})}

#: For so long a page believes what it has seen of a task's files.
TASK_SECONDS = 30

#: Settings that belong to a network: a data set's suggestions for another network do not apply.
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
    else:
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
    return tuple(fields.values())


def methods(kind: str) -> tuple[str, ...]:
    """Return the methods that a kind of run knows, the usual one first."""
    return {"finetune": TUNED, "comparison": (*TUNED, RANDOM, UNTUNED), "landscape": TUNED}.get(kind, STATES)


def require_kind(kind: str) -> None:
    """Raise `SpecError` unless there is such a kind of run."""
    if kind not in SPEC_CLASSES:
        raise SpecError(
            "There is no such kind of run.",
            got=kind,
            expected=", ".join(SPEC_CLASSES),
            mend=_suggestion(kind, SPEC_CLASSES),
        )


def default_settings(
    kind: str, dataset: Dataset, network: str | None = None, method: str | None = None
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
                mend=_suggestion(name, every),
            )
    own = suggested.get("network", FinetuneSpec.model_fields["network"].default)
    network = network or own
    if network != own:
        suggested = {name: value for name, value in suggested.items() if name not in NETWORK_SETTINGS}
    settings = {name: field.default for name, field in fields.items()}
    settings |= {name: value for name, value in METHOD_DEFAULTS.get(method or "", {}).items() if name in fields}
    settings |= {"weights": backbones.default_weights(network), "image_size": backbones.default_image_size(network)}
    if "layers" in fields:
        settings["layers"] = backbones.candidate_layers(network)
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
    return settings | usable | {"network": network}


def make_spec(
    kind: str,
    dataset: Dataset,
    index: DatasetIndex,
    *,
    subject: str,
    hemi: str | None = None,
    roi: str | None = None,
    method: str | None = None,
    allow_files: bool = False,
    **values: Any,
) -> Spec:
    """Return the spec that flat settings ask for; the one way to it for pages and command line.

    Parameters
    ----------
    kind : str
        A key of `specs.SPEC_CLASSES`.
    dataset : Dataset
    index : DatasetIndex
        Of the same data set; its fingerprint goes into the spec.
    subject : str
    hemi, roi : str, optional
        Needed unless the features of an untuned network are asked for. For encoding and comparison, `hemi` may be
        ``"both"``, and `roi` may name several with commas between them.
    method : str, optional
        One of `methods`; the first of them unless given.
    allow_files : bool
        Whether `weights` may be a path. Only the command line says so: nothing from a form or link is used as a path.
    **values
        Settings by the names in `field_table`, as text or as what they are. Each goes to every nested spec that has
        such a field.

    Raises
    ------
    SpecError
        An unknown kind, setting or method (the nearest known is named), or a value out of range.
    DatasetError
        No such subject, hemisphere or ROI, or a ROI with fewer than `MIN_ROI_VERTICES` vertices.
    WeightsError
        There are no such weights.
    """
    require_kind(kind)
    method = _known_method(method or methods(kind)[0], methods(kind))
    baseline = _known_method(str(values.pop("baseline", UNTUNED)), STATES) if kind == "comparison" else None
    _require_known(kind, (method, baseline) if baseline else (method,), values)
    subjects = [name.strip() for name in subject.split(SEPARATOR)] if kind == "landscape" else [subject]
    for name in subjects:
        dataset.require_subject(name)
        _require_pictures(index, name)
    place = _Place(dataset, index, subjects[0], hemi, roi, allow_files)
    spec: Spec
    if kind == "comparison":
        spec = _comparison(place, (method, baseline or UNTUNED), values)
    elif kind == "landscape":
        spec = _landscape([replace(place, subject=name) for name in subjects], method, values)
    elif kind == "lateralization":
        spec = _lateralization(place, method, values)
    else:
        spec = _one_spec(kind, place, method, values)
    remember_dataset(dataset, index)
    return spec


def _known_method(method: str, known: Sequence[str]) -> str:
    """Return the method; raise `SpecError` unless there is such a one."""
    if method not in known:
        raise SpecError(
            "There is no such method.", got=method, expected=", ".join(known), mend=_suggestion(method, known)
        )
    return method


def compare(first: Sequence[EncodingSpec], second: Sequence[EncodingSpec], **settings: Any) -> ComparisonSpec:
    """Return the spec that compares encoding runs of two methods, pair by pair.

    Parameters
    ----------
    first, second : sequence of EncodingSpec
        Of one subject; run i of both is about the same ROIs.
    **settings
        ``layer``, ``n_permutations``, ``exchange_seed``.

    Raises
    ------
    SpecError
        The runs cannot be compared.
    """
    fields = {"dataset": first[0].dataset, "subject": first[0].subject} if first else {}
    if len(first) == len(second):
        # In one order, whichever the ROIs were picked in, so that the same tests are one run.
        pairs = sorted(zip(first, second, strict=True), key=lambda pair: pair[0].areas)
        first, second = [one for one, _ in pairs], [other for _, other in pairs]
    return _build(ComparisonSpec, {**fields, **settings}, first=tuple(first), second=tuple(second))


def lay_out(
    models: Sequence[ClassificationSpec], placed: Sequence[ClassificationSpec] = (), **settings: Any
) -> LandscapeSpec:
    """Return the spec of the landscape of these models.

    Parameters
    ----------
    models : sequence of ClassificationSpec
        Of one task; the order does not matter.
    placed : sequence of ClassificationSpec
        Models that are placed on the InPCA axes of the others afterwards, without a part in them.
    **settings
        ``readout`` and whatever else `specs.LandscapeSpec` has.

    Raises
    ------
    SpecError
        The models cannot be compared.
    """
    # In one order, whichever they were picked in, so that the same landscape is one run.
    parts = {"models": _in_one_order(models), "placed": _in_one_order(placed)}
    every = (*parts["models"], *parts["placed"])
    fields = {
        "dataset": next((model.dataset for model in every if model.dataset), ""),
        "subject": SEPARATOR.join(sorted({model.subject for model in every} - {""})),
    }
    return _build(LandscapeSpec, {**fields, **settings}, **parts)


def _in_one_order(models: Sequence[ClassificationSpec]) -> tuple[ClassificationSpec, ...]:
    return tuple(model for _, model in sorted({model.run_id: model for model in models}.items()))


@dataclass(frozen=True)
class _Place:
    """The data that a request is about."""

    dataset: Dataset
    index: DatasetIndex
    subject: str
    hemi: str | None
    roi: str | None
    allow_files: bool

    def areas(self) -> list[tuple[str, str]]:
        """Hemispheres and ROIs named; each is made sure of."""
        if self.hemi is None or self.roi is None:
            raise SpecError(
                "Hemisphere and ROI must be named.", got=f"hemi {self.hemi}, roi {self.roi}", mend="give both."
            )
        hemispheres = HEMISPHERES if self.hemi == "both" else (self.hemi,)
        here = self.dataset.hemispheres(self.subject)
        if self.hemi == "both" and here != HEMISPHERES:
            raise SpecError(
                f"{self.subject} has responses in one hemisphere only.",
                got="hemisphere both",
                expected=", ".join(here),
                mend="name that hemisphere.",
            )
        rois = sorted({name.strip() for name in self.roi.split(SEPARATOR)} - {""})
        areas = [(hemi, roi) for hemi in hemispheres for roi in rois]
        if not areas:
            raise SpecError("No ROI is named.", got=repr(self.roi), mend="name at least one.")
        for hemi, roi in areas:
            require_roi(self.dataset, self.subject, hemi, roi)
        return areas


def _comparison(place: _Place, pair: tuple[str, str], values: Mapping[str, Any]) -> ComparisonSpec:
    """Return the comparison of two methods: an encoding run per ROI and method."""
    of_comparison = {name: value for name, value in values.items() if name in ComparisonSpec.model_fields}
    runs: dict[str, list[EncodingSpec]] = {}
    for method in pair:
        known = {field.name for field in field_table("encoding") if method in field.methods}
        own = {name: value for name, value in values.items() if name in known}
        runs[method] = []
        for hemi, roi in place.areas():
            spec = _one_spec("encoding", replace(place, hemi=hemi, roi=roi), method, own)
            assert isinstance(spec, EncodingSpec)
            runs[method].append(spec)
    return compare(runs[pair[0]], runs[pair[1]], **of_comparison)


def _landscape(places: Sequence[_Place], method: str, values: Mapping[str, Any]) -> LandscapeSpec:
    """Return the landscape of a method's networks, one per subject and ROI, and the untuned one."""
    usual = default_settings("landscape", places[0].dataset, values.get("network"), method)
    of_landscape = {name: {**usual, **values}[name] for name in usual if name in LandscapeSpec.model_fields}
    models = [
        _one_spec("classification", replace(place, hemi=hemi, roi=roi), method, _known_to(method, values))
        for place in places
        for hemi, roi in place.areas()
    ]
    models.append(_one_spec("classification", places[0], UNTUNED, _known_to(UNTUNED, values)))
    return lay_out([model for model in models if isinstance(model, ClassificationSpec)], **of_landscape)


def _lateralization(place: _Place, method: str, values: Mapping[str, Any]) -> LateralizationSpec:
    """Return the attribution of what one network state predicts: a ROI's responses, or classes."""
    usual = default_settings("lateralization", place.dataset, values.get("network"), method)
    network = usual["network"]
    from brainviz.models.backbones import last_map, logit_layer

    own = {name: {**usual, **values}[name] for name in usual if name in LateralizationSpec.model_fields}
    readout = str(own["readout"]) or logit_layer(network)
    own["readout"] = readout
    if own["attribution"] == "grad-cam" and not own["cam_layer"]:
        own["cam_layer"] = last_map(network)
    if own["target"] == "class":
        classes = _one_spec("classification", place, method, _known_to(method, values) | {"readouts": (readout,)})
        return _build(LateralizationSpec, own | _about(classes), classification=classes)
    areas = place.areas()
    both = own["target"] == "left-right"
    if len(areas) > 1:
        raise SpecError(
            "A lateralization run is about one network.",
            got=f"hemi {place.hemi}, roi {place.roi}",
            mend="ask for them one by one; for the left hemisphere's response less the right's, name the hemisphere "
            "that the network is tuned on.",
        )
    tuned_on = {"tuning_hemi": place.hemi, "tuning_roi": place.roi} if method in TUNED else {}
    of_encoding = _known_to(method, values, "encoding") | {"layers": (readout,)} | (tuned_on if both else {})
    where = replace(place, hemi="both") if both else place
    predicts = _one_spec("encoding", where, method, of_encoding)
    return _build(LateralizationSpec, own | _about(predicts), encoding=predicts)


def _about(spec: Spec) -> dict[str, str]:
    return {"dataset": spec.dataset, "subject": spec.subject}


def _known_to(method: str, values: Mapping[str, Any], kind: str = "classification") -> dict[str, Any]:
    """Return the settings of a kind of run that mean something for a method."""
    known = {field.name for field in field_table(kind) if method in field.methods}
    return {name: value for name, value in values.items() if name in known}


def _one_spec(kind: str, place: _Place, method: str, values: Mapping[str, Any]) -> Spec:
    """Return the spec of a finetune, features, encoding or classification run."""
    settings = default_settings(kind, place.dataset, values.get("network"), method) | dict(values)
    if method == RANDOM:
        settings["weights"] = RANDOM
    tuning_hemi, tuning_roi = settings.pop("tuning_hemi", ""), settings.pop("tuning_roi", "")
    if kind in ("finetune", "encoding") or method in TUNED:
        place.areas()
    resolved = _resolved(
        settings["network"], str(settings["weights"]), place.allow_files, _file_state(str(settings["weights"]))
    )
    settings |= {"weights": resolved.name, "weights_digest": resolved.digest}
    if "layers" in settings:
        from brainviz.models.backbones import require_layers

        settings["layers"] = _listed(settings["layers"], FeaturesSpec.model_fields["layers"])
        require_layers(settings["network"], settings["layers"])
    settings |= {
        "dataset": place.index.fingerprint,
        "subject": place.subject,
        "hemi": place.hemi,
        "roi": place.roi,
    }
    if resolved.name == "file" and resolved.path is not None:
        remember_weights(resolved.digest, resolved.path)
    finetune = None
    if method in TUNED:
        tuned_on = replace(place, hemi=tuning_hemi or place.hemi, roi=tuning_roi or place.roi)
        finetune = _finetune(tuned_on, method, settings)
    if kind == "finetune":
        assert finetune is not None
        return finetune
    if kind == "classification":
        return _classification(place, finetune, settings)
    # The seed of weights that are not drawn at random would only make another run of the same features.
    of_features = settings if resolved.name == RANDOM and finetune is None else settings | {"seed": 0}
    features = _build(FeaturesSpec, of_features, finetune=finetune)
    return features if kind == "features" else _build(EncodingSpec, settings, features=features)


def _classification(place: _Place, finetune: FinetuneSpec | None, settings: Mapping[str, Any]) -> ClassificationSpec:
    """Return the spec of classifying a task's pictures with a network state."""
    from brainviz.models.backbones import logit_layer, require_layers

    readouts = _listed(settings["readouts"], ClassificationSpec.model_fields["readouts"])
    require_layers(settings["network"], readouts)
    task, fingerprint = known_task(str(settings["task"]), place.allow_files)
    # What has no part in the result would only make another run of it.
    own: dict[str, Any] = {} if finetune is not None else {"dataset": "", "subject": ""}
    own |= {} if settings["weights"] == RANDOM and finetune is None else {"seed": 0}
    found = {"task": task, "task_fingerprint": fingerprint, "logits": logit_layer(settings["network"])}
    return _build(ClassificationSpec, {**settings, **own, **found}, finetune=finetune)


def known_task(name: str, allow_files: bool = False) -> tuple[str, str]:
    """Return a task's name and fingerprint; its pictures must have been read, unless the command line asks.

    Parameters
    ----------
    name : str
        One of `brainviz.datasets.tasks.task_names`; a folder too where `allow_files`.
    allow_files : bool
        As for `make_spec`; pictures that were not read yet are then read now.

    Raises
    ------
    SpecError
        No task is named, or it was not read yet.
    DatasetError
        There is no such task.
    """
    names = task_names()
    if not name or (name not in names and not allow_files):
        raise SpecError(
            "There is no such classification task." if name else "No classification task is named.",
            got=repr(name),
            expected=", ".join(names),
            mend=_suggestion(name, names) or "name one of these; others are named under [tasks] in brainviz.toml.",
        )
    if not allow_files:
        return _read_task(
            name, str(load_config().tasks.get(name, "")), str(cache_dir()), int(time.time() // TASK_SECONDS)
        )
    task = open_task(name)
    index = build_task_index(task, memo_dir())
    remember_task(task, index)
    return task.name, index.fingerprint


# A page asks for many specs at every click, and looking at thousands of files takes a moment. That the pictures still
# are what the fingerprint says is made sure of by the worker before it computes. The last three tell places and times
# apart.
@lru_cache(maxsize=16)
def _read_task(name: str, folder: str, cache: str, moment: int) -> tuple[str, str]:
    """Return name and fingerprint of a task that was read."""
    task = open_task(name)
    index = remembered_task_index(task, memo_dir())
    if index is None:
        raise SpecError(
            f"The pictures of the task {name!r} have not been read yet, or have changed since.",
            mend="read them from the page of the tasks, or ask from the command line.",
        )
    remember_task(task, index)
    return task.name, index.fingerprint


def _finetune(place: _Place, method: str, settings: Mapping[str, Any]) -> FinetuneSpec:
    """Return the spec of a tuning, on one ROI of one hemisphere."""
    areas = place.areas()
    if len(areas) > 1:
        raise SpecError(
            "A network is tuned on one ROI of one hemisphere.",
            got=f"hemi {place.hemi}, roi {place.roi}",
            mend="ask for them one by one; to predict several ROIs from one tuned network, name the ROI it is tuned on "
            "with tuning_roi and tuning_hemi.",
        )
    (hemi, roi) = areas[0]
    return _build(FinetuneSpec, {**settings, "hemi": hemi, "roi": roi}, method=method)


def _build(cls: type[AnySpecClass], settings: Mapping[str, Any], **nested: Any) -> AnySpecClass:
    fields = cls.model_fields
    chosen = {
        name: _listed(value, fields[name]) for name, value in settings.items() if name in fields and name != "method"
    }
    try:
        return cls.model_validate(chosen | nested)
    except ValidationError as error:
        raise spec_error(error) from error


def _listed(value: Any, info: FieldInfo) -> Any:
    """Split comma-separated text where a list is wanted."""
    if isinstance(value, str) and get_origin(info.annotation) is tuple:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _require_known(kind: str, used: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise `SpecError` for a setting that there is not, or that means nothing for any of the methods used."""
    fields = {field.name: field for field in field_table(kind)}
    for name in values:
        if name not in fields:
            raise SpecError(
                f"A {kind} run has no setting {name!r}.",
                got=name,
                expected=", ".join(fields),
                mend=_suggestion(name, fields),
            )
        if not set(used) & set(fields[name].methods):
            raise SpecError(
                f"{name!r} means nothing for the method {' or '.join(used)}.",
                got=f"{name} with method {' and '.join(used)}",
                mend=f"leave it out, or choose another method: {', '.join(fields[name].methods)}.",
            )
        if name == "weights" and RANDOM in used and len(set(used)) == 1 and values[name] != RANDOM:
            raise SpecError(
                "A network with random weights has no others.",
                got=f"weights {values[name]} with method {RANDOM}",
                mend=f"leave weights out, or choose the method {UNTUNED}.",
            )


def require_roi(dataset: Dataset, subject: str, hemi: str, roi: str) -> None:
    """Raise unless the subject has the ROI in this hemisphere, with enough vertices for an analysis.

    Raises
    ------
    DatasetError
        No such hemisphere or ROI, or fewer than `MIN_ROI_VERTICES` vertices.
    """
    dataset.require_hemisphere(subject, hemi)
    # One row is read: a data set without one picture per row is refused here.
    n_vertices = dataset.responses(subject, hemi, roi, np.arange(1)).shape[1]
    if n_vertices < MIN_ROI_VERTICES:
        raise DatasetError(
            f"{roi} of {subject} in the {HEMISPHERE_NAMES[hemi]} is too small to analyse.",
            got=f"{n_vertices} vertices",
            expected=f"at least {MIN_ROI_VERTICES}",
            mend="choose a larger ROI, or a union such as V1.",
        )


def _require_pictures(index: DatasetIndex, subject: str) -> None:
    """Raise `DatasetError` if a picture of the subject cannot be decoded, which would end a run only later."""
    broken = sum(not digest for digest in index.subjects[subject].image_digests)
    if broken:
        raise DatasetError(
            f"{broken} of {subject}'s pictures cannot be decoded.",
            mend="`python -m brainviz check` names them; copy them again from their source.",
        )


@lru_cache(maxsize=64)
def _resolved(network: str, weights: str, allow_path: bool, _file: tuple[int, int] | None) -> ResolvedWeights:
    """Find weights; the digest of a file is taken once per change, as a page asks for many specs at every click."""
    from brainviz.models.backbones import resolve_weights

    return resolve_weights(network, weights, allow_path=allow_path)


def _file_state(weights: str) -> tuple[int, int] | None:
    """Return size and time of change of the file that a name or path stands for; None where there is none."""
    path = load_config().weights.get(weights, Path(weights))
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None


def memo_dir(cache: Path | None = None) -> Path:
    """Return the folder in which the digests of data files are remembered."""
    return (cache or cache_dir()) / "datasets" / "files"


def remember_dataset(dataset: Dataset, index: DatasetIndex) -> None:
    """Remember which folder has the contents that a fingerprint names."""
    _remember(
        cache_dir() / "datasets" / f"{index.fingerprint}.json",
        {
            "root": str(dataset.root.resolve()),
            "name": dataset.name,
            "n_images": {subject: len(known.image_digests) for subject, known in index.subjects.items()},
        },
    )


def load_dataset(
    fingerprint: str, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Dataset, DatasetIndex]:
    """Return the data set with this fingerprint, after making sure that its files still have the contents that it
    names.

    Files whose size and modification time are as remembered are trusted; others are read again.

    Raises
    ------
    DatasetError
        Nothing is remembered of it, or its files have changed.
    """
    from brainviz.datasets import open_dataset
    from brainviz.datasets.index import build_index

    cache = cache or cache_dir()
    root = Path(_recalled(cache / "datasets", fingerprint, "data set")["root"])
    dataset = open_dataset(root)
    index = build_index(dataset, memo_dir(cache), progress)
    _require_unchanged(index.fingerprint, fingerprint, f"data in {root}")
    return dataset, index


def remember_task(task: Task, index: TaskIndex) -> None:
    """Remember where the pictures are that a task's fingerprint names."""
    facts = {"name": task.name, "root": str(task.root), "layout": task.layout, "n_images": len(task)}
    _remember(cache_dir() / "tasks" / f"{index.fingerprint}.json", facts)


def load_task(
    fingerprint: str, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Task, TaskIndex]:
    """Return the task with this fingerprint, after making sure that its files still have the contents that it names.

    Raises
    ------
    DatasetError
        Nothing is remembered of it, or its files have changed.
    """
    cache = cache or cache_dir()
    known = _recalled(cache / "tasks", fingerprint, "classification task")
    task = open_task(known["name"] if known["name"] in DEMO_TASKS else Path(known["root"]))
    index = build_task_index(task, memo_dir(cache), progress)
    _require_unchanged(index.fingerprint, fingerprint, f"pictures of the task {known['name']} in {task.root}")
    return task, index


def remember_weights(digest: str, path: Path) -> None:
    """Remember which file has the weights that a digest names."""
    _remember(cache_dir() / "weights" / f"{digest}.json", {"path": str(path.resolve())})


def weights_path(digest: str, cache: Path | None = None) -> Path | None:
    """Return the file remembered for these weights, or None; whether it still holds them is not looked at."""
    path = (cache or cache_dir()) / "weights" / f"{digest}.json"
    return Path(json.loads(path.read_text(encoding="utf-8"))["path"]) if path.exists() else None


def _recalled(folder: Path, fingerprint: str, what: str) -> dict[str, Any]:
    """Return what is remembered of a fingerprint."""
    path = folder / f"{fingerprint}.json"
    if not path.exists():
        raise DatasetError(
            f"Nothing is known of the {what} with fingerprint {fingerprint[:12]}.",
            mend="ask for the run again from a page or the command line, which name the folder.",
        )
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _require_unchanged(found: str, expected: str, what: str) -> None:
    """Raise `DatasetError` unless contents are still those that a run was asked about."""
    if found != expected:
        raise DatasetError(
            f"The {what} have changed since the run was asked for.",
            got=f"fingerprint {found[:12]}",
            expected=f"fingerprint {expected[:12]}",
            mend="ask for the run again: it will be another run, about what is there now.",
        )


def _remember(path: Path, facts: Mapping[str, Any]) -> None:
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) == facts:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)


def _suggestion(name: str, known: Sequence[str] | Mapping[str, Any] | set[str]) -> str | None:
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

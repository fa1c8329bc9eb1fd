"""From flat settings, as a form or a command line gives them, to a spec.

A spec names its data set and its weights by digest; the folder and the file behind them are remembered for the workers
(`brainviz.runs.remembered`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from brainviz.config import cache_dir, load_config
from brainviz.datasets.base import Dataset
from brainviz.datasets.tasks import build_task_index, open_task, remembered_task_index, task_names
from brainviz.errors import SpecError
from brainviz.runs.bottleneck_requests import bottleneck_spec, encoders_named, submit_with
from brainviz.runs.concept_requests import image_text_spec
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.fields import (
    BOTTLENECK_KINDS,
    IMAGE_TEXT_KINDS,
    NETWORK_SETTINGS,
    STATES,
    TUNED,
    default_settings,
    field_table,
    methods,
    require_kind,
    suggestion,
)
from brainviz.runs.network_specs import RANDOM, UNTUNED, EncodingSpec, FeaturesSpec, FinetuneSpec
from brainviz.runs.places import Place, build, file_state, listed, require_pictures
from brainviz.runs.remembered import memo_dir, remember_dataset, remember_task, remember_weights
from brainviz.runs.spec_base import SEPARATOR, Spec
from brainviz.runs.specs import (
    ClassificationSpec,
    ComparisonSpec,
    Encoder,
    LandscapeSpec,
    LateralizationSpec,
    tested_areas,
)

if TYPE_CHECKING:
    from brainviz.datasets.index import DatasetIndex
    from brainviz.models.backbones import ResolvedWeights


#: For so long a page believes what it has seen of a task's files.
TASK_SECONDS = 30


def make_spec(
    kind: str,
    dataset: Dataset,
    index: DatasetIndex,
    *,
    subject: str = "",
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
        For a landscape, concepts, joint features, a pre-training and a submission, several with commas between them;
        all unless named, but for a landscape. Texts need none.
    hemi, roi : str, optional
        Needed unless the features of an untuned network are asked for; for decoders, concepts and bottleneck networks,
        all there are unless named. For encoding and comparison, `hemi` may be ``"both"``, and `roi` may name several
        with commas between them.
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
    spec: Spec
    if kind in IMAGE_TEXT_KINDS:
        _require_known(kind, STATES, values)
        if method is not None:
            raise SpecError(f"A {kind} run is about no tuned network.", got=f"method {method}", mend="leave it out.")
        places = [
            Place(dataset, index, name, hemi, roi, allow_files) for name in _participants(kind, dataset, index, subject)
        ]
        remember_dataset(dataset, index)
        return image_text_spec(kind, places, values)
    if kind == "submission":
        _require_known(kind, STATES, values)
        remember_dataset(dataset, index)
        named = [name.strip() for name in subject.split(SEPARATOR) if name.strip()]
        return submit_with(dataset, index, encoders_named(str(values.get("encoders", ""))), named)
    if kind in BOTTLENECK_KINDS:
        place = Place(dataset, index, subject, hemi, roi, allow_files)
        spec = bottleneck_spec(kind, place, _network_state(kind, place, method, values), values)
        remember_dataset(dataset, index)
        return spec
    method = _known_method(method or methods(kind)[0], methods(kind))
    baseline = _known_method(str(values.pop("baseline", UNTUNED)), STATES) if kind == "comparison" else None
    _require_known(kind, (method, baseline) if baseline else (method,), values)
    subjects = [name.strip() for name in subject.split(SEPARATOR)] if kind == "landscape" else [subject]
    for name in subjects:
        dataset.require_subject(name)
        require_pictures(index, name)
    place = Place(dataset, index, subjects[0], hemi, roi, allow_files)
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


def _participants(kind: str, dataset: Dataset, index: DatasetIndex, subject: str) -> list[str]:
    """Return the subjects that a run about an image-text network is about; each is made sure of."""
    if kind == "texts":
        return [dataset.subjects[0]]
    named = sorted({name.strip() for name in subject.split(SEPARATOR)} - {""})
    subjects = named or (list(dataset.subjects) if kind == "concepts" else [])
    if not subjects or (len(subjects) > 1 and kind != "concepts"):
        raise SpecError(f"A run of the kind {kind} is about one subject.", got=repr(subject), mend="name one.")
    for name in subjects:
        dataset.require_subject(name)
        require_pictures(index, name)
    return subjects


def _known_method(method: str, known: Sequence[str]) -> str:
    """Return the method; raise `SpecError` unless there is such a one."""
    if method not in known:
        raise SpecError(
            "There is no such method.", got=method, expected=", ".join(known), mend=suggestion(method, known)
        )
    return method


def compare(first: Sequence[Encoder], second: Sequence[Encoder], **settings: Any) -> ComparisonSpec:
    """Return the spec that compares encoders of two methods, pair by pair.

    Parameters
    ----------
    first, second : sequence of EncodingSpec or BottleneckSpec
        Of one subject; run i of both is about the same ROIs, or one of them about all vertices.
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
        pairs = sorted(zip(first, second, strict=True), key=lambda pair: tested_areas(*pair))
        first, second = [one for one, _ in pairs], [other for _, other in pairs]
    return build(ComparisonSpec, {**fields, **settings}, first=tuple(first), second=tuple(second))


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
    return build(LandscapeSpec, {**fields, **settings}, **parts)


def _in_one_order(models: Sequence[ClassificationSpec]) -> tuple[ClassificationSpec, ...]:
    return tuple(model for _, model in sorted({model.run_id: model for model in models}.items()))


def _comparison(place: Place, pair: tuple[str, str], values: Mapping[str, Any]) -> ComparisonSpec:
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


def _landscape(places: Sequence[Place], method: str, values: Mapping[str, Any]) -> LandscapeSpec:
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


def _lateralization(place: Place, method: str, values: Mapping[str, Any]) -> LateralizationSpec:
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
        return build(LateralizationSpec, own | _about(classes), classification=classes)
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
    return build(LateralizationSpec, own | _about(predicts), encoding=predicts)


def _network_state(kind: str, place: Place, method: str | None, values: Mapping[str, Any]) -> FeaturesSpec | None:
    """Return the network that a bottleneck network's features come from; None for an image-text network."""
    usual = default_settings(kind, place.dataset, values.get("network"), method)
    of_network = [name for name in ("network", *NETWORK_SETTINGS) if name in values]
    of_network += [f"method {method}"] if method is not None else []
    of_image_text = [name for name in ClipFields.model_fields if name in values]
    source = values.get("source") or ("network" if of_network else usual["source"])
    means_nothing = of_network if source == "image-text" else of_image_text
    if means_nothing:
        other = "network" if source == "image-text" else "image-text"
        raise SpecError(
            f"Features from the source {source!r} are of no {other} network.",
            got=", ".join(means_nothing),
            mend=f"leave that out, or choose the source {other!r}.",
        )
    method = _known_method(method or UNTUNED, STATES)
    _require_known(kind, (method,), values)
    if source == "image-text":
        return None
    subject = str(
        values.get("tuning_subject") or place.subject.split(SEPARATOR)[0].strip() or place.dataset.subjects[0]
    )
    place.dataset.require_subject(subject)
    tuned_on = replace(place, subject=subject, hemi=values.get("tuning_hemi"), roi=values.get("tuning_roi"))
    if method in TUNED and not (tuned_on.hemi and tuned_on.roi):
        raise SpecError(
            "It must be said what the network is tuned on.",
            got=f"tuning_hemi {tuned_on.hemi}, tuning_roi {tuned_on.roi}",
            mend="give both.",
        )
    known = {name: value for name, value in values.items() if not name.startswith("tuning_")}
    state = _one_spec("features", tuned_on, method, {"layers": usual["layers"]} | _known_to(method, known, "features"))
    assert isinstance(state, FeaturesSpec)
    return state


def _about(spec: Spec) -> dict[str, str]:
    return {"dataset": spec.dataset, "subject": spec.subject}


def _known_to(method: str, values: Mapping[str, Any], kind: str = "classification") -> dict[str, Any]:
    """Return the settings of a kind of run that mean something for a method."""
    known = {field.name for field in field_table(kind) if method in field.methods}
    return {name: value for name, value in values.items() if name in known}


def _one_spec(kind: str, place: Place, method: str, values: Mapping[str, Any]) -> Spec:
    """Return the spec of a finetune, features, encoding or classification run."""
    settings = default_settings(kind, place.dataset, values.get("network"), method) | dict(values)
    if method == RANDOM:
        settings["weights"] = RANDOM
    tuning_hemi, tuning_roi = settings.pop("tuning_hemi", ""), settings.pop("tuning_roi", "")
    if kind in ("finetune", "encoding") or method in TUNED:
        place.areas()
    resolved = _resolved(
        settings["network"], str(settings["weights"]), place.allow_files, file_state(str(settings["weights"]))
    )
    settings |= {"weights": resolved.name, "weights_digest": resolved.digest}
    if "layers" in settings:
        from brainviz.models.backbones import require_layers

        settings["layers"] = listed(settings["layers"], FeaturesSpec.model_fields["layers"])
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
    features = build(FeaturesSpec, of_features, finetune=finetune)
    return features if kind == "features" else build(EncodingSpec, settings, features=features)


def _classification(place: Place, finetune: FinetuneSpec | None, settings: Mapping[str, Any]) -> ClassificationSpec:
    """Return the spec of classifying a task's pictures with a network state."""
    from brainviz.models.backbones import logit_layer, require_layers

    readouts = listed(settings["readouts"], ClassificationSpec.model_fields["readouts"])
    require_layers(settings["network"], readouts)
    task, fingerprint = known_task(str(settings["task"]), place.allow_files)
    # What has no part in the result would only make another run of it.
    own: dict[str, Any] = {} if finetune is not None else {"dataset": "", "subject": ""}
    own |= {} if settings["weights"] == RANDOM and finetune is None else {"seed": 0}
    found = {"task": task, "task_fingerprint": fingerprint, "logits": logit_layer(settings["network"])}
    return build(ClassificationSpec, {**settings, **own, **found}, finetune=finetune)


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
            mend=suggestion(name, names) or "name one of these; others are named under [tasks] in brainviz.toml.",
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


def _finetune(place: Place, method: str, settings: Mapping[str, Any]) -> FinetuneSpec:
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
    return build(FinetuneSpec, {**settings, "hemi": hemi, "roi": roi}, method=method)


def _require_known(kind: str, used: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise `SpecError` for a setting that there is not, or that means nothing for any of the methods used."""
    fields = {field.name: field for field in field_table(kind)}
    for name in values:
        if name not in fields:
            raise SpecError(
                f"A {kind} run has no setting {name!r}.",
                got=name,
                expected=", ".join(fields),
                mend=suggestion(name, fields),
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


@lru_cache(maxsize=64)
def _resolved(network: str, weights: str, allow_path: bool, _file: tuple[int, int] | None) -> ResolvedWeights:
    """Find weights; the digest of a file is taken once per change, as a page asks for many specs at every click."""
    from brainviz.models.backbones import resolve_weights

    return resolve_weights(network, weights, allow_path=allow_path)

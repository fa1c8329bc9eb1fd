"""From flat settings to the specs about bottleneck networks, and from runs to a submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainviz.config import cache_dir
from brainviz.datasets.base import ALL_VERTICES, HEMISPHERES, Dataset
from brainviz.datasets.index import DatasetIndex, test_picture_digests
from brainviz.errors import SpecError
from brainviz.runs.bottleneck_specs import (
    BottleneckFields,
    BottleneckSpec,
    JointFeaturesSpec,
    PretrainingSpec,
    unused_fields,
)
from brainviz.runs.concept_requests import image_text_weights
from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.fields import default_settings
from brainviz.runs.network_specs import EncodingSpec, FeaturesSpec, NetworkFields
from brainviz.runs.places import Place, build, require_pictures
from brainviz.runs.remembered import memo_dir
from brainviz.runs.spec_base import SEPARATOR, Spec, SplitFields
from brainviz.runs.specs import Encoder, SubmissionSpec
from brainviz.runs.store import Store

#: Lion moves every weight by the learning rate in every step, which a network's width adds up, and a single layer
#: does not.
LINEAR_RATE = 10.0


def bottleneck_spec(kind: str, place: Place, state: FeaturesSpec | None, values: Mapping[str, Any]) -> Spec:
    """Return the spec of a run about a bottleneck network.

    Parameters
    ----------
    kind : str
        One of `brainviz.runs.fields.BOTTLENECK_KINDS`.
    place : Place
        Its subject is the one the encoder is for; for other kinds, several with commas between them. Hemispheres are
        both, and ROIs left out every vertex.
    state : FeaturesSpec or None
        The network that the features come from; None for an image-text network.
    values : mapping
        Settings by name.

    Raises
    ------
    SpecError, DatasetError, WeightsError
        As `brainviz.runs.requests.make_spec`.
    """
    if place.hemi not in (None, "both"):
        raise SpecError(
            "A bottleneck network is of both hemispheres.", got=f"hemi {place.hemi}", mend="leave hemi out."
        )
    network = values.get("network")
    settings = default_settings(kind, place.dataset, network, clip_network=values.get("clip_network")) | dict(values)
    together = str(settings["pooled"]) if kind == "bottleneck" else place.subject
    subjects = _subjects(place.dataset, place.index, together)
    if kind == "bottleneck" and place.subject not in subjects:
        raise SpecError(
            f"{place.subject} is not among the subjects together.",
            got=", ".join(subjects),
            mend=f"name {place.subject} too, or leave them out: all are usual.",
        )
    joint = _joint_features(place, subjects, state, settings)
    if kind == "joint-features":
        return joint
    roi = place.roi or ALL_VERTICES
    own = {name: settings[name] for name in BottleneckFields.model_fields if name in settings}
    own |= _of_variant(own, values)
    about = {"dataset": place.index.fingerprint, "hemi": "both", "roi": roi}
    several = len(subjects) > 1
    pretraining = None
    if several and (kind == "pretraining" or _is_on(settings["pretrain"])):
        pretraining = build(PretrainingSpec, own | about | {"subject": joint.subject}, features=joint)
    if kind == "pretraining":
        if pretraining is None:
            raise SpecError("Pre-training is on several subjects.", got=", ".join(subjects), mend="name more.")
        return pretraining
    for subject in subjects if pretraining is not None else (place.subject,):
        Place(place.dataset, place.index, subject, "both", roi, place.allow_files).areas()
    return build(
        BottleneckSpec, settings | own | about | {"subject": place.subject}, features=joint, pretraining=pretraining
    )


def _of_variant(own: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a variant changes: defaults of what it leaves unused, and the linear one's own rate."""
    linear, leak = _is_on(own["linear"]), _is_on(own["leak"])
    fields = BottleneckFields.model_fields
    # What somebody asks for by name is refused where it means nothing; what a data set suggests is left out.
    changed = {name: fields[name].default for name in unused_fields(linear=linear, leak=leak) if name not in chosen}
    if linear and "bottleneck_rate" not in chosen:
        changed["bottleneck_rate"] = LINEAR_RATE * float(own["bottleneck_rate"])
    return changed


def _is_on(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1", "yes", "on")


def _subjects(dataset: Dataset, index: DatasetIndex, named: str) -> tuple[str, ...]:
    """Return the subjects named, or all that have both hemispheres; each is made sure of."""
    chosen = tuple(sorted({name.strip() for name in named.split(SEPARATOR)} - {""}))
    usual = tuple(sorted(name for name in dataset.subjects if dataset.hemispheres(name) == HEMISPHERES))
    for name in chosen or usual:
        dataset.require_subject(name)
        require_pictures(index, name)
    if not (chosen or usual):
        raise SpecError(
            "A bottleneck network is of both hemispheres, which no subject of this data set has.",
            got=", ".join(dataset.subjects),
        )
    return chosen or usual


def _joint_features(
    place: Place, subjects: Sequence[str], state: FeaturesSpec | None, settings: Mapping[str, Any]
) -> JointFeaturesSpec:
    names = ("feature_components", "pca_pictures", *SplitFields.model_fields)
    own: dict[str, Any] = {name: settings[name] for name in names}
    own |= {"dataset": place.index.fingerprint, "subject": SEPARATOR.join(subjects)}
    if state is None:
        clip = {name: settings[name] for name in ClipFields.model_fields if name in settings}
        return build(JointFeaturesSpec, own | clip | image_text_weights(settings, place) | {"source": "image-text"})
    network = {name: getattr(state, name) for name in (*NetworkFields.model_fields, "layers", "seed")}
    return build(JointFeaturesSpec, own | network | {"source": "network"}, finetune=state.finetune)


def submit_with(
    dataset: Dataset, index: DatasetIndex, encoders: Sequence[Encoder], subjects: Sequence[str] = ()
) -> SubmissionSpec:
    """Return the spec of a submission from these encoders.

    Parameters
    ----------
    dataset : Dataset
    index : DatasetIndex
    encoders : sequence of EncodingSpec or BottleneckSpec
        Of this data set.
    subjects : sequence of str
        Only these; all that the encoders are of, unless given.

    Raises
    ------
    SpecError
        No encoder is named, or one is of another data set.
    DatasetError
        A subject has no test pictures.
    """
    used = sorted(
        (encoder for encoder in encoders if not subjects or encoder.subject in subjects),
        key=lambda encoder: (encoder.subject, encoder.areas, encoder.run_id),
    )
    if not used:
        raise SpecError("A submission needs at least one encoder.", mend="name an encoding or a bottleneck run.")
    names = sorted({encoder.subject for encoder in used})
    about = {"dataset": index.fingerprint, "subject": SEPARATOR.join(names)}
    digests = tuple(test_picture_digests(dataset, name, memo_dir())[1] for name in names)
    return build(SubmissionSpec, about, encoders=tuple(used), pictures_digests=digests)


def encoders_named(ids: str) -> list[Encoder]:
    """Return the specs of encoding and bottleneck runs named by the first digits of their ids.

    Raises
    ------
    RunError
        There is no such run, or several.
    SpecError
        A run of another kind is named.
    """
    store, found = Store(cache_dir()), []
    for name in filter(None, (part.strip() for part in ids.split(SEPARATOR))):
        spec = store.get(name).spec
        if not isinstance(spec, EncodingSpec | BottleneckSpec):
            raise SpecError(
                "This run predicts no responses.",
                got=f"{spec.kind} {name}",
                expected="an encoding or a bottleneck run",
                mend="`python -m brainviz runs --kind bottleneck` lists what there is.",
            )
        found.append(spec)
    return found

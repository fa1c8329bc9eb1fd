"""From flat settings to the specs about shared concepts: embeddings, texts, decoders, and the concepts themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES, HEMISPHERES, MIN_ROI_VERTICES
from brainviz.datasets.texts import open_texts
from brainviz.errors import DatasetError, SpecError
from brainviz.models.backbones import ResolvedWeights
from brainviz.runs.concept_specs import ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec
from brainviz.runs.fields import default_settings
from brainviz.runs.places import Place, build, file_state, has_roi, require_roi, roi_names
from brainviz.runs.remembered import remember_texts, remember_weights
from brainviz.runs.spec_base import SEPARATOR, Spec

#: Standard deviations that a normal variable exceeds in one of a thousand cases.
ONE_OF_A_THOUSAND = 3.09


def image_text_spec(kind: str, places: Sequence[Place], values: Mapping[str, Any]) -> Spec:
    """Return the spec of a run about an image-text network.

    Parameters
    ----------
    kind : str
        One of `brainviz.runs.fields.IMAGE_TEXT_KINDS`.
    places : sequence of Place
        One per participant; several for ``"concepts"`` alone. Hemispheres left out are all there are, and ROIs left out
        every vertex; of those named, each participant's are those that they have (`of_those_there`).
    values : mapping
        Settings by name.

    Raises
    ------
    SpecError, DatasetError, WeightsError
        As `brainviz.runs.requests.make_spec`.
    """
    place = places[0]
    settings = default_settings(kind, place.dataset, clip_network=values.get("clip_network")) | dict(values)
    settings |= image_text_weights(settings, place)
    if kind == "texts":
        return _texts(place, settings)
    if kind == "embedding":
        return _embedding(place, settings)
    if kind == "decoder":
        return _decoder(of_those_there(places)[0], settings, values)
    decoders = sorted(
        (_decoder(each, settings, values) for each in of_those_there(places)), key=lambda decoder: decoder.subject
    )
    if len(decoders) < 2:
        raise SpecError(
            "Concepts are shared by several participants.",
            got=", ".join(decoder.subject for decoder in decoders),
            expected="at least 2 subjects",
            mend="name several subjects with commas between them.",
        )
    about = {"dataset": place.index.fingerprint, "subject": SEPARATOR.join(decoder.subject for decoder in decoders)}
    return build(ConceptsSpec, settings | about, decoders=tuple(decoders), described_by=_texts(place, settings))


def image_text_weights(settings: Mapping[str, Any], place: Place) -> dict[str, str]:
    """Return the settings that say which weights an image-text network has; a file is remembered for the workers."""
    name = str(settings["clip_weights"])
    resolved = _resolved(str(settings["clip_network"]), name, place.allow_files, file_state(name))
    if resolved.name == "file" and resolved.path is not None:
        remember_weights(resolved.digest, resolved.path)
    return {"clip_weights": resolved.name, "clip_digest": resolved.digest}


def _texts(place: Place, settings: Mapping[str, Any]) -> TextsSpec:
    texts = open_texts(str(settings["texts"]), allow_path=place.allow_files)
    remember_texts(texts)
    about = {"dataset": "", "subject": "", "texts": texts.name, "texts_digest": texts.digest}
    return build(TextsSpec, {**settings, **about})


def _embedding(place: Place, settings: Mapping[str, Any]) -> EmbeddingSpec:
    return build(EmbeddingSpec, {**settings, "dataset": place.index.fingerprint, "subject": place.subject})


def _decoder(place: Place, settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> DecoderSpec:
    own = dict(settings)
    if "selection" not in chosen and "selection" not in place.dataset.defaults:
        own["selection"] = usual_selection(place)
    if own["selection"] == "none" and "vertex_threshold" not in chosen:
        own.pop("vertex_threshold")  # a data set may suggest one, for those who choose vertices
    elif "vertex_threshold" not in {**chosen, **place.dataset.defaults}:
        own["vertex_threshold"] = usual_threshold(own["selection"], place, float(own["test_share"]))
    about = {"dataset": place.index.fingerprint, "subject": place.subject, "hemi": place.hemi, "roi": place.roi}
    return build(DecoderSpec, {**own, **about}, embedding=_embedding(place, settings))


def of_those_there(places: Sequence[Place]) -> list[Place]:
    """Return each participant's place with those of the hemispheres and ROIs named that they have.

    Many subjects lack a ROI, or have it in one hemisphere only: what the others have of it is still used.

    Parameters
    ----------
    places : sequence of Place
        Of one data set, with the same hemispheres and ROIs named.

    Raises
    ------
    DatasetError
        A ROI that no participant has with enough vertices, or a participant who has none of those named.
    """
    roi, hemi = places[0].roi, places[0].hemi
    names = roi_names(roi or ALL_VERTICES)
    asked = HEMISPHERES if hemi in (None, "", "both") else (hemi,)
    there = {
        place.subject: [
            (side, name) for side in asked for name in names if has_roi(place.dataset, place.subject, side, name)
        ]
        for place in places
    }
    known = {name for areas in there.values() for _, name in areas}
    for name in names:
        if name not in known:
            require_roi(places[0].dataset, places[0].subject, asked[0], name)
    for place in places:
        if not there[place.subject]:
            raise DatasetError(
                f"{place.subject} has none of the ROIs named.",
                got=f"{', '.join(names)} in {' and '.join(HEMISPHERE_NAMES[side] for side in asked)}",
                expected=f"at least one of {MIN_ROI_VERTICES} vertices",
                mend=f"leave {place.subject} out, or name other ROIs as well.",
            )
    return [_narrowed(place, there[place.subject]) for place in places]


def _narrowed(place: Place, areas: Sequence[tuple[str, str]]) -> Place:
    """Return the place with the hemispheres and ROIs that occur in these areas."""
    hemispheres, rois = sorted({hemi for hemi, _ in areas}), sorted({roi for _, roi in areas})
    hemi = "both" if len(hemispheres) > 1 else hemispheres[0]
    return replace(place, hemi=hemi, roi=SEPARATOR.join(rois))


def usual_selection(place: Place) -> str:
    """Return how a participant's vertices are chosen unless somebody says otherwise.

    By a noise ceiling from repeats where pictures were shown repeatedly (of training trials alone), else by one that
    the data set has, else by the r of an encoding model.
    """
    digests = np.array(place.index.subjects[place.subject].image_digests)
    if len(np.unique(digests)) <= len(digests) / 2:
        return "repeats"
    hemispheres = place.dataset.hemispheres(place.subject)
    known = all(place.dataset.noise_ceiling(place.subject, hemi) is not None for hemi in hemispheres)
    return "noise-ceiling" if known else "encoding"


def usual_threshold(selection: str, place: Place, test_share: float) -> float:
    """Return what vertices must exceed unless somebody says otherwise.

    The published 8 % of a noise ceiling; as r, so much that a vertex of noise passes in one of a thousand cases, and
    0.08 at least.
    """
    published = float(DecoderSpec.model_fields["vertex_threshold"].default)
    if selection != "encoding":
        return published
    n_train = (1 - test_share) * len(set(place.index.subjects[place.subject].image_digests))
    return max(published, round(ONE_OF_A_THOUSAND / float(np.sqrt(n_train)), 3))


@lru_cache(maxsize=64)
def _resolved(network: str, weights: str, allow_path: bool, _file: tuple[int, int] | None) -> ResolvedWeights:
    """Find weights; the digest of a file is taken once per change, as a page asks at every click."""
    from brainviz.models.clip import resolve_clip_weights

    return resolve_clip_weights(network, weights, allow_path=allow_path)

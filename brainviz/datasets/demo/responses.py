"""The planted truth of the demo: each vertex's tuning, and its responses to pictures.

A vertex's noiseless response is ``sqrt(m) z(field) + sqrt(1 - m) z(category)``: `field` is the square root of the
energy under its receptive field in its channel; `category` is the sum, over the picture's objects, of the weight of
their kind times their size; `m` is the field's share, 1 in early areas and 0 in most others. Noise is Gaussian and
independent. `signal_share` is the signal's share of the variance of the delivered, repeat-averaged response, that is,
its noise ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.demo.areas import EARLY, FOOD_PATCH, Areas
from brainviz.datasets.demo.energy import CHANNELS, ORIENTATIONS, field_weights
from brainviz.datasets.demo.scenes import CATEGORIES, CATEGORY_OF, KINDS, Scene

#: Presentations of each picture that a delivered response averages.
REPEATS = 3

#: The area whose receptive fields are large and lie across the vertical midline.
BILATERAL_AREA = "OPA"

#: Share of its signal that comes from these fields; the rest is its preference for places.
BILATERAL_FIELD_SHARE = 0.4

#: Subjects in whom `FOOD_PATCH` prefers food; in the others it has no preference.
FOOD_SUBJECTS = ("subj01", "subj03")

#: By how much random weights of categories are smaller in vertices without a preference.
UNDECIDED = 0.8

#: Preferred category of each category area.
PREFERENCE: dict[str, str] = {
    "EBA": "bodies",
    "FBA-1": "bodies",
    "FBA-2": "bodies",
    "OFA": "faces",
    "FFA-1": "faces",
    "FFA-2": "faces",
    "OPA": "places",
    "PPA": "places",
    "RSC": "places",
    "OWFA": "words",
    "VWFA-1": "words",
    "VWFA-2": "words",
}

#: Signal share is multiplied by this in the (left, right) hemisphere: words lean left, faces right.
LEAN: dict[str, tuple[float, float]] = {"words": (1.25, 0.6), "faces": (0.75, 1.2)}

# Receptive field size = intercept + slope * eccentricity, picture units: it grows with eccentricity and from V1 to hV4
# (Dumoulin & Wandell 2008, NeuroImage 39:647).
_FIELD_SIZE = {"V1": (0.13, 0.10), "V2": (0.16, 0.14), "V3": (0.20, 0.18), "hV": (0.26, 0.26)}


@dataclass(frozen=True)
class Tuning:
    """What the vertices of one hemisphere respond to; every array has one entry per vertex.

    Attributes
    ----------
    x, y, sigma : (v,) float arrays
        Receptive field in picture units; NaN where the whole picture counts.
    orientation, wavelength : (v,) float arrays
        Preferred bars, degrees and picture units; NaN where there is no field.
    field_share : (v,) float array
        m: share of the signal that comes from the field.
    category_weights : (v, kinds) float array
        Weight of each kind of object, in the order of `KINDS`.
    signal_share : (v,) float array
        Share of the delivered response's variance that is signal.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sigma: NDArray[np.float64]
    orientation: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    field_share: NDArray[np.float64]
    category_weights: NDArray[np.float64]
    signal_share: NDArray[np.float64]


def plan_tuning(subject: str, hemi: str, areas: Areas, rng: np.random.Generator) -> Tuning:
    """Return the tuning of the kept vertices of one hemisphere.

    Parameters
    ----------
    subject, hemi : str
    areas : Areas
        Where the vertices lie.
    rng : numpy.random.Generator
    """
    area = areas.area[areas.keep]
    early, bilateral = np.isin(area, EARLY), area == BILATERAL_AREA
    x, y, sigma = _receptive_fields(hemi, area, areas.eccentricity[areas.keep], areas.angle[areas.keep], rng)
    channel = _channels(area, np.nan_to_num(areas.eccentricity[areas.keep]), rng)
    has_field = early | bilateral
    return Tuning(
        x=x,
        y=y,
        sigma=sigma,
        orientation=np.where(has_field, np.array(CHANNELS)[channel, 0], np.nan),
        wavelength=np.where(has_field, np.array(CHANNELS)[channel, 1], np.nan),
        field_share=np.where(early, 1.0, np.where(bilateral, BILATERAL_FIELD_SHARE, 0.0)),
        category_weights=np.where(early[:, None], 0.0, _category_weights(subject, area, rng)),
        signal_share=_signal_share(hemi, area, areas.labels["streams"][areas.keep], rng),
    )


def _receptive_fields(
    hemi: str,
    area: NDArray[np.str_],
    eccentricity: NDArray[np.float64],
    angle: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return centres and widths: by place on the cortex in early areas, around the midline in `BILATERAL_AREA`."""
    radius = 0.05 + 0.85 * eccentricity
    x = radius * np.cos(np.deg2rad(angle)) * (1 if hemi == "lh" else -1)
    y = radius * np.sin(np.deg2rad(angle))
    sigma = np.full(len(area), np.nan)
    for prefix, (intercept, slope) in _FIELD_SIZE.items():
        member = np.char.startswith(area, prefix)
        sigma[member] = intercept + slope * radius[member]
    bilateral = area == BILATERAL_AREA
    x[bilateral] = rng.normal(0, 0.08, bilateral.sum())
    y[bilateral] = rng.normal(0, 0.25, bilateral.sum())
    sigma[bilateral] = rng.uniform(0.5, 0.65, bilateral.sum())
    return x, y, sigma


def _channels(area: NDArray[np.str_], eccentricity: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return each vertex's channel: every orientation equally often, more coarse bars away from the centre of gaze."""
    coarse = rng.random(len(area)) < np.where(area == BILATERAL_AREA, 0.8, 0.25 + 0.5 * eccentricity)
    return rng.integers(len(ORIENTATIONS), size=len(area)) + len(ORIENTATIONS) * coarse


def _preferences(subject: str, area: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the preferred category of every vertex, "" for none."""
    preference = PREFERENCE | ({FOOD_PATCH: "food"} if subject in FOOD_SUBJECTS else {})
    return np.array([preference.get(name, "") for name in area])


def _category_weights(subject: str, area: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return weights (v, kinds): 1 for the preferred category, else 0.2 for any object, and small random ones.

    Those of whole categories are smallest in vertices without a preference: else some of them would prefer food, or
    faces, by chance, and an axis planted in two subjects would be found in all.
    """
    category = np.array([CATEGORY_OF[kind] for kind in KINDS])
    of_category = 0.15 * rng.standard_normal((len(area), len(CATEGORIES)))
    weights = 0.1 * rng.standard_normal((len(area), len(KINDS)))
    numbers = [list(CATEGORIES).index(name) for name in category]
    weights += of_category[:, numbers]
    preferred = _preferences(subject, area)
    weights += preferred[:, None] == category
    weights[preferred == ""] += 0.2 - UNDECIDED * of_category[preferred == ""][:, numbers]
    return weights


def _signal_share(
    hemi: str, area: NDArray[np.str_], stream: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    share = rng.uniform(0.45, 0.75, len(area))
    preferred = np.array([PREFERENCE.get(name, "") for name in area])
    for category, lean in LEAN.items():
        share[preferred == category] *= lean[hemi == "rh"]
    share[area == ""] *= 0.35
    share[(area == "") & (stream == 1)] = 0.0  # around the early areas: fields outside the picture
    return np.clip(share, 0.0, 0.9)


def object_drive(scenes: list[Scene]) -> NDArray[np.float32]:
    """Return the summed size of the objects of each kind, (pictures, kinds)."""
    drive = np.zeros((len(scenes), len(KINDS)), np.float32)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            drive[row, KINDS.index(thing.kind)] += thing.size
    return drive


def signals(tuning: Tuning, energy: NDArray[np.floating], drive: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return noiseless responses, standardised over pictures.

    Parameters
    ----------
    tuning : Tuning
    energy : (n, channels, GRID, GRID) array
        `energy_maps` of the pictures.
    drive : (n, kinds) array
        `object_drive` of the pictures.

    Returns
    -------
    (n, v) float32 array
        Mean 0 and variance 1 per vertex; 0 where a vertex has no tuning at all.
    """
    field = np.zeros((len(energy), len(tuning.x)), np.float32)
    for channel, (orientation, wavelength) in enumerate(CHANNELS):
        member = (tuning.orientation == orientation) & (tuning.wavelength == wavelength)
        weights = field_weights(tuning.x[member], tuning.y[member], tuning.sigma[member])
        field[:, member] = np.sqrt(energy[:, channel].reshape(len(energy), -1).astype(np.float32) @ weights)
    category = drive @ tuning.category_weights.T.astype(np.float32)
    return z_scored(_mixed(z_scored(field), z_scored(category), tuning.field_share))


def z_scored(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the columns with mean 0 and variance 1; constant columns become 0."""
    centred = np.asarray(values - values.mean(0), np.float32)
    spread = centred.std(0)
    scored: NDArray[np.float32] = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-6)
    return scored


def measure(
    signal: NDArray[np.float32], signal_share: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return z-scored noisy responses (n, v): signal and noise in the stated shares of the variance."""
    noise = rng.standard_normal(signal.shape, np.float32)
    return z_scored(_mixed(signal, noise, signal_share))


def _mixed(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the sum of two standardised parts whose variances are `share` and 1 - `share`."""
    mixed: NDArray[np.float32] = np.sqrt(share).astype(np.float32) * first
    mixed += np.sqrt(1 - share).astype(np.float32) * second
    return mixed

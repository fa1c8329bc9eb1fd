"""Summaries of encoding results over ROIs, groups of ROIs and subjects, each with its uncertainty.

Two kinds of interval, never mixed: over the test images of one subject (bootstrap), and over subjects (t interval).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.encoding.metrics import share_improved
from brainviz.encoding.statistics import interval, spread
from brainviz.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

EARLY = ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")
BODIES = ("EBA", "FBA-1", "FBA-2", "mTL-bodies")
FACES = ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces")
PLACES = ("OPA", "PPA", "RSC")
WORDS = ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words")

#: Groups of ROIs that are summarised together (methods, sections 10 and 11). Unions and streams, which overlap with
#: the single ROIs by their making, are in none with these; each anatomical stream is a group of its own.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all ROIs": (*EARLY, *BODIES, *FACES, *PLACES, *WORDS),
    "early": EARLY,
    "higher": (*BODIES, *FACES, *PLACES, *WORDS),
    "bodies": BODIES,
    "faces": FACES,
    "places": PLACES,
    "words": WORDS,
    **{
        f"{stream} stream": (stream,)
        for stream in ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")
    },
}

#: What tells one area's result from others: subject, hemisphere, ROI, method.
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class AreaScore:
    """One method's result in one ROI of one hemisphere of one subject, at one layer.

    Attributes
    ----------
    r : (v,) float array
        Per vertex, NaN where undefined.
    replicates : (B,) float array
        Bootstrap replicates of the mean; those of one subject come from the same resamples.
    """

    r: NDArray[np.floating]
    replicates: NDArray[np.floating]

    @property
    def mean(self) -> float:
        """Mean r over the vertices that are defined; NaN when there is none."""
        return _mean_defined(self.r)


def group_scores(scores: Mapping[Key, AreaScore], groups: Mapping[str, tuple[str, ...]] = GROUPS) -> pd.DataFrame:
    """Summarise groups of ROIs per subject: the mean over ROIs and hemispheres of the mean over vertices.

    Every ROI counts once, whatever its size, as each has a network of its own. A group is reported for a subject with
    the ROIs that every method has there, so that methods are compared on the same ones.

    Parameters
    ----------
    scores : mapping
        (subject, hemi, roi, method) -> result.
    groups : mapping
        Name -> ROIs.

    Returns
    -------
    frame
        Columns ``subject``, ``group``, ``method``, ``n_rois`` (hemispheres counted), ``r``, ``low``, ``high`` (95 %
        bootstrap interval over the subject's test images).
    """
    import pandas as pd

    rows = []
    methods = list(dict.fromkeys(method for *_, method in scores))
    for subject in dict.fromkeys(subject for subject, *_ in scores):
        for group, rois in groups.items():
            areas = _shared_areas(scores, subject, rois, methods)
            for method in methods if areas else ():
                members = [scores[subject, hemi, roi, method] for hemi, roi in areas]
                r = _mean_defined([member.mean for member in members])
                low, high = interval(_mean_replicates(members), estimate=r)
                rows.append(
                    {
                        "subject": subject,
                        "group": group,
                        "method": method,
                        "n_rois": len(areas),
                        "r": r,
                        "low": float(low),
                        "high": float(high),
                    }
                )
    return pd.DataFrame(rows, columns=["subject", "group", "method", "n_rois", "r", "low", "high"])


def differences(scores: Mapping[Key, AreaScore], first: str, second: str) -> pd.DataFrame:
    """Compare two methods in every ROI that has both, at the vertices where both are defined.

    The interval is a paired bootstrap over test images. The share of vertices improved has none: resampling adds noise
    to every vertex's difference, which draws the share towards one half; its uncertainty is the spread over subjects
    (see `over_subjects`).

    Returns
    -------
    frame
        Columns ``subject``, ``hemi``, ``roi``, ``n_vertices``, ``difference`` (r of `first` minus `second`), ``low``,
        ``high``, ``improved`` (0..1).
    """
    import pandas as pd

    rows = []
    for (subject, hemi, roi, method), one in scores.items():
        other = scores.get((subject, hemi, roi, second))
        if method != first or other is None:
            continue
        both = np.isfinite(one.r) & np.isfinite(other.r)
        low, high = interval(one.replicates - other.replicates)
        rows.append(
            {
                "subject": subject,
                "hemi": hemi,
                "roi": roi,
                "n_vertices": int(both.sum()),
                "difference": _mean_difference(one, other),
                "low": float(low),
                "high": float(high),
                "improved": share_improved(one.r, other.r),
            }
        )
    columns = ["subject", "hemi", "roi", "n_vertices", "difference", "low", "high", "improved"]
    return pd.DataFrame(rows, columns=columns)


def group_differences(
    scores: Mapping[Key, AreaScore], first: str, second: str, groups: Mapping[str, tuple[str, ...]] = GROUPS
) -> pd.DataFrame:
    """Compare two methods in groups of ROIs, per subject; as `differences`, every ROI counting once.

    A group holds the ROIs that it holds in `group_scores`.

    Returns
    -------
    frame
        Columns ``subject``, ``group``, ``n_rois``, ``difference``, ``low``, ``high``, ``improved`` (share of the
        vertices of all the group's ROIs together).
    """
    import pandas as pd

    rows = []
    methods = list(dict.fromkeys([*(method for *_, method in scores), first, second]))
    for subject in dict.fromkeys(subject for subject, *_ in scores):
        for group, rois in groups.items():
            areas = _shared_areas(scores, subject, rois, methods)
            if not areas:
                continue
            pairs = [(scores[subject, *area, first], scores[subject, *area, second]) for area in areas]
            ones, others = ([pair[place] for pair in pairs] for place in (0, 1))
            low, high = interval(_mean_replicates(ones) - _mean_replicates(others))
            rows.append(
                {
                    "subject": subject,
                    "group": group,
                    "n_rois": len(areas),
                    "difference": _mean_defined([_mean_difference(one, other) for one, other in pairs]),
                    "low": float(low),
                    "high": float(high),
                    "improved": share_improved(
                        np.concatenate([each.r for each in ones]), np.concatenate([each.r for each in others])
                    ),
                }
            )
    return pd.DataFrame(rows, columns=["subject", "group", "n_rois", "difference", "low", "high", "improved"])


def over_subjects(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Summarise a value over subjects: mean, standard deviation, and the 95 % t interval of the mean.

    Parameters
    ----------
    frame : frame
        One row per subject within each combination of `by`.
    by : list of str
        Columns to keep apart, e.g. ``["hemi", "roi", "method"]``.
    value : str
        Column to summarise; NaN is left out and not counted.

    Returns
    -------
    frame
        The columns `by`, and ``n_subjects``, ``mean``, ``sd``, ``low``, ``high``; the last three are NaN for fewer than
        two subjects.

    Raises
    ------
    SpecError
        A subject has more than one row in a combination.
    """
    import pandas as pd

    rows = []
    for key, group in frame.groupby(by, sort=False):
        if group["subject"].duplicated().any():
            raise SpecError("A subject would count more than once.", got=str(dict(zip(by, key, strict=True))))
        over = spread(group[value].to_numpy(np.float64))
        names = dict(zip(by, key, strict=True))
        rows.append(
            {**names, "n_subjects": over.n, "mean": over.mean, "sd": over.sd, "low": over.low, "high": over.high}
        )
    return pd.DataFrame(rows, columns=[*by, "n_subjects", "mean", "sd", "low", "high"])


def _shared_areas(
    scores: Mapping[Key, AreaScore], subject: str, rois: tuple[str, ...], methods: list[str]
) -> list[tuple[str, str]]:
    """Return the hemispheres and ROIs of a subject that all methods have."""
    areas = dict.fromkeys((hemi, roi) for whose, hemi, roi, _ in scores if whose == subject and roi in rois)
    return [area for area in areas if all((subject, *area, method) in scores for method in methods)]


def _mean_replicates(members: list[AreaScore]) -> NDArray[np.float64]:
    """Return the mean over ROIs of each replicate, shape (B,)."""
    mean: NDArray[np.float64] = np.mean([member.replicates for member in members], axis=0, dtype=np.float64)
    return mean


def _mean_difference(one: AreaScore, other: AreaScore) -> float:
    """Return the mean difference over the vertices that are defined in both."""
    return _mean_defined(one.r - other.r)


def _mean_defined(values: ArrayLike) -> float:
    """Return the mean of the values that are not NaN; NaN when there is none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")

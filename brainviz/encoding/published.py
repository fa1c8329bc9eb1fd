"""Published values that a user compares with: what the original authors report on the real data, never our own results.

They are kept apart from results on purpose: another protocol produced them (`PROTOCOL`), so that a difference to one's
own numbers may be due to the protocol alone. Wherever they are shown they carry `LABEL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

#: What figures and tables call these values.
LABEL = "published (Mulrooney & Brockmeier 2024)"

SOURCE = "Mulrooney & Brockmeier 2024, arXiv 2410.06067; Natural Scenes Dataset, 8 subjects, AlexNet"

#: How the correlations came about, as far as the paper and its code tell.
PROTOCOL = (
    "Mean r over 8 subjects, each method at its own best layer; most probably cross-validated inside the held-out 15 % "
    "of the pictures (about 1,100 training pictures a fold), so that models fitted to 85 % land higher."
)

#: How the mutual information came about.
INFORMATION_PROTOCOL = (
    "InfoNCE lower bound of the mutual information of pictures and responses, in nats, contrastive networks on test "
    "pictures; it cannot exceed the logarithm of their number."
)

#: How the shares of vertices improved came about.
IMPROVED_PROTOCOL = (
    "Share of vertices whose r is higher with the contrastive than with the untuned network; r as in the means."
)

#: Where the challenge scores come from.
ALGONAUTS_SOURCE = (
    "Algonauts 2023 challenge, score over all vertices: an AlexNet baseline (about 41), F-BNet (Ndubuaku 2023) with "
    "and without its parts, and the three winners."
)


class Group(NamedTuple):
    """Mean r of a group of ROIs by method, and the share of vertices that contrastive tuning improved."""

    group: str
    untuned: float
    regression: float
    contrastive: float
    pooled: float
    improved: float


class Pair(NamedTuple):
    """A value of the left and one of the right hemisphere."""

    lh: float
    rh: float


class Roi(NamedTuple):
    """Mean r in one ROI by method and hemisphere."""

    roi: str
    untuned: Pair
    contrastive: Pair


#: Of the authors' two pooled variants, the one whose layer size is the largest vertex count ("const").
GROUPS = (
    Group("all ROIs", untuned=0.366, regression=0.381, contrastive=0.386, pooled=0.390, improved=0.83),
    Group("early", untuned=0.386, regression=0.409, contrastive=0.417, pooled=0.428, improved=0.93),
    Group("higher", untuned=0.355, regression=0.365, contrastive=0.368, pooled=0.369, improved=0.78),
)

ROIS = (
    Roi("V1v", untuned=Pair(0.434, 0.441), contrastive=Pair(0.463, 0.471)),
    Roi("V1d", untuned=Pair(0.441, 0.439), contrastive=Pair(0.478, 0.473)),
    Roi("V2v", untuned=Pair(0.421, 0.399), contrastive=Pair(0.457, 0.433)),
    Roi("V3v", untuned=Pair(0.363, 0.366), contrastive=Pair(0.395, 0.397)),
    Roi("hV4", untuned=Pair(0.353, 0.341), contrastive=Pair(0.381, 0.364)),
    Roi("EBA", untuned=Pair(0.365, 0.410), contrastive=Pair(0.386, 0.432)),
    Roi("FFA-1", untuned=Pair(0.381, 0.418), contrastive=Pair(0.400, 0.436)),
    Roi("PPA", untuned=Pair(0.416, 0.423), contrastive=Pair(0.431, 0.439)),
    Roi("OPA", untuned=Pair(0.365, 0.353), contrastive=Pair(0.385, 0.370)),
    Roi("RSC", untuned=Pair(0.379, 0.380), contrastive=Pair(0.384, 0.388)),
)

#: Mutual information of pictures and responses, nats.
INFORMATION = {
    "OPA": Pair(2.9, 2.8),
    "EBA": Pair(2.6, 2.8),
    "PPA": Pair(2.4, 2.4),
    "hV4": Pair(2.0, 1.8),
    "V1v": Pair(1.6, 1.8),
    "RSC": Pair(0.5, 0.85),
}

#: Algonauts 2023 score by model.
ALGONAUTS = {
    "AlexNet baseline": 41.0,
    "F-BNet": 46.3,
    "F-BNet without leak": 45.5,
    "F-BNet without pre-training": 44.9,
    "winner, 1st": 70.9,
    "winner, 2nd": 63.5,
    "winner, 3rd": 61.6,
}


def published_rois() -> pd.DataFrame:
    """Return the published mean r per ROI.

    Returns
    -------
    frame
        Columns ``hemi``, ``roi``, ``method`` (untuned, contrastive), ``r``; see `PROTOCOL`.
    """
    rows = [
        (hemi, row.roi, method, getattr(getattr(row, method), hemi))
        for hemi in Pair._fields
        for row in ROIS
        for method in Roi._fields[1:]
    ]
    return _frame(rows, ["hemi", "roi", "method", "r"])


def published_groups() -> pd.DataFrame:
    """Return the published mean r per group of ROIs, both hemispheres together.

    Returns
    -------
    frame
        Columns ``group``, ``method`` (untuned, regression, contrastive, pooled), ``r``; see `PROTOCOL`.
    """
    rows = [(row.group, method, getattr(row, method)) for row in GROUPS for method in Group._fields[1:-1]]
    return _frame(rows, ["group", "method", "r"])


def published_improved() -> pd.DataFrame:
    """Return the published share of vertices improved per group of ROIs.

    Returns
    -------
    frame
        Columns ``group``, ``improved`` (0..1); see `IMPROVED_PROTOCOL`.
    """
    return _frame([(row.group, row.improved) for row in GROUPS], ["group", "improved"])


def published_information() -> pd.DataFrame:
    """Return the published mutual information per ROI.

    Returns
    -------
    frame
        Columns ``hemi``, ``roi``, ``nats``; see `INFORMATION_PROTOCOL`.
    """
    rows = [(hemi, roi, getattr(pair, hemi)) for hemi in Pair._fields for roi, pair in INFORMATION.items()]
    return _frame(rows, ["hemi", "roi", "nats"])


def published_algonauts() -> pd.DataFrame:
    """Return the published scores of the Algonauts 2023 challenge.

    Returns
    -------
    frame
        Columns ``model``, ``score`` (percent); see `ALGONAUTS_SOURCE`.
    """
    return _frame(list(ALGONAUTS.items()), ["model", "score"])


def _frame(rows: Sequence[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    # Here, so that reading the words costs no import of pandas.
    import pandas as pd

    return pd.DataFrame(rows, columns=columns)

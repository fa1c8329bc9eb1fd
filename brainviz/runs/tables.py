"""Tables of runs, and scalars as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.runs.context import Context
from brainviz.runs.store import atomic_file

#: Table of an encoding run, one row per hemisphere, ROI and layer; and of a comparison, one per hemisphere and ROI.
ROIS = "rois.parquet"


def write_table(context: Context, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a parquet file of the run."""
    import pandas as pd

    buffer = BytesIO()
    pd.DataFrame(rows).to_parquet(buffer, index=False)
    with atomic_file(context.path / name) as file:
        file.write(buffer.getvalue())


def finite_mean(values: NDArray[np.floating]) -> float | None:
    """Return the mean of the values that are defined; None when there is none (JSON knows no NaN)."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None


def finite_median(values: NDArray[np.floating]) -> float | None:
    """Return the median of the values that are defined; None when there is none."""
    defined = values[np.isfinite(values)]
    return float(np.median(defined)) if defined.size else None


def none_if_nan(value: float) -> float | None:
    """Return the value as JSON can hold it."""
    return value if np.isfinite(value) else None


def nan_if_none(value: float | None) -> float:
    """Return the value as an array can hold it."""
    return np.nan if value is None else value

"""Means that leave out what is undefined."""

from __future__ import annotations

import numpy as np

from brainviz.runs.tables import finite_mean, finite_median


def test_means_leave_out_what_is_undefined():
    values = np.array([np.nan, 1.0, 2.0, 6.0])
    assert (finite_mean(values), finite_median(values)) == (3.0, 2.0)
    assert finite_mean(np.array([np.nan])) is None
    assert finite_median(np.array([np.nan])) is None

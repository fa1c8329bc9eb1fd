"""Small flat maps beside each other: a value lies where its vertex lies, in one scale for all."""

from __future__ import annotations

import json
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PolyCollection, TriMesh
from matplotlib.figure import Figure

from brainviz.errors import SpecError
from brainviz.figures.meshes import load_mesh
from brainviz.figures.print_panels import panel_bytes
from brainviz.figures.small_maps import COLUMNS, small_maps
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale

N = 10_242
SCALE = Scale("cosine", 0.0, 1.0)
WHENCE = Provenance("Shared", "subj01, subj02", method="text food", runs=("0123456789ab",))


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close every figure after its test."""
    yield
    plt.close("all")


def painted(axes: plt.Axes) -> list[PolyCollection | TriMesh]:
    """Return what is drawn over the folds."""
    return list(axes.collections)[1:]


def maps_of(figure: Figure) -> list[plt.Axes]:
    return [axes for axes in figure.axes if axes.get_title()]


def test_everybody_has_two_hemispheres() -> None:
    values = np.linspace(0, 1, N)
    names = [f"subj{number:02}" for number in range(1, COLUMNS + 2)]
    figure = small_maps({name: {"lh": values, "rh": values} for name in names}, SCALE, WHENCE)
    assert [axes.get_title() for axes in maps_of(figure)] == [
        f"{name} {hemi}" for name in names for hemi in ("lh", "rh")
    ]
    assert all(painted(axes) for axes in maps_of(figure))
    scales = {(each.norm.vmin, each.norm.vmax) for axes in maps_of(figure) for each in painted(axes)}
    assert scales == {(0.0, 1.0)}


def test_values_lie_on_their_triangles_and_nowhere_else() -> None:
    mesh = load_mesh("fsaverage5", "flat")["lh"]
    values = np.full(N, np.nan)
    # A triangle with three values, whose neighbours by an edge have two.
    corners = mesh.faces[len(mesh.faces) // 2]
    values[corners] = [0.2, 0.4, 0.9]
    figure = small_maps({"subj01": {"lh": values}}, SCALE, WHENCE)
    left, right = maps_of(figure)
    assert painted(right) == []
    (drawn,) = painted(left)
    shared = np.isin(mesh.faces, corners).sum(axis=1) >= 2
    expected = [np.mean([values[v] for v in face if not np.isnan(values[v])]) for face in mesh.faces[shared]]
    np.testing.assert_allclose(np.sort(drawn.get_array()), np.sort(expected))
    assert 1.5 / 3 in np.round(drawn.get_array(), 12)


def test_without_values_the_folds_are_drawn_all_the_same() -> None:
    figure = small_maps({"subj01": {"lh": np.full(N, np.nan)}, "subj02": {}}, SCALE, WHENCE)
    assert [painted(axes) for axes in maps_of(figure)] == [[]] * 4
    assert all(len(axes.collections) == 1 for axes in maps_of(figure))


def test_the_bar_says_what_is_shown_and_classes_have_none() -> None:
    values = {"subj01": {"lh": np.linspace(0, 1, N)}}
    assert len(small_maps(values, SCALE, WHENCE).axes) == 3
    bar = small_maps(values, SCALE, WHENCE).axes[-1]
    assert bar.get_ylabel() == "cosine"
    roi = Scale("ROI", 0, 1, "categorical", ("V1", "V2"))
    assert len(small_maps(values, roi, WHENCE).axes) == 2


def test_where_it_is_from_goes_with_the_file() -> None:
    figure = small_maps({"subj01": {"lh": np.linspace(0, 1, N)}}, SCALE, WHENCE)
    assert json.loads(figure.get_label()) == json.loads(json.dumps(WHENCE.fields()))
    assert b"0123456789ab" in panel_bytes(figure, "svg")


def test_nothing_and_other_meshes_are_refused() -> None:
    with pytest.raises(SpecError, match="nothing to draw"):
        small_maps({}, SCALE, WHENCE)
    with pytest.raises(SpecError, match=r"map of subj02 is not on fsaverage5(?s:.*)\(40962,\)"):
        small_maps({"subj01": {"lh": np.zeros(N)}, "subj02": {"rh": np.zeros(40_962)}}, SCALE, WHENCE)

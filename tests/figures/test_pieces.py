"""Pieces of a surface for print: areas, interpolation, borders and what hides what, on shapes known in closed form."""

import numpy as np
import pytest

from brainviz.figures.pieces import INSET, OVERLAP, Front, barycentric, cut, outlines, piece_values

#: The octahedron with corners on the unit axes: 8 equal faces, outward.
CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
UPPER = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
FACES = np.array(UPPER + [[b, a, 5] for a, b, _ in UPPER], np.int32)
TRIANGLE = np.array([[0, 1, 2]], np.int32)
NO_DEPTH = np.zeros(6, np.float32)


def area(corners: np.ndarray) -> np.ndarray:
    """Return the area of triangles (p, 3, 3), by half the cross product of two sides."""
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


@pytest.mark.parametrize("cuts", [0, 1, 2, 3])
def test_pieces_of_a_triangle_are_equal_and_face_its_way(cuts: int) -> None:
    pieces = barycentric(cuts)
    assert pieces.shape == (4**cuts, 3, 3)
    np.testing.assert_allclose(pieces.sum(axis=2), 1)
    # In the plane of the first two weights the triangle is half a unit square, counter-clockwise.
    a, b, c = (pieces[:, corner, 1:] for corner in range(3))
    doubled = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    np.testing.assert_allclose(doubled, 4.0**-cuts)


def test_between_known_corners_values_are_linear() -> None:
    weights = barycentric(2).mean(axis=1)
    values = piece_values(np.array([1.0, -2.0, 5.0]), TRIANGLE, weights, categorical=False)
    np.testing.assert_allclose(values[0], weights @ [1, -2, 5])


@pytest.mark.parametrize(("known", "part"), [([], 0), ([0], 1 / 4), ([1, 2], 3 / 4), ([0, 1, 2], 1)])
@pytest.mark.parametrize("cuts", [1, 2])
def test_a_vertex_paints_half_of_the_way_to_its_neighbours(known: list[int], part: float, cuts: int) -> None:
    values = np.full(3, np.nan)
    values[known] = 0.3
    painted = piece_values(values, TRIANGLE, barycentric(cuts).mean(axis=1), categorical=False)[0]
    # Half of the way from one corner cuts off a triangle of half the size: a quarter of the area.
    assert np.isfinite(painted).mean() == part
    np.testing.assert_allclose(painted[np.isfinite(painted)], 0.3)


def test_names_do_not_blend_and_the_nearest_wins() -> None:
    weights = barycentric(2).mean(axis=1)
    names = piece_values(np.array([0.0, 7.0, np.nan]), TRIANGLE, weights, categorical=True)[0]
    assert set(names[np.isfinite(names)]) == {0, 7}
    for name, corner in ((0, 0), (7, 1)):
        assert (names[weights[:, corner] > 0.5] == name).all()
    assert np.isnan(names[weights[:, 2] > 0.5]).all()


def test_pieces_cover_the_surface_and_overlap_a_little() -> None:
    pieces = cut(CORNERS, FACES, np.arange(6.0), NO_DEPTH, np.zeros(6), finest=2, step=0.01)
    assert len(pieces.corners) == 8 * 16
    np.testing.assert_allclose(area(pieces.corners).sum(), 8 * np.sqrt(3) / 2 * (1 + OVERLAP) ** 2)


def test_only_what_changes_is_cut() -> None:
    alike = cut(CORNERS, FACES, np.full(6, 0.5), NO_DEPTH, np.zeros(6), finest=2, step=0.01)
    assert len(alike.corners) == 8
    bare = cut(CORNERS, FACES, np.full(6, np.nan), NO_DEPTH, np.zeros(6), finest=2, step=0.01)
    assert len(bare.corners) == 8
    assert np.isnan(bare.values).all()
    # Differences of up to two steps need one cut, larger ones two; four faces meet in corner 0.
    values = np.array([0.02, 0, 0, 0, 0, 0])
    assert len(cut(CORNERS, FACES, values, NO_DEPTH, np.zeros(6), finest=2, step=0.01).corners) == 4 + 4 * 4
    assert len(cut(CORNERS, FACES, 9 * values, NO_DEPTH, np.zeros(6), finest=2, step=0.01).corners) == 4 + 4 * 16
    depth = np.array([1, 0, 0, 0, 0, 0], np.float32) - 0.5
    assert len(cut(CORNERS, FACES, np.full(6, np.nan), depth, np.zeros(6), finest=2, step=0.01).corners) == 4 + 4 * 16


def test_border_of_one_vertex_is_a_closed_line_around_it() -> None:
    mask = np.zeros(6, bool)
    mask[4] = True
    (line,) = outlines(CORNERS, FACES, mask)
    assert len(line) == 5
    np.testing.assert_array_equal(line[0], line[-1])
    # Just inside: on the four edges from the top, and as low as smoothing leaves them.
    np.testing.assert_allclose(line[:, 2], 1 - INSET)
    np.testing.assert_allclose(line.mean(axis=0)[:2], 0, atol=INSET / 2)


def test_every_part_of_a_set_has_its_border() -> None:
    mask = np.isin(np.arange(6), [4, 5])
    lines = outlines(CORNERS, FACES, mask)
    assert sorted(float(np.sign(line[:, 2].mean())) for line in lines) == [-1, 1]


@pytest.mark.parametrize("members", [[], [0, 1, 2, 3, 4, 5]])
def test_no_border_around_nothing_or_everything(members: list[int]) -> None:
    assert outlines(CORNERS, FACES, np.isin(np.arange(6), members)) == []


def test_line_ends_where_the_surface_is_cut_open() -> None:
    # Two triangles side by side; the border of the left edge goes from the lower to the upper rim.
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)
    (line,) = outlines(points, np.array([[0, 1, 2], [1, 3, 2]], np.int32), np.array([True, False, True, False]))
    assert len(line) == 3
    assert sorted(line[[0, -1], 1]) == [0, 1]
    np.testing.assert_allclose(line[:, 0], INSET)


def test_line_behind_the_surface_is_not_seen() -> None:
    x, y = np.meshgrid(np.arange(0, 40, 0.5), np.arange(0, 40, 0.5))
    # A step: the right half is 20 mm nearer to the viewer.
    height = np.where(x > 20, 20.0, 0.0)
    front = Front.of(np.stack([x, y, height], axis=-1).reshape(-1, 3))
    along = np.linspace(0, 39, 79)
    line = np.stack([along, np.full(79, 20.0), np.zeros(79)], axis=1)
    (part,) = front.seen(line)
    assert part[:, 0].min() == 0
    assert 18 <= part[:, 0].max() <= 20
    assert len(front.seen(line + np.array([0, 0, 20]))) == 1
    assert front.seen(line[50:]) == []

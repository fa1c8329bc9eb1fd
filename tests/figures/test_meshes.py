"""The cortex as triangles: fsaverage5's facts, and paint whose area is known in closed form."""

import numpy as np
import pytest

from brainviz.figures.meshes import N_VERTICES, SURFACES, Mesh, fsaverage5, normals, patch, to_fsaverage5


@pytest.fixture
def octahedron() -> Mesh:
    """Return the octahedron with corners on the unit axes: 8 equal faces, outward."""
    corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    upper = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4]]
    lower = [[b, a, 5] for a, b, _ in upper]
    return Mesh(corners, np.array(upper + lower, np.int32), np.zeros(6, np.float32))


def area(coordinates: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the area of every triangle, by half the cross product of two sides."""
    a, b, c = (coordinates[faces[:, corner]] for corner in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


@pytest.mark.parametrize("surface", SURFACES)
def test_fsaverage5_has_the_size_of_a_subdivided_icosahedron(surface: str) -> None:
    meshes = fsaverage5(surface)
    assert list(meshes) == ["lh", "rh"]
    for mesh in meshes.values():
        assert mesh.coordinates.shape == (N_VERTICES, 3)
        assert mesh.coordinates.dtype == np.float32
        assert mesh.faces.dtype == np.int32
        # Euler: V - E + F = 2 with 3F = 2E.
        assert len(mesh.faces) == 2 * (N_VERTICES - 2)
        assert mesh.sulcal_depth.min() < 0 < mesh.sulcal_depth.max()


def test_left_hemisphere_is_left() -> None:
    meshes = fsaverage5("pial")
    assert meshes["lh"].coordinates[:, 0].mean() < 0 < meshes["rh"].coordinates[:, 0].mean()


def test_values_go_to_their_positions_and_later_ones_are_left_out() -> None:
    full = to_fsaverage5(np.array([0.5, -0.25, 9.0]), np.array([3, 10_241, 10_242]))
    assert full.shape == (N_VERTICES,)
    assert full.dtype == np.float32
    assert full[3] == 0.5
    assert full[10_241] == -0.25
    assert np.isfinite(full).sum() == 2


def test_normals_of_an_octahedron_are_its_corners(octahedron: Mesh) -> None:
    np.testing.assert_allclose(normals(octahedron), octahedron.coordinates, atol=1e-6)


def test_full_map_paints_every_triangle_once(octahedron: Mesh) -> None:
    painted = patch(octahedron, np.arange(6.0), lift=0)
    assert len(painted.faces) == 8
    np.testing.assert_allclose(painted.values, np.arange(6)[painted.vertices])


@pytest.mark.parametrize("known", [[0], [0, 2], [0, 1], [0, 2, 4], [1, 2, 3, 5]])
def test_each_vertex_paints_a_third_of_the_triangles_around_it(octahedron: Mesh, known: list[int]) -> None:
    values = np.full(6, np.nan)
    values[known] = np.array(known) + 0.5
    painted = patch(octahedron, values, lift=0)
    # Four triangles meet in a corner, each of area sqrt(3)/2; the medians cut a triangle into three equal parts.
    total = area(painted.coordinates, painted.faces).sum()
    np.testing.assert_allclose(total, len(known) * 4 * (np.sqrt(3) / 2) / 3, rtol=1e-5)
    assert set(painted.vertices) == set(known)


def test_names_do_not_blend(octahedron: Mesh) -> None:
    values = np.array([0, 0, 0, 1, 1, 1.0])
    painted = patch(octahedron, values, smooth=False, lift=0)
    corners = painted.values[painted.faces]
    assert (corners == corners[:, :1]).all()
    np.testing.assert_allclose(area(painted.coordinates, painted.faces).sum(), 8 * np.sqrt(3) / 2, rtol=1e-5)


def test_nothing_known_paints_nothing(octahedron: Mesh) -> None:
    painted = patch(octahedron, np.full(6, np.nan))
    assert len(painted.faces) == 0
    assert len(painted.values) == 0


def test_paint_lies_above_the_surface(octahedron: Mesh) -> None:
    painted = patch(octahedron, np.ones(6), lift=0.5)
    np.testing.assert_allclose(np.linalg.norm(painted.coordinates, axis=1), 1.5, rtol=1e-5)

"""Packed meshes, maps and areas, unpacked again as their docstrings say and compared with what went in."""

import numpy as np
import pytest

from brainviz.figures.meshes import SURFACES, Mesh, load_mesh
from brainviz.figures.packing import (
    NO_VALUE,
    Packed,
    area_words,
    is_narrow,
    pack_areas,
    pack_faces,
    pack_positions,
    pack_sulci,
    pack_values,
)


def mesh_of(coordinates: np.ndarray, faces: list[list[int]], depth: np.ndarray | None = None) -> Mesh:
    depth = np.zeros(len(coordinates)) if depth is None else depth
    return Mesh(coordinates.astype(np.float32), np.array(faces, np.int32), depth.astype(np.float32))


def positions_of(packed: Packed) -> np.ndarray:
    """Return coordinates (n, 3): the first of 65,536 steps is the low end of an axis, the last its high one."""
    steps = np.frombuffer(packed.steps, "<u2").reshape(-1, 3).astype(np.float64)
    return packed.low + steps / 65_535 * np.subtract(packed.high, packed.low)


def values_of(packed: bytes, low: float, high: float) -> np.ndarray:
    """Return values (n,): the first of 65,535 steps is the low end, the last the high one; 65,535 is NaN."""
    steps = np.frombuffer(packed, "<u2").astype(np.float64)
    return np.where(steps == 65_535, np.nan, low + steps / 65_534 * (high - low))


def members_of(packed: bytes, n: int) -> np.ndarray:
    """Return (n, 32 or more) bool: which bits of a vertex's numbers are set, the lowest first."""
    return np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little").reshape(n, -1).astype(bool)


@pytest.mark.parametrize("surface", SURFACES)
def test_positions_are_exact_to_half_a_step(surface: str) -> None:
    for mesh in load_mesh("fsaverage5", surface).values():
        packed = pack_positions(mesh)
        step = np.subtract(packed.high, packed.low) / 65_535
        # Micrometres: the flat map is the longest, 312 mm.
        assert step.max() < 0.005
        assert (np.abs(positions_of(packed) - mesh.coordinates) <= step / 2 + 1e-9).all()
        assert len(packed.steps) == 6 * len(mesh.coordinates)


def test_the_ends_of_an_axis_are_its_outermost_vertices() -> None:
    packed = pack_positions(mesh_of(np.array([[-3, 5, 0], [7, 5.5, 0]]), [[0, 1, 0]]))
    assert packed.low == (-3.0, 5.0, 0.0)
    assert packed.high[:2] == (7.0, 5.5)
    assert np.frombuffer(packed.steps, "<u2").tolist() == [0, 0, 0, 65_535, 65_535, 0]


@pytest.mark.parametrize(("n", "width"), [(10_242, 2), (2**16, 2), (2**16 + 1, 4), (163_842, 4)])
def test_faces_are_as_narrow_as_the_last_vertex_allows(n: int, width: int) -> None:
    mesh = mesh_of(np.zeros((n, 3)), [[0, 1, n - 1], [n - 1, n - 2, 0]])
    assert is_narrow(mesh) == (width == 2)
    assert np.frombuffer(pack_faces(mesh, wide=width == 4), f"<u{width}").tolist() == [0, 1, n - 1, n - 1, n - 2, 0]


def test_sulci_are_told_from_gyri() -> None:
    mesh = mesh_of(np.zeros((4, 3)), [[0, 1, 2]], np.array([0.1, 0.0, -0.4, 3.0]))
    assert list(pack_sulci(mesh)) == [255, 0, 0, 255]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.35, 0.8), (-1e-6, 1e-6), (0.0, 9.0)])
def test_values_are_exact_to_half_a_step(low: float, high: float) -> None:
    values = np.random.default_rng(0).uniform(low, high, 5000).astype(np.float32).clip(low, high)
    values[[0, 1, 2]] = low, high, np.nan
    unpacked = values_of(pack_values(values, low, high), low, high)
    assert np.isnan(unpacked[2])
    known = np.isfinite(values)
    assert np.isfinite(unpacked[known]).all()
    # Half of one of 65,534 steps, and what 32 bits cannot say.
    limit = (high - low) / 65_534 / 2 + np.spacing(np.float32(max(-low, high)))
    assert np.abs(unpacked[known] - values[known]).max() <= limit
    np.testing.assert_allclose(unpacked[:2], [low, high], rtol=1e-6)


def test_a_known_value_is_never_taken_for_none() -> None:
    steps = np.frombuffer(pack_values(np.linspace(-1, 1, 100_001), -1.0, 1.0), "<u2")
    assert (steps.min(), steps.max()) == (0, NO_VALUE - 1)
    assert (np.diff(steps.astype(int)) >= 0).all()


def test_what_is_no_number_is_no_value() -> None:
    packed = pack_values(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32), 0.0, 1.0)
    np.testing.assert_allclose(values_of(packed, 0.0, 1.0), [np.nan, np.nan, np.nan, 0.5], atol=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.25, -3.0])
def test_a_constant_map_stays_what_it_is(constant: float) -> None:
    values = np.array([constant, np.nan, constant], np.float32)
    unpacked = values_of(pack_values(values, constant, constant), constant, constant)
    np.testing.assert_array_equal(unpacked, [constant, np.nan, constant])


def test_a_map_of_nothing() -> None:
    assert pack_values(np.full(3, np.nan, np.float32), 0.0, 1.0) == b"\xff" * 6


@pytest.mark.parametrize(("count", "words"), [(0, 1), (1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_every_area_has_a_bit_of_its_own(count: int, words: int) -> None:
    n, names = 50, tuple(f"area {number}" for number in range(count))
    inside = np.random.default_rng(count).random((n, count)) < 0.3
    packed = pack_areas({name: inside[:, number] for number, name in enumerate(names)}, names, n)
    assert area_words(names) == words
    assert len(packed) == 4 * words * n
    members = members_of(packed, n)
    np.testing.assert_array_equal(members[:, :count], inside)
    assert not members[:, count:].any()


def test_the_order_is_that_of_the_names_and_an_area_may_be_missing() -> None:
    masks = {"c": np.array([False, True]), "a": np.array([True, True])}
    members = members_of(pack_areas(masks, ("a", "b", "c"), 2), 2)
    np.testing.assert_array_equal(members[:, :3], [[True, False, False], [True, False, True]])

"""Energy maps: gratings of known orientation, wavelength and place come out in the right channel and cell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from brainviz.datasets.demo.energy import CHANNELS, FILTERED_SIZE, GRID, energy_maps, field_weights


def grating(orientation: float, wavelength: float, phase: float = 0.0) -> NDArray[np.float32]:
    """Bars in degrees counter-clockwise from the horizontal, wavelength in picture units; (1, size, size)."""
    centres = (np.arange(FILTERED_SIZE) + 0.5) / FILTERED_SIZE * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    across = -np.sin(np.deg2rad(orientation)) * x + np.cos(np.deg2rad(orientation)) * y
    return (0.5 + 0.3 * np.sin(2 * np.pi * across / wavelength + phase)).astype(np.float32)[None]


@pytest.mark.parametrize(("channel", "tuned"), list(enumerate(CHANNELS)))
def test_a_grating_drives_its_own_channel_most(channel: int, tuned: tuple[float, float]) -> None:
    maps = energy_maps(grating(*tuned))[0].mean((1, 2))
    assert maps.argmax() == channel


def test_energy_of_a_grating_is_its_amplitude_whatever_its_phase() -> None:
    """An analytic filter with gain 2 at its centre returns a sinusoid's amplitude, here 0.3, at every phase."""
    middle = slice(GRID // 4, 3 * GRID // 4)  # away from the mirrored edges
    for phase in (0.0, 1.0, 2.0):
        maps = energy_maps(grating(*CHANNELS[3], phase))[0, 3, middle, middle]
        np.testing.assert_allclose(maps, 0.3, rtol=0.1)


def test_a_patch_drives_the_cells_where_it_lies() -> None:
    """Energy stays near the patch, and does not leak across the opposite edge of the picture."""
    picture = np.full((1, FILTERED_SIZE, FILTERED_SIZE), 0.5, np.float32)
    picture[:, :12, 36:] = grating(*CHANNELS[0])[:, :12, 36:]  # top right
    maps = energy_maps(picture)[0, 0]
    assert maps[:6, 18:].mean() > 20 * maps[:6, :6].mean()
    assert maps[:6, 18:].mean() > 20 * maps[18:, 18:].mean()


def test_a_plain_picture_has_no_energy() -> None:
    assert np.abs(energy_maps(np.full((2, FILTERED_SIZE, FILTERED_SIZE), 0.7, np.float32))).max() < 1e-6


def test_fields_sum_to_one_and_lie_where_they_should() -> None:
    x, y, sigma = np.array([0.5, -0.25]), np.array([0.3, -0.6]), np.array([0.1, 0.15])
    weights = field_weights(x, y, sigma).astype(float)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-5)
    centres = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    cell_x, cell_y = (grid.ravel() for grid in np.meshgrid(centres, -centres))
    np.testing.assert_allclose(cell_x @ weights, x, atol=0.01)
    np.testing.assert_allclose(cell_y @ weights, y, atol=0.01)
    np.testing.assert_allclose(np.sqrt(((cell_x[:, None] - x) ** 2 * weights).sum(0)), sigma, rtol=0.1)

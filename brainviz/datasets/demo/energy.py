"""Local oriented contrast energy of pictures: what the demo's early areas respond to.

The energy of a picture in a channel (orientation, wavelength) is the magnitude of its analytic log-Gabor response, the
classic phase-invariant model of complex cells (Adelson & Bergen 1985, JOSA A 2:284), averaged over the cells of a grid.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

#: Orientations of the channels' bars, degrees counter-clockwise from the horizontal.
ORIENTATIONS = (0.0, 30.0, 60.0, 90.0, 120.0, 150.0)
#: Wavelengths of the channels in picture units (the picture is 2 wide).
WAVELENGTHS = (0.19, 0.36)
#: Channels as (orientation, wavelength), in the order of the energy maps.
CHANNELS = tuple((orientation, wavelength) for wavelength in WAVELENGTHS for orientation in ORIENTATIONS)
#: Cells on a side of an energy map.
GRID = 24

#: Pixels on a side of the pictures that are filtered.
FILTERED_SIZE = 48
_PAD = 8  # mirrored pixels on every side, so that the left edge does not leak into the right one
_RADIAL_SPREAD = 0.55  # ratio sigma / centre frequency of the log-Gabor, about 2 octaves
_ANGULAR_SPREAD = np.deg2rad(18.0)


@cache
def _filters() -> NDArray[np.float32]:
    """Return the one-sided filters in the frequency domain, (channels, side, side), side = FILTERED_SIZE + 2 _PAD."""
    side = FILTERED_SIZE + 2 * _PAD
    cycles = np.fft.fftfreq(side, d=2 / FILTERED_SIZE)  # cycles per picture unit
    fx, fy = np.meshgrid(cycles, -cycles)
    radius, direction = np.hypot(fx, fy), np.arctan2(fy, fx)
    radius[0, 0] = np.inf
    bank = []
    for orientation, wavelength in CHANNELS:
        normal = np.deg2rad(orientation + 90)
        turn = np.angle(np.exp(1j * (direction - normal)))
        radial = np.exp(-0.5 * (np.log(radius * wavelength) / np.log(_RADIAL_SPREAD)) ** 2)
        bank.append(2 * radial * np.exp(-0.5 * (turn / _ANGULAR_SPREAD) ** 2))
    return np.array(bank, np.float32)


def energy_maps(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the energy of every picture, channel and grid cell.

    Parameters
    ----------
    grey : (n, FILTERED_SIZE, FILTERED_SIZE) float32 array
        Luminance, 0..1.

    Returns
    -------
    (n, channels, GRID, GRID) float32 array
        In the order of `CHANNELS`; rows run from the top of the picture to the bottom.
    """
    padded = np.pad(grey, ((0, 0), (_PAD, _PAD), (_PAD, _PAD)), mode="reflect")
    spectrum = fft.fft2(padded.astype(np.float32), workers=1)
    inside = slice(_PAD, _PAD + FILTERED_SIZE)
    cell = FILTERED_SIZE // GRID
    maps = np.empty((len(grey), len(CHANNELS), GRID, GRID), np.float32)
    for channel, kernel in enumerate(_filters()):
        magnitude = np.abs(fft.ifft2(spectrum * kernel, workers=1)[:, inside, inside])
        maps[:, channel] = magnitude.reshape(len(grey), GRID, cell, GRID, cell).mean((2, 4))
    return maps


@cache
def _cell_centres() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centres = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    return x.ravel(), y.ravel()


def field_weights(x: NDArray[np.float64], y: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return Gaussian receptive fields over the grid, one column per vertex, each summing to 1.

    Parameters
    ----------
    x, y, sigma : (v,) arrays
        Centre and width in picture units (x to the right, y upwards, both -1..1).

    Returns
    -------
    (GRID * GRID, v) float32 array
    """
    cell_x, cell_y = _cell_centres()
    squared = (cell_x[:, None] - x) ** 2 + (cell_y[:, None] - y) ** 2
    weights = np.exp(-0.5 * squared / sigma**2)
    fields: NDArray[np.float32] = (weights / weights.sum(0)).astype(np.float32)
    return fields

"""Seeds of random streams, so that what is drawn for one purpose depends on nothing that is drawn for another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Streams(NamedTuple):
    """Seeds of one training's random streams: initial weights, order of the pictures, noise (and dropout)."""

    weights: int
    order: int
    draws: int


def streams(seed: int, number: int) -> Streams:
    """Return the seeds of the streams of training `number`, of 32 bits each: torch reads no more of them on the CPU.

    Parameters
    ----------
    seed : int
        0 or more.
    number : int
        From 0: of a decoder, or of a stage.
    """
    return Streams(*map(int, np.random.SeedSequence(seed, spawn_key=(int(number),)).generate_state(3)))


def derived_seed(seed: int, *key: int) -> int:
    """Return a seed of 32 bits that belongs to these numbers, each 0 or more."""
    return int(np.random.SeedSequence(seed, spawn_key=tuple(map(int, key))).generate_state(1)[0])

"""Noise ceilings from repeats: values by hand, simulated data of a known share of signal, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from brainviz.encoding.metrics import noise_ceiling
from brainviz.encoding.repeats import ceiling_from_repeats, single_trial
from brainviz.errors import DatasetError


def test_by_hand() -> None:
    """Trials 1, 3 of picture 7, and 6 of picture 2: noise (1 + 1) / 1 = 2, total (49 + 1 + 64) / 9 ... / 2 = 19/3."""
    responses = np.array([[1.0], [6.0], [3.0]])
    total = np.var([1, 6, 3], ddof=1)
    assert total == pytest.approx(19 / 3)
    assert ceiling_from_repeats(responses, np.array([7, 2, 7]), np.arange(3)) == pytest.approx(1 - 2 / total)


def slow_ceiling(column: np.ndarray, pictures: np.ndarray) -> float:
    """The formula, picture by picture."""
    squares, freedom = 0.0, 0
    for picture in set(pictures.tolist()):
        trials = column[pictures == picture]
        if len(trials) > 1:
            squares += float(((trials - trials.mean()) ** 2).sum())
            freedom += len(trials) - 1
    noise = squares / freedom
    signal = max(float(np.var(column, ddof=1)) - noise, 0.0)
    snr = np.sqrt(signal / noise)
    return float(snr**2 / (snr**2 + 1 / 1))


def test_equals_the_formula_for_unequal_repeats_in_any_order() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.permutation(np.repeat(rng.permutation(40), rng.integers(1, 5, 40)))
    responses = rng.standard_normal((40, 5))[pictures] + rng.standard_normal((len(pictures), 5)) + 100
    rows = rng.permutation(len(pictures))[: len(pictures) - 10]
    expected = [slow_ceiling(column[rows], pictures[rows]) for column in responses.T]
    np.testing.assert_allclose(ceiling_from_repeats(responses, pictures, rows), expected, rtol=1e-9)


@pytest.mark.parametrize("repeats", [2, 3])
def test_finds_the_share_of_signal(repeats: int) -> None:
    """Variances 1 of which `share` is signal; 4,000 pictures make the standard error about 0.015."""
    rng = np.random.default_rng(repeats)
    share = np.array([0.0, 0.08, 0.3, 0.7, 1.0])
    pictures = np.repeat(np.arange(4000), repeats)
    signal = rng.standard_normal((4000, 5)) * np.sqrt(share)
    responses = signal[pictures] + rng.standard_normal((len(pictures), 5)) * np.sqrt(1 - share)
    ceiling = ceiling_from_repeats(responses.astype(np.float32), pictures, np.arange(len(pictures)))
    np.testing.assert_allclose(ceiling, share, atol=0.05)
    assert ceiling[4] == 1


def test_only_the_rows_given_count() -> None:
    responses = np.array([[1.0], [6.0], [3.0], [1000.0], [-1000.0]])
    pictures = np.array([7, 2, 7, 7, 2])
    alone = ceiling_from_repeats(responses[:3], pictures[:3], np.arange(3))
    assert ceiling_from_repeats(responses, pictures, np.array([2, 0, 1])) == pytest.approx(alone)


def test_unknown_where_nothing_can_be_said() -> None:
    responses = np.array([[1.0, 2, 1], [2, 2, 2], [4, 2, np.nan], [5, 2, 3]])
    known = ceiling_from_repeats(responses, np.array([0, 0, 1, 1]), np.arange(4))
    assert known[0] > 0
    assert np.isnan(known[1:]).all()
    assert np.isnan(ceiling_from_repeats(responses, np.arange(4), np.arange(4))).all()
    assert np.isnan(ceiling_from_repeats(responses, np.arange(4), np.array([], dtype=int))).all()


def test_trials_must_match() -> None:
    with pytest.raises(DatasetError, match="do not match"):
        ceiling_from_repeats(np.ones((3, 2)), np.arange(4), np.arange(3))
    with pytest.raises(DatasetError, match="no trial"):
        ceiling_from_repeats(np.ones((3, 2)), np.arange(3), np.array([3]))


@pytest.mark.parametrize("repeats", [{1: 5}, {3: 100}, {1: 10, 2: 20, 3: 30}])
def test_single_trial_inverts_the_ceiling_of_averages(repeats: dict[int, int]) -> None:
    snr = np.array([0.0, 0.1, 0.5, 1.0, 3.0, np.nan])
    averaged = noise_ceiling(snr, repeats)
    np.testing.assert_allclose(single_trial(averaged, repeats), noise_ceiling(snr, 1), rtol=1e-12)


def test_single_trial_of_a_known_share() -> None:
    share = np.linspace(0, 1, 11)
    np.testing.assert_allclose(single_trial(share / (share + (1 - share) / 3), {3: 100}), share, atol=1e-12)


def test_single_trial_by_hand() -> None:
    """Means of 3 trials, half of it signal: noise of a trial is 3 times the signal. All signal stays all signal."""
    np.testing.assert_allclose(single_trial([0.5, 1.0], {3: 10}), [0.25, 1.0])


def test_single_trial_refuses_what_is_no_share() -> None:
    with pytest.raises(DatasetError, match=r"outside 0\.\.1"):
        single_trial([50.0], {3: 1})
    with pytest.raises(DatasetError, match="repeats"):
        single_trial([0.5], {})

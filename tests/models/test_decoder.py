"""Linear decoders: the same as nn.Linear, seed by seed, and numpy's decoding the same as torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError
from brainviz.models.decoder import ROWS_PER_BLOCK, Decoders, decode


def test_each_is_a_linear_layer_of_its_seed() -> None:
    decoders = Decoders(7, 3, [5, 0, 2**32 - 1])
    x = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))
    z = decoders(x)
    assert z.shape == (3, 4, 3)
    for s, seed in enumerate([5, 0, 2**32 - 1]):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            linear = nn.Linear(7, 3)
        torch.testing.assert_close(decoders.weight[s], linear.weight.T)
        torch.testing.assert_close(decoders.bias[s], linear.bias)
        torch.testing.assert_close(z[s], functional.normalize(linear(x[s]), dim=1))


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    Decoders(4, 2, [1])
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_are_uniform_within_their_bound() -> None:
    weight = Decoders(400, 500, [3]).weight.detach()
    bound = 400**-0.5
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.999 * bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


@pytest.mark.parametrize("sizes", [(0, 2, [1]), (2, 0, [1]), (2, 2, [])])
def test_sizes_must_be_at_least_one(sizes) -> None:
    with pytest.raises(SpecError, match="at least one"):
        Decoders(*sizes)


def test_decode_equals_the_model_over_block_borders() -> None:
    decoders = Decoders(5, 3, [1])
    x = np.random.default_rng(0).standard_normal((ROWS_PER_BLOCK + 3, 5))
    z = decode(x, decoders.weight[0].detach().numpy(), decoders.bias[0].detach().numpy())
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, decoders(torch.from_numpy(x).float()[None])[0].detach(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)


def test_decode_leaves_zero_at_zero() -> None:
    assert np.array_equal(decode(np.zeros((1, 2)), np.ones((2, 3)), np.zeros(3)), np.zeros((1, 3)))


@pytest.mark.parametrize("shapes", [((4, 3), (2, 5), (5,)), ((4, 3), (3, 5), (4,)), ((3,), (3, 5), (5,))])
def test_decode_refuses_what_does_not_fit(shapes) -> None:
    with pytest.raises(DatasetError, match="do not match"):
        decode(*map(np.ones, shapes))

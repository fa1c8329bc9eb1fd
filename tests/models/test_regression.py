"""The regression baseline is a linear map on the logits, drawn from its own seed."""

import pytest
import torch
from torch import nn

from brainviz.errors import SpecError
from brainviz.models.regression import RegressionNetwork


def network(seed: int = 0) -> RegressionNetwork:
    torch.manual_seed(5)
    return RegressionNetwork(nn.Sequential(nn.Flatten(), nn.Linear(12, 7)), 7, 30, seed)


def test_predictions_are_linear_in_the_logits_with_a_bias_per_vertex():
    tuned, pictures = network(), torch.rand(5, 3, 2, 2)
    logits = tuned.backbone(pictures)
    expected = logits @ tuned.head.weight.T + tuned.head.bias
    torch.testing.assert_close(tuned(pictures), expected)
    assert tuned.head.bias.shape == (30,)


def test_parts_are_named_and_all_are_trained():
    tuned = network()
    assert {name.split(".")[0] for name in tuned.state_dict()} == {"backbone", "head"}
    tuned(torch.rand(4, 3, 2, 2)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in tuned.parameters())


def test_the_seed_decides_the_head_and_nothing_else():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = network(3), network(3), network(4)
    torch.manual_seed(1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(first.backbone[1].weight, other.backbone[1].weight)


@pytest.mark.parametrize("sizes", [(0, 30), (7, 0)])
def test_empty_sizes_are_refused(sizes):
    with pytest.raises(SpecError, match="at least 1"):
        RegressionNetwork(nn.Identity(), *sizes)

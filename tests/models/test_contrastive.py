"""The contrastive network: its parts and sizes as in the paper, its shared head, its running statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brainviz.errors import SpecError
from brainviz.models.contrastive import BRAIN, IMAGE, ContrastiveNetwork, SharedBatchNorm, head_sizes


def network(seed: int = 0) -> ContrastiveNetwork:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 10))
    return ContrastiveNetwork(backbone, n_logits=10, n_vertices=30, hidden=24, embedding=6, seed=seed)


@pytest.mark.parametrize(
    ("vertices", "sizes"), [(1000, (800, 200)), (724, (579, 144)), (25, (20, 5)), (8, (8, 4)), (1, (8, 4))]
)
def test_head_sizes(vertices: int, sizes: tuple[int, int]) -> None:
    assert head_sizes(vertices) == sizes


def test_head_sizes_by_other_ratios() -> None:
    assert head_sizes(100, 0.5, 0.25) == (50, 25)
    for arguments in [(0, 0.8, 0.2), (10, 0.0, 0.2), (10, 0.8, -1.0)]:
        with pytest.raises(SpecError):
            head_sizes(*arguments)


def test_parts_are_those_of_the_paper() -> None:
    shapes = {name: tuple(p.shape) for name, p in network().named_parameters() if not name.startswith("backbone.")}
    assert shapes == {
        "g_A.weight": (24, 10),
        "g_Y.weight": (24, 30),
        "g_H.linear_1.weight": (24, 24),
        "g_H.linear_1.bias": (24,),
        "g_H.norm_1.weight": (24,),
        "g_H.norm_1.bias": (24,),
        "g_H.linear_2.weight": (24, 24),
        "g_H.linear_2.bias": (24,),
        "g_H.norm_2.weight": (24,),
        "g_H.norm_2.bias": (24,),
        "g_H.out.weight": (6, 24),
    }
    assert all(parameter.requires_grad for parameter in network().parameters())


def test_training_is_torchs_own_layers_in_a_row() -> None:
    """One nn.Sequential with torch's BatchNorm1d, called once per modality, gives the same embeddings."""
    net = network().train()
    head = net.g_H
    layers = [nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 24), nn.BatchNorm1d(24), nn.ReLU()]
    plain = nn.Sequential(*layers, nn.Linear(24, 6, bias=False))
    plain.load_state_dict(
        {"0.weight": head.linear_1.weight, "0.bias": head.linear_1.bias, "3.weight": head.linear_2.weight}
        | {"3.bias": head.linear_2.bias, "6.weight": head.out.weight},
        strict=False,
    )
    pictures, responses = torch.randn(7, 3, 4, 4), torch.randn(7, 30)
    z_brain, z_image = net(pictures, responses)
    torch.testing.assert_close(z_brain, plain(responses @ net.g_Y.weight.T))
    torch.testing.assert_close(z_image, plain(net.backbone(pictures) @ net.g_A.weight.T))


def test_each_modality_has_running_statistics_of_its_own() -> None:
    """The mean over the first ten batches, then torch's exponential mean, for each modality by itself."""
    norm = SharedBatchNorm(3).train()
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(8, 3, generator=generator) + 5 for _ in range(12)]
    for batch in images[:10]:
        norm(batch, IMAGE)
    torch.testing.assert_close(norm.running_mean[IMAGE], torch.stack(images[:10]).mean(dim=(0, 1)))
    torch.testing.assert_close(
        norm.running_var[IMAGE], torch.stack([batch.var(dim=0) for batch in images[:10]]).mean(dim=0)
    )
    before = norm.running_mean[IMAGE].clone()
    norm(images[10], IMAGE)
    torch.testing.assert_close(norm.running_mean[IMAGE], 0.9 * before + 0.1 * images[10].mean(dim=0))
    assert (norm.running_mean[BRAIN] == 0).all()

    norm.eval()
    statistics = norm.running_mean[IMAGE], norm.running_var[IMAGE]
    expected = (images[11] - statistics[0]) / (statistics[1] + 1e-5).sqrt()
    torch.testing.assert_close(norm(images[11], IMAGE), expected)


def test_new_layers_are_seeded_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same = (ContrastiveNetwork(nn.Identity(), 10, 30, 24, 6, seed=3).state_dict() for _ in range(2))
    other = ContrastiveNetwork(nn.Identity(), 10, 30, 24, 6, seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["g_A.weight"], other["g_A.weight"])


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(SpecError, match="at least 1"):
        ContrastiveNetwork(nn.Identity(), 10, 0, 24, 6)

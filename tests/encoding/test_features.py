"""Layer features against a plain forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainviz.encoding import features
from brainviz.encoding.features import layer_features
from brainviz.errors import DatasetError, SpecError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class SmallNetwork(nn.Module):
    """Named and built as torchvision's AlexNet: ReLUs in place, dropout, batch norm on top of it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(True),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(6 * 16, 8), nn.ReLU(inplace=True), nn.Linear(8, 5))
        self.unused = nn.Linear(2, 2)
        self.shared = nn.Identity()
        self.pair = Pair()

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.shared(self.features(x)))
        x, _ = self.pair(x)
        return self.classifier(x.flatten(1))


class Pair(nn.Module):
    """A module with two outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return SmallNetwork()


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (10, 14, 14, 3), dtype=np.uint8)


def plain(network: nn.Module, images: NDArray[np.uint8], module: str) -> NDArray[np.float32]:
    """Run the network up to one module of `features` or `classifier`, without hooks and in the usual memory format."""
    network.eval()
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    part, number = module.split(".")
    with torch.no_grad():
        if part == "classifier":
            x = network.features(x).flatten(1)  # type: ignore[operator]
        for layer in getattr(network, part)[: int(number) + 1]:
            x = layer(x)
    return x.flatten(1).numpy()


@pytest.mark.parametrize("device", DEVICES)
def test_several_layers_equal_a_plain_forward_pass(network: nn.Module, images: NDArray[np.uint8], device: str) -> None:
    layers = ["classifier.3", "features.0", "features.2", "features.5"]
    got = layer_features(network, layers, images, MEAN, STD, device=device, batch_size=4)
    network.cpu()
    assert list(got) == layers
    for layer in layers:
        assert got[layer].dtype == np.float32
        np.testing.assert_allclose(got[layer], plain(network, images, layer), rtol=1e-4, atol=1e-5)


def test_flattening_is_channels_first_on_a_channels_last_network(network: nn.Module, images: NDArray[np.uint8]) -> None:
    expected = plain(network, images, "features.2")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    got = layer_features(network, ["features.2"], images, MEAN, STD)["features.2"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_network_is_left_as_it_was(network: nn.Module, images: NDArray[np.uint8]) -> None:
    network.train()
    network.features[4].eval()  # type: ignore[index, operator, union-attr]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layer_features(network, ["features.4"], images, MEAN, STD)
    assert network.training
    assert network.classifier.training
    assert not network.features[4].training  # type: ignore[index, union-attr]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_go_away_when_the_network_fails(network: nn.Module, images: NDArray[np.uint8]) -> None:
    with pytest.raises(RuntimeError):  # 14 px are what the classifier fits
        layer_features(network, ["classifier.3"], images[:, :12, :12], MEAN, STD)
    assert not any(module._forward_hooks for module in network.modules())
    assert network.training


def test_the_pass_ends_after_the_last_wanted_layer(network: nn.Module, images: NDArray[np.uint8]) -> None:
    calls = []
    network.classifier.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr, arg-type]
    layer_features(network, ["features.0", "features.2"], images, MEAN, STD, batch_size=5)
    assert len(calls) == 1  # the pass that measures the layers


def test_a_large_layer_goes_to_a_file(
    network: nn.Module, images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = ["features.0", "classifier.3"]
    in_memory = layer_features(network, layers, images, MEAN, STD)
    monkeypatch.setattr(features, "MEMORY_BYTES", 1000)
    mapped = layer_features(network, layers, images, MEAN, STD, folder=tmp_path / "scratch")
    assert isinstance(mapped["features.0"], np.memmap)
    assert not isinstance(mapped["classifier.3"], np.memmap)
    np.testing.assert_array_equal(mapped["features.0"], in_memory["features.0"])
    np.testing.assert_array_equal(np.load(tmp_path / "scratch" / "features.0.npy"), in_memory["features.0"])


def test_progress_is_told(network: nn.Module, images: NDArray[np.uint8]) -> None:
    told: list[tuple[int, int]] = []
    layer_features(
        network,
        ["features.0"],
        images,
        MEAN,
        STD,
        batch_size=4,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_an_unknown_layer_is_refused_with_the_nearest_names(network: nn.Module, images: NDArray[np.uint8]) -> None:
    with pytest.raises(SpecError, match=r"features\.3"):
        layer_features(network, ["feature.3"], images, MEAN, STD)


@pytest.mark.parametrize("layer", ["unused", "shared", "pair"])
def test_a_layer_without_one_clear_output_is_refused(network: nn.Module, images: NDArray[np.uint8], layer: str) -> None:
    with pytest.raises(SpecError, match=layer):
        layer_features(network, [layer], images, MEAN, STD)


def test_no_layer_is_refused(network: nn.Module, images: NDArray[np.uint8]) -> None:
    with pytest.raises(SpecError):
        layer_features(network, [], images, MEAN, STD)


def test_pictures_of_another_type_are_refused(network: nn.Module, images: NDArray[np.uint8]) -> None:
    for wrong in (images.astype(np.float32), images[0], images[..., :1], images[:0]):
        with pytest.raises(DatasetError):
            layer_features(network, ["features.0"], wrong, MEAN, STD)  # type: ignore[arg-type]

"""Attribution against closed forms, slow loops and captum picture by picture; indices by hand; statistics by count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, Occlusion, Saliency
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from brainviz.analyses import attribution
from brainviz.analyses.attribution import ATTRIBUTIONS, COMPLETENESS, VERSIONS_AT_A_TIME, How, LinearReadout, attribute
from brainviz.analyses.lateralization import (
    Estimate,
    laterality_index,
    mean_estimate,
    mean_map,
    over_subjects,
    pair_index,
    paired_estimate,
)
from brainviz.encoding.features import layer_features
from brainviz.encoding.statistics import bootstrap_weights
from brainviz.errors import DatasetError, SpecError

pytestmark = pytest.mark.usefixtures("one_thread")

#: Side of the pictures; the window of occlusion fits in so that its squares lie mirrored about the midline.
SIZE, WINDOW = 16, 4
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
NAN = float("nan")

FULL = [method for method in ATTRIBUTIONS if method != "grad-cam"]
GRADIENTS = ["saliency", "input-x-gradient", "integrated-gradients"]


def pictures(n: int, seed: int = 0, size: int = SIZE) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def whole(n: int, seed: int = 0, size: int = SIZE) -> Tensor:
    """Pictures of small whole numbers, of which sums and products are exact."""
    return torch.randint(-4, 5, (n, 3, size, size), generator=torch.Generator().manual_seed(seed)).float()


def smooth(seed: int = 0) -> nn.Sequential:
    """Return a small convolutional net without kinks and with 4 answers: a few steps integrate its gradients."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 5, 3, padding=1), nn.Softplus(), nn.Conv2d(5, 6, 3, stride=2), nn.Tanh()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6 * 7 * 7, 4)).eval()


def kinked(seed: int = 0) -> nn.Sequential:
    """Return one with kinks and layers that overwrite their input, as AlexNet has them; in training mode."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Conv2d(6, 8, 3)
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 5 * 5, 4))


class Function(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def how(method: Any, **more: Any) -> How:
    return How(method, window=WINDOW, **more)


# --- the readout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layer", ["0", "2", "3", "5"])
def test_a_readout_is_linear_in_the_layers_features(layer: str, memory: torch.memory_format) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    backbone = smooth()
    X = layer_features(backbone, [layer], images, MEAN, STD)[layer]
    W, b = rng.standard_normal((X.shape[1], 3)), rng.standard_normal(3)
    network = LinearReadout(backbone.to(memory_format=memory), layer, W, b)
    centre, spread = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    shown = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - centre) / spread
    with torch.no_grad():
        found = network(shown.contiguous(memory_format=memory)).numpy()
    np.testing.assert_allclose(found, X.astype(np.float64) @ W + b, rtol=1e-4, atol=1e-4)


def test_a_readout_from_a_layer_that_there_is_not_is_refused() -> None:
    with pytest.raises(SpecError, match=r"(?s)no such layer.*Got: 9.*0, 1, 2, 3, 4, 5"):
        LinearReadout(smooth(), "9", np.zeros((3, 1)), np.zeros(1))


# --- closed forms -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plane() -> Tensor:
    return torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def linear(plane: Tensor) -> nn.Module:
    """Return f(x) = sum w x + 2, and minus that."""
    return Function(lambda x: torch.stack([(plane * x).sum((1, 2, 3)) + 2, -(plane * x).sum((1, 2, 3)) - 2], 1))


def test_gradients_of_a_linear_network_are_its_weights(linear: nn.Module, plane: Tensor) -> None:
    x, targets = pictures(4), np.array([0, 1, 0, 1])
    sign = (1 - 2 * targets)[:, None, None]
    w, product = sign * plane.sum(0).numpy(), sign * (plane * x).sum(1).numpy()
    expected = {"saliency": np.broadcast_to(w, (4, SIZE, SIZE)), "input-x-gradient": product}
    expected["integrated-gradients"] = product
    for method, maps in expected.items():
        found = attribute(linear, x, targets, how(method))
        np.testing.assert_allclose(found.maps, maps, rtol=1e-4, atol=1e-5)
        assert (found.maps.dtype, found.values.dtype) == (np.float32, np.float64)
        with torch.no_grad():
            np.testing.assert_array_equal(found.values, linear(x).numpy()[range(4), targets])
        assert np.isnan(found.residuals).all() == (method != "integrated-gradients")


@pytest.mark.parametrize(("size", "window"), [(16, 4), (16, 16), (15, 5), (17, 4), (13, 3)])
def test_occlusion_is_the_mean_loss_over_the_squares_that_cover_a_place(size: int, window: int) -> None:
    """Squares begin every half window; the last ones are cut off by the picture's right and lower edge."""
    w, x = whole(1, 1, size)[0], whole(3, 2, size)
    network = Function(lambda x: (w * x).sum((1, 2, 3))[:, None])
    found = attribute(network, x, [0, 0, 0], How("occlusion", window=window))
    product = (w * x).sum(1).numpy().astype(np.float64)
    starts = range(0, size - window + window // 2, window // 2)
    total, count = np.zeros_like(product), np.zeros((size, size))
    for top, left in itertools.product(starts, starts):
        square = np.s_[top : top + window, left : left + window]
        total[:, square[0], square[1]] += product[:, square[0], square[1]].sum(axis=(1, 2), keepdims=True)
        count[square] += 1
    assert count.min() > 0
    np.testing.assert_allclose(found.maps, total / count, rtol=1e-6)


def test_grad_cam_is_the_positive_part_of_channels_weighted_by_mean_gradients() -> None:
    torch.manual_seed(3)
    conv, head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
    network = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    x, targets = pictures(5), [0, 1, 2, 3, 1]
    found = attribute(network, x, targets, how("grad-cam", layer="0"))
    with torch.no_grad():
        # The mean over the places of the gradient of w . mean A is w / places.
        A, w = conv(x).double(), head.weight.double()[targets]
        weighted = torch.einsum("bk,bkij->bij", w, A) / (14 * 14)
    assert found.maps.shape == (5, 14, 14)
    np.testing.assert_allclose(found.maps, weighted.clamp(min=0).numpy(), rtol=1e-4, atol=1e-7)


def test_grad_cam_names_a_layer_below_the_readout() -> None:
    backbone = smooth()
    network = LinearReadout(backbone, "5", np.eye(4), np.zeros(4))
    x = pictures(3)
    for layer in ("0", "2"):
        inside, below = (attribute(each, x, [0, 1, 2], how("grad-cam", layer=layer)) for each in (network, backbone))
        np.testing.assert_allclose(inside.maps, below.maps, rtol=1e-5, atol=1e-8)
    own = LinearReadout(backbone, "2", np.random.default_rng(0).standard_normal((6 * 7 * 7, 1)), np.zeros(1))
    assert attribute(own, x, [0, 0, 0], how("grad-cam", layer="2")).maps.shape == (3, 7, 7)


# --- sides ------------------------------------------------------------------------------------------------------------


def half_blind(side: str, margin: int = 0) -> nn.Module:
    """Return a network that sees one half only, less a margin at the midline; of whole numbers, so that 0 is 0."""
    seen = torch.zeros(SIZE)
    seen[: SIZE // 2 - margin] = 1
    seen = seen if side == "left" else seen.flip(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        for parameter, values in zip(conv.parameters(), (whole(4, 7, 3), torch.tensor([1.0, 2, 0, 1])), strict=True):
            parameter.copy_(values)
    return nn.Sequential(Function(lambda x: x * seen), conv, nn.ReLU(), Function(lambda x: x.sum((1, 2, 3))[:, None]))


@pytest.mark.parametrize(("side", "expected"), [("left", -1), ("right", 1)])
@pytest.mark.parametrize("method", GRADIENTS)
def test_a_network_that_sees_one_half_is_all_on_that_side(method: str, side: str, expected: int) -> None:
    found = attribute(half_blind(side), whole(6), [0] * 6, how(method))
    np.testing.assert_array_equal(laterality_index(found.maps), expected)


@pytest.mark.parametrize(("side", "expected"), [("left", -1), ("right", 1)])
def test_occlusion_is_on_the_seen_side_but_for_squares_across_the_midline(side: str, expected: int) -> None:
    """Squares half a window apart: one begins half a window before the midline, and covers as much beyond it."""
    reach = WINDOW // 2
    apart = attribute(half_blind(side, margin=reach), whole(6), [0] * 6, how("occlusion"))
    np.testing.assert_array_equal(laterality_index(apart.maps), expected)
    maps = attribute(half_blind(side), whole(6), [0] * 6, how("occlusion")).maps
    unseen = maps[:, :, SIZE // 2 + reach :] if side == "left" else maps[:, :, : SIZE // 2 - reach]
    np.testing.assert_array_equal(unseen, 0)
    assert (expected * laterality_index(maps) > 0.6).all()


def symmetrised(method: str) -> nn.Module:
    """Return g(x) + g(mirror x), or for Grad-CAM what reads from a layer that is conv(x) + mirror conv(mirror x)."""
    torch.manual_seed(11)
    if method == "grad-cam":
        conv = nn.Conv2d(3, 6, 3, padding=1)
        layer = Function(lambda x: conv(x) + conv(x.flip(3)).flip(3))
        return nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    g = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 7 * 7, 2))
    return Function(lambda x: g(x) + g(x.flip(3)))


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_a_symmetric_networks_maps_of_mirror_images_are_mirrored(method: str) -> None:
    network, x = symmetrised(method), pictures(6)
    options = {"layer": "0"} if method == "grad-cam" else {}
    own, mirrored = (attribute(network, each, [0, 1] * 3, how(method, **options)).maps for each in (x, x.flip(3)))
    if method in ("occlusion", "grad-cam"):
        # Occlusion adds up the losses of the squares that cover a place from the left, Grad-CAM averages a channel's
        # gradient over the places: of the mirror image, in another order, which rounding tells.
        np.testing.assert_allclose(mirrored, own[:, :, ::-1], rtol=0, atol=4e-6 * np.abs(own).max())
    else:
        np.testing.assert_array_equal(mirrored, own[:, :, ::-1])
    assert np.abs(laterality_index(own)).max() > 1e-3
    np.testing.assert_allclose(pair_index(np.stack([own, mirrored], axis=1)), 0, atol=1e-6)


# --- integrated gradients ---------------------------------------------------------------------------------------------


def changes(network: nn.Module, x: Tensor, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return f(x) - f(grey), in float64."""
    exact = network.double().eval()
    with torch.no_grad():
        found = (exact(x.double()) - exact(torch.zeros_like(x).double())).numpy()[np.arange(len(x)), targets]
    network.float()
    return found


def test_integrated_gradients_add_up_to_the_change_however_few_the_steps_at_first() -> None:
    network, x, targets = kinked(), pictures(12), np.arange(12) % 4
    with torch.no_grad():
        # All of one sign, so that no change is small by chance: 1 % of almost nothing needs more steps than there are.
        network[7].weight.abs_()
    found = attribute(network, x, targets, how("integrated-gradients", n_steps=2))
    change, sums = changes(network, x, targets), found.maps.sum(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(sums, change, rtol=0.01 + 1e-3)
    assert (np.abs(found.residuals) <= COMPLETENESS).all()
    np.testing.assert_allclose(found.residuals, sums / change - 1, atol=1e-4)
    # Two steps would not have done.
    alone = IntegratedGradients(network.eval()).attribute(x, target=torch.tensor(targets), n_steps=2)
    assert (np.abs(alone.detach().sum((1, 2, 3)).numpy() / change - 1) > COMPLETENESS).any()


def test_a_number_whose_change_cannot_be_integrated_is_told() -> None:
    """A step has no gradient to integrate; pictures that are no steps beside it are as good as ever."""
    step = Function(lambda x: torch.stack([torch.sign(x.sum((1, 2, 3))), x.sum((1, 2, 3))], dim=1))
    found = attribute(step, pictures(4), [0, 1, 0, 1], how("integrated-gradients", n_steps=2))
    np.testing.assert_array_equal(found.residuals[::2], -1)
    assert (np.abs(found.residuals[1::2]) < 1e-4).all()
    np.testing.assert_array_equal(found.maps[::2], 0)
    nothing = attribute(Function(lambda x: 0 * x.sum((1, 2, 3))[:, None]), pictures(2), [0, 0], how(GRADIENTS[-1]))
    np.testing.assert_array_equal(nothing.residuals, 0)


# --- as captum, whatever the batch ------------------------------------------------------------------------------------


def one_by_one(network: nn.Module, x: Tensor, targets: list[int], method: str) -> NDArray[np.float32]:
    """Ask captum for one picture at a time, as its documentation does."""
    maps = []
    for image, target in zip(x, targets, strict=True):
        shown = image[None].clone().requires_grad_()
        if method == "grad-cam":
            found = LayerGradCam(network, network.get_submodule("2")).attribute(shown, target, relu_attributions=True)
        elif method == "saliency":
            found = Saliency(network).attribute(shown, target, abs=False)
        elif method == "input-x-gradient":
            found = InputXGradient(network).attribute(shown, target)
        elif method == "integrated-gradients":
            found = IntegratedGradients(network).attribute(shown, target=target, n_steps=50)
        else:
            windows = {"sliding_window_shapes": (3, WINDOW, WINDOW), "strides": (3, WINDOW // 2, WINDOW // 2)}
            found = Occlusion(network).attribute(shown, target=target, **windows)
        channels = found.detach()[0]
        # captum gives a square's loss to every channel in it.
        maps.append((channels[0] if method == "occlusion" else channels.sum(dim=0)).numpy())
    return np.stack(maps)


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_maps_are_captums_picture_by_picture_whatever_the_batch(method: str) -> None:
    network, x, targets = smooth(), pictures(7), [0, 1, 2, 3, 0, 1, 2]
    expected = one_by_one(network, x, targets, method)
    seen: list[tuple[int, int]] = []
    for batch in (7, 3, 1):
        settings = how(method, layer="2" if method == "grad-cam" else "")
        found = attribute(network, x, targets, settings, batch=batch, progress=lambda *each: seen.append(each))
        np.testing.assert_allclose(found.maps, expected, rtol=1e-3, atol=2e-6 * np.abs(expected).max() + 1e-7)
        with torch.no_grad():
            np.testing.assert_allclose(found.values, network(x).numpy()[range(7), targets], rtol=1e-5, atol=1e-6)
    assert seen[:4] == [(7, 7), (3, 7), (6, 7), (7, 7)]
    assert x.grad is None
    assert not x.requires_grad


@pytest.fixture
def three_threads() -> Iterator[None]:
    """So many batches are computed side by side on a CPU."""
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_batches_side_by_side_are_those_one_after_the_other(method: str) -> None:
    """Also through a readout, whose hook must follow each copy of the network, and with layers that overwrite."""
    weights = np.random.default_rng(0).standard_normal((8 * 5 * 5, 4))
    network, x, targets = LinearReadout(kinked(), "4", weights, np.ones(4)), pictures(9), np.arange(9) % 4
    settings = how(method, layer="0" if method == "grad-cam" else "", n_steps=4)
    seen: list[tuple[int, int]] = []
    found = attribute(network, x, targets, settings, batch=1, progress=lambda *each: seen.append(each))
    assert seen == [(done, 9) for done in range(1, 10)]
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    alone = attribute(network, x, targets, settings, batch=1)
    for name in ("maps", "values", "residuals"):
        np.testing.assert_allclose(getattr(found, name), getattr(alone, name), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("three_threads")
def test_noise_does_not_depend_on_how_many_threads_there_are() -> None:
    settings = how("saliency", noise_samples=4)
    found = attribute(smooth(), pictures(6), [0] * 6, settings, batch=2).maps
    torch.set_num_threads(1)
    alone = attribute(smooth(), pictures(6), [0] * 6, settings, batch=2).maps
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("three_threads")
def test_a_failure_side_by_side_is_told_and_leaves_everything_as_it_was() -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("on purpose")

    network = nn.Sequential(kinked(), Function(fail))
    with pytest.raises(RuntimeError, match="on purpose"):
        attribute(network, pictures(6), [0] * 6, how("saliency"), batch=1)
    assert torch.get_num_threads() == 3
    assert all(module.training for module in network.modules())
    assert network[0][1].inplace
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
@pytest.mark.parametrize("noise", [0, 50])
def test_no_more_versions_than_said_pass_at_a_time(method: str, noise: int) -> None:
    """Else 50 steps of 50 noisy copies of 32 large pictures would not fit into memory."""
    counts: list[int] = []
    network = nn.Sequential(Function(lambda x: counts.append(len(x)) or x), smooth())
    attribute(network, pictures(5), [0] * 5, how(method, noise_samples=noise))
    assert 5 < max(counts) <= VERSIONS_AT_A_TIME


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_noise_is_seeded(method: str) -> None:
    network, x = kinked(), pictures(4)
    options = {"layer": "3", "n_steps": 4} if method == "grad-cam" else {"n_steps": 4}

    def maps(**more: Any) -> NDArray[np.float32]:
        return attribute(network, x, [0, 1, 2, 3], how(method, noise_samples=5, **options, **more)).maps

    first = maps(seed=1)
    torch.rand(3)
    np.testing.assert_array_equal(maps(seed=1), first)
    assert np.abs(maps(seed=2) - first).max() > 0.01 * np.abs(first).max()


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_without_a_spread_noise_changes_nothing(method: str) -> None:
    network, x = smooth(), pictures(3)
    layer = {"layer": "2"} if method == "grad-cam" else {}
    plain = attribute(network, x, [0, 1, 2], how(method, **layer)).maps
    for sd, tolerance in ((0.0, 1e-5), (1e-4, 1e-2)):
        noisy = attribute(network, x, [0, 1, 2], how(method, noise_samples=3, noise_sd=sd, **layer)).maps
        np.testing.assert_allclose(noisy, plain, rtol=tolerance, atol=tolerance * np.abs(plain).max())


def test_noise_is_a_share_of_the_pictures_own_range() -> None:
    """Of x^2 the gradient is 2 (x + noise): the mean noise is told by the map, and its size by many copies."""
    x = pictures(2, size=32)
    x[0] *= 0.01
    square = Function(lambda x: (x[:, :1] ** 2).sum((1, 2, 3))[:, None])
    found = attribute(square, x, [0, 0], How("saliency", noise_samples=16, noise_sd=0.2))
    noise = (found.maps / 2 - x[:, 0].numpy()) * 4
    own = (x.amax((1, 2, 3)) - x.amin((1, 2, 3))).numpy()
    np.testing.assert_allclose(noise.std(axis=(1, 2)), 0.2 * own, rtol=0.1)


# --- left as it was ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("around", [False, True])
def test_the_network_is_left_as_it_was(around: bool, fails: bool) -> None:
    network = kinked()
    network[4].inplace = False
    network[3].weight.requires_grad_(False)
    network[6].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seen: list[bool] = []

    def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(network[1].inplace or network[0].training or network[0].weight.requires_grad)
        if fails and len(seen) > 2:
            raise RuntimeError("on purpose")

    network[5].register_forward_hook(look)
    # A readout is made in training mode around a network that usually is not.
    shown = LinearReadout(network.eval() if around else network, "7", np.eye(4), np.zeros(4)) if around else network
    modes = {module: module.training for module in shown.modules()}
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            attribute(shown, pictures(3), [0, 1, 2], how("integrated-gradients"))
    else:
        attribute(shown, pictures(3), [0, 1, 2], how("integrated-gradients"))
    assert len(seen) > 2
    assert not any(seen)
    assert [network[1].inplace, network[4].inplace] == [True, False]
    wanted = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    assert wanted == {name: name != "3.weight" for name in wanted}
    assert {module: module.training for module in shown.modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "deep-dream"}, r"(?s)no such attribution.*deep-dream.*grad-cam, saliency"),
        ({"method": "occlusion", "window": 1}, "window 1"),
        ({"method": "integrated-gradients", "n_steps": 0}, "0 steps"),
        ({"method": "saliency", "noise_samples": -1}, "-1 noisy copies"),
        ({"method": "saliency", "noise_sd": -0.1}, "cannot be attributed with these settings"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        How(**settings)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("layer", "words"), [("9", r"(?s)Got: '9'.*Expected: 0, 2"), ("5", "rows and columns")])
def test_grad_cam_at_a_layer_without_places_is_refused(layer: str, words: str, wrapped: bool) -> None:
    network: nn.Module = smooth()
    if wrapped:
        network = LinearReadout(network, "5", np.eye(4), np.zeros(4))
    with pytest.raises(SpecError, match=words):
        attribute(network, pictures(2), [0, 0], how("grad-cam", layer=layer))


def test_grad_cam_behind_the_readout_is_refused() -> None:
    network = LinearReadout(smooth(), "0", np.ones((5 * SIZE * SIZE, 1)), np.zeros(1))
    with pytest.raises(SpecError, match="does not depend on"):
        attribute(network, pictures(2), [0, 0], how("grad-cam", layer="2"))


def test_a_window_larger_than_the_pictures_is_refused() -> None:
    with pytest.raises(SpecError, match="larger than the pictures"):
        attribute(smooth(), pictures(2), [0, 0], How("occlusion", window=SIZE + 1))


@pytest.mark.parametrize(
    ("images", "targets"),
    [(pictures(3), [0, 1]), (pictures(3), [[0], [1], [2]]), (pictures(3)[0], [0]), (pictures(3)[:0], [])],
)
def test_pictures_and_targets_that_do_not_match_are_refused(images: Tensor, targets: list[int]) -> None:
    with pytest.raises(DatasetError, match="cannot be attributed"):
        attribute(smooth(), images, np.array(targets, dtype=np.int64), how("saliency"))


# --- indices ----------------------------------------------------------------------------------------------------------


def test_indices_by_hand() -> None:
    maps = np.array([[[1.0, -2, 3, 0], [0, 0, 0, -6]], [[-1, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 2], [0, 0, 1, 0]]])
    np.testing.assert_allclose(laterality_index(maps), [(9 - 3) / 12, -1, 1])
    assert laterality_index(maps[0]).shape == ()
    np.testing.assert_allclose(laterality_index(maps[:, :, ::-1]), -laterality_index(maps))
    np.testing.assert_allclose(laterality_index(maps * 1e-30), laterality_index(maps))
    assert laterality_index(maps[None].astype(np.float16)).dtype == np.float64


def test_the_middle_column_of_an_odd_width_counts_for_neither_side() -> None:
    maps = np.array([[1.0, 0, 100, 0, 3]])
    assert laterality_index(maps) == 0.5
    assert np.isnan(laterality_index(np.array([[0.0, 7, 0]])))
    assert laterality_index(np.array([[2.0, 7, 1]])) == pytest.approx(-1 / 3)


def test_an_empty_map_has_no_index_and_a_map_without_sides_is_refused() -> None:
    with np.errstate(all="raise"):
        assert np.isnan(laterality_index(np.zeros((2, 4, 4)))).all()
    for shape in ((3, 4, 1), (4,)):
        with pytest.raises(DatasetError, match="left and a right half"):
            laterality_index(np.ones(shape))
    for bad in (np.nan, np.inf):
        with pytest.raises(DatasetError, match="not finite"):
            laterality_index(np.array([[1.0, bad]]))


def test_the_index_of_a_picture_is_the_mean_of_both() -> None:
    maps = np.array([[[[1.0, 3]], [[3, 1]]], [[[0, 1]], [[1, 3]]], [[[0, 0]], [[1, 3]]]])
    np.testing.assert_allclose(pair_index(maps), [0, 0.75, NAN])


def test_the_mean_map_counts_every_map_alike() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((5, 2, 6, 8))
    found = mean_map(maps)
    assert (found.shape, found.dtype) == ((6, 8), np.float32)
    assert found.mean() == pytest.approx(1, abs=1e-6)
    loop = np.mean([np.abs(each) / np.abs(each).sum() * 48 for each in maps.reshape(-1, 6, 8)], axis=0)
    np.testing.assert_allclose(found, loop, rtol=1e-5)
    np.testing.assert_allclose(mean_map(maps * rng.uniform(0.1, 90, (5, 2, 1, 1))), found, rtol=1e-5)
    np.testing.assert_allclose(mean_map(maps[..., ::-1]), found[:, ::-1], rtol=1e-6)
    np.testing.assert_allclose(mean_map(np.concatenate([maps, np.zeros((3, 2, 6, 8))])), found, rtol=1e-6)
    assert np.isnan(mean_map(np.zeros((2, 6, 8)))).all()


# --- images: means and differences ------------------------------------------------------------------------------------


def by_hand(values: NDArray[np.float64], weights: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return mean and bias-corrected interval (Efron & Tibshirani 1993, chapter 14), one resample at a time."""
    mean = values.mean()
    means = np.array([np.repeat(values, counts.astype(int)).mean() for counts in weights if counts.sum()])
    z0 = stats.norm.ppf((means < mean - 1e-12).mean() + 0.5 * (np.abs(means - mean) <= 1e-12).mean())
    low, high = np.quantile(means, stats.norm.cdf(2 * z0 + stats.norm.ppf([0.025, 0.975])))
    return float(mean), float(low), float(high)


def test_a_mean_has_the_interval_of_its_resamples() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=25)
    weights = bootstrap_weights(25, 999, seed=3)
    found = mean_estimate(values, weights)
    assert (found.value, found.low, found.high) == pytest.approx(by_hand(values, weights), abs=1e-9)
    assert found.low < found.value < found.high
    assert np.isnan(found.p)
    assert found.n == 25


def test_images_without_an_index_are_left_out() -> None:
    values, other = np.random.default_rng(1).standard_normal((2, 12))
    weights = bootstrap_weights(12, 500, seed=0)
    known = np.arange(12) % 4 != 1
    gaps = np.where(known, values, np.nan)
    found = mean_estimate(gaps, weights)
    assert (found.value, found.low, found.high) == pytest.approx(by_hand(values[known], weights[:, known]), abs=1e-9)
    assert found.n == 9
    paired = paired_estimate(gaps, other, weights)
    assert paired == paired_estimate(gaps, np.where(known, other, 77), weights)
    assert (paired.n, paired.value) == (9, pytest.approx((values - other)[known].mean()))
    nothing = mean_estimate(np.full(12, np.nan), weights)
    assert np.isnan([nothing.value, nothing.low, nothing.high, nothing.p]).all()
    assert nothing.n == paired_estimate(gaps, np.full(12, np.nan), weights).n == 0


def every_flip(sums: NDArray[np.float64]) -> float:
    """Return the exact share of all sign flips whose sum is as far from 0."""
    flips = np.array(list(itertools.product([-1, 1], repeat=len(sums))))
    return float((np.abs(flips @ sums) >= abs(sums.sum()) - 1e-12).mean())


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.9])
def test_p_is_that_of_every_flip(shift: float) -> None:
    rng = np.random.default_rng(8)
    a, b = rng.standard_normal((2, 10))
    a += shift
    exact = every_flip(a - b)
    scipys = stats.permutation_test((a, b), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=1024)
    assert exact == pytest.approx(scipys.pvalue)
    found = paired_estimate(a, b, bootstrap_weights(10, 100, 0), n_permutations=20_000, seed=1)
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_a_difference_of_nothing_is_no_finding() -> None:
    """Each sum is 0 but for rounding, which depends on the order of addition."""
    weights = bootstrap_weights(3, 100, 0)
    for difference in ([0.1, 0.2, -0.3], [0.7, -0.1, -0.6], [0.0, 0.0, 0.0]):
        assert paired_estimate(difference, np.zeros(3), weights, n_permutations=999).p == 1


def test_two_models_swapped_negate_the_difference() -> None:
    a, b = np.random.default_rng(2).gamma(2.0, size=(2, 30))
    weights = bootstrap_weights(30, 1000, 0)
    one, other = paired_estimate(a, b, weights), paired_estimate(b, a, weights)
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low), abs=1e-9)
    assert one.p == other.p
    assert (one.value, one.low, one.high) == pytest.approx(by_hand(a - b, weights), abs=1e-9)


def test_equal_pictures_are_flipped_together() -> None:
    rng = np.random.default_rng(4)
    single = rng.standard_normal(8) + 0.6
    groups = np.repeat([5, 3, 9, 1, 0, 7, 2, 11], 4)
    difference = np.repeat(single, 4)
    weights = bootstrap_weights(32, 100, 0, groups)
    found = paired_estimate(difference, np.zeros(32), weights, groups=groups, n_permutations=20_000)
    exact = every_flip(single)
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)
    apart = paired_estimate(difference, np.zeros(32), weights, n_permutations=20_000)
    assert apart.p < found.p / 4, "four times the same picture is no stronger evidence"
    gaps = np.where(np.arange(32) < 4, np.nan, difference)
    found = paired_estimate(gaps, np.zeros(32), weights, groups=groups, n_permutations=20_000)
    exact = every_flip(single[1:])
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_models_that_do_not_differ_are_told_apart_as_often_as_promised() -> None:
    """Skewed values, of unlike spread in both models: exchangeable, and nothing else."""
    rng, n_simulations = np.random.default_rng(5), 600
    weights = bootstrap_weights(15, 2, 0)
    p = [
        paired_estimate(*(rng.gamma(1.0, size=15) for _ in range(2)), weights, n_permutations=199, seed=seed).p
        for seed in range(n_simulations)
    ]
    for level in (0.05, 0.2):
        low, high = stats.binom.ppf([0.001, 0.999], n_simulations, level)
        assert low <= np.sum(np.array(p) <= level) <= high


# --- subjects ---------------------------------------------------------------------------------------------------------


def estimate(value: float, sd: float) -> Estimate:
    return Estimate(value, value - 1.959964 * sd, value + 1.959964 * sd, NAN, 50)


def paule_mandel(values: NDArray[np.float64], variances: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return mean, interval (Knapp and Hartung's) and variance between subjects: Q(tau^2) = k - 1 by bisection."""
    k = len(values)

    def mean_and_q(tau2: float) -> tuple[float, float, NDArray[np.float64]]:
        w = 1 / (variances + tau2)
        mean = float((w * values).sum() / w.sum())
        return mean, float((w * (values - mean) ** 2).sum()), w

    low, high = 0.0, 100 * float(values.var() + variances.max())
    if mean_and_q(0.0)[1] <= k - 1:
        high = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_and_q(middle)[1] > k - 1 else (low, middle)
    mean, q, w = mean_and_q(high)
    reach = stats.t.ppf(0.975, k - 1) * np.sqrt(max(1, q / (k - 1)) / w.sum())
    return mean, mean - reach, mean + reach, high


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("k", [2, 3, 8])
def test_over_subjects_is_paule_mandels_model(k: int, spread: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng([k, seed])
        sd = rng.uniform(0.01, 0.1, k)
        values = 0.2 + spread * rng.standard_normal(k) + sd * rng.standard_normal(k)
        found = over_subjects([estimate(*each) for each in zip(values, sd, strict=True)])
        mean, low, high, tau2 = paule_mandel(values, sd**2)
        assert (found.value, found.low, found.high) == pytest.approx((mean, low, high), abs=1e-5)
        assert found.between == pytest.approx(np.sqrt(tau2), abs=1e-5)
        assert found.n == k


@pytest.mark.parametrize("sd", [1e-3, 0.05, 10.0])
def test_equally_certain_subjects_have_the_plain_t_interval(sd: float) -> None:
    values = np.array([0.1, 0.3, -0.2, 0.25, 0.4, 0.0])
    found = over_subjects([estimate(value, sd) for value in values])
    # Subjects that agree better than their own uncertainty allows have the interval of that.
    spread = max(values.std(ddof=1), sd)
    low, high = stats.t.interval(0.95, 5, values.mean(), spread / np.sqrt(6))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=1e-6)
    assert found.between == pytest.approx(np.sqrt(max(values.var(ddof=1) - sd**2, 0)), abs=1e-6)


def test_intervals_of_no_length_do_not_take_all_the_weight() -> None:
    values = np.array([-1.0, 1.0, 0.3])
    found = over_subjects([estimate(value, 0.0) for value in values])
    assert (found.value, found.between) == pytest.approx((0.1, values.std(ddof=1)), abs=1e-6)
    mixed = over_subjects([estimate(-1.0, 0.0), estimate(0.3, 0.05), estimate(0.5, 0.1)])
    mean, low, high, _ = paule_mandel(np.array([-1, 0.3, 0.5]), np.array([1e-12, 0.0025, 0.01]))
    assert (mixed.value, mixed.low, mixed.high) == pytest.approx((mean, low, high), abs=1e-5)


def test_one_subject_has_no_interval_over_subjects() -> None:
    unknown = Estimate(NAN, NAN, NAN, NAN, 0)
    for estimates in ([estimate(0.3, 0.1)], [unknown, estimate(0.3, 0.1)]):
        found = over_subjects(estimates)
        assert (found.value, found.n) == (0.3, 1)
        assert np.isnan([found.low, found.high, found.between]).all()
    assert over_subjects([unknown]).n == over_subjects([]).n == 0
    assert np.isnan(over_subjects([]).value)
    three = [estimate(0.1, 0.1), estimate(0.5, 0.02), estimate(0.2, 0.05)]
    assert over_subjects([three[0], unknown, *three[1:]]) == over_subjects(three)


def test_the_methods_named_are_the_methods_there_are() -> None:
    assert all(f"``{method}``" in (attribution.__doc__ or "") for method in ATTRIBUTIONS)

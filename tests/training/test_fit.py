"""The loop against a plain PyTorch loop, cached gradients against full-batch ones, repeatability, planted truth."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainviz.errors import DatasetError, SpecError
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from brainviz.models.contrastive import ContrastiveNetwork
from brainviz.training import fit as fit_module
from brainviz.training.batches import DeviceImages
from brainviz.training.fit import (
    ContrastiveObjective,
    batches,
    fit,
    gradient_step,
    micro_batch_size,
    set_training,
)
from brainviz.training.losses import contrastive_loss
from brainviz.training.retrieval import retrieval_top1

SIZE, VERTICES, LOGITS = 16, 20, 12


class AlexNetLike(nn.Module):
    """Convolutions, poolings, dropout and linear layers."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 8, 3), nn.ReLU()
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(200, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, LOGITS)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.classifier(self.features(pictures).flatten(1))


class ResNetLike(nn.Module):
    """Convolutions with batch normalisation, whose statistics are not those of the pictures, and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.fc = nn.Linear(8, LOGITS)
        for norm in (self.stem[1], self.block[1]):
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.stem(pictures)
        return self.fc((x + self.block(x)).relu().mean(dim=(2, 3)))


def contrastive(backbone: nn.Module) -> ContrastiveNetwork:
    return ContrastiveNetwork(backbone, LOGITS, VERTICES, hidden=16, embedding=6, seed=1)


def make(kind: type[nn.Module], *args: Any) -> ContrastiveNetwork:
    torch.manual_seed(0)
    return contrastive(kind(*args))


def planted(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Make n pictures, and responses that follow the colours of their quarters (12 numbers in all), plus noise."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (n, 2, 2, 3))
    pictures = colours.repeat(SIZE // 2, axis=1).repeat(SIZE // 2, axis=2).astype(np.uint8)
    tuned = (colours.reshape(n, 12) / 128 - 1) @ rng.standard_normal((12, VERTICES))
    return pictures, (tuned + 0.1 * rng.standard_normal(tuned.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return planted(80)


def on_device(data: tuple[np.ndarray, np.ndarray], n: int) -> tuple[DeviceImages, Tensor]:
    pictures, responses = data
    return DeviceImages(pictures, np.arange(n), "cpu", IMAGENET_MEAN, IMAGENET_STD), torch.from_numpy(responses[:n])


def assert_same_gradients(got: nn.Module, expected: nn.Module, rounding: float) -> None:
    """Equal to `rounding`, in units of the largest gradient: some gradients are sums whose terms cancel."""
    unit = max(parameter.grad.abs().max().item() for parameter in expected.parameters())
    for one, other in zip(got.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=rounding, atol=rounding * unit)


# --- gradient caching -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("backbone", [(AlexNetLike, 0.0), (ResNetLike,)], ids=["alexnet", "batch norm"])
@pytest.mark.parametrize("variant", ["paper", "poster", "symmetric"])
@pytest.mark.parametrize("micro", [1, 5, 8])
def test_cached_gradients_equal_those_of_the_plain_full_batch(data, backbone, variant, micro, dtype, rounding) -> None:
    images, responses = on_device(data, 20)
    images._scale, images._shift = images._scale.to(dtype), images._shift.to(dtype)
    index = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    cached, plain = make(*backbone).to(dtype), make(*backbone).to(dtype)
    set_training(cached)
    set_training(plain)
    responses = responses.to(dtype)
    loss = gradient_step(cached, ContrastiveObjective(cached, 0.3, variant), images, responses, index, micro)
    z_brain, z_image = plain(images.batch(index), responses[index])
    expected = contrastive_loss(z_brain, z_image, 0.3, variant)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=rounding, atol=rounding)
    assert_same_gradients(cached, plain, rounding)


@pytest.mark.parametrize("micro", [1, 7, 10])
def test_cached_gradients_with_dropout_equal_one_graph_with_the_same_masks(data, micro: int) -> None:
    """The reference keeps the graph of every micro-batch and propagates back once: no caching, no replay."""
    images, responses = on_device(data, 20)
    index = torch.arange(20)
    cached, plain = make(AlexNetLike), make(AlexNetLike)
    set_training(cached)
    set_training(plain)
    torch.manual_seed(5)
    loss = gradient_step(cached, ContrastiveObjective(cached), images, responses, index, micro)
    next_number = torch.rand(1)

    torch.manual_seed(5)
    logits = torch.cat([plain.backbone(images.batch(part)) for part in index.split(micro)])
    expected = contrastive_loss(plain.embed_brain(responses), plain.embed_image(logits))
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=1e-6)
    assert_same_gradients(cached, plain, 2e-5)
    assert torch.equal(next_number, torch.rand(1)), "the random numbers after a step do not go on from its last mask"
    assert not torch.equal(plain.backbone(images.batch(index)), plain.backbone(images.batch(index))), "dropout was off"


def test_how_a_batch_is_divided_leaves_the_running_statistics_alone(data) -> None:
    """The heads see the full batch once; the backbone's batch norm keeps its pre-trained statistics."""
    images, responses = on_device(data, 20)
    before = make(ResNetLike).state_dict()
    after = {}
    for size in (4, 20):
        network = make(ResNetLike)
        set_training(network)
        gradient_step(network, ContrastiveObjective(network), images, responses, torch.arange(20), size)
        after[size] = network.state_dict()
    for name in before:
        if "running" in name:
            torch.testing.assert_close(after[4][name], after[20][name], rtol=1e-5, atol=1e-6)
            assert torch.equal(after[4][name], before[name]) == name.startswith("backbone.")


def test_micro_batches_follow_from_what_autograd_keeps() -> None:
    """Flatten and Linear keep their input, 3 s^2 floats: with twice the largest, 36 s^2 bytes per picture."""
    network = nn.Module()
    network.backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 500))
    images = DeviceImages(np.zeros((2, SIZE, SIZE, 3), np.uint8), np.arange(2), "cpu", IMAGENET_MEAN, IMAGENET_STD)
    assert micro_batch_size(network, images, 36 * SIZE**2 * 7 + 1) == 7
    assert micro_batch_size(network, images, 1) == 1


def test_estimating_the_micro_batch_draws_no_random_numbers(data) -> None:
    images, _ = on_device(data, 2)
    network = make(AlexNetLike)
    before = torch.get_rng_state()
    micro_batch_size(network, images, 10**6)
    assert torch.equal(torch.get_rng_state(), before)


# --- the loop ---------------------------------------------------------------------------------------------------------


def run(data, network: ContrastiveNetwork, n: int = 64, **settings: Any):
    events: list[dict[str, Any]] = []
    pictures, responses = data
    result = fit(
        network,
        ContrastiveObjective(network),
        pictures,
        responses,
        np.arange(n),
        np.arange(n, 80) if n < 80 else None,
        **{"epochs": 2, "batch_size": 32, "learning_rate": 1e-3, "report": events.append} | settings,
    )
    return result, events


def test_equals_a_plain_loop(data) -> None:
    """Adam, the order of a seeded permutation, dropout from the global generator: nothing else."""
    network, plain = make(AlexNetLike), make(AlexNetLike)
    result, _ = run(data, network, n=70, seed=3)

    images, responses = on_device(data, 70)
    torch.manual_seed(3)
    order = torch.Generator().manual_seed(3)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-3)
    for _ in range(2):
        total = 0.0
        for index in torch.randperm(70, generator=order).split(32):
            adam.zero_grad()
            loss = contrastive_loss(*plain.train()(images.batch(index).contiguous(), responses[index]))
            loss.backward()
            adam.step()
            total += loss.item() * len(index)
    assert result.loss == pytest.approx(total / 70, rel=1e-4)
    cancelled = {"backbone.classifier.4.bias", "g_H.linear_1.bias", "g_H.linear_2.bias"}
    for (name, got), expected in zip(network.named_parameters(), plain.parameters(), strict=True):
        if name not in cancelled:  # by batch norm: their gradient is rounding error, which Adam scales up to full steps
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5, msg=name)


def test_the_same_seed_gives_the_same_bits(data) -> None:
    networks = [make(AlexNetLike) for _ in range(4)]
    outcomes = [run(data, networks[0], seed=1), run(data, networks[1], seed=1), run(data, networks[2], seed=2)]
    torch.rand(17)  # what else draws random numbers in this process does not matter
    outcomes.append(run(data, networks[3], seed=1, activation_bytes=100_000))
    states = [network.state_dict() for network in networks]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert outcomes[0][0].loss == outcomes[1][0].loss
    assert not torch.equal(states[0]["g_A.weight"], states[2]["g_A.weight"])


def test_divided_batches_are_repeatable_too(data) -> None:
    networks = [make(AlexNetLike), make(AlexNetLike)]
    results = [run(data, network, activation_bytes=100_000)[0] for network in networks]
    assert results[0].micro_batch_size < 32
    states = [network.state_dict() for network in networks]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_recovers_planted_responses() -> None:
    """Pictures never fitted are found from their responses far more often than by chance, 1/32; not when shuffled."""
    pictures, responses = planted(432)
    shuffled = responses[np.random.default_rng(1).permutation(432)]
    accuracy, losses = {}, {}
    for name, paired in {"own": responses, "shuffled": shuffled}.items():
        network, losses[name] = make(AlexNetLike, 0.0), []
        result = fit(
            network, ContrastiveObjective(network), pictures, paired, np.arange(400), np.arange(400, 432),
            epochs=20, batch_size=64, learning_rate=3e-3, report=lambda event, n=name: losses[n].append(event["loss"]),
        )  # fmt: skip
        accuracy[name] = result.monitored["retrieval_top1"]
    assert losses["own"][-1] < 0.6 * losses["own"][0]
    assert accuracy["own"] > 0.5
    assert accuracy["shuffled"] < 0.2


def test_events_tell_every_epoch(data) -> None:
    result, events = run(data, make(AlexNetLike), epochs=3)
    assert [event["epoch"] for event in events] == [1, 2, 3]
    keys = {"epoch", "epochs", "loss", "retrieval_top1", "images_per_second", "seconds"}
    assert all(event.keys() == keys and event["epochs"] == 3 for event in events)
    assert [event["seconds"] for event in events] == sorted(event["seconds"] for event in events)
    assert (result.loss, result.monitored["retrieval_top1"]) == (events[-1]["loss"], events[-1]["retrieval_top1"])
    assert result.images_per_second > 0


def test_watching_uses_eval_mode_and_touches_nothing(data) -> None:
    watched, unwatched = make(AlexNetLike), make(AlexNetLike)
    result, _ = run(data, watched)
    pictures, responses = data
    fit(
        unwatched,
        ContrastiveObjective(unwatched),
        pictures,
        responses,
        np.arange(64),
        epochs=2,
        batch_size=32,
        learning_rate=1e-3,
    )
    assert all(torch.equal(one, other) for one, other in zip(watched.parameters(), unwatched.parameters(), strict=True))
    assert not watched.training
    images = DeviceImages(pictures, np.arange(64, 80), "cpu", IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        z_brain, z_image = watched(images.batch(torch.arange(16)), torch.from_numpy(responses[64:]))
    assert result.monitored["retrieval_top1"] == retrieval_top1(z_brain, z_image)


def test_without_validation_rows_the_figure_is_none(data) -> None:
    result, events = run(data, make(AlexNetLike), n=80, epochs=1)
    assert result.monitored == {"retrieval_top1": None}
    assert events[-1]["retrieval_top1"] is None


def test_the_batch_size_falls_to_the_pictures_with_a_word(data) -> None:
    result, events = run(data, make(AlexNetLike), batch_size=1024)
    assert result.batch_size == 64
    assert events[0] == {"note": "The batch size falls from 1024 to 64, the number of pictures to fit."}


def test_batches_are_divided_evenly_with_a_word(data) -> None:
    network = make(AlexNetLike)
    images, _ = on_device(data, 2)
    per_picture = 10**9 // micro_batch_size(network, images, 10**9)
    result, events = run(data, network, batch_size=64, activation_bytes=40 * per_picture)
    assert result.micro_batch_size == 32
    assert "32 pictures at a time" in events[0]["note"]


def test_every_picture_is_visited_once_and_a_last_one_alone_is_dropped() -> None:
    generator = torch.Generator().manual_seed(0)
    epochs = [[index.tolist() for index in batches(9, 4, generator)] for _ in range(2)]
    assert [len(index) for index in epochs[0]] == [4, 4]
    assert len({number for index in epochs[0] for number in index}) == 8
    assert epochs[0] != epochs[1]
    assert [len(index) for index in batches(10, 4, generator)] == [4, 4, 2]


def test_batch_norm_of_the_backbone_keeps_its_statistics_and_trains_its_scale(data) -> None:
    network = make(ResNetLike)
    before = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
    run(data, network)
    after = network.backbone.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == ("running" in name or "num_batches" in name), name


def test_torchs_global_state_is_left_as_it_was(data) -> None:
    network = make(AlexNetLike)
    before = torch.get_rng_state()
    run(data, network)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_objectives_use_the_same_loop(data) -> None:
    """Regression: a linear read-out of the logits with squared error."""

    class Regression:
        figures: ClassVar[tuple[str, ...]] = ("error",)

        def __init__(self, network: nn.Module) -> None:
            self.network = network

        def loss(self, logits: Tensor, responses: Tensor) -> Tensor:
            return nn.functional.mse_loss(self.network.readout(logits), responses)

        def monitor(self, logits: Tensor, responses: Tensor) -> dict[str, float | None]:
            return {"error": self.loss(logits, responses).item()}

    torch.manual_seed(0)
    network = nn.Module()
    network.backbone, network.readout = AlexNetLike(0.0), nn.Linear(LOGITS, VERTICES)
    pictures, responses = data
    errors: list[float] = []
    fit(
        network, Regression(network), pictures, responses, np.arange(64), np.arange(64, 80),
        epochs=30, batch_size=32, learning_rate=3e-3, report=lambda event: errors.append(event["error"]),
    )  # fmt: skip
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fits_on_cuda_in_mixed_precision(data) -> None:
    network = make(AlexNetLike, 0.0)
    result, _ = run(data, network, epochs=60, learning_rate=3e-3, device="cuda", activation_bytes=100_000)
    assert result.micro_batch_size < 32
    assert result.monitored["retrieval_top1"] > 0.4
    assert all(parameter.dtype == torch.float32 and parameter.is_cuda for parameter in network.parameters())


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_responses_that_are_no_numbers_are_refused(data, value: float) -> None:
    pictures, responses = data
    broken = responses.copy()
    broken[3, 7] = broken[5, 7] = value
    with pytest.raises(DatasetError, match=r"2 values, in 1 of 20 vertices"):
        run((pictures, broken), make(AlexNetLike))
    broken[3, 7] = broken[5, 7] = 0
    broken[79] = np.nan  # neither fitted nor watched
    fit(make(AlexNetLike), ContrastiveObjective(make(AlexNetLike)), pictures, broken, np.arange(4), epochs=1)


@pytest.mark.parametrize(
    ("rows", "settings", "error", "word"),
    [
        (np.arange(1), {}, DatasetError, "too few"),
        (np.arange(70, 90), {}, DatasetError, "rows 70 to 89"),
        (np.arange(-1, 5), {}, DatasetError, "rows -1"),
        (np.arange(10), {"validation_rows": np.arange(9, 12)}, SpecError, "disjoint"),
        (np.arange(10), {"epochs": 0}, SpecError, "out of range"),
        (np.arange(10), {"batch_size": 1}, SpecError, "out of range"),
        (np.arange(10), {"learning_rate": 0.0}, SpecError, "out of range"),
    ],
)
def test_impossible_requests_are_refused(data, rows, settings, error, word) -> None:
    network = make(AlexNetLike)
    with pytest.raises(error, match=word):
        fit(network, ContrastiveObjective(network), *data, rows, **settings)


def test_responses_must_match_the_pictures(data) -> None:
    network = make(AlexNetLike)
    with pytest.raises(DatasetError, match="do not match"):
        fit(network, ContrastiveObjective(network), data[0][:50], data[1], np.arange(10))


def test_a_loss_that_is_no_number_stops_the_fit(data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "contrastive_loss", lambda z, *_: z.sum() * torch.nan)
    with pytest.raises(SpecError, match="diverged"):
        run(data, make(AlexNetLike))

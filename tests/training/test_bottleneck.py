"""Fitting bottleneck networks: the same as a plain loop; one stage after the other; planted mappings are found."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from timm.optim.lion import Lion

from brainviz.encoding.metrics import pearson_r
from brainviz.errors import DatasetError, SpecError
from brainviz.models.bottleneck import Bottleneck, draw_noise, racing_loss
from brainviz.training import bottleneck as training
from brainviz.training.bottleneck import SubjectData, fit_bottleneck, noise_seed, predict
from brainviz.training.streams import streams

QUICK = {"width": 24, "epochs": 2, "batch_size": 16, "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products as small as these gain nothing by threads, which wait for each other where others use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planted(
    n: int, validation, *, seed: int, kind: str = "linear", p: int = 12, k: int = 6, noise: float = 0.5
) -> SubjectData:
    """Features, and targets that follow them; the mapping does not depend on the seed."""
    rng, mapping = np.random.default_rng(seed), np.random.default_rng(99)
    first, second = mapping.standard_normal((p, 40)) / p**0.5, mapping.standard_normal((40, 2 * k)) / 40**0.5
    x = rng.standard_normal((n, p)).astype(np.float32)
    # |x| of a symmetric x is not correlated with it: a linear layer finds nothing of it.
    hidden = x @ first if kind == "linear" else (np.abs(x @ first) - math.sqrt(2 / math.pi)) / 0.6
    y = (hidden @ second + noise * rng.standard_normal((n, 2 * k))).astype(np.float32)
    y *= np.linspace(2, 0.5, 2 * k, dtype=np.float32)
    return SubjectData(x, y[:, :k], y[:, k:], y.var(axis=0), np.asarray(validation))


def few(n: int = 40, validation=range(8), seed: int = 0) -> SubjectData:
    return planted(n, validation, seed=seed, p=5, k=3)


def both(data: SubjectData) -> np.ndarray:
    return np.hstack([data.left, data.right])


def same_weights(first: Bottleneck, second: Bottleneck) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def cosine(predicted: np.ndarray, measured: np.ndarray) -> float:
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(measured, axis=1)
    return float(((predicted * measured).sum(axis=1) / lengths).mean())


def held_out_cosine(network: Bottleneck, data: SubjectData) -> float:
    left, right = predict(network, data.features, data.eigenvalues)
    return (cosine(left, data.left) + cosine(right, data.right)) / 2


def slow_lion(weight, gradient, momentum, rate, decay):
    """Chen et al. 2023, algorithm 2, one number at a time."""
    update = 0.9 * momentum + (1 - 0.9) * gradient
    sign = (update > 0) * 1.0 - (update < 0) * 1.0
    return weight - rate * (sign + decay * weight), 0.99 * momentum + (1 - 0.99) * gradient


def test_lion_against_a_slow_restatement() -> None:
    """The library's, as the fit takes it."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape) for shape in ((3, 4), (5,))]
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    lion = Lion(parameters, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    momenta = [np.zeros_like(w) for w in weights]
    for _ in range(8):
        gradients = [rng.standard_normal(w.shape) for w in weights]
        gradients[0][0, 0] = 0  # no sign: only the weight decay moves it
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        lion.step()
        for i, gradient in enumerate(gradients):
            for index in np.ndindex(*gradient.shape):
                weights[i][index], momenta[i][index] = slow_lion(
                    weights[i][index], gradient[index], momenta[i][index], 0.01, 0.1
                )
            np.testing.assert_allclose(parameters[i].detach(), weights[i], rtol=1e-12)


def plain_loop(data: SubjectData, seed: int, batch_size: int, rate: float, decay: float) -> Bottleneck:
    """Train for one epoch the usual way."""
    rows = [i for i in range(len(data.features)) if i not in set(data.validation.tolist())]
    x, left, right = (torch.from_numpy(values[rows]) for values in (data.features, data.left, data.right))
    y, scale = torch.cat([left, right], dim=1), torch.from_numpy(data.eigenvalues)
    seeds = streams(seed, 1)
    network = Bottleneck(x.shape[1], left.shape[1], width=24, seed=seeds.weights)
    order, draws = (torch.Generator().manual_seed(one) for one in (seeds.order, seeds.draws))
    momenta = [torch.zeros_like(p) for p in network.parameters()]
    parts = torch.randperm(len(x), generator=order).tensor_split(math.ceil(len(x) / batch_size))
    for number in torch.randperm(len(parts), generator=order).tolist():
        part = parts[number]
        noise = draw_noise(len(part), scale, draws)
        predicted = network(x[part], y[part], noise, draws)
        loss = racing_loss(predicted[0], left[part], predicted[1], right[part])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(network.parameters(), gradients, strict=True)):
                new, momenta[i] = slow_lion(p, g, momenta[i], rate, decay)
                p.copy_(new)
    return network


def test_equals_a_plain_loop() -> None:
    """One epoch, so that there is no other to keep; 33 training pictures make three batches of 11."""
    data = few(validation=range(0, 35, 5))
    fit = fit_bottleneck([data], **QUICK | {"epochs": 1, "weight_decay": 0.1}, seed=4)
    plain = plain_loop(data, 4, 16, 1e-3, 0.1).state_dict()
    assert fit.network.state_dict().keys() == plain.keys()
    for name, value in fit.network.state_dict().items():
        torch.testing.assert_close(value, plain[name], atol=1e-6, rtol=0)
    assert not fit.network.training
    (losses,) = fit.curves.loss
    assert losses == pytest.approx(-min(fit.curves.s_left[0], fit.curves.s_right[0]), abs=0.5)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("cosine", lambda predicted, y: -np.mean([cosine(p, t) for p, t in zip(predicted, y, strict=True)])),
        ("mse", lambda predicted, y: np.mean((np.hstack(predicted) - np.hstack(y)) ** 2)),
    ],
)
def test_other_losses(loss: str, formula) -> None:
    """With next to no learning, one batch and no dropout, the loss is that of the initial weights."""
    data = few(validation=range(10))
    settings = QUICK | {"learning_rate": 1e-12, "batch_size": 99, "dropout": 0.0}
    fit = fit_bottleneck([data], loss=loss, leak=False, **settings)
    predicted = predict(fit.network, data.features[10:])
    y = [data.left[10:], data.right[10:]]
    np.testing.assert_allclose(fit.curves.loss, formula(predicted, y), rtol=1e-5)
    np.testing.assert_allclose(fit.curves.s_left, cosine(predicted[0], y[0]), rtol=1e-4)
    np.testing.assert_allclose(fit.curves.s_right, cosine(predicted[1], y[1]), rtol=1e-4)


def test_the_same_arguments_give_the_same_weights() -> None:
    data = [few(seed=s) for s in range(2)]
    before = torch.get_rng_state()
    first, second = (fit_bottleneck(data, **QUICK) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(first.network, second.network)
    np.testing.assert_array_equal(first.curves.subject_r, second.curves.subject_r)
    for other in ({"seed": 1}, {"stage": 0}):
        assert not torch.allclose(first.network.left.weight, fit_bottleneck(data, **QUICK, **other).network.left.weight)


@pytest.mark.parametrize("n_subjects", [1, 2])
def test_validation_pictures_are_not_trained_on(n_subjects: int) -> None:
    """Not the responses, not the features, of no subject; and the order of the rows' numbers plays no part."""
    data, rows = few(validation=[3, 30, 17, 8]), [3, 30, 17, 8]
    left, features = data.left.copy(), data.features.copy()
    rng = np.random.default_rng(1)
    left[rows], features[rows] = rng.standard_normal((4, 3)), rng.standard_normal((4, 5))
    others = [few(seed=1)] * (n_subjects - 1)
    first, *fits = (
        fit_bottleneck([one, *others], **QUICK | {"epochs": 1})
        for one in (data, replace(data, left=left), replace(data, features=features))
    )
    for fit in fits:
        assert same_weights(first.network, fit.network)
        assert first.curves.subject_r[0, 0] != fit.curves.subject_r[0, 0]
        np.testing.assert_array_equal(first.curves.subject_r[0, 1:], fit.curves.subject_r[0, 1:])


@pytest.mark.parametrize("noise", [True, False])
def test_the_best_epoch_is_kept(noise: bool) -> None:
    """Few pictures and long steps: the network learns them by heart, and validation r falls in the end."""
    data = planted(100, range(60), seed=0, noise=1.5)
    settings = {"width": 64, "epochs": 20, "batch_size": 32, "learning_rate": 1e-2}
    fit = fit_bottleneck([data], **settings, validation_noise=noise)
    r = fit.curves.validation_r
    assert fit.curves.best == np.argmax(r)
    assert r[-1] < r[fit.curves.best] - 0.02
    seed = noise_seed(0, 1, 0) if noise else None
    predicted = np.hstack(predict(fit.network, data.features[:60], data.eigenvalues, noise_seed=seed))
    assert pearson_r(predicted, both(data)[:60]).mean() == pytest.approx(r[fit.curves.best], abs=1e-5)


def test_several_subjects_best_epoch_is_of_their_mean() -> None:
    data = [
        planted(n, range(rows), seed=s, kind="nonlinear", noise=1.0)
        for s, (n, rows) in enumerate([(130, 50), (90, 40)])
    ]
    settings = {"width": 64, "epochs": 8, "learning_rate": 5e-3, "alpha": 0.3}
    curves, network = (fit := fit_bottleneck(data, **settings, stage=0)).curves, fit.network
    assert curves.subject_r.shape == (8, 2)
    assert curves.best == np.argmax(curves.subject_r.mean(axis=1))
    for s, one in enumerate(data):
        rows = one.validation
        found = [
            pearson_r(
                np.hstack(predict(network, one.features[rows], one.eigenvalues, noise_seed=seed)), both(one)[rows]
            )
            for seed in (noise_seed(0, 0, s), noise_seed(0, 0, 1 - s))
        ]
        assert found[0].mean() == pytest.approx(curves.subject_r[curves.best, s], abs=1e-5)
        assert found[1].mean() != pytest.approx(curves.subject_r[curves.best, s], abs=1e-5)


def test_a_subjects_validation_noise_does_not_depend_on_how_many_others_there_are() -> None:
    """With no steps to speak of, r is that of the initial weights, which the stage alone decides."""
    data = [few(seed=s) for s in range(3)]
    settings = QUICK | {"learning_rate": 1e-12, "alpha": 0.5}
    r = [fit_bottleneck(data[:n], **settings).curves.subject_r[0] for n in (1, 2, 3)]
    np.testing.assert_allclose(r[2][:2], r[1], atol=1e-6)
    np.testing.assert_allclose(r[2][:1], r[0], atol=1e-6)
    twice = fit_bottleneck(data[:1] * 2, **settings).curves.subject_r[0]
    assert abs(twice[0] - twice[1]) > 1e-3


def test_training_begins_with_the_initial_network() -> None:
    """With no steps to speak of, it stays there; with steps, the initial network itself does not move."""
    data = few()
    initial = fit_bottleneck([data, few(seed=1)], **QUICK, stage=0).network.train()
    before = copy.deepcopy(initial)
    still = fit_bottleneck([data], initial=initial, **QUICK | {"learning_rate": 1e-12}).network
    for name, value in still.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name], atol=1e-9, rtol=0)
    moved = fit_bottleneck([data], initial=initial, **QUICK).network
    assert not torch.allclose(moved.left.weight, before.left.weight)
    assert same_weights(initial, before)
    assert initial.training
    assert all(parameter.grad is None for parameter in initial.parameters())
    new = fit_bottleneck([data], **QUICK | {"learning_rate": 1e-12}, seed=3).network
    begin = Bottleneck(5, 3, width=24, seed=streams(3, 1).weights)
    torch.testing.assert_close(new.residual.weight, begin.residual.weight, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 32}, "Got: width 24\nExpected: width 32"),
        ({"dropout": 0.1}, "dropout 0.2"),
        ({"alpha": 0.1, "beta": 0.1}, r"alpha 0\.02, beta 0\.002"),
        ({"leak": False}, "leak True"),
        ({"linear": True}, "linear False, leak True"),
    ],
)
def test_an_initial_network_that_is_not_as_asked_for_is_refused(settings, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        fit_bottleneck([few()], initial=Bottleneck(5, 3, width=24), **QUICK | settings)


def test_an_initial_network_of_other_sizes_is_refused() -> None:
    for sizes, message in (((6, 3), "features 6"), ((5, 4), "components 4")):
        with pytest.raises(SpecError, match=message):
            fit_bottleneck([few()], initial=Bottleneck(*sizes, width=24), **QUICK)
    linear = Bottleneck(5, 3, linear=True)  # has no width, and so none that could be wrong
    fit_bottleneck([few()], initial=linear, linear=True, **QUICK)
    with pytest.raises(SpecError, match=r"linear True, leak False[\s\S]*linear False, leak True"):
        fit_bottleneck([few()], initial=linear, **QUICK)


def test_a_constant_component_counts_as_zero() -> None:
    data = few(60, range(30))
    data.left[:, 1] = 0.1
    fit = fit_bottleneck([data], **QUICK, leak=False)
    r = pearson_r(np.hstack(predict(fit.network, data.features[:30])), both(data)[:30])
    assert np.isnan(r).tolist() == [False, True, False, False, False, False]
    assert fit.curves.validation_r[fit.curves.best] == pytest.approx(np.nansum(r) / 6, abs=1e-5)


@pytest.mark.parametrize("linear", [True, False])
def test_a_linear_mapping_is_learnt(linear: bool) -> None:
    rate = 1e-2 if linear else 3e-3  # a linear layer's weights have further to go
    settings = {"width": 96, "epochs": 12, "batch_size": 64, "learning_rate": rate, "linear": linear}
    fit = fit_bottleneck([planted(800, range(100), seed=0)], **settings)
    # Directions in 6 dimensions at random have cosines of mean 0 and standard deviation 6**-0.5: 0.03 over 300 x 2.
    assert held_out_cosine(fit.network, planted(300, (), seed=1)) > 0.7
    assert (fit.curves.s_left[-1] > 0.7) & (fit.curves.s_right[-1] > 0.7)
    assert fit.curves.loss[-1] < fit.curves.loss[0]


@pytest.mark.parametrize("leak", [True, False])
def test_a_non_linear_mapping_is_learnt_better_than_by_a_linear_layer(leak: bool) -> None:
    data, test = (planted(n, range(100), seed=s, kind="nonlinear") for s, n in enumerate((1000, 300)))
    settings = {"width": 96, "epochs": 15, "batch_size": 64}
    deep = held_out_cosine(fit_bottleneck([data], **settings, learning_rate=2e-3, leak=leak).network, test)
    linear = [fit_bottleneck([data], **settings, learning_rate=rate, linear=True).network for rate in (1e-3, 1e-2)]
    shallow = max(held_out_cosine(network, test) for network in linear)
    assert deep > 0.5
    assert abs(shallow) < 0.25
    assert deep > shallow + 0.4


def test_prediction_with_and_without_noise() -> None:
    data = few()
    x, variances = data.features, data.eigenvalues
    network = fit_bottleneck([data], **QUICK, alpha=0.3).network
    first, again = predict(network, x, variances), predict(network, x, variances, noise_seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    other, without = predict(network, x, variances, noise_seed=1), predict(network, x, noise_seed=None)
    assert not np.allclose(first[0], other[0], atol=1e-3)
    assert not np.allclose(first[0], without[0], atol=1e-3)
    nothing = predict(network, x, np.zeros_like(variances))
    np.testing.assert_allclose(nothing, without, atol=1e-6)
    with torch.no_grad():
        left, right = network(torch.from_numpy(x))
    np.testing.assert_allclose(np.stack(without), torch.stack([left, right]), atol=1e-6)
    assert without[0].dtype == np.float32


def test_prediction_leaves_the_mode_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, variances = few().features, few().eigenvalues
    network = Bottleneck(5, 3, width=24)
    whole = predict(network, x, variances)
    assert network.training
    monkeypatch.setattr(training, "ROWS_PER_BLOCK", 7)
    np.testing.assert_allclose(predict(network, x, variances), whole, atol=1e-5)
    assert [part.shape for part in predict(network, x[:0], variances)] == [(0, 3), (0, 3)]
    assert predict(Bottleneck(5, 3, linear=True), x)[0].shape == (40, 3)  # no leak, no noise, no eigenvalues


def test_progress_counts_every_batch_of_the_stage() -> None:
    calls: list[tuple[int, int]] = []
    fit_bottleneck([few(n, seed=n) for n in (40, 30)], **QUICK, progress=lambda *call: calls.append(call))
    n = 2 * (2 + 2)  # two epochs; 32 and 22 training pictures in batches of at most 16
    assert calls == [(done, n) for done in range(1, n + 1)]


def test_read_only_arrays_are_taken_without_a_warning() -> None:
    data = few()
    for field in fields(data):
        getattr(data, field.name).flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_bottleneck([data], **QUICK)
        predict(fit.network, data.features, data.eigenvalues)


def test_divergence_is_said() -> None:
    with pytest.raises(SpecError, match=r"epoch 1: the training diverged[\s\S]*below 1e\+38"):
        fit_bottleneck([few()], **QUICK | {"learning_rate": 1e38})


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"stage": -1},
        {"loss": "hinge"},
        {"width": 0},
        {"dropout": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(settings) -> None:
    with pytest.raises(SpecError, match="Got"):
        fit_bottleneck([few()], **settings)


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(1),
        np.arange(40),
        np.array([1, 1, 2]),
        np.array([-1, 2]),
        np.array([1, 40]),
        np.array([0.0, 1.0]),
        np.zeros((2, 2), int),
        np.array([], int),
    ],
)
def test_validation_rows_that_cannot_be_used_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(DatasetError, match=r"cannot be used \(subject 2 of 2\)"):
        fit_bottleneck([few(), few(validation=rows)])


def test_data_that_cannot_be_used_are_refused() -> None:
    data = few()
    x, left, right, variances = data.features, data.left, data.right, data.eigenvalues
    unusable = left.copy()
    unusable[3:5, 2] = np.nan
    for changes, message in (
        ({"features": x[:-1]}, "Features and targets do not match"),
        ({"right": right[:, :-1]}, "Features and targets do not match"),
        ({"features": x[:, 0]}, "Features and targets do not match"),
        ({"left": left[:, :0], "right": right[:, :0], "eigenvalues": variances[:0]}, "at least one column"),
        ({"left": unusable}, r"targets hold NaN[\s\S]*2 values, in 1 of 3"),
        ({"features": np.full_like(x, np.inf)}, "features hold NaN"),
        ({"eigenvalues": variances[:3]}, "eigenvalues do not match"),
        ({"eigenvalues": -variances}, "variances"),
    ):
        with pytest.raises(DatasetError, match=message):
            fit_bottleneck([replace(data, **changes)])
    with pytest.raises(DatasetError, match="no subject"):
        fit_bottleneck([])
    with pytest.raises(DatasetError, match=r"same number of features[\s\S]*4 features and 3[\s\S]*5 features and 3"):
        fit_bottleneck([data, replace(data, features=x[:, 1:])])


def test_what_cannot_be_predicted_is_refused() -> None:
    x, variances = few().features, few().eigenvalues
    network = Bottleneck(5, 3, width=8)
    with pytest.raises(DatasetError, match="do not fit"):
        predict(network, x[:, 1:], variances)
    with pytest.raises(DatasetError, match="noise_seed=None"):
        predict(network, x)
    with pytest.raises(DatasetError, match="eigenvalues do not match"):
        predict(network, x, variances[1:])
    with pytest.raises(DatasetError, match="features hold NaN"):
        predict(network, np.full_like(x, np.nan), variances)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_finds_what_the_cpu_finds() -> None:
    """Steps follow signs, which rounding can turn: figures are compared, not weights."""
    data, test = planted(800, range(100), seed=0), planted(300, (), seed=1)
    settings = {"width": 96, "epochs": 8, "batch_size": 64, "learning_rate": 3e-3}
    networks = [fit_bottleneck([data], **settings, device=device).network for device in ("cpu", "cuda")]
    found = [held_out_cosine(network, test) for network in networks]
    assert found[0] == pytest.approx(found[1], abs=0.03)

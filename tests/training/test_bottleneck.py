"""Fitting bottleneck networks: the same as a plain loop; planted mappings are found; pre-training and its rules."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from timm.optim.lion import Lion

from brainviz.encoding.metrics import pearson_r
from brainviz.errors import DatasetError, SpecError
from brainviz.models.bottleneck import Bottleneck, draw_noise, racing_loss
from brainviz.training import bottleneck as training
from brainviz.training.bottleneck import BottleneckFit, fit_bottleneck, predict, streams

QUICK = {"width": 24, "epochs": 2, "batch_size": 16, "learning_rate": 1e-3}


def planted(n: int, *, seed: int, kind: str = "linear", p: int = 12, k: int = 6, noise: float = 0.5):
    """Features, targets of both hemispheres and their variances; the mapping does not depend on the seed."""
    rng, mapping = np.random.default_rng(seed), np.random.default_rng(99)
    first, second = mapping.standard_normal((p, 40)) / p**0.5, mapping.standard_normal((40, 2 * k)) / 40**0.5
    x = rng.standard_normal((n, p)).astype(np.float32)
    # |x| of a symmetric x is not correlated with it: a linear layer finds nothing of it.
    hidden = x @ first if kind == "linear" else (np.abs(x @ first) - math.sqrt(2 / math.pi)) / 0.6
    y = (hidden @ second + noise * rng.standard_normal((n, 2 * k))).astype(np.float32)
    y *= np.linspace(2, 0.5, 2 * k, dtype=np.float32)
    return x, (y[:, :k], y[:, k:]), y.var(axis=0)


def few(n: int = 40, seed: int = 0):
    return planted(n, seed=seed, p=5, k=3)


def fit_one(data, validation, **settings) -> BottleneckFit:
    return fit_bottleneck(*([values] for values in data), [validation], **settings)


def cosine(predicted: np.ndarray, measured: np.ndarray) -> float:
    lengths = np.linalg.norm(predicted, axis=1) * np.linalg.norm(measured, axis=1)
    return float(((predicted * measured).sum(axis=1) / lengths).mean())


def held_out_cosine(fit: BottleneckFit, number: int, data) -> float:
    x, targets, variances = data
    return float(np.mean([cosine(*pair) for pair in zip(predict(fit.networks[number], x, variances), targets)]))  # noqa: B905


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


def plain_loop(data, validation, seed: int, epochs: int, batch_size: int, rate: float, decay: float) -> Bottleneck:
    """Train on one subject the usual way, and return the weights of the last epoch."""
    x, targets, variances = data
    rows = [i for i in range(len(x)) if i not in set(validation.tolist())]
    x, left, right = (torch.from_numpy(values[rows]) for values in (x, *targets))
    y, scale = torch.cat([left, right], dim=1), torch.from_numpy(variances)
    seeds = streams(seed, 1)
    network = Bottleneck(x.shape[1], left.shape[1], width=24, seed=seeds.weights)
    order, draws = (torch.Generator().manual_seed(one) for one in (seeds.order, seeds.draws))
    momenta = [torch.zeros_like(p) for p in network.parameters()]
    for _ in range(epochs):
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
    data, validation = few(40), np.arange(0, 35, 5)
    fit = fit_one(data, validation, **QUICK | {"epochs": 1, "weight_decay": 0.1}, seed=4)
    plain = plain_loop(data, validation, 4, 1, 16, 1e-3, 0.1).state_dict()
    assert fit.networks[0].state_dict().keys() == plain.keys()
    for name, value in fit.networks[0].state_dict().items():
        torch.testing.assert_close(value, plain[name], atol=1e-6, rtol=0)
    (losses,) = fit.curves[0].loss
    assert losses == pytest.approx(-min(fit.curves[0].s_left[0], fit.curves[0].s_right[0]), abs=0.5)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        ("cosine", lambda predicted, y: -np.mean([cosine(p, t) for p, t in zip(predicted, y, strict=True)])),
        ("mse", lambda predicted, y: np.mean((np.hstack(predicted) - np.hstack(y)) ** 2)),
    ],
)
def test_other_losses(loss: str, formula) -> None:
    """With next to no learning, one batch and no dropout, the loss is that of the initial weights."""
    x, targets, variances = few(40)
    settings = QUICK | {"learning_rate": 1e-12, "batch_size": 99, "dropout": 0.0}
    fit = fit_one((x, targets, variances), np.arange(10), loss=loss, leak=False, **settings)
    predicted = predict(fit.networks[0], x[10:])
    y = [values[10:] for values in targets]
    np.testing.assert_allclose(fit.curves[0].loss, formula(predicted, y), rtol=1e-5)
    np.testing.assert_allclose(fit.curves[0].s_left, cosine(predicted[0], y[0]), rtol=1e-4)
    np.testing.assert_allclose(fit.curves[0].s_right, cosine(predicted[1], y[1]), rtol=1e-4)


def test_the_same_arguments_give_the_same_weights() -> None:
    data = [few(40, seed=s) for s in range(2)]
    arguments = [*map(list, zip(*data, strict=True)), [np.arange(8)] * 2]
    before = torch.get_rng_state()
    first, second = (fit_bottleneck(*arguments, **QUICK) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip((*first.networks, first.pretrained), (*second.networks, second.pretrained), strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    different = fit_bottleneck(*arguments, **QUICK, seed=1)
    assert not torch.allclose(first.networks[0].left.weight, different.networks[0].left.weight)


def test_validation_pictures_are_not_trained_on() -> None:
    x, (left, right), variances = few(40)
    rows = np.array([3, 30, 17, 8])
    changed = left.copy()
    changed[rows] = np.random.default_rng(1).standard_normal((4, 3))
    settings = QUICK | {"epochs": 1}
    fits = [fit_one((x, (one, right), variances), rows, **settings) for one in (left, changed)]
    assert torch.equal(fits[0].networks[0].left.weight, fits[1].networks[0].left.weight)
    assert fits[0].curves[0].validation_r[0] != fits[1].curves[0].validation_r[0]


@pytest.mark.parametrize("noise", [True, False])
def test_the_best_epoch_is_kept(noise: bool) -> None:
    """Few pictures and long steps: the network learns them by heart, and validation r falls in the end."""
    x, targets, variances = planted(100, seed=0, noise=1.5)
    rows = np.arange(60)
    settings = {"width": 64, "epochs": 20, "batch_size": 32, "learning_rate": 1e-2}
    fit = fit_one((x, targets, variances), rows, **settings, validation_noise=noise)
    (curves,) = fit.curves
    r = curves.validation_r
    assert curves.best == np.argmax(r)
    assert r[-1] < r[curves.best] - 0.02
    noise_seed = streams(0, 1).validation if noise else None
    predicted = np.hstack(predict(fit.networks[0], x[rows], variances, noise_seed=noise_seed))
    found = pearson_r(predicted, np.hstack(targets)[rows]).mean()
    assert found == pytest.approx(r[curves.best], abs=1e-5)
    assert fit.pretrained is None
    assert fit.pretraining is None


def test_the_pre_trainings_best_epoch_is_of_the_subjects_mean() -> None:
    data = [planted(n, seed=s, kind="nonlinear", noise=1.0) for s, n in enumerate((130, 100))]
    rows = [np.arange(50), np.arange(40)]
    arguments = [*map(list, zip(*data, strict=True)), rows]
    fit = fit_bottleneck(*arguments, width=64, epochs=8, learning_rate=5e-3, validation_noise=False)
    curves = fit.pretraining
    assert curves.subject_r.shape == (8, 2)
    assert curves.best == np.argmax(curves.subject_r.mean(axis=1))
    for s, (x, targets, _) in enumerate(data):
        predicted = np.hstack(predict(fit.pretrained, x[rows[s]], noise_seed=None))
        found = pearson_r(predicted, np.hstack(targets)[rows[s]]).mean()
        assert found == pytest.approx(curves.subject_r[curves.best, s], abs=1e-5)
    # Own training begins where the pre-training ended: with no steps to speak of, it stays there.
    still = fit_bottleneck(*arguments, **QUICK | {"learning_rate": 1e-12})
    begin = Bottleneck(12, 6, width=24, seed=streams(0, 0).weights)
    for network in (*still.networks, still.pretrained):
        torch.testing.assert_close(network.residual.weight, begin.residual.weight, atol=1e-9, rtol=0)


def test_a_constant_component_counts_as_zero() -> None:
    x, (left, right), variances = few(60)
    left = left.copy()
    left[:, 1] = 0.1
    data, rows = (x, (left, right), variances), np.arange(30)
    fit = fit_one(data, rows, **QUICK, leak=False)
    r = pearson_r(np.hstack(predict(fit.networks[0], x[rows])), np.hstack([left, right])[rows])
    assert np.isnan(r).tolist() == [False, True, False, False, False, False]
    assert fit.curves[0].validation_r[fit.curves[0].best] == pytest.approx(np.nansum(r) / 6, abs=1e-5)


@pytest.mark.parametrize("linear", [True, False])
def test_a_linear_mapping_is_learnt(linear: bool) -> None:
    data, test = planted(800, seed=0), planted(300, seed=1)
    rate = 1e-2 if linear else 3e-3  # a linear layer's weights have further to go
    fit = fit_one(data, np.arange(100), width=96, epochs=12, batch_size=64, learning_rate=rate, linear=linear)
    # Directions in 6 dimensions at random have cosines of mean 0 and standard deviation 6**-0.5: 0.03 over 300 x 2.
    assert held_out_cosine(fit, 0, test) > 0.7
    curves = fit.curves[0]
    assert (curves.s_left[-1] > 0.7) & (curves.s_right[-1] > 0.7)
    assert curves.loss[-1] < curves.loss[0]


@pytest.mark.parametrize("leak", [True, False])
def test_a_non_linear_mapping_is_learnt_better_than_by_a_linear_layer(leak: bool) -> None:
    data, test = planted(1000, seed=0, kind="nonlinear"), planted(300, seed=1, kind="nonlinear")
    settings = {"width": 96, "epochs": 15, "batch_size": 64}
    deep = held_out_cosine(fit_one(data, np.arange(100), **settings, learning_rate=2e-3, leak=leak), 0, test)
    rates = (1e-3, 1e-2)
    linear = [fit_one(data, np.arange(100), **settings, learning_rate=rate, linear=True) for rate in rates]
    shallow = max(held_out_cosine(fit, 0, test) for fit in linear)
    assert deep > 0.5
    assert abs(shallow) < 0.25
    assert deep > shallow + 0.4


def test_pre_training_helps_a_subject_with_few_pictures() -> None:
    """Subjects share their tuning; the last has 60 pictures to learn from, the others 500 each."""
    data = [planted(n, seed=s, kind="nonlinear") for s, n in enumerate((600, 600, 100))]
    test = planted(300, seed=9, kind="nonlinear")
    arguments = [*map(list, zip(*data, strict=True)), [np.arange(100), np.arange(100), np.arange(40)]]
    settings = {"width": 96, "epochs": 10, "batch_size": 64, "learning_rate": 2e-3}
    shared = fit_bottleneck(*arguments, **settings)
    alone = fit_bottleneck(*arguments, **settings, pretrain=False)
    assert held_out_cosine(shared, 2, test) > held_out_cosine(alone, 2, test) + 0.15
    assert alone.pretrained is None


def test_a_subject_alone_is_what_it_is_among_others_without_pre_training() -> None:
    data = [few(40, seed=s) for s in range(2)]
    arguments = [*map(list, zip(*data, strict=True)), [np.arange(8)] * 2]
    both = fit_bottleneck(*arguments, **QUICK, pretrain=False)
    for pretrain in (True, False):  # nobody to share with
        one = fit_one(data[0], np.arange(8), **QUICK, pretrain=pretrain)
        assert one.pretrained is None
        state = one.networks[0].state_dict()
        assert all(torch.equal(value, state[name]) for name, value in both.networks[0].state_dict().items())
    assert not torch.allclose(both.networks[0].left.weight, both.networks[1].left.weight)


def test_prediction_with_and_without_noise() -> None:
    x, targets, variances = few(40)
    network = fit_one((x, targets, variances), np.arange(8), **QUICK, alpha=0.3).networks[0]
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
    x, _, variances = few(40)
    network = Bottleneck(5, 3, width=24)
    whole = predict(network, x, variances)
    assert network.training
    monkeypatch.setattr(training, "ROWS_PER_BLOCK", 7)
    np.testing.assert_allclose(predict(network, x, variances), whole, atol=1e-5)
    assert [part.shape for part in predict(network, x[:0], variances)] == [(0, 3), (0, 3)]
    assert predict(Bottleneck(5, 3, linear=True), x)[0].shape == (40, 3)  # no leak, no noise, no eigenvalues


def test_progress_counts_every_batch_of_all_stages() -> None:
    data = [few(n, seed=s) for s, n in enumerate((40, 30))]
    arguments = [*map(list, zip(*data, strict=True)), [np.arange(8)] * 2]
    for pretrain, stages in ((True, 2), (False, 1)):
        calls: list[tuple[int, int]] = []
        fit_bottleneck(*arguments, **QUICK, pretrain=pretrain, progress=lambda *call: calls.append(call))  # noqa: B023
        n = stages * 2 * (2 + 2)  # 32 and 22 training pictures in batches of at most 16; two epochs
        assert calls == [(done, n) for done in range(1, n + 1)]


def test_read_only_arrays_are_taken_without_a_warning() -> None:
    x, targets, variances = few(40)
    for values in (x, *targets, variances):
        values.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_one((x, targets, variances), np.arange(8), **QUICK)
        predict(fit.networks[0], x, variances)


def test_divergence_is_said() -> None:
    with pytest.raises(SpecError, match=r"epoch 1: the training diverged[\s\S]*below 1e\+38"):
        fit_one(few(40), np.arange(8), **QUICK | {"learning_rate": 1e38})


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"loss": "hinge"},
        {"width": 0},
        {"dropout": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(settings) -> None:
    with pytest.raises(SpecError, match="Got"):
        fit_one(few(), np.arange(8), **settings)


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
    with pytest.raises(DatasetError, match=r"cannot be used \(subject 1 of 1\)"):
        fit_one(few(40), rows)


def test_data_that_cannot_be_used_are_refused() -> None:
    x, (left, right), variances = few(40)
    rows = np.arange(8)
    for wrong in ((x[:-1], (left, right)), (x, (left, right[:, :-1])), (x[:, 0], (left, right)), (x, (left,))):
        with pytest.raises(DatasetError, match="Features and targets do not match"):
            fit_one((*wrong, variances), rows)
    with pytest.raises(DatasetError, match="at least one column"):
        fit_one((x, (left[:, :0], right[:, :0]), variances[:0]), rows)
    unusable = left.copy()
    unusable[3:5, 2] = np.nan
    with pytest.raises(DatasetError, match=r"targets hold NaN[\s\S]*2 values, in 1 of 3"):
        fit_one((x, (unusable, right), variances), rows)
    with pytest.raises(DatasetError, match="features hold NaN"):
        fit_one((np.full_like(x, np.inf), (left, right), variances), rows)
    with pytest.raises(DatasetError, match="eigenvalues do not match"):
        fit_one((x, (left, right), variances[:3]), rows)
    with pytest.raises(DatasetError, match="variances"):
        fit_one((x, (left, right), -variances), rows)
    with pytest.raises(DatasetError, match="1 of features, 2 of targets"):
        fit_bottleneck([x], [(left, right)] * 2, [variances], [rows])
    with pytest.raises(DatasetError, match="0 of features"):
        fit_bottleneck([], [], [], [])
    with pytest.raises(DatasetError, match=r"same number of features[\s\S]*4 features and 3[\s\S]*5 features and 3"):
        fit_bottleneck([x, x[:, 1:]], [(left, right)] * 2, [variances] * 2, [rows] * 2)


def test_what_cannot_be_predicted_is_refused() -> None:
    x, _, variances = few(40)
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
    data, test = planted(800, seed=0), planted(300, seed=1)
    settings = {"width": 96, "epochs": 8, "batch_size": 64, "learning_rate": 3e-3}
    found = [held_out_cosine(fit_one(data, np.arange(100), **settings, device=d), 0, test) for d in ("cpu", "cuda")]
    assert found[0] == pytest.approx(found[1], abs=0.03)

"""The bottleneck network: its loss by hand and by finite differences, its equations against a slow re-statement."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from brainviz.errors import SpecError
from brainviz.models.bottleneck import Bottleneck, draw_noise, mean_cosine, race, racing_loss

SIZES = {"n_features": 5, "n_components": 3, "width": 16}


def weights_of(network: Bottleneck) -> dict[str, np.ndarray]:
    return {name: value.numpy().astype(np.float64) for name, value in network.state_dict().items()}


def slow_forward(w, x, y, e, alpha, beta, leak, dropout_mask=None):
    """Methods, section 9, one picture and one unit at a time; y is None at inference."""

    def dense(name, row):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        return np.array([sum(weight[i, j] * row[j] for j in range(len(row))) + bias[i] for i in range(len(bias))])

    left, right = [], []
    for b in range(len(x)):
        h = dense("widen", x[b])
        r = dense("residual", h)
        h = h + np.where(r > 0, r, w["prelu.weight"][0] * r)
        if dropout_mask is not None:
            h = h * dropout_mask[b]
        if leak and y is not None:
            h = (h + alpha * dense("theta", y[b]) + beta * dense("theta", e[b])) / (1 + alpha + beta)
        elif leak:
            h = (h - (alpha + beta) * dense("theta", e[b])) / (1 + alpha + beta)
        left.append(dense("left", h))
        right.append(dense("right", h))
    return np.array(left), np.array(right)


def example(alpha: float = 0.3, beta: float = 0.1, **settings):
    """A network with biases that are not 0 and a leak that can be seen, and a batch for it."""
    network = Bottleneck(**SIZES, alpha=alpha, beta=beta, **settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(generator=generator)
    x, y, e = (torch.randn(4, n, generator=generator) for n in (5, 6, 6))
    return network, x, y, e


def random_batch(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(7, 4, dtype=torch.float64, generator=generator) for _ in range(4)]


def test_racing_loss_by_hand() -> None:
    left, pred_left = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 5.0]])  # cosines 1 and 0
    right, pred_right = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])  # 0.6 and 1
    expected = -(0.5 + (0.5 + 0.8) / 2)
    assert racing_loss(pred_left, left, pred_right, right).item() == pytest.approx(expected)
    assert racing_loss(pred_right, right, pred_left, left).item() == pytest.approx(expected)
    assert racing_loss(left, left, right, right).item() == pytest.approx(-2)
    assert racing_loss(-left, left, -right, right).item() == pytest.approx(2)


@pytest.mark.parametrize("lagging", ["left", "right"])
def test_gradient_equals_finite_differences(lagging: str) -> None:
    pred_left, left, pred_right, right = random_batch()
    (pred_left if lagging == "right" else pred_right).add_(left if lagging == "right" else right)
    s = mean_cosine(pred_left, left), mean_cosine(pred_right, right)
    assert (s[0] < s[1]) == (lagging == "left")
    for number, moved in enumerate((pred_left, pred_right)):
        batch = [pred_left, left, pred_right, right]
        batch[2 * number] = moved.clone().requires_grad_()
        racing_loss(*batch).backward()
        for index in np.ndindex(*moved.shape):
            values = []
            for step in (1e-6, -1e-6):
                shifted = moved.clone()
                shifted[index] += step
                batch[2 * number], kept = shifted, batch[2 * number]
                values.append(racing_loss(*batch).item())
                batch[2 * number] = kept
            numeric = (values[0] - values[1]) / 2e-6
            assert batch[2 * number].grad[index].item() == pytest.approx(numeric, abs=1e-8)


@pytest.mark.parametrize(
    ("s_left", "s_right", "by_left", "by_right"), [(0.2, 0.5, -1.5, -0.5), (0.5, 0.2, -0.5, -1.5), (0.4, 0.4, -1, -1)]
)
def test_the_hemisphere_that_lags_is_pushed(s_left: float, s_right: float, by_left: float, by_right: float) -> None:
    s = [torch.tensor(value, requires_grad=True) for value in (s_left, s_right)]
    race(*s).backward()
    assert [one.grad.item() for one in s] == pytest.approx([by_left, by_right])


def test_cosine_ignores_amplitude_bears_zeros_and_half_precision() -> None:
    pred_left, left, pred_right, right = random_batch()
    loss = racing_loss(pred_left, left, pred_right, right)
    scales = torch.arange(1, 8, dtype=torch.float64)[:, None]
    torch.testing.assert_close(racing_loss(3 * pred_left, scales * left, scales * pred_right, right), loss)
    half = [values.half() for values in (pred_left, left, pred_right, right)]
    assert racing_loss(*half).dtype == torch.float32
    assert racing_loss(*half).item() == pytest.approx(loss.item(), abs=1e-3)
    zero = torch.zeros_like(pred_left, requires_grad=True)
    assert mean_cosine(zero, left).item() == 0
    racing_loss(zero, left, pred_right, right).backward()
    assert zero.grad.isfinite().all()


def test_losses_refuse_what_does_not_match() -> None:
    a, b = torch.ones(3, 2), torch.ones(2, 2)
    with pytest.raises(SpecError, match=r"\(3, 2\) and \(2, 2\)"):
        mean_cosine(a, b)
    with pytest.raises(SpecError, match="do not match"):
        mean_cosine(a[:0], a[:0])
    with pytest.raises(SpecError, match="3 rows of the left and 2"):
        racing_loss(a, a, b, b)
    assert racing_loss(a, a, torch.ones(3, 4), torch.ones(3, 4)).item() == pytest.approx(-2)


@pytest.mark.parametrize("leak", [True, False])
def test_equations_against_a_slow_restatement(leak: bool) -> None:
    network, x, y, e = example(dropout=0.0, leak=leak)
    w, arrays = weights_of(network), [values.numpy().astype(np.float64) for values in (x, y, e)]
    with torch.no_grad():
        trained = network(x, y, e)
        network.eval()
        inferred, without_noise = network(x, noise=e), network(x)
    nothing = np.zeros((4, 6))
    for found, (targets, noise) in (
        (trained, (arrays[1], arrays[2])),
        (inferred, (None, arrays[2])),
        (without_noise, (None, nothing)),
    ):
        expected = slow_forward(w, arrays[0], targets, noise, 0.3, 0.1, leak)
        np.testing.assert_allclose(torch.stack(found), np.array(expected), atol=1e-5)
    assert torch.allclose(trained[0], inferred[0]) != leak
    assert torch.allclose(without_noise[0], inferred[0]) != leak


def test_dropout_is_of_training_only_and_from_the_generator() -> None:
    network, x, y, e = example(dropout=0.25)
    w, arrays = weights_of(network), [values.numpy().astype(np.float64) for values in (x, y, e)]
    before = torch.get_rng_state()
    with torch.no_grad():
        left, right = network(x, y, e, torch.Generator().manual_seed(3))
        again = network(x, y, e, torch.Generator().manual_seed(3))
        other = network(x, y, e, torch.Generator().manual_seed(4))
        mask = torch.empty(4, 16).bernoulli_(0.75, generator=torch.Generator().manual_seed(3)).numpy() / 0.75
        network.eval()
        evaluated = [network(x, noise=e, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(left, again[0])
    assert not torch.allclose(left, other[0])
    expected = slow_forward(w, *arrays, 0.3, 0.1, leak=True, dropout_mask=mask)
    np.testing.assert_allclose(torch.stack([left, right]), np.array(expected), atol=1e-5)
    expected = slow_forward(w, arrays[0], None, arrays[2], 0.3, 0.1, leak=True)
    for found in evaluated:
        np.testing.assert_allclose(torch.stack(found), np.array(expected), atol=1e-5)


def test_dropout_keeps_its_share_and_the_mean() -> None:
    network = Bottleneck(1, 1, width=50, dropout=0.2)
    mask = network._dropout_mask(torch.ones(2000, 50), torch.Generator().manual_seed(0))
    assert sorted(set(mask.flatten().tolist())) == pytest.approx([0, 1.25])
    assert mask.mean().item() == pytest.approx(1, abs=4 * math.sqrt(0.2 * 0.8 / mask.numel()) / 0.8)


def test_noise_is_repeatable_and_of_the_given_variance() -> None:
    eigenvalues = torch.tensor([4.0, 1.0, 0.25, 0.0])
    noise, again = (draw_noise(20_000, eigenvalues, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(noise, again)
    assert not torch.allclose(noise, draw_noise(20_000, eigenvalues, torch.Generator().manual_seed(6)))
    # A variance of n normal numbers has a relative standard deviation of sqrt(2 / n).
    np.testing.assert_allclose(noise.var(dim=0), eigenvalues, rtol=4 * math.sqrt(2 / 20_000))
    assert noise[:, 3].abs().max() == 0
    assert torch.corrcoef(noise[:, :3].T).fill_diagonal_(0).abs().max() < 4 / math.sqrt(20_000)


def test_initial_weights_are_the_seeds_alone() -> None:
    before = torch.get_rng_state()
    network, again = (Bottleneck(**SIZES, seed=2) for _ in range(2))
    without, other = Bottleneck(**SIZES, seed=2, leak=False), Bottleneck(**SIZES, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    state = network.state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state.items())
    assert set(state) - set(without.state_dict()) == {"theta.weight", "theta.bias"}
    assert all(torch.equal(value, state[name]) for name, value in without.state_dict().items())
    assert not torch.allclose(state["widen.weight"], other.state_dict()["widen.weight"])


def test_initial_weights_have_the_variance_of_the_published_code() -> None:
    weight = Bottleneck(300, 2, width=200).widen.weight.detach()
    # The variance of 60,000 numbers; a cut normal's is known to less than a normal's sqrt(2 / n).
    assert weight.var().item() == pytest.approx(1 / 300, rel=4 * math.sqrt(2 / weight.numel()))
    assert weight.abs().max().item() <= 2 * 300**-0.5 / 0.8796 + 1e-6
    network = Bottleneck(**SIZES)
    assert all(not layer.bias.any() for layer in (network.widen, network.residual, network.theta, network.left))
    assert network.prelu.weight.tolist() == pytest.approx([0.01])


def test_number_of_weights() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in Bottleneck(300, 75, width=60).parameters())
    assert count == 300 * 60 + 60 + 60 * 60 + 60 + 1 + 2 * (60 * 75 + 75) + 150 * 60 + 60


def test_linear_is_one_dense_layer_per_hemisphere() -> None:
    network = Bottleneck(**SIZES, linear=True)
    assert set(network.state_dict()) == {"left.weight", "left.bias", "right.weight", "right.bias"}
    assert not network.leaks
    x, y = torch.randn(4, 5), torch.randn(4, 6)
    left, right = network(x, y)  # in training, and with no generator
    torch.testing.assert_close(left, x @ network.left.weight.T + network.left.bias)
    torch.testing.assert_close(right, x @ network.right.weight.T + network.right.bias)


def test_what_a_network_is_not_to_be_given() -> None:
    network, x, y, e = example()
    with pytest.raises(SpecError, match="leak needs the responses"):
        network(x, noise=e, generator=torch.Generator())
    with pytest.raises(SpecError, match="Dropout needs a generator"):
        network(x, y, e)
    network.eval()
    with pytest.raises(SpecError, match="responses it is to predict"):
        network(x, y, e)


@pytest.mark.parametrize("settings", [{"n_features": 0}, {"n_components": 0}, {"width": 0}])
def test_sizes_out_of_range_are_refused(settings) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        Bottleneck(**SIZES | settings)


@pytest.mark.parametrize(
    "settings", [{"dropout": 1.0}, {"dropout": -0.1}, {"alpha": -1.0}, {"beta": math.nan}, {"alpha": math.inf}]
)
def test_settings_out_of_range_are_refused(settings) -> None:
    with pytest.raises(SpecError, match="Expected: dropout from 0"):
        Bottleneck(**SIZES, **settings)

"""The contrastive loss against a slow re-statement of its formulas, values worked by hand, and numerical gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from brainviz.errors import SpecError
from brainviz.training.losses import LOSS_VARIANTS, contrastive_loss


def slow_loss(z_brain: torch.Tensor, z_image: torch.Tensor, temperature: float, variant: str) -> float:
    """Methods, section 1, written out with loops over plain numbers."""
    brain, image = z_brain.double().tolist(), z_image.double().tolist()
    b = len(brain)

    def cosine(x: list[float], y: list[float]) -> float:
        return sum(p * q for p, q in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))

    s = [[cosine(brain[i], image[j]) / temperature for j in range(b)] for i in range(b)]
    by_image = [-math.log(math.exp(s[j][j]) / sum(math.exp(s[i][j]) for i in range(b))) for j in range(b)]
    by_brain = [-math.log(math.exp(s[i][i]) / sum(math.exp(s[i][j]) for j in range(b))) for i in range(b)]
    if variant == "paper":
        return sum(by_image) / b
    if variant == "poster":
        return (
            sum(-math.log(math.exp(s[i][i]) / sum(math.exp(s[i][j]) for j in range(b) if j != i)) for i in range(b)) / b
        )
    return (sum(by_image) / b + sum(by_brain) / b) / 2


def embeddings(batch: int, size: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + size)
    return (
        torch.randn(batch, size, generator=generator, dtype=dtype),
        torch.randn(batch, size, generator=generator, dtype=dtype),
    )


@pytest.mark.parametrize("variant", LOSS_VARIANTS)
@pytest.mark.parametrize(("batch", "size"), [(2, 1), (3, 5), (17, 4)])
@pytest.mark.parametrize("temperature", [0.05, 0.3, 2.0])
def test_equals_the_formula(variant: str, batch: int, size: int, temperature: float) -> None:
    z_brain, z_image = embeddings(batch, size)
    expected = slow_loss(z_brain, z_image, temperature, variant)
    assert contrastive_loss(z_brain, z_image, temperature, variant).item() == pytest.approx(expected, rel=1e-10)
    in_float32 = contrastive_loss(z_brain.float(), z_image.float(), temperature, variant)
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("variant", LOSS_VARIANTS)
@pytest.mark.parametrize("leading", [(3,), (2, 3)])
def test_leading_dimensions_hold_batches_of_their_own(variant: str, leading: tuple[int, ...]) -> None:
    z_brain, z_image = (z.view(*leading, 4, 5).requires_grad_() for z in embeddings(4 * math.prod(leading), 5))
    losses = contrastive_loss(z_brain, z_image, 0.3, variant)
    assert losses.shape == leading
    (gradient,) = torch.autograd.grad(losses.sum(), z_brain, retain_graph=True)
    for at in itertools.product(*map(range, leading)):
        alone = z_brain[at].detach().requires_grad_()
        loss = contrastive_loss(alone, z_image[at], 0.3, variant)
        assert losses[at].item() == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(gradient[at], torch.autograd.grad(loss, alone)[0])


def test_two_pairs_by_hand() -> None:
    """Cosines: s_11 = 1, s_12 = 0, s_21 = 3/5, s_22 = 4/5 (rows: brain), temperature 1/2."""
    z_brain = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    z_image = torch.tensor([[5.0, 0.0], [0.0, 0.1]])
    a, b, c, d = 2.0, 0.0, 1.2, 1.6
    softplus = lambda x: math.log1p(math.exp(x))  # noqa: E731  -log(exp(p) / (exp(p) + exp(n))) = softplus(n - p)
    paper = (softplus(c - a) + softplus(b - d)) / 2
    poster = ((b - a) + (c - d)) / 2
    symmetric = (paper + (softplus(b - a) + softplus(c - d)) / 2) / 2
    for variant, expected in {"paper": paper, "poster": poster, "symmetric": symmetric}.items():
        assert contrastive_loss(z_brain, z_image, 0.5, variant).item() == pytest.approx(expected, rel=1e-6)


def test_the_default_is_the_papers() -> None:
    z_brain, z_image = embeddings(5, 3)
    assert contrastive_loss(z_brain, z_image) == contrastive_loss(z_brain, z_image, 0.3, "paper")


def test_the_papers_softmax_runs_over_the_brain_vectors() -> None:
    """Swapping the modalities changes `paper`, whose softmax has a direction, and leaves `symmetric` as it is."""
    z_brain, z_image = embeddings(6, 3)
    swapped = {
        v: contrastive_loss(z_image, z_brain, 0.3, v) - contrastive_loss(z_brain, z_image, 0.3, v)
        for v in LOSS_VARIANTS
    }
    assert abs(swapped["paper"]) > 1e-3
    assert swapped["symmetric"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("variant", LOSS_VARIANTS)
def test_gradients(variant: str) -> None:
    z_brain, z_image = (z.requires_grad_() for z in embeddings(4, 3))
    assert torch.autograd.gradcheck(lambda y, x: contrastive_loss(y, x, 0.3, variant), (z_brain, z_image))


@pytest.mark.parametrize("variant", LOSS_VARIANTS)
def test_lengths_do_not_matter(variant: str) -> None:
    z_brain, z_image = embeddings(5, 3)
    lengths = torch.tensor([1e-3, 0.1, 1, 10, 1e3], dtype=torch.float64)[:, None]
    stretched = contrastive_loss(z_brain * lengths, z_image / lengths, 0.3, variant)
    assert stretched.item() == pytest.approx(contrastive_loss(z_brain, z_image, 0.3, variant).item(), rel=1e-12)


@pytest.mark.parametrize("variant", LOSS_VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stays_finite_at_small_temperatures_and_for_zero_vectors(variant: str, dtype: torch.dtype) -> None:
    z_brain, z_image = embeddings(4, 3, torch.float32)
    z_brain[0] = 0
    z_brain, z_image = z_brain.to(dtype).requires_grad_(), z_image.to(dtype).requires_grad_()
    loss = contrastive_loss(z_brain, z_image, 1e-4, variant)  # exp(1 / 1e-4) overflows every float
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    assert z_brain.grad.isfinite().all()
    assert z_image.grad.isfinite().all()


def test_collapsed_embeddings_score_chance() -> None:
    same = torch.ones(8, 3)
    assert contrastive_loss(same, same, 0.3, "paper").item() == pytest.approx(math.log(8))
    assert contrastive_loss(same, same, 0.3, "symmetric").item() == pytest.approx(math.log(8))
    assert contrastive_loss(same, same, 0.3, "poster").item() == pytest.approx(math.log(7))


@pytest.mark.parametrize(
    ("z_brain", "z_image", "settings", "word"),
    [
        (torch.ones(3, 2), torch.ones(3, 3), {}, "row by row"),
        (torch.ones(3, 2), torch.ones(4, 2), {}, "row by row"),
        (torch.ones(3), torch.ones(3), {}, "row by row"),
        (torch.ones(0, 2), torch.ones(0, 2), {}, "too small"),
        (torch.ones(1, 2), torch.ones(1, 2), {"variant": "poster"}, "too small"),
        (torch.ones(3, 2, dtype=torch.long), torch.ones(3, 2, dtype=torch.long), {}, "floating"),
        (torch.ones(3, 2), torch.ones(3, 2), {"temperature": 0.0}, "temperature"),
        (torch.ones(3, 2), torch.ones(3, 2), {"temperature": math.nan}, "temperature"),
        (torch.ones(3, 2), torch.ones(3, 2), {"variant": "clip"}, "paper, poster, symmetric"),
    ],
)
def test_what_cannot_be_computed_is_refused(z_brain, z_image, settings, word) -> None:
    with pytest.raises(SpecError, match=word):
        contrastive_loss(z_brain, z_image, **settings)

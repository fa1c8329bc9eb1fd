"""The bottleneck network (F-BNet): image features to the principal components of both hemispheres' responses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from brainviz.errors import SpecError

#: Standard deviation of a standard normal variable that is cut off at -2 and 2.
_CUT_SD = 0.8796256610342398

#: Slope of the PReLU for negative values before training, as in the published code (flax's; torch's is 0.25).
_FIRST_SLOPE = 0.01


def mean_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """Return S, the mean over a batch of the cosine between prediction and target.

    Parameters
    ----------
    predicted, target : (B, k) floating tensors
        Half precision is computed in float32.

    Returns
    -------
    scalar tensor
        Between -1 and 1; a row that is 0 counts as a cosine of 0.

    Raises
    ------
    SpecError
        The shapes differ or hold nothing.
    """
    if predicted.ndim != 2 or predicted.shape != target.shape or predicted.numel() == 0:
        raise SpecError(
            "Predicted and measured components do not match.",
            got=f"shapes {tuple(predicted.shape)} and {tuple(target.shape)}",
            expected="two tensors of one shape (B, k), with at least one row and one column",
        )
    dtype = torch.promote_types(torch.promote_types(predicted.dtype, target.dtype), torch.float32)
    return functional.cosine_similarity(predicted.to(dtype), target.to(dtype), dim=1).mean()


def race(s_left: Tensor, s_right: Tensor) -> Tensor:
    """Return the racing loss ``-( min(S_L, S_R) + (S_L + S_R)/2 )`` of the hemispheres' mean cosines.

    Its derivative is -1.5 by the S of the hemisphere that lags, -0.5 by that of the one that leads, and -1 by each
    where they are equal: the minimum has no derivative there, and torch shares it out in halves, so that neither
    hemisphere is preferred.

    Parameters
    ----------
    s_left, s_right : scalar tensors
        As from `mean_cosine`.
    """
    return -(torch.minimum(s_left, s_right) + (s_left + s_right) / 2)


def racing_loss(pred_left: Tensor, left: Tensor, pred_right: Tensor, right: Tensor) -> Tensor:
    """Return the racing loss of a batch, which pushes the hemisphere that lags.

    ``-( min(S_L, S_R) + (S_L + S_R)/2 )``, with S the mean over the batch of the cosine between prediction and target
    (`mean_cosine`). The amplitude of a prediction does not matter to it. For the gradient see `race`.

    Parameters
    ----------
    pred_left, left, pred_right, right : (B, k) floating tensors
        Row i of all four belongs to the same picture. The hemispheres may have different numbers of components.

    Returns
    -------
    scalar tensor
        Between -2 (perfect) and 2.

    Raises
    ------
    SpecError
        Shapes that do not match, or an empty batch.

    References
    ----------
    Ndubuaku 2023, F-BNet, repository HMUNACHI/FBNET (methods, section 9).
    """
    if len(pred_left) != len(pred_right):
        raise SpecError(
            "The hemispheres' batches do not match.",
            got=f"{len(pred_left)} rows of the left and {len(pred_right)} of the right hemisphere",
            expected="the same pictures for both",
        )
    return race(mean_cosine(pred_left, left), mean_cosine(pred_right, right))


class Bottleneck(nn.Module):
    """Image features to the scores on the principal components of both hemispheres.

    With ``h = widen(x)``, ``h <- h + PReLU(residual(h))``, dropout, the leak, and a dense layer per hemisphere. The
    leak, with theta a dense layer, y the targets of both hemispheres and e noise (`draw_noise`):

    * training: ``h <- (h + alpha theta(y) + beta theta(e)) / (1 + alpha + beta)``
    * inference: ``h <- (h - (alpha + beta) theta(e)) / (1 + alpha + beta)``, where no targets are seen.

    Inference without noise has e = 0; what is left of theta is then its bias.

    Parameters
    ----------
    n_features : int
        p, the width of the image features.
    n_components : int
        k, of each hemisphere.
    width : int
        Of h.
    dropout : float
        Share of h that is set to 0 in training, from 0 to below 1; the rest is divided by what is kept.
    alpha, beta : float
        Weights of targets and noise in the leak; 0 or more.
    leak : bool
        False leaves the leak out, its division as well.
    linear : bool
        True for one dense layer per hemisphere straight from the features, without any of the above, the leak included.
    seed : int
        Of the initial weights. The global random state is neither read nor changed. Weights other than theta's are the
        same with and without leak.

    Attributes
    ----------
    leaks : bool
        Whether there is a leak: `leak`, and not `linear`.

    Raises
    ------
    SpecError
        Sizes or settings out of range.

    Notes
    -----
    The published code uses dropout at evaluation too, with one fixed key, so that the same 20 % of h never take part.
    Here a batch has a mask of its own in training, and an evaluation has none. Its response PCA also saw the validation
    pictures; the targets here are to come from a PCA of the training pictures only. Initial weights are as there:
    normal, cut off at two standard deviations, of variance 1 / inputs; biases 0.

    References
    ----------
    Ndubuaku 2023, F-BNet, repository HMUNACHI/FBNET (methods, section 9).
    """

    def __init__(
        self,
        n_features: int = 300,
        n_components: int = 75,
        *,
        width: int = 6000,
        dropout: float = 0.2,
        alpha: float = 0.02,
        beta: float = 0.002,
        leak: bool = True,
        linear: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_settings(n_features, n_components, width, dropout, alpha, beta)
        self.n_features, self.n_components = n_features, n_components
        self.dropout, self.alpha, self.beta = dropout, alpha, beta
        self.linear, self.leaks = linear, leak and not linear
        generator = torch.Generator().manual_seed(seed)
        if not linear:
            self.widen = _dense(n_features, width, generator)
            self.residual = _dense(width, width, generator)
            self.prelu = nn.PReLU(init=_FIRST_SLOPE)
        self.left = _dense(n_features if linear else width, n_components, generator)
        self.right = _dense(n_features if linear else width, n_components, generator)
        if self.leaks:  # drawn last: without a leak, all other weights begin as with one
            self.theta = _dense(2 * n_components, width, generator)

    def forward(
        self,
        features: Tensor,
        targets: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict both hemispheres' components.

        Parameters
        ----------
        features : (B, p) tensor
        targets : (B, 2 k) tensor, optional
            y, the left hemisphere's and then the right's. Needed for the leak in training, refused at evaluation.
        noise : (B, 2 k) tensor, optional
            e, as from `draw_noise`; 0 if left out. Without a leak it plays no part.
        generator : torch.Generator, optional
            Of the dropout in training, on the device of the features.

        Returns
        -------
        left, right : (B, k) tensors

        Raises
        ------
        SpecError
            The leak lacks targets in training or is given them at evaluation, or dropout lacks a generator.
        """
        if targets is not None and not self.training:
            raise SpecError(
                "A bottleneck network was given the responses it is to predict.",
                expected="no targets at evaluation: the leak is for training",
                mend="leave the targets out, or call train() first.",
            )
        if self.linear:
            return self.left(features), self.right(features)
        h = self.widen(features)
        h = h + self.prelu(self.residual(h))
        if self.training and self.dropout > 0:
            h = h * self._dropout_mask(h, generator)
        if self.leaks:
            h = self._add_leak(h, targets, noise)
        return self.left(h), self.right(h)

    def _dropout_mask(self, h: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw 0 or 1 / (1 - dropout) for every number of h: torch's own dropout takes no generator."""
        if generator is None:
            raise SpecError(
                "Dropout needs a generator in training.", mend="pass one, or call eval() for an evaluation."
            )
        kept = 1 - self.dropout
        mask: Tensor = torch.empty_like(h).bernoulli_(kept, generator=generator).div_(kept)
        return mask

    def _add_leak(self, h: Tensor, targets: Tensor | None, noise: Tensor | None) -> Tensor:
        total = self.alpha + self.beta
        if noise is None:
            noise = h.new_zeros(1, 2 * self.n_components)
        if not self.training:
            inferred: Tensor = (h - total * self.theta(noise)) / (1 + total)
            return inferred
        if targets is None:
            raise SpecError(
                "The leak needs the responses in training.",
                mend="pass the targets of both hemispheres, or build the network with leak=False.",
            )
        # alpha theta(y) + beta theta(e), in one product.
        mixed = self.alpha * targets + self.beta * noise
        return (h + functional.linear(mixed, self.theta.weight, total * self.theta.bias)) / (1 + total)


def draw_noise(n_rows: int, eigenvalues: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the leak's noise ``e = N(0, 1) * sqrt(eigenvalues)``.

    Parameters
    ----------
    n_rows : int
        B.
    eigenvalues : (2 k,) tensor
        Variances of the targets: the PCA's, the left hemisphere's and then the right's.
    generator : torch.Generator
        On the device of the eigenvalues. From one that is seeded alike, the same noise comes.

    Returns
    -------
    (B, 2 k) tensor
    """
    shape = (n_rows, len(eigenvalues))
    return torch.randn(shape, generator=generator, device=eigenvalues.device, dtype=eigenvalues.dtype).mul_(
        eigenvalues.sqrt()
    )


def _dense(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Make a dense layer with the initial weights of the published code (LeCun's, normal and cut off; biases 0)."""
    # Without torch's own weights, which the global generator would give.
    layer: nn.Linear = skip_init(nn.Linear, n_in, n_out)
    sd = n_in**-0.5 / _CUT_SD
    nn.init.trunc_normal_(layer.weight, std=sd, a=-2 * sd, b=2 * sd, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def _check_settings(n_features: int, n_components: int, width: int, dropout: float, alpha: float, beta: float) -> None:
    if min(n_features, n_components, width) < 1:
        raise SpecError(
            "Every size of a bottleneck network must be at least 1.",
            got=f"{n_features} features, {n_components} components, width {width}",
        )
    if not (0 <= dropout < 1 and alpha >= 0 and beta >= 0 and math.isfinite(alpha + beta)):
        raise SpecError(
            "The settings of the bottleneck network are out of range.",
            got=f"dropout {dropout}, alpha {alpha}, beta {beta}",
            expected="dropout from 0 to below 1; alpha and beta 0 or more",
            mend="0.2, 0.02 and 0.002 are the published ones.",
        )

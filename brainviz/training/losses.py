"""Losses of network training: the three variants of temperature-scaled InfoNCE between brain and image embeddings."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from brainviz.errors import SpecError

LossVariant = Literal["paper", "poster", "symmetric"]
LOSS_VARIANTS: tuple[str, ...] = get_args(LossVariant)

#: Vectors shorter than this count as zero: their cosine with anything is 0, and its gradient stays finite.
_SHORTEST = 1e-8


def contrastive_loss(z_brain: Tensor, z_image: Tensor, temperature: float = 0.3, variant: str = "paper") -> Tensor:
    r"""Return the contrastive loss of a batch of pairs; row i of both matrices belongs to the same picture.

    Leading dimensions hold batches that have nothing to do with each other, such as those of models trained together.

    With ``s_ij = cos(z_brain_i, z_image_j) / temperature``:

    * ``paper``: ``-(1/B) sum_j log( exp(s_jj) / sum_i exp(s_ij) )``: each image against the brain vectors of the batch.
    * ``poster``: ``-(1/B) sum_i log( exp(s_ii) / sum_{j != i} exp(s_ij) )``: each brain vector against the images, the
      positive left out of the denominator (the loss can be negative).
    * ``symmetric``: the mean of the cross-entropies of both directions, positives included, as in CLIP.

    Parameters
    ----------
    z_brain, z_image : (..., B, z) floating tensors
        Embeddings; their lengths do not matter. Half precision is computed in float32.
    temperature : float
        Divides the cosine similarities; above 0.
    variant : {"paper", "poster", "symmetric"}

    Returns
    -------
    (...) tensor
        The loss of every batch; a scalar where there are no leading dimensions.

    Raises
    ------
    SpecError
        Shapes that do not match, an empty batch (or one of a single pair with ``poster``, which then has no
        denominator), a temperature that is not above 0, or an unknown variant.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067 (``paper``: the authors' code; ``poster``: their poster's formula).
    Radford et al. 2021, arXiv 2103.00020, figure 3 (``symmetric``).
    """
    _check_arguments(z_brain, z_image, temperature, variant)
    s = _cosines(z_brain, z_image) / temperature
    positives = s.diagonal(dim1=-2, dim2=-1)
    if variant == "paper":
        return (s.logsumexp(dim=-2) - positives).mean(dim=-1)
    if variant == "poster":
        return (_without_diagonal(s).logsumexp(dim=-1) - positives).mean(dim=-1)
    return ((s.logsumexp(dim=-2) + s.logsumexp(dim=-1)) / 2 - positives).mean(dim=-1)


def _cosines(z_brain: Tensor, z_image: Tensor) -> Tensor:
    """Cosine of every brain vector (rows) with every image vector (columns), (..., B, B), in float32 or better."""
    dtype = torch.promote_types(torch.promote_types(z_brain.dtype, z_image.dtype), torch.float32)
    brain = functional.normalize(z_brain.to(dtype), dim=-1, eps=_SHORTEST)
    image = functional.normalize(z_image.to(dtype), dim=-1, eps=_SHORTEST)
    return brain @ image.mT


def _without_diagonal(s: Tensor) -> Tensor:
    """Return s with -inf on its diagonal, so that a softmax over it leaves the positives out."""
    return s.masked_fill(torch.eye(s.shape[-1], dtype=torch.bool, device=s.device), -math.inf)


def _check_arguments(z_brain: Tensor, z_image: Tensor, temperature: float, variant: str) -> None:
    if variant not in LOSS_VARIANTS:
        raise SpecError(
            "Unknown variant of the contrastive loss.", got=repr(variant), expected=", ".join(LOSS_VARIANTS)
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise SpecError("The temperature must be above 0.", got=str(temperature), mend="0.3 is the usual value.")
    shapes = f"{tuple(z_brain.shape)} and {tuple(z_image.shape)}"
    if z_brain.ndim < 2 or z_brain.shape != z_image.shape:
        raise SpecError(
            "Brain and image embeddings must pair up row by row.",
            got=f"shapes {shapes}",
            expected="two tensors of one shape (B, z), or (..., B, z)",
        )
    if not (z_brain.is_floating_point() and z_image.is_floating_point()):
        raise SpecError(
            "Embeddings must be floating point.",
            got=f"{z_brain.dtype} and {z_image.dtype}",
            expected="float32 or float64",
        )
    fewest = 2 if variant == "poster" else 1
    if z_brain.shape[-2] < fewest or z_brain.shape[-1] == 0:
        raise SpecError(
            "The batch is too small for a contrastive loss.",
            got=f"shapes {shapes}",
            expected=f"at least {fewest} pairs of length >= 1",
        )

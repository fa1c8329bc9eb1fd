"""A lower bound of the mutual information between pictures and brain responses, from contrastive embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor
from torch.nn import functional

from brainviz.errors import SpecError

#: Where beta is looked for.
BETA_RANGE = (1e-2, 1e2)

#: Pictures whose cosines with all responses are held at a time.
ROWS_PER_BLOCK = 1024


@dataclass(frozen=True)
class InformationBound:
    """The InfoNCE bound of one set of test images.

    Attributes
    ----------
    nats : float
        The bound: the mean of `per_image`.
    limit : float
        log K: the bound cannot be higher, however good the embeddings are.
    n_images : int
        K. Bounds of different K are not comparable where they come near the limit.
    per_image : (K,) float64 array
        Each picture's term, for a bootstrap over images. All terms share the K responses they are compared with;
        such a bootstrap takes these as they are.
    """

    nats: float
    limit: float
    n_images: int
    per_image: NDArray[np.float64]


def information_bound(z_brain: Tensor, z_image: Tensor, temperature: float, beta: float) -> InformationBound:
    """Bound the mutual information between pictures and responses from below.

    With ``c_ij = cos(z_image_i, z_brain_j) / (temperature * beta)`` for picture i and response j of K test images,
    ``I >= (1/K) sum_i log( exp(c_ii) / ((1/K) sum_j exp(c_ij)) )``, in nats.

    It is a bound in expectation over test images, if nothing, beta included, was fitted to them; it can come out below
    0, which says no more than 0 does. It is at most log K, and so depends on K: state K with it.

    Parameters
    ----------
    z_brain, z_image : (K, z) floating tensors
        Embeddings; row i of both belongs to the same picture.
    temperature : float
        Of the loss that the embeddings were trained with.
    beta : float
        Of `choose_beta` on training images.

    Raises
    ------
    SpecError
        The embeddings do not pair up, or temperature or beta is not above 0.

    References
    ----------
    van den Oord et al. 2018, arXiv 1807.03748, section 2.3 and appendix A.1; Poole et al. 2019, arXiv 1905.06922,
    equation 10; Mulrooney & Brockmeier 2024, arXiv 2410.06067, for beta (methods, section 3).
    """
    per_image = _terms(_cosines(z_brain, z_image, temperature), temperature * _above_zero("beta", beta))
    return InformationBound(float(per_image.mean()), math.log(len(per_image)), len(per_image), per_image)


def choose_beta(z_brain: Tensor, z_image: Tensor, temperature: float) -> float:
    """Choose beta, within 10^-2 ... 10^2, that makes the bound largest on training images.

    The bound is concave in 1/beta (a linear term less logarithms of sums of exponentials), so that it has one maximum
    in log beta, which a bounded search finds. Take about as many training images as there are test images: the best
    beta, like the bound, depends on K a little.

    Parameters
    ----------
    z_brain, z_image : (K, z) floating tensors
        Embeddings of training images; row i of both belongs to the same picture.
    temperature : float
        Of the loss that the embeddings were trained with.

    Raises
    ------
    SpecError
        The embeddings do not pair up, or the temperature is not above 0.
    """
    cosines = _cosines(z_brain, z_image, temperature)
    low, high = (math.log(limit) for limit in BETA_RANGE)
    found = optimize.minimize_scalar(
        lambda log_beta: -_terms(cosines, temperature * math.exp(log_beta)).mean(),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return math.exp(found.x)


def _cosines(z_brain: Tensor, z_image: Tensor, temperature: float) -> Tensor:
    """Return the cosines of pictures (rows) with responses (columns), (K, K), after looking the arguments over."""
    if z_brain.ndim != 2 or z_brain.shape != z_image.shape or len(z_brain) == 0:
        raise SpecError(
            "The information bound needs brain and image embeddings that pair up.",
            got=f"shapes {tuple(z_brain.shape)} and {tuple(z_image.shape)}",
            expected="two matrices of one shape (K, z), K >= 1",
        )
    _above_zero("temperature", temperature)
    with torch.no_grad():
        return functional.normalize(z_image.float(), dim=1) @ functional.normalize(z_brain.float(), dim=1).T


def _terms(cosines: Tensor, scale: float) -> NDArray[np.float64]:
    """Return each picture's term of the bound, (K,), in float64: c reaches 1 / (temperature * beta), here some 300."""
    n = len(cosines)
    sums = [torch.logsumexp(rows.double() / scale, dim=1) for rows in cosines.split(ROWS_PER_BLOCK)]
    terms: NDArray[np.float64] = (cosines.diagonal().double() / scale - torch.cat(sums)).cpu().numpy() + math.log(n)
    return terms


def _above_zero(name: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise SpecError(f"The {name} of the information bound must be above 0.", got=f"{value}")
    return value

"""Products and decompositions: the same on either device, whatever the layout and dtype of the matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainviz.encoding.linalg import eigh, matmul

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_any_layout(dtype: torch.dtype, device: str) -> None:
    left = torch.arange(12.0, dtype=dtype, device=device).view(3, 4)
    right = torch.arange(20.0, dtype=dtype, device=device).view(4, 5)
    expected = [[sum((4 * i + k) * (5 * k + j) for k in range(4)) for j in range(5)] for i in range(3)]
    product = matmul(left, right)
    assert (product.dtype, product.device.type, product.tolist()) == (dtype, device, expected)
    assert matmul(right.T, left.T).tolist() == product.T.tolist()
    assert matmul(left[:, 1:3], right[1:3, ::2]).tolist() == (left[:, 1:3] @ right[1:3, ::2]).tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_only_the_lower_triangle_is_decomposed(device: str) -> None:
    values = np.array([1.0, 3.0, 7.0])
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    matrix = axes * values @ axes.T
    lower = torch.from_numpy(np.tril(matrix) + np.triu(np.full((3, 3), 99.0), 1)).to(device)
    found, vectors = eigh(lower)
    np.testing.assert_allclose(found.cpu(), values, rtol=1e-12)
    np.testing.assert_allclose((vectors * found @ vectors.T).cpu(), matrix, atol=1e-12)

"""Pictures on the device against torchvision's own normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as reference

from brainviz.errors import DatasetError
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from brainviz.training.batches import DeviceImages

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)


def test_a_batch_is_what_torchvision_makes_of_the_pictures() -> None:
    rows = np.array([4, 0, 2])
    batch = DeviceImages(PICTURES, rows, "cpu", IMAGENET_MEAN, IMAGENET_STD).batch(torch.tensor([2, 0, 0]))
    for got, row in zip(batch, [2, 4, 4], strict=True):
        expected = reference.normalize(
            reference.to_tensor(Image.fromarray(PICTURES[row])), list(IMAGENET_MEAN), list(IMAGENET_STD)
        )
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_pictures_are_held_as_bytes() -> None:
    images = DeviceImages(PICTURES, np.arange(5), "cpu", IMAGENET_MEAN, IMAGENET_STD)
    assert len(images) == 5
    assert images._bytes.dtype == torch.uint8


def test_no_rows_is_no_pictures() -> None:
    assert len(DeviceImages(PICTURES, np.empty(0, dtype=int), "cpu", IMAGENET_MEAN, IMAGENET_STD)) == 0


@pytest.mark.parametrize(
    ("array", "rows"),
    [
        (PICTURES.astype(np.float32), np.arange(2)),
        (PICTURES.transpose(0, 3, 1, 2), np.arange(2)),
        (PICTURES, np.array([0, 5])),
        (PICTURES, np.array([-1, 0])),
    ],
)
def test_wrong_arrays_and_rows_are_refused(array: np.ndarray, rows: np.ndarray) -> None:
    with pytest.raises(DatasetError):
        DeviceImages(array, rows, "cpu", IMAGENET_MEAN, IMAGENET_STD)

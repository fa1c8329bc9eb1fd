"""Pictures kept on the device as bytes, normalised batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainviz.errors import DatasetError


class DeviceImages:
    """Pictures resident on a device as uint8: a quarter of the memory of float32, and no decoding or copying per batch.

    Parameters
    ----------
    array : (n, s, s, 3) uint8 array
        Decoded pictures, usually memory-mapped.
    rows : (m,) int array
        Which of them to hold, in this order.
    device : torch.device or str
    mean, std : three floats
        Per channel, of pictures scaled to 0..1.

    Raises
    ------
    DatasetError
        The array is not of this shape and type, or a row is not in it.
    """

    def __init__(
        self,
        array: NDArray[np.uint8],
        rows: NDArray[np.integer],
        device: torch.device | str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
            raise DatasetError(
                "The decoded pictures are of the wrong kind.",
                got=f"{array.dtype} {array.shape}",
                expected="uint8 (pictures, pixels, pixels, 3)",
            )
        if len(rows) and (rows.min() < 0 or rows.max() >= len(array)):
            raise DatasetError(
                "A row is asked for that no picture belongs to.",
                got=f"rows {rows.min()} to {rows.max()}",
                expected=f"rows 0 to {len(array) - 1}",
            )
        self._bytes = torch.from_numpy(array[rows]).to(device)
        shape = (1, 3, 1, 1)
        self._scale = torch.tensor([1 / (255 * s) for s in std], device=device).view(shape)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device).view(shape)

    def __len__(self) -> int:
        return len(self._bytes)

    def batch(self, index: Tensor) -> Tensor:
        """Return pictures, normalised, as the backbone takes them.

        Parameters
        ----------
        index : (B,) int tensor
            Positions among the rows held.

        Returns
        -------
        (B, 3, s, s) float32 tensor
            In channels-last memory order: ``(pixel / 255 - mean) / std``.
        """
        pictures = self._bytes[index.to(self._bytes.device)].permute(0, 3, 1, 2)  # strides as they are: channels-last
        return torch.addcmul(self._shift, pictures.to(self._scale.dtype), self._scale)

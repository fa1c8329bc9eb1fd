"""Speed of fine-tuning: images per second of brainviz's loop against a plain PyTorch DataLoader loop with PIL.

Both train the same contrastive network on the same pictures, with the same optimiser and batch size, in one process.
The plain loop decodes, resizes and normalises every picture in every epoch, as torchvision's reference scripts do;
brainviz decodes once and keeps the pictures on the device as bytes. Decoding once is counted in brainviz's time.

    python -m bench.finetune --network alexnet --images 256 --epochs 3
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, count_logits, default_image_size, load_backbone
from brainviz.models.contrastive import ContrastiveNetwork, head_sizes
from brainviz.training.fit import ContrastiveObjective, fit
from brainviz.training.losses import contrastive_loss

#: Pixels on a side of NSD's pictures.
PICTURE_SIZE = 425

LEARNING_RATE = 1e-4


def main() -> None:
    """Run both loops and print the ratio of their speeds."""
    options = arguments()
    torch.set_num_threads(options.threads)
    size = default_image_size(options.network)
    responses = np.random.default_rng(0).standard_normal((options.images, options.vertices)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), options.images)
        plain = plain_loop(new_network(options, size), paths, responses, size, options)
        ours, decoding = our_loop(new_network(options, size), paths, responses, size, options)
    pictures = options.images * options.epochs
    print(
        f"{options.network}, {size} px, {options.images} pictures of {PICTURE_SIZE} px, {options.epochs} epochs, "
        f"batch {options.batch_size}, {options.threads} threads, {options.workers} DataLoader workers, "
        f"{options.device}, {'bfloat16 (ours), float32 (plain)' if options.device == 'cuda' else 'float32'}"
    )
    print(f"plain DataLoader loop: {pictures / plain:8.1f} images per second ({plain:.1f} s)")
    print(f"brainviz:              {pictures / ours:8.1f} images per second ({ours:.1f} s, {decoding:.1f} s decoding)")
    print(f"ratio {plain / ours:.2f}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="alexnet")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--vertices", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=torch.get_num_threads(), help="processes of the DataLoader")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def new_network(options: argparse.Namespace, size: int) -> ContrastiveNetwork:
    """Return the network with seeded random weights: speed does not depend on them."""
    backbone = load_backbone(options.network, "random", "")
    sizes = head_sizes(options.vertices)
    return ContrastiveNetwork(backbone, count_logits(backbone, size), options.vertices, *sizes)


def write_pictures(folder: Path, n: int) -> list[Path]:
    """Write n PNG pictures of smooth colours with some grain, which take about as long to decode as photographs."""
    rng = np.random.default_rng(0)

    def write(number: int, colours: NDArray[np.uint8], grain: NDArray[np.int16]) -> Path:
        smooth = Image.fromarray(colours).resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.BICUBIC)
        path = folder / f"{number:05d}.png"
        Image.fromarray(np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8)).save(path)
        return path

    grain = rng.integers(-8, 9, (PICTURE_SIZE, PICTURE_SIZE, 3), dtype=np.int16)
    return [write(number, rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), grain) for number in range(n)]


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Picture files with their responses, decoded when asked for."""

    def __init__(self, paths: list[Path], responses: NDArray[np.float32], size: int) -> None:
        self.paths, self.responses = paths, torch.from_numpy(responses)
        self.transform = transforms.Compose(
            [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index]) as picture:
            return self.transform(picture.convert("RGB")), self.responses[index]


def plain_loop(
    network: ContrastiveNetwork,
    paths: list[Path],
    responses: NDArray[np.float32],
    size: int,
    options: argparse.Namespace,
) -> float:
    """Train in the usual way; return the seconds."""
    network.to(options.device).train()
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    loader: DataLoader[Any] = DataLoader(
        Pictures(paths, responses, size),
        batch_size=options.batch_size,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=options.device == "cuda",
    )
    start = time.perf_counter()
    for _ in range(options.epochs):
        for pictures, paired in loader:
            adam.zero_grad()
            z_brain, z_image = network(pictures.to(options.device), paired.to(options.device))
            loss = contrastive_loss(z_brain, z_image)
            loss.backward()
            adam.step()
            loss.item()
    return time.perf_counter() - start


def our_loop(
    network: ContrastiveNetwork,
    paths: list[Path],
    responses: NDArray[np.float32],
    size: int,
    options: argparse.Namespace,
) -> tuple[float, float]:
    """Decode once and train with `fit`; return the seconds of both together, and of decoding."""

    def decode(path: Path) -> NDArray[np.uint8]:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))

    start = time.perf_counter()
    with ThreadPoolExecutor(options.threads) as pool:
        images = np.stack(list(pool.map(decode, paths)))
    decoding = time.perf_counter() - start
    fit(
        network,
        ContrastiveObjective(network),
        images,
        responses,
        np.arange(len(images)),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=LEARNING_RATE,
        device=options.device,
    )
    return time.perf_counter() - start, decoding


if __name__ == "__main__":
    main()

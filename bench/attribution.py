"""Speed of `attribute` against captum called picture by picture, on the demo's network and the same pictures.

Both sides trace back the same number, a mixture of logits, of the same pictures of noise at the network's own size,
with the same threads and dtype (float32). The plain side is captum as its tutorials call it: one picture per call, the
network as it was loaded. Every method is timed on either side in alternating order, and the maps are compared. Lastly
the time for 100 pictures and their mirror images, six methods (the five, and saliency with a noise tunnel of ten
copies), two networks. brainviz takes more steps of integrated gradients for pictures whose sum is off by more than 1 %;
captum takes the 50 that both begin with, which is less work.

    python -m bench.attribution [--images N] [--slow-images N] [--threads N] [--repeats N] [--network NAME]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn

from brainviz.analyses.attribution import ATTRIBUTIONS, How, LinearReadout, attribute
from brainviz.models.backbones import (
    count_logits,
    default_image_size,
    default_weights,
    last_map,
    load_backbone,
    logit_layer,
    resolve_weights,
)

#: Methods that show the network many versions of each picture: fewer pictures are timed.
SLOW = ("integrated-gradients", "occlusion")


def main() -> None:
    """Time both sides and print ratios."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message="Input Tensor")
    size = default_image_size(options.network)
    network = readout(options.network)
    print(f"{options.network}, pictures of {size} x {size}, float32, cpu, {options.threads} threads")
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.backends.mkldnn.is_available()=}", flush=True)
    images = torch.randn(options.images, 3, size, size, generator=torch.Generator().manual_seed(0))
    for method in ATTRIBUTIONS:
        n = options.slow_images if method in SLOW else options.images
        compare(network, images[:n], settings(method, options.network, size), options)
    everything(options, images, size)


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"images": 200, "slow-images": 16, "threads": 2, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--network", default="alexnet_compact")
    return parser.parse_args()


def readout(name: str) -> LinearReadout:
    """Return a network whose one number mixes its logits; random weights where none come with brainviz."""
    weights = default_weights(name) if name == "alexnet_compact" else "random"
    backbone = load_backbone(name, weights, resolve_weights(name, weights).digest)
    n = count_logits(backbone, default_image_size(name))
    return LinearReadout(backbone, logit_layer(name), np.random.default_rng(0).standard_normal((n, 1)), np.zeros(1))


def settings(method: str, network: str, size: int) -> How:
    """Return what a lateralization run takes unless told otherwise."""
    layer = last_map(network) if method == "grad-cam" else ""
    return How(method, layer=layer, window=size // 8)  # type: ignore[arg-type]


def compare(network: LinearReadout, images: Tensor, how: How, options: argparse.Namespace) -> None:
    """Time one method on both sides, and print the ratio and how far the maps differ."""
    sides: dict[str, Callable[[], np.ndarray]] = {
        "brainviz": lambda: attribute(network, images, np.zeros(len(images), int), how).maps,
        "captum": lambda: one_by_one(network, images, how),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    maps = {}
    for repeat in range(options.repeats + 1):
        for side in list(sides)[:: -1 if repeat % 2 else 1]:
            start = time.perf_counter()
            maps[side] = sides[side]()
            if repeat:  # the first one warms up
                seconds[side].append(time.perf_counter() - start)
    took = {side: statistics.median(each) for side, each in seconds.items()}
    apart = np.abs(maps["brainviz"] - maps["captum"]).max() / np.abs(maps["captum"]).max()
    rates = {side: len(images) / each for side, each in took.items()}
    print(
        f"  {how.method:21s} brainviz {rates['brainviz']:8.1f} pictures/s   captum one by one {rates['captum']:7.1f}   "
        f"{rates['brainviz'] / rates['captum']:5.1f} times   maps at most {apart:.1e} of the largest value apart",
        flush=True,
    )


def one_by_one(network: LinearReadout, images: Tensor, how: How) -> np.ndarray:
    """Call captum for each picture by itself."""
    layers: dict[str, nn.Module] = dict(network.backbone.named_modules())
    network.eval().requires_grad_(True)
    stride = (3, how.window // 2, how.window // 2)
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "grad-cam": lambda x: LayerGradCam(network, layers[how.layer]).attribute(x, target=0, relu_attributions=True),
        "saliency": lambda x: Saliency(network).attribute(x, target=0, abs=False),
        "input-x-gradient": lambda x: InputXGradient(network).attribute(x, target=0),
        "integrated-gradients": lambda x: IntegratedGradients(network).attribute(x, target=0, n_steps=how.n_steps),
        "occlusion": lambda x: Occlusion(network).attribute(x, (3, how.window, how.window), stride, target=0),
    }
    found = np.concatenate([calls[how.method](image[None]).detach().sum(1).numpy() for image in images])
    # Captum gives the loss of a square to each of the three channels.
    return found / 3 if how.method == "occlusion" else found


def everything(options: argparse.Namespace, images: Tensor, size: int) -> None:
    """Time 100 pictures and their mirror images, six methods, two networks."""
    chosen = images[torch.arange(100) % len(images)]
    start = time.perf_counter()
    for _ in range(2):
        network = readout(options.network)
        for method in ATTRIBUTIONS:
            how = settings(method, options.network, size)
            noisy = [How("saliency", noise_samples=10)] if method == "saliency" else []
            for each in (how, *noisy):
                for shown in (chosen, chosen.flip(3)):
                    attribute(network, shown, np.zeros(100, int), each)
    print(f"100 pictures, mirrored too, 6 methods, 2 networks: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()

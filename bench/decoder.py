"""Speed of training S decoders as one batched model, against one decoder and against a plain PyTorch loop.

Every side trains on the same random data, with all parameters of methods, section 8, and noise on the inputs:

* `batched`: `fit_decoders` with S seeds.
* `one`: `fit_decoders` with one seed; S times its time is what S runs would take.
* `plain`: nn.Linear, torch.optim.Adam as it comes and autograd, one seed; S times its time likewise.

Each is timed over `--iterations` steps; what setting up takes is measured with one step and subtracted, so that the
times hold for runs of any length. Sides take turns, and the median over the repeats is reported.

    python -m bench.decoder [--seeds N] [--vertices N --dimensions N --pictures N] [--iterations N] [--device cpu|cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bench.machine import device_name, machine, numpy_blas, torch_blas
from brainviz.training.decoding import fit_decoders

BATCH_SIZE, TEMPERATURE, LEARNING_RATE, NOISE_SD, ITERATIONS = 128, 0.03, 1e-4, 1.0, 5001

#: How much longer S decoders may take than one on a GPU.
CLAIM = 5.0

Array = NDArray[np.float32]


def main() -> None:
    """Time all sides on every device and print their ratios."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    print(describe(options))
    for device in options.device:
        report(device, options)
    if "cuda" not in options.device:
        why = "not asked for" if torch.cuda.is_available() else "there is none here"
        print(
            f"\nGPU: {why}; that {options.seeds} seeds take under {CLAIM:g} times one there is not tested by this run"
        )


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"seeds": 50, "vertices": 2000, "dimensions": 512, "pictures": 2000, "iterations": 20, "repeats": 3}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", type=float, default=4, help="GiB for the decoders trained at once")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", nargs="+", choices=("cpu", "cuda"), default=devices)
    return parser.parse_args()


def describe(options: argparse.Namespace) -> str:
    """Return sizes, versions, BLAS and threads."""
    return (
        f"{options.seeds} seeds, {options.vertices} vertices, {options.dimensions} dimensions, {options.pictures} "
        f"pictures, batch {BATCH_SIZE}, {options.iterations} iterations, float32 (no TF32)\n"
        f"{machine(options.threads)}; {torch_blas()}; {numpy_blas()}"
    )


def report(device: str, options: argparse.Namespace) -> None:
    """Time all sides on one device and print what they took."""
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((options.pictures, options.vertices), dtype=np.float32)
    embeddings = rng.standard_normal((options.pictures, options.dimensions), dtype=np.float32)

    def fit(n_seeds: int) -> Callable[[int], float]:
        def run(iterations: int) -> float:
            memory = int(options.memory * 2**30)
            return fit_decoders(
                responses, embeddings, n_seeds=n_seeds, iterations=iterations, device=device, memory=memory
            ).seconds

        return run

    sides: dict[str, Callable[[int], float]] = {
        "batched": fit(options.seeds),
        "one": fit(1),
        "plain": lambda iterations: plain_loop(responses, embeddings, iterations, device),
    }
    for run in sides.values():
        run(2)  # the first run of a process pays for libraries and memory
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for repeat in range(options.repeats):
        for side in list(sides)[:: -1 if repeat % 2 else 1]:
            # One decoder alone is quick: more steps, so that the clock has something to measure.
            steps = options.iterations * (1 if side == "batched" else 5)
            seconds[side].append((sides[side](steps + 1) - sides[side](1)) / steps)
    per_step = {side: statistics.median(times) for side, times in seconds.items()}

    print(f"\n{device_name(device)}: milliseconds per iteration (median of {options.repeats})")
    print(f"and seconds of all {ITERATIONS} iterations, estimated")
    for side, label, decoders in (
        ("batched", f"{options.seeds} seeds, batched", 1),
        ("one", "one seed", 1),
        ("one", f"{options.seeds} times one seed", options.seeds),
        ("plain", "one seed, plain loop", 1),
        ("plain", f"{options.seeds} seeds, plain loop", options.seeds),
    ):
        taken = per_step[side] * decoders
        print(f"  {label:<26}{taken * 1e3:10.2f} ms{taken * ITERATIONS:10.1f} s")
    ratio = per_step["batched"] / per_step["one"]
    print(
        f"  {options.seeds} seeds take {ratio:.1f} times one, {options.seeds / ratio:.2f} times as fast as one by one"
    )
    print(f"  and {options.seeds * per_step['plain'] / per_step['batched']:.2f} times as fast as the plain loop")
    if device == "cuda":
        held = "holds" if ratio < CLAIM else "DOES NOT HOLD"
        print(f"  claim, under {CLAIM:g} times one: {held}")


def plain_loop(responses: Array, embeddings: Array, iterations: int, device: str) -> float:
    """Train one decoder in the usual way; return the seconds."""
    start = time.perf_counter()
    x, images = torch.from_numpy(responses).to(device), torch.from_numpy(embeddings).to(device)
    linear = nn.Linear(x.shape[1], images.shape[1]).to(device)
    adam = torch.optim.Adam(linear.parameters(), lr=LEARNING_RATE)
    done, batch = 0, min(BATCH_SIZE, len(x))
    own = torch.arange(batch, device=device)
    while done < iterations:
        for index in torch.randperm(len(x), device=device).split(batch):
            if len(index) < batch or done == iterations:
                break
            noisy = x[index] + NOISE_SD * torch.randn(batch, x.shape[1], device=device)
            cosines = functional.normalize(linear(noisy)) @ functional.normalize(images[index]).T
            loss = functional.cross_entropy(cosines / TEMPERATURE, own)
            loss = (loss + functional.cross_entropy(cosines.T / TEMPERATURE, own)) / 2
            adam.zero_grad()
            loss.backward()
            adam.step()
            done += 1
    linear.weight.detach().cpu()  # waits for the device
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

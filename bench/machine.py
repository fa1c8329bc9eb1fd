"""What every benchmark says of the machine: processor, cores, threads, load by others, BLAS of numpy and of torch."""

from __future__ import annotations

import os
import platform


def load() -> str:
    """Return the load averages of the last 1 and 5 minutes."""
    return "{:.1f}, {:.1f}".format(*os.getloadavg()[:2])


def machine(threads: int) -> str:
    """Return the processor, its cores, the threads that every side has, and what others use of them."""
    cores = f"{platform.machine()}, {os.cpu_count()} cores"
    return f"{cores}, {threads} threads on every side, load by others {load()}"


def numpy_blas() -> str:
    """Return numpy's version, and the BLAS of numpy and scipy with its threads."""
    import numpy as np
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    pools = {
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    return f"numpy {np.__version__}, {'; '.join(sorted(pools))}"


def torch_blas() -> str:
    """Return torch's version, its BLAS and its threads."""
    import torch

    library = torch.__config__.show().split("BLAS_INFO=")[-1].split(",")[0]
    return f"torch {torch.__version__} with {library}, {torch.get_num_threads()} threads"


def device_name(device: str) -> str:
    """Return what a device of torch's is called."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "CPU"

"""brainviz: fine-tune image networks on fMRI responses, and look at the outcome on the cortex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainviz.datasets import open_dataset

__version__ = "0.1.0"
__all__ = ["__version__", "open_dataset"]


def __getattr__(name: str) -> Any:
    """Import `open_dataset` on first use: numpy stays out of ``import brainviz``."""
    if name == "open_dataset":
        from brainviz.datasets import open_dataset

        return open_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

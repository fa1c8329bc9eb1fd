"""Data sets by name or by folder."""

from __future__ import annotations

from pathlib import Path

from brainviz.config import cache_dir, load_config, nearest
from brainviz.datasets.algonauts import AlgonautsDataset, find_root
from brainviz.datasets.base import Dataset
from brainviz.errors import DatasetError

__all__ = ["DEMO", "Dataset", "dataset_folder", "dataset_names", "open_dataset"]

#: The name of the data set that brainviz makes itself.
DEMO = "demo"


def dataset_names() -> tuple[str, ...]:
    """Names that `open_dataset` knows: the demo, then those of `brainviz.toml`."""
    return (DEMO, *load_config().datasets)


def dataset_folder(name_or_path: str | Path) -> Path:
    """Return the folder that a name stands for; anything that is no name is taken as a path.

    The demo is written if it is not there yet, which takes some seconds.

    Raises
    ------
    DatasetError
        It is neither a name nor an existing path.
    """
    if name_or_path == DEMO:
        from brainviz.datasets.demo import write_demo

        return write_demo(cache_dir() / DEMO)
    config = load_config()
    if isinstance(name_or_path, str) and name_or_path in config.datasets:
        return config.datasets[name_or_path]
    path = Path(name_or_path).expanduser()
    if not path.exists():
        names = dataset_names()
        close = nearest(str(name_or_path), names)
        raise DatasetError(
            "There is no data set of this name, and no such folder.",
            got=str(name_or_path),
            expected=f"one of {', '.join(names)}, or a folder in the Algonauts 2023 layout",
            mend=f"did you mean {close!r}?"
            if close
            else "add the folder to [datasets] in brainviz.toml, or correct the path.",
        )
    return path


def open_dataset(name_or_path: str | Path) -> Dataset:
    """Open a data set by name or by folder. Folders are listed and headers read, nothing more.

    Parameters
    ----------
    name_or_path : str or Path
        ``"demo"``, a name under [datasets] in `brainviz.toml`, or a folder. Where the subjects are one level
        further down, in the only folder that has any, that one is opened.

    Raises
    ------
    DatasetError
        There is no such data set, it has no subjects, or its dataset.toml has errors.
    """
    return AlgonautsDataset(find_root(dataset_folder(name_or_path)).resolve())

"""The Algonauts 2023 layout on disk: subjXX/{training_split,test_split,roi_masks,noise_ceiling}."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets import ceiling
from brainviz.datasets.base import ALL_VERTICES, HEMISPHERES, ROI_UNIONS, Dataset, ImageSet
from brainviz.datasets.images import SUFFIXES
from brainviz.datasets.masks import POSITIONS, read_labels, read_labels_on_mesh, read_positions, roi_masks
from brainviz.datasets.npy import NpyFile, describe, open_npy, read_float32
from brainviz.datasets.settings import read_settings
from brainviz.datasets.unpickle import read_mapping
from brainviz.errors import DatasetError

#: Folders by which a subject's folder is known.
_SUBJECT_PARTS = ("training_split", "roi_masks")
_SUBJECT_NAME = re.compile(r"subj?[-_]?\d+", re.IGNORECASE)
_MASK_NAME = re.compile(r"(lh|rh)\.(.+)_(fsaverage|challenge)_space\.npy")
_MAPPING_NAME = re.compile(r"mapping_(.+)\.npy")

#: The order in which ROI sets are listed; others follow by name.
_SET_ORDER = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")


class SubjectFiles:
    """Where one subject's files are. Every folder is listed at most once, and no file is opened.

    Parameters
    ----------
    name : str
        The subject.
    folder : Path
        The folder that holds ``training_split`` and the others.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.responses_folder = folder / "training_split" / "training_fmri"
        self.masks_folder = folder / "roi_masks"
        self.ceilings_folder = folder / ceiling.FOLDER
        self.images_folder = folder / "training_split" / "training_images"
        self.test_images_folder = folder / "test_split" / "test_images"

    @cached_property
    def responses(self) -> dict[str, Path]:
        """Hemisphere -> file of responses."""
        return _per_hemisphere(self.responses_folder, "{}_training_fmri.npy")

    @cached_property
    def ceilings(self) -> dict[str, tuple[Path, ...]]:
        """Hemisphere -> files that tell how much of the responses is signal; the first one counts."""
        found = [_per_hemisphere(self.ceilings_folder, pattern) for pattern in ceiling.FILES]
        files = {hemi: tuple(each[hemi] for each in found if hemi in each) for hemi in HEMISPHERES}
        return {hemi: paths for hemi, paths in files.items() if paths}

    @cached_property
    def masks(self) -> dict[tuple[str, str, str], Path]:
        """(hemisphere, ROI set, space) -> mask.

        The space is ``challenge`` (one value per column) or ``fsaverage`` (one per vertex of whichever mesh it is).
        """
        matches = {name: match for name in self._roi_files if (match := _MASK_NAME.fullmatch(name))}
        return {(match[1], match[2], match[3]): self.masks_folder / name for name, match in matches.items()}

    @cached_property
    def mappings(self) -> dict[str, Path]:
        """ROI set -> file that names the values of its masks."""
        matches = {name: match for name in self._roi_files if (match := _MAPPING_NAME.fullmatch(name))}
        return {match[1]: self.masks_folder / name for name, match in matches.items()}

    @cached_property
    def _roi_files(self) -> tuple[str, ...]:
        return _listing(self.masks_folder)

    def roi_sets(self, hemi: str) -> tuple[str, ...]:
        """Names of the ROI sets for which the hemisphere has a mask, known sets first."""
        names = {roi_set for h, roi_set, _ in self.masks if h == hemi} - {POSITIONS}
        return tuple(
            sorted(names, key=lambda name: (_SET_ORDER.index(name) if name in _SET_ORDER else len(_SET_ORDER), name))
        )

    @cached_property
    def images(self) -> ImageSet:
        """The training pictures, sorted by file name."""
        return _image_set(self.images_folder)

    @cached_property
    def test_images(self) -> ImageSet:
        """The test pictures, sorted by file name."""
        return _image_set(self.test_images_folder)

    def other_files(self) -> dict[Path, tuple[str, ...]]:
        """Folder of pictures -> names in it that are not taken for pictures, where there are any."""
        folders = (self.images_folder, self.test_images_folder)
        others = {folder: tuple(name for name in _listing(folder) if not _is_picture(name)) for folder in folders}
        return {folder: names for folder, names in others.items() if names}

    def sources(self) -> tuple[Path, ...]:
        """Every file beside the pictures that says something about the subject."""
        ceilings = chain.from_iterable(self.ceilings.values())
        return (*self.responses.values(), *ceilings, *self.masks.values(), *self.mappings.values())


def _listing(folder: Path) -> tuple[str, ...]:
    """Names in a folder, sorted, hidden ones left out; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in entries if not entry.name.startswith(".")))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        got = f"{folder} ({error.strerror})"
        raise DatasetError("A folder cannot be read.", got=got, mend="ask for permission to read it.") from error


def _per_hemisphere(folder: Path, pattern: str) -> dict[str, Path]:
    names = _listing(folder)
    return {hemi: folder / pattern.format(hemi) for hemi in HEMISPHERES if pattern.format(hemi) in names}


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _image_set(folder: Path) -> ImageSet:
    names = [name for name in _listing(folder) if _is_picture(name)]
    return ImageSet(tuple(folder / name for name in names), tuple(_image_id(name) for name in names))


def _image_id(name: str) -> str:
    """Return the picture's own name: ``nsd-00013`` of ``train-0001_nsd-00013.png``."""
    stem = name.rpartition(".")[0]
    return stem.partition("_")[2] or stem


def find_root(path: Path) -> Path:
    """Return the folder that holds the subjects: `path`, or the one folder in it that does.

    Raises
    ------
    DatasetError
        There is no such folder, or no subject in it, or more than one folder with subjects.
    """
    layout = "a folder with subj01/training_split, subj01/roi_masks, ... (the Algonauts 2023 layout)"
    if not path.exists():
        raise DatasetError("There is no such folder.", got=str(path), expected=layout, mend="correct the path.")
    if not path.is_dir():
        raise DatasetError(
            "A data set is a folder, not a file.", got=str(path), expected=layout, mend="name the folder."
        )
    if subject_folders(path):
        return path
    if _has_parts(path):
        raise DatasetError(
            "This is one subject, not a data set.", got=str(path), expected=layout, mend=f"open {path.parent} instead."
        )
    inner = [path / name for name in _listing(path) if (path / name).is_dir() and subject_folders(path / name)]
    if len(inner) == 1:
        return inner[0]
    if inner:
        raise DatasetError(
            "The folder holds more than one data set.",
            got=", ".join(folder.name for folder in inner),
            mend="open one of them.",
        )
    raise DatasetError(
        "There are no subjects in this folder.", got=str(path), expected=layout, mend="correct the path."
    )


def subject_folders(root: Path) -> dict[str, Path]:
    """Return subject -> the folder with its ``training_split``, which may be one level further down."""
    found = {name: _subject_home(root / name) for name in _listing(root) if (root / name).is_dir()}
    return {name: home for name, home in found.items() if home}


def _settings_file(root: Path) -> Path:
    """Return dataset.toml of the folder that holds the subjects, else that of the folder it was entered from."""
    inner, outer = root / "dataset.toml", root.parent / "dataset.toml"
    return outer if outer.exists() and not inner.exists() and not subject_folders(root.parent) else inner


def _has_parts(folder: Path) -> bool:
    # os.path.isdir is false, and no error, for what may not be looked into (lost+found on a disk of its own).
    return any(os.path.isdir(folder / part) for part in _SUBJECT_PARTS)  # noqa: PTH112


def _subject_home(folder: Path) -> Path | None:
    if _has_parts(folder):
        return folder
    if _SUBJECT_NAME.fullmatch(folder.name):
        inner = [folder / name for name in _listing(folder) if _has_parts(folder / name)]
        return inner[0] if len(inner) == 1 else folder
    return folder / folder.name if _has_parts(folder / folder.name) else None


class AlgonautsDataset(Dataset):
    """A data set in the Algonauts 2023 layout. Opening it lists folders and reads headers only.

    What is damaged is left out, and `brainviz.datasets.check` says why: a hemisphere whose responses cannot be read, a
    ROI set whose masks do not fit, a subject without any hemisphere.

    Parameters
    ----------
    root : Path
        The folder that holds the subjects.
    strict : bool
        Whether to refuse a dataset.toml with errors, and a data set without any usable subject.

    Raises
    ------
    DatasetError
        `root` cannot be used (see `strict`).
    """

    def __init__(self, root: Path, *, strict: bool = True) -> None:
        self.root = root
        settings_file = _settings_file(root)
        self.settings, self.settings_findings = read_settings(settings_file, root.name)
        errors = [finding.message for finding in self.settings_findings if finding.level == "error"]
        if errors and strict:
            raise DatasetError(f"{settings_file} cannot be used.", got=" ".join(errors), mend="correct the file.")
        self.name, self.mesh, self.unit = self.settings.name, self.settings.mesh, self.settings.unit
        self.defaults = MappingProxyType(dict(self.settings.defaults))
        self.files = {name: SubjectFiles(name, folder) for name, folder in subject_folders(root).items()}
        self._hemispheres = {name: self._readable_hemispheres(name) for name in self.files}
        self._subjects = tuple(name for name, hemispheres in self._hemispheres.items() if hemispheres)
        if not self._subjects and strict:
            raise DatasetError(
                "No subject has responses that can be read.",
                got=f"{root} with {', '.join(self.files) or 'no subjects'}",
                expected="subj01/training_split/training_fmri/lh_training_fmri.npy, ...",
                mend="check the data set: python -m brainviz check names what is wrong with each file.",
            )
        self._rois: dict[tuple[str, str], dict[str, NDArray[np.bool_]]] = {}

    def _readable_hemispheres(self, subject: str) -> dict[str, NpyFile]:
        """Return hemisphere -> file of responses, where that file is whole and a matrix."""
        allowed = self.settings.hemispheres or HEMISPHERES
        readable = {}
        for hemi in allowed:
            if hemi in self.files[subject].responses:
                try:
                    readable[hemi] = open_responses(self.files[subject].responses[hemi])
                except DatasetError:
                    continue  # check_dataset says what is wrong with it, and so does require_hemisphere
        return readable

    @property
    def subjects(self) -> tuple[str, ...]:
        return self._subjects

    def hemispheres(self, subject: str) -> tuple[str, ...]:
        self.require_subject(subject)
        return tuple(self._hemispheres[subject])

    def require_subject(self, subject: str) -> None:
        if subject in self.files and not self._hemispheres[subject]:
            for file in self.files[subject].responses.values():
                open_responses(file)
            raise DatasetError(
                f"{subject} has no responses.", got=str(self.files[subject].folder), mend="check the data set."
            )
        super().require_subject(subject)

    def require_hemisphere(self, subject: str, hemi: str) -> None:
        self.require_subject(subject)
        if hemi not in self._hemispheres[subject] and hemi in self.files[subject].responses:
            open_responses(self.files[subject].responses[hemi])
        super().require_hemisphere(subject, hemi)

    def n_vertices(self, subject: str, hemi: str) -> int:
        self.require_hemisphere(subject, hemi)
        return self._hemispheres[subject][hemi].shape[1]

    def positions(self, subject: str, hemi: str) -> NDArray[np.int64] | None:
        """Index on the mesh of every column, shape (v,); None where the data set has no mesh, or no all-vertices mask.

        Raises
        ------
        DatasetError
            The mask does not fit the responses or the mesh.
        """
        n_vertices = self.n_vertices(subject, hemi)
        path = self.files[subject].masks.get((hemi, POSITIONS, "fsaverage"))
        if self.mesh == "none" or path is None:
            return None
        return read_positions(path, n_vertices, self.mesh)

    def rois(self, subject: str, hemi: str) -> dict[str, NDArray[np.bool_]]:
        """Return the non-empty ROIs: name -> mask over the columns, shape (v,).

        A union (`ROI_UNIONS`) is there if all its parts are. Of two sets with a ROI of one name, the first counts.
        """
        self.require_hemisphere(subject, hemi)
        if (subject, hemi) not in self._rois:
            masks: dict[str, NDArray[np.bool_]] = {}
            for roi_set in self.files[subject].roi_sets(hemi):
                try:
                    labels, names = self.labels(subject, hemi, roi_set)
                except DatasetError:
                    continue  # check_dataset says what is wrong with it
                masks |= {name: mask for name, mask in roi_masks(labels, names).items() if name not in masks}
            for union, parts in ROI_UNIONS.items():
                if union not in masks and all(part in masks for part in parts):
                    masks[union] = np.logical_or.reduce([masks[part] for part in parts])
            for mask in masks.values():
                mask.flags.writeable = False
            self._rois[subject, hemi] = masks
        return dict(self._rois[subject, hemi])

    def labels(self, subject: str, hemi: str, roi_set: str) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return one ROI set as it is on disk.

        Returns
        -------
        labels : (v,) int64 array
            A value per column; 0 is no ROI. Taken from the fsaverage-space mask where there is no challenge-space one.
        names : dict of int to str
            What the values mean.

        Raises
        ------
        DatasetError
            A file is missing or damaged, or does not fit the responses.
        """
        files, n_vertices = self.files[subject], self.n_vertices(subject, hemi)
        if roi_set not in files.mappings:
            raise DatasetError(
                f"mapping_{roi_set}.npy, which names the ROIs of this set, is missing.",
                mend="add the file to roi_masks.",
            )
        names = read_mapping(files.mappings[roi_set])
        challenge, fsaverage = (files.masks.get((hemi, roi_set, space)) for space in ("challenge", "fsaverage"))
        if challenge:
            return read_labels(challenge, n_vertices), names
        if not fsaverage or (hemi, POSITIONS, "fsaverage") not in files.masks:
            raise DatasetError(
                f"The masks of {roi_set} in fsaverage space need {hemi}.{POSITIONS}_fsaverage_space.npy.",
                mend="add the file to roi_masks.",
            )
        positions = read_positions(files.masks[hemi, POSITIONS, "fsaverage"], n_vertices, self.mesh)
        return read_labels_on_mesh(fsaverage, positions), names

    def responses(
        self, subject: str, hemi: str, roi: str | None = None, rows: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        self.require_hemisphere(subject, hemi)
        file = self._hemispheres[subject][hemi]
        n_images = len(self.images(subject))
        if n_images != file.shape[0]:
            raise DatasetError(
                f"{subject} has not one picture per row of {file.path.name}, so nobody can say which belongs to which.",
                got=f"{n_images:,} pictures",
                expected=f"{file.shape[0]:,}, one per row",
                mend="add the missing pictures, or take away those without a response.",
            )
        if rows is not None and len(rows) and (np.min(rows) < 0 or np.max(rows) >= n_images):
            raise DatasetError(
                "A picture number is out of range.",
                got=f"{np.min(rows)} to {np.max(rows)}",
                expected=f"0 to {n_images - 1}",
            )
        whole = roi is None or roi == ALL_VERTICES
        if whole and rows is None and file.dtype == np.float32:
            return file.map()
        return read_float32(file, None if whole else self.columns(subject, hemi, roi), rows)

    def images(self, subject: str) -> ImageSet:
        self.require_subject(subject)
        return self.files[subject].images

    def test_images(self, subject: str) -> ImageSet:
        self.require_subject(subject)
        return self.files[subject].test_images

    def noise_ceiling(self, subject: str, hemi: str) -> NDArray[np.float32] | None:
        """Share of the variance that is signal, 0..1, shape (v,); None where the data set does not say.

        It is read from the subject's folder ``noise_ceiling``, or follows from NSD's noise-ceiling SNR there and from
        ``repeats`` in dataset.toml; without ``repeats``, the SNR alone says nothing (see `noise_ceiling_hint`).

        Raises
        ------
        DatasetError
            The file is damaged, does not fit the responses, or leaves its range.
        """
        n_vertices = self.n_vertices(subject, hemi)
        files = self.files[subject].ceilings.get(hemi)
        if files is None:
            return None
        path = files[0]
        if path.name == ceiling.SHARE.format(hemi):
            return ceiling.read_noise_ceiling(path, n_vertices)
        repeats = self.repeats(subject)
        if repeats is None:
            return None
        snr = ceiling.read_ncsnr(path, n_vertices, self.positions(subject, hemi), self.mesh)
        return ceiling.noise_ceiling(snr, repeats).astype(np.float32)

    def noise_ceiling_files(self, subject: str, hemi: str) -> tuple[str, ...]:
        self.require_hemisphere(subject, hemi)
        # NSD's file has a value per vertex of the mesh: of no use where nobody knows where the columns sit.
        on_mesh = self.mesh != "none" and (hemi, POSITIONS, "fsaverage") in self.files[subject].masks
        patterns = [pattern for pattern in ceiling.FILES if on_mesh or pattern != ceiling.SNR_ON_MESH]
        return tuple(f"{ceiling.FOLDER}/{pattern.format(hemi)}" for pattern in patterns)

    def noise_ceiling_hint(self, subject: str, hemi: str) -> str:
        share, *snr = self.noise_ceiling_files(subject, hemi)
        files = self.files[subject].ceilings.get(hemi)
        if files is None:
            return (
                f"Put {share} (the share of the variance that is signal, 0 to 1, one value per column) into the folder"
                f" of {subject}; or {' or '.join(snr)} (NSD's noise-ceiling SNR), with repeats in dataset.toml."
            )
        if files[0].name == ceiling.SHARE.format(hemi) or self.repeats(subject) is not None:
            return ""
        return (
            f"{files[0].name} gives a noise ceiling only together with how often the pictures were shown. Write into"
            " dataset.toml: repeats = 3 if each was shown three times, or repeats = {1 = 200, 2 = 300, 3 = 9500} with"
            " how many pictures were shown once, twice, ...; where subjects differ, a table [repeats] with one of these"
            f" per subject, such as {subject} = 3."
        )

    def repeats(self, subject: str) -> Mapping[int, int] | None:
        self.require_subject(subject)
        return self.settings.repeats_of(subject)

    def sources(self, subject: str) -> tuple[Path, ...]:
        return self.files[subject].sources()


def open_responses(path: Path) -> NpyFile:
    """Open a file of responses: a whole matrix of real numbers.

    Raises
    ------
    DatasetError
        It is anything else.
    """
    file = open_npy(path)
    if len(file.shape) != 2 or 0 in file.shape or file.dtype.kind not in "fiu":
        raise DatasetError(
            f"{path.name} does not hold responses.",
            got=f"an array {describe(file.shape, file.dtype)}",
            expected="a float32 matrix, pictures x vertices",
            mend="save one row per picture, one column per vertex.",
        )
    return file

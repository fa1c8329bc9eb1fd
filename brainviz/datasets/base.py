"""The data set contract: subjects, hemispheres, vertices on a named mesh, ROIs, responses and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

HEMISPHERES = ("lh", "rh")
HEMISPHERE_NAMES = {"lh": "left hemisphere", "rh": "right hemisphere"}

#: Vertices per hemisphere of the meshes that brainviz knows.
MESH_VERTICES = {"fsaverage5": 10_242, "fsaverage6": 40_962, "fsaverage": 163_842}

#: ROIs that are unions of others.
ROI_UNIONS: dict[str, tuple[str, ...]] = {
    "V1": ("V1v", "V1d"),
    "V2": ("V2v", "V2d"),
    "V3": ("V3v", "V3d"),
    "early-visual": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
}

#: The name that stands for every vertex of a hemisphere.
ALL_VERTICES = "all"

#: ROIs with fewer vertices than this are skipped in analyses (methods, section 1).
MIN_ROI_VERTICES = 20


@dataclass(frozen=True)
class ImageSet(Sequence["Image"]):
    """The pictures of one subject and split, in the order of the response rows.

    Attributes
    ----------
    paths : tuple of Path
        One file per picture.
    ids : tuple of str
        The picture's own name (for Algonauts the part after the first underscore, e.g. ``nsd-00013``).
    """

    paths: tuple[Path, ...]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return the picture at `index`, decoded to RGB."""
        from brainviz.datasets.images import decode

        if isinstance(index, slice):
            return ImageSet(self.paths[index], self.ids[index])
        return decode(self.paths[index])


class Dataset(ABC):
    """Stimuli and responses of one data set, opened but not read.

    Attributes
    ----------
    root : Path
        The folder.
    name : str
        What the data set calls itself.
    mesh : str
        A key of `MESH_VERTICES`, ``"none"``, or the name of a mesh brainviz does not know.
    unit : str
        What one column is: ``"vertex"`` unless the data set says otherwise (``"neuron"``, ...).
    defaults : mapping
        Settings that the data set suggests for runs (``network``, ``image_size``, ...).
    """

    root: Path
    name: str
    mesh: str
    unit: str
    defaults: Mapping[str, Any]

    @property
    @abstractmethod
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, sorted."""

    @abstractmethod
    def hemispheres(self, subject: str) -> tuple[str, ...]:
        """Hemispheres for which the subject has responses, in the order of `HEMISPHERES`."""

    @abstractmethod
    def n_vertices(self, subject: str, hemi: str) -> int:
        """Return the number of columns of the responses."""

    @abstractmethod
    def positions(self, subject: str, hemi: str) -> NDArray[np.int64] | None:
        """Index on the mesh of every column, shape (v,); None where the data set has no mesh."""

    @abstractmethod
    def rois(self, subject: str, hemi: str) -> dict[str, NDArray[np.bool_]]:
        """Return the non-empty ROIs, name -> mask over the columns, shape (v,); unions (`ROI_UNIONS`) come last."""

    @abstractmethod
    def responses(
        self, subject: str, hemi: str, roi: str | None = None, rows: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """Responses to the training pictures.

        Parameters
        ----------
        subject, hemi : str
        roi : str, optional
            A key of `rois`; None or `ALL_VERTICES` is every vertex.
        rows : (m,) int array, optional
            Only these pictures.

        Returns
        -------
        (n, v) or (m, v) float32 array
            Memory-mapped when both `roi` and `rows` are left out; otherwise read in row blocks.

        Raises
        ------
        DatasetError
            No such subject, hemisphere or ROI.
        """

    @abstractmethod
    def images(self, subject: str) -> ImageSet:
        """Return the pictures that belong to the rows of `responses`."""

    @abstractmethod
    def test_images(self, subject: str) -> ImageSet:
        """Return further pictures, without responses; empty where there are none."""

    @abstractmethod
    def noise_ceiling(self, subject: str, hemi: str) -> NDArray[np.float32] | None:
        """Share of the variance that is signal, 0..1, shape (v,); None where the data set does not say.

        NaN for a vertex whose share is not known.
        """

    @abstractmethod
    def noise_ceiling_files(self, subject: str, hemi: str) -> tuple[str, ...]:
        """Return the files that would give a noise ceiling, each by itself, relative to the subject's folder."""

    @abstractmethod
    def noise_ceiling_hint(self, subject: str, hemi: str) -> str:
        """Say in a sentence or two what would give a noise ceiling; empty where nothing is missing."""

    @abstractmethod
    def repeats(self, subject: str) -> Mapping[int, int] | None:
        """Return how many of the subject's pictures were shown how often, {k: n_k}; None where nobody says.

        The fingerprint covers it.
        """

    @abstractmethod
    def sources(self, subject: str) -> tuple[Path, ...]:
        """Return every file beside the pictures that the subject's data come from; the fingerprint covers them."""

    def columns(self, subject: str, hemi: str, roi: str | None = None) -> NDArray[np.int64]:
        """Column numbers of a ROI's vertices, shape (v_roi,).

        Raises
        ------
        DatasetError
            The subject's hemisphere has no such ROI.
        """
        if roi is None or roi == ALL_VERTICES:
            return np.arange(self.n_vertices(subject, hemi))
        masks = self.rois(subject, hemi)
        if roi not in masks:
            raise DatasetError(
                f"{subject} has no ROI {roi!r} in the {HEMISPHERE_NAMES[hemi]}.",
                got=roi,
                expected=", ".join([ALL_VERTICES, *masks]),
                mend="choose one of these, or another subject: many subjects lack a ROI.",
            )
        return np.flatnonzero(masks[roi])

    def require_subject(self, subject: str) -> None:
        """Raise `DatasetError` unless the data set has this subject."""
        if subject not in self.subjects:
            raise DatasetError(
                f"The data set {self.name!r} has no subject {subject!r}.",
                got=subject,
                expected=", ".join(self.subjects),
            )

    def require_hemisphere(self, subject: str, hemi: str) -> None:
        """Raise `DatasetError` unless the subject has responses in this hemisphere."""
        self.require_subject(subject)
        if hemi not in self.hemispheres(subject):
            raise DatasetError(
                f"{subject} has no responses for hemisphere {hemi!r}.",
                got=hemi,
                expected=", ".join(self.hemispheres(subject)),
            )

"""What a request is about, and pieces of specs: a data set's subject and ROIs, and settings made into a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

import numpy as np
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from brainviz.config import load_config
from brainviz.datasets.base import ALL_VERTICES, HEMISPHERE_NAMES, HEMISPHERES, MIN_ROI_VERTICES, Dataset
from brainviz.errors import DatasetError, SpecError
from brainviz.runs.spec_base import SEPARATOR, Spec
from brainviz.runs.specs import spec_error

if TYPE_CHECKING:
    from brainviz.datasets.index import DatasetIndex

AnySpecClass = TypeVar("AnySpecClass", bound=Spec)


@dataclass(frozen=True)
class Place:
    """The data that a request is about."""

    dataset: Dataset
    index: DatasetIndex
    subject: str
    hemi: str | None
    roi: str | None
    allow_files: bool

    def areas(self) -> list[tuple[str, str]]:
        """Hemispheres and ROIs named; each is made sure of."""
        if self.hemi is None or self.roi is None:
            raise SpecError(
                "Hemisphere and ROI must be named.", got=f"hemi {self.hemi}, roi {self.roi}", mend="give both."
            )
        hemispheres = HEMISPHERES if self.hemi == "both" else (self.hemi,)
        here = self.dataset.hemispheres(self.subject)
        if self.hemi == "both" and here != HEMISPHERES:
            raise SpecError(
                f"{self.subject} has responses in one hemisphere only.",
                got="hemisphere both",
                expected=", ".join(here),
                mend="name that hemisphere.",
            )
        areas = [(hemi, roi) for hemi in hemispheres for roi in roi_names(self.roi)]
        for hemi, roi in areas:
            require_roi(self.dataset, self.subject, hemi, roi)
        return areas


def roi_names(roi: str) -> list[str]:
    """Return the names in a list with commas, sorted, each once; raise `SpecError` if there is none."""
    names = sorted({name.strip() for name in roi.split(SEPARATOR)} - {""})
    if not names:
        raise SpecError("No ROI is named.", got=repr(roi), mend="name at least one.")
    return names


def build(cls: type[AnySpecClass], settings: Mapping[str, Any], **nested: Any) -> AnySpecClass:
    """Return the spec of a class that settings ask for, with what is nested in it; settings of others are left out."""
    fields = cls.model_fields
    chosen = {
        name: listed(value, fields[name]) for name, value in settings.items() if name in fields and name != "method"
    }
    try:
        return cls.model_validate(chosen | nested)
    except ValidationError as error:
        raise spec_error(error) from error


def listed(value: Any, info: FieldInfo) -> Any:
    """Split comma-separated text where a list is wanted."""
    if isinstance(value, str) and get_origin(info.annotation) is tuple:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def require_roi(dataset: Dataset, subject: str, hemi: str, roi: str) -> None:
    """Raise unless the subject has the ROI in this hemisphere, with enough vertices for an analysis.

    Raises
    ------
    DatasetError
        No such hemisphere or ROI, or fewer than `MIN_ROI_VERTICES` vertices.
    """
    dataset.require_hemisphere(subject, hemi)
    # One row is read: a data set without one picture per row is refused here.
    n_vertices = dataset.responses(subject, hemi, roi, np.arange(1)).shape[1]
    if n_vertices < MIN_ROI_VERTICES:
        raise DatasetError(
            f"{roi} of {subject} in the {HEMISPHERE_NAMES[hemi]} is too small to analyse.",
            got=f"{n_vertices} vertices",
            expected=f"at least {MIN_ROI_VERTICES}",
            mend="choose a larger ROI, or a union such as V1.",
        )


def has_roi(dataset: Dataset, subject: str, hemi: str, roi: str) -> bool:
    """Return whether the subject has the ROI in this hemisphere, with enough vertices for an analysis."""
    if hemi not in dataset.hemispheres(subject):
        return False
    if roi == ALL_VERTICES:
        return dataset.n_vertices(subject, hemi) >= MIN_ROI_VERTICES
    mask = dataset.rois(subject, hemi).get(roi)
    return mask is not None and int(mask.sum()) >= MIN_ROI_VERTICES


def require_pictures(index: DatasetIndex, subject: str) -> None:
    """Raise `DatasetError` if a picture of the subject cannot be decoded, which would end a run only later."""
    broken = sum(not digest for digest in index.subjects[subject].image_digests)
    if broken:
        raise DatasetError(
            f"{broken} of {subject}'s pictures cannot be decoded.",
            mend="`python -m brainviz check` names them; copy them again from their source.",
        )


def file_state(weights: str) -> tuple[int, int] | None:
    """Return size and time of change of the file that a name or path stands for; None where there is none."""
    path = load_config().weights.get(weights, Path(weights))
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None

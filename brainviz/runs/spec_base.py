"""What every kind of run's specification is made of: the frozen model whose SHA-256 is the run's id, and its fields."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

#: Version of the computing code per kind: raise it when the same spec would give another result.
CODE_VERSIONS = {
    "finetune": 3,
    "features": 2,
    "encoding": 2,
    "comparison": 1,
    "classification": 2,
    "landscape": 1,
    "lateralization": 1,
    "embedding": 1,
    "texts": 1,
    "decoder": 2,
    "concepts": 2,
    "joint-features": 1,
    "pretraining": 1,
    "bottleneck": 1,
    "submission": 1,
}


Hemisphere = Literal["lh", "rh"]


#: Joins the names of several ROIs.
SEPARATOR = ","


def setting(
    default: Any,
    label: str,
    description: str,
    *,
    group: str = "settings",
    methods: tuple[str, ...] = (),
    **limits: Any,
) -> Any:
    """Return a pydantic field with the texts that form, command line and docs show.

    `methods` names the methods of tuning for which it means something; empty is all.
    """
    extra: dict[str, Any] = {"group": group, "methods": methods}
    return Field(default, title=label, description=description, json_schema_extra=extra, **limits)


def only_for(info: FieldInfo) -> tuple[str, ...]:
    """Return the methods of tuning for which a field means something; empty is all."""
    extra = info.json_schema_extra
    return tuple(extra.get("methods", ())) if isinstance(extra, dict) else ()  # type: ignore[arg-type]


class Spec(BaseModel):
    """What every kind of run says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    version: int
    dataset: str = Field(title="Data set", description="fingerprint of its contents", pattern=r"^[0-9a-f]{64}$")
    subject: str = Field(title="Subject", description="name of the subject, e.g. subj01", min_length=1)

    @property
    def run_id(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces), 64 hexadecimal digits."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def dependencies(self) -> tuple[Spec, ...]:
        """Specs of the runs this one reads, direct ones only."""
        return ()

    @property
    def label(self) -> str:
        """A short name for tables and progress lines."""
        return self.subject


class SplitFields(BaseModel):
    """How pictures are divided (methods, section 1)."""

    test_share: float = setting(
        0.15, "Test share", "share of the distinct pictures that no model is fitted on", group="split", gt=0, lt=1
    )
    split_seed: int = setting(0, "Split seed", "of the division into training and test pictures", group="split", ge=0)


class AreaFields(BaseModel):
    """Which vertices: of one or both hemispheres, in one ROI or several."""

    hemi: Literal["lh", "rh", "both"] = Field(title="Hemisphere", description="lh, rh, or both")
    roi: str = Field(
        title="ROI",
        description="name of the ROI, a union such as V1, all, or several of these with commas between them",
        min_length=1,
    )

    @field_validator("roi")
    @classmethod
    def _one_spelling(cls, roi: str) -> str:
        """Sort the names, each once: the same set of ROIs is the same run."""
        names = SEPARATOR.join(sorted({name.strip() for name in roi.split(SEPARATOR)} - {""}))
        if not names:
            raise ValueError("no ROI is named")
        return names

    @property
    def areas(self) -> tuple[tuple[Hemisphere, str], ...]:
        """Hemisphere and ROI of every part, hemispheres first."""
        hemispheres: tuple[Hemisphere, ...] = ("lh", "rh") if self.hemi == "both" else (self.hemi,)
        return tuple((hemi, roi) for hemi in hemispheres for roi in self.roi.split(SEPARATOR))

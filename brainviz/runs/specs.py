"""What can be asked for: one frozen specification per kind of run, whose SHA-256 is the run's id.

Everything that can change a result is a field here. The same table of fields validates the request, draws the form in
the page, names the command line's options and fills the documentation: add a field once, with its label and its limits.
Where a run builds on another, its spec holds the other's spec.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from brainviz.datasets.base import ALL_VERTICES
from brainviz.errors import SpecError
from brainviz.runs.bottleneck_specs import BottleneckSpec, JointFeaturesSpec, PretrainingSpec, count_subjects
from brainviz.runs.concept_specs import ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec
from brainviz.runs.network_specs import (
    EncodingSpec,
    FeaturesSpec,
    FinetuneSpec,
    NetworkFields,
    method_of,
    require_equal,
)
from brainviz.runs.spec_base import CODE_VERSIONS, SEPARATOR, Hemisphere, Spec, setting

#: What predicts the responses of vertices to the test pictures.
Encoder = Annotated[EncodingSpec | BottleneckSpec, Field(discriminator="kind")]


class ComparisonSpec(Spec):
    """Test, ROI by ROI, whether one method predicts better than another: images are exchanged between the two."""

    kind: Literal["comparison"] = "comparison"
    version: int = CODE_VERSIONS["comparison"]
    first: tuple[Encoder, ...] = Field(min_length=1, description="encoding or bottleneck runs of one method")
    second: tuple[Encoder, ...] = Field(min_length=1, description="of the other, for the same ROIs in this order")
    layer: str = setting(
        "",
        "Layer",
        "the same one for both methods, but for a bottleneck network; empty: each method's own best layer",
        group="comparison",
    )
    n_permutations: int = setting(
        5000,
        "Permutations",
        "random exchanges; the smallest p is 1 / (this + 1)",
        group="comparison",
        ge=99,
        le=100_000,
    )
    exchange_seed: int = setting(0, "Exchange seed", "of the exchanges", group="comparison", ge=0)

    @model_validator(mode="after")
    def _comparable(self) -> ComparisonSpec:
        if len(self.first) != len(self.second):
            raise ValueError("both methods must have as many encoding runs")
        for one, other in zip(self.first, self.second, strict=True):
            # A bottleneck network of all vertices knows of every ROI.
            wholes = [isinstance(run, BottleneckSpec) and run.roi == ALL_VERTICES for run in (one, other)]
            if one.areas != other.areas and not any(wholes):
                raise ValueError(f"{one.label} and {other.label} are about other ROIs")
        for run in (*self.first, *self.second):
            if (run.dataset, run.subject) != (self.dataset, self.subject):
                raise ValueError(f"{run.label} belongs to another data set or subject")
            its, usual = run.tested_on, self.first[0].tested_on
            differing = [f"{name} {its[name]} against {usual[name]}" for name in usual if its[name] != usual[name]]
            if differing:
                raise ValueError(f"{run.label} is tested on other pictures or resamples: {', '.join(differing)}")
            if self.layer and isinstance(run, EncodingSpec) and self.layer not in run.layers:
                raise ValueError(f"{run.label} has no layer {self.layer}: its layers are {run.layers}")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (*self.first, *self.second)

    @property
    def areas(self) -> tuple[tuple[Hemisphere, str], ...]:
        """Hemisphere and ROI of every test, in order."""
        return tuple(area for pair in zip(self.first, self.second, strict=True) for area in tested_areas(*pair))

    @property
    def label(self) -> str:
        at = self.layer or "own best layers"
        areas = f"{len(self.areas)} ROI{'s' if len(self.areas) > 1 else ''}"
        return f"{self.subject} {areas}, {self.first[0].method} against {self.second[0].method}, {at}"


def tested_areas(first: Encoder, second: Encoder) -> tuple[tuple[Hemisphere, str], ...]:
    """Return hemisphere and ROI of what two encoders are compared on: those of the one that is not of all vertices."""
    return (second if isinstance(first, BottleneckSpec) and first.roi == ALL_VERTICES else first).areas


class SubmissionSpec(Spec):
    """Predict the responses to the challenge's test pictures, as Algonauts 2023 takes them (methods, section 3)."""

    kind: Literal["submission"] = "submission"
    version: int = CODE_VERSIONS["submission"]
    encoders: tuple[Encoder, ...] = Field(min_length=1, description="of one subject or several, no vertex twice")
    pictures_digests: tuple[str, ...] = Field(min_length=1, description="of every subject's test pictures")

    @model_validator(mode="after")
    def _of_its_subjects(self) -> SubmissionSpec:
        subjects = sorted({encoder.subject for encoder in self.encoders})
        if SEPARATOR.join(subjects) != self.subject or len(self.pictures_digests) != len(subjects):
            raise ValueError("the encoders are not those of the subjects named")
        areas = [(encoder.subject, *area) for encoder in self.encoders for area in encoder.areas]
        if any(encoder.dataset != self.dataset for encoder in self.encoders):
            raise ValueError("an encoder belongs to another data set")
        if len(set(areas)) < len(areas):
            raise ValueError("a ROI is named twice")
        if any(isinstance(encoder, EncodingSpec) and encoder.shuffle_images for encoder in self.encoders):
            raise ValueError("a control with shuffled pictures predicts nothing")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return self.encoders

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, in order."""
        return tuple(self.subject.split(SEPARATOR))

    @property
    def label(self) -> str:
        return f"{count_subjects(self.subjects)}, {', '.join(sorted({each.method for each in self.encoders}))}"


class ClassificationSpec(NetworkFields, Spec):
    """Tell a task's classes from the features of a network state, by logistic regression (methods, section 5)."""

    kind: Literal["classification"] = "classification"
    version: int = CODE_VERSIONS["classification"]
    # A network that was not tuned knows of no data set, and is classified once for all.
    dataset: str = Field("", description="of the tuned network; empty without one", pattern=r"^([0-9a-f]{64})?$")
    subject: str = Field("", description="of the tuned network; empty without one")
    finetune: FinetuneSpec | None = Field(None, description="the tuned state; none for the untuned network")
    task: str = setting("", "Task", "name of the classification task", group="task", min_length=1)
    task_fingerprint: str = Field(description="of the task's pictures and classes", pattern=r"^[0-9a-f]{64}$")
    readouts: tuple[str, ...] = setting(
        (), "Classified from", "layers; the logits as they are, others standardised", group="task", min_length=1
    )
    logits: str = Field(description="the layer that is not standardised", min_length=1)
    task_test_share: float = setting(
        0.15, "Task test share", "share of the task's distinct pictures to test on", group="task", gt=0, lt=1
    )
    task_seed: int = setting(0, "Task seed", "of the division into training and test pictures", group="task", ge=0)
    regularisation: float = setting(
        1.0, "Inverse regularisation", "C of the logistic regression (L2)", group="task", gt=0
    )
    seed: int = setting(0, "Seed", "of random weights", ge=0)

    @field_validator("readouts")
    @classmethod
    def _each_once(cls, readouts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(readouts))

    @model_validator(mode="after")
    def _tuned_state_agrees(self) -> ClassificationSpec:
        names = ("dataset", "subject", "network", "weights", "weights_digest", "image_size")
        if self.finetune is None:
            if self.dataset or self.subject:
                raise ValueError("a network that was not tuned belongs to no data set and no subject")
            return self
        require_equal(self, self.finetune, names)
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (self.finetune,) if self.finetune else ()

    @property
    def method(self) -> str:
        """How the network came to be: ``"untuned"``, ``"random"``, or how it was tuned."""
        return method_of(self.finetune, self.weights)

    @property
    def label(self) -> str:
        return f"{self.task}: {self.finetune.label if self.finetune else self.method}"


class LandscapeSpec(Spec):
    """Lay models out by how differently they see a task's test pictures (methods, section 6)."""

    kind: Literal["landscape"] = "landscape"
    version: int = CODE_VERSIONS["landscape"]
    dataset: str = Field("", description="of the tuned networks; empty without any", pattern=r"^([0-9a-f]{64})?$")
    subject: str = Field("", description="subjects of the tuned networks, with commas between them")
    models: tuple[ClassificationSpec, ...] = Field(min_length=2, description="of one task, tested on the same pictures")
    placed: tuple[ClassificationSpec, ...] = Field(
        (), description="models that are placed on the axes of the others, and do not shape them"
    )
    readout: str = setting("", "Classified from", "the layer that the probabilities come from", group="landscape")
    with_oracle: bool = setting(
        True, "Oracle", "also place a model that gives every true class the probability 1", group="landscape"
    )
    n_axes: int = setting(10, "InPCA axes", "kept, at most as many as there are models", group="landscape", ge=2)
    n_neighbors: int = setting(15, "UMAP neighbours", "fewer where there are fewer models", group="landscape", ge=2)
    min_dist: float = setting(0.1, "UMAP distance", "least distance in the picture", group="landscape", ge=0, lt=1)
    embedding_seed: int = setting(0, "Embedding seed", "of MDS and UMAP", group="landscape", ge=0)

    @model_validator(mode="after")
    def _comparable(self) -> LandscapeSpec:
        first = self.models[0]
        every = (*self.models, *self.placed)
        for model in every:
            for name in ("task", "task_fingerprint", "task_test_share", "task_seed"):
                if getattr(model, name) != getattr(first, name):
                    raise ValueError(f"{model.label} is about other pictures: its {name} differs")
            if self.readout not in model.readouts:
                raise ValueError(f"{model.label} has no probabilities from {self.readout!r}: {model.readouts}")
            if model.dataset not in ("", self.dataset):
                raise ValueError(f"{model.label} is tuned on another data set")
        if len({model.run_id for model in every}) < len(every):
            raise ValueError("a model is named twice")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (*self.models, *self.placed)

    @property
    def label(self) -> str:
        return f"landscape of {len(self.models)} models, {self.models[0].task}"


class LateralizationSpec(Spec):
    """In which half of the pictures lies what a network state's answer depends on (methods, section 7)."""

    kind: Literal["lateralization"] = "lateralization"
    version: int = CODE_VERSIONS["lateralization"]
    dataset: str = Field("", description="empty for classes from an untuned network", pattern=r"^([0-9a-f]{64})?$")
    subject: str = Field("", description="empty for classes from an untuned network")
    encoding: EncodingSpec | None = Field(None, description="what predicts the responses that are attributed")
    classification: ClassificationSpec | None = Field(None, description="what gives the classes that are attributed")
    target: Literal["roi", "vertex", "left-right", "class"] = setting(
        "roi",
        "Target",
        "what is attributed: the ROI's mean predicted response, one vertex's, the left hemisphere's less the right's, "
        "or the true class of a task's pictures",
        group="target",
    )
    vertex: int = setting(0, "Vertex", "number of the vertex in the ROI, for the target vertex", group="target", ge=0)
    readout: str = setting("", "Read from", "layer that the target is predicted from", group="target", min_length=1)
    attribution: Literal["grad-cam", "saliency", "input-x-gradient", "integrated-gradients", "occlusion"] = setting(
        "saliency", "Attribution", "how the target is traced back to places of the picture", group="attribution"
    )
    cam_layer: str = setting(
        "", "Grad-CAM at", "layer with rows and columns, for Grad-CAM; empty: the last one", group="attribution"
    )
    n_steps: int = setting(
        50, "Steps", "of integrated gradients; doubled for pictures that need it", group="attribution", ge=2, le=800
    )
    window_share: float = setting(
        0.125, "Window", "side of the square of occlusion, as a share of the picture's", group="attribution", gt=0, le=1
    )
    noise_samples: int = setting(
        0, "Noisy copies", "of each picture, whose maps are averaged (SmoothGrad)", group="attribution", ge=0, le=200
    )
    noise_sd: float = setting(
        0.1, "Noise", "standard deviation, as a share of the pictures' range", group="attribution", gt=0, le=1
    )
    n_images: int = setting(
        100, "Pictures", "test pictures that are attributed, at most; each also mirrored", group="attribution", ge=2
    )
    picture_seed: int = setting(0, "Picture seed", "of the choice of pictures, and of noise", group="attribution", ge=0)
    index_resamples: int = setting(
        2000, "Resamples", "of the pictures, for the interval", group="attribution", ge=100, le=100_000
    )

    @model_validator(mode="after")
    def _fits_its_target(self) -> LateralizationSpec:
        of_class = self.target == "class"
        if (self.classification is None) is of_class or (self.encoding is None) is not of_class:
            raise ValueError("a class needs a classification run, and any other target an encoding run, and not both")
        if self.readout not in self.layers:
            raise ValueError(f"nothing is predicted from {self.readout!r}: the layers are {self.layers}")
        inner = self.classification or self.encoding
        assert inner is not None
        if (self.dataset, self.subject) != (inner.dataset, inner.subject):
            raise ValueError("the network belongs to another data set or subject")
        if self.encoding is not None:
            if SEPARATOR in self.encoding.roi or (self.encoding.hemi == "both") is not (self.target == "left-right"):
                raise ValueError("left less right is of one ROI of both hemispheres; other targets are of one ROI")
            if self.encoding.shuffle_images:
                raise ValueError("responses to shuffled pictures have no places in the picture")
        self._require_unused()
        return self

    def _require_unused(self) -> None:
        """Keep what has no part in the result at its default, so that it cannot make another run of the same one."""
        unused = {
            "vertex": self.target != "vertex",
            "cam_layer": self.attribution != "grad-cam",
            "n_steps": self.attribution != "integrated-gradients",
            "window_share": self.attribution != "occlusion",
            "noise_sd": self.noise_samples == 0,
        }
        for name, idle in unused.items():
            if idle and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing for {self.attribution} of the target {self.target}")
        if self.attribution == "grad-cam" and not self.cam_layer:
            raise ValueError("Grad-CAM needs a layer")

    def dependencies(self) -> tuple[Spec, ...]:
        return tuple(part for part in (self.encoding, self.classification) if part is not None)

    @property
    def network_state(self) -> FeaturesSpec | ClassificationSpec:
        """Which network, in which state, and how large its pictures are."""
        state = self.encoding.features if self.encoding is not None else self.classification
        assert state is not None
        return state

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the target can be predicted from."""
        state = self.network_state
        return state.layers if isinstance(state, FeaturesSpec) else state.readouts

    @property
    def method(self) -> str:
        """How the network came to be: ``"untuned"``, ``"random"``, or how it was tuned."""
        return self.network_state.method

    @property
    def area(self) -> tuple[str, str]:
        """Hemisphere and ROI that the network is tuned on, or else predicts; empty where there is none."""
        if (tuned := self.network_state.finetune) is not None:
            return tuned.hemi, tuned.roi
        return (self.encoding.hemi, self.encoding.roi) if self.encoding is not None else ("", "")

    @property
    def label(self) -> str:
        about = self.target if self.classification is None else f"{self.classification.task} classes"
        return " ".join([*filter(None, (self.subject, *self.area)), f"{self.method}, {self.attribution} of {about}"])


def network_of(spec: Spec) -> FinetuneSpec | FeaturesSpec | ClassificationSpec | JointFeaturesSpec:
    """Return the part of a spec that says which network it is about, and pictures of which size."""
    if isinstance(spec, SubmissionSpec):
        return network_of(spec.encoders[0])
    if isinstance(spec, PretrainingSpec | BottleneckSpec):
        return spec.features
    if isinstance(spec, LandscapeSpec):
        return spec.models[0]
    if isinstance(spec, ComparisonSpec):
        return network_of(spec.first[0])
    if isinstance(spec, EncodingSpec):
        return spec.features
    if isinstance(spec, LateralizationSpec):
        return spec.network_state
    assert isinstance(spec, FinetuneSpec | FeaturesSpec | ClassificationSpec | JointFeaturesSpec)
    return spec


AnySpec = Annotated[
    FinetuneSpec
    | FeaturesSpec
    | EncodingSpec
    | ComparisonSpec
    | ClassificationSpec
    | LandscapeSpec
    | LateralizationSpec
    | EmbeddingSpec
    | TextsSpec
    | DecoderSpec
    | ConceptsSpec
    | JointFeaturesSpec
    | PretrainingSpec
    | BottleneckSpec
    | SubmissionSpec,
    Field(discriminator="kind"),
]
SPEC_CLASSES: dict[str, type[Spec]] = {
    "finetune": FinetuneSpec,
    "features": FeaturesSpec,
    "encoding": EncodingSpec,
    "comparison": ComparisonSpec,
    "classification": ClassificationSpec,
    "landscape": LandscapeSpec,
    "lateralization": LateralizationSpec,
    "embedding": EmbeddingSpec,
    "texts": TextsSpec,
    "decoder": DecoderSpec,
    "concepts": ConceptsSpec,
    "joint-features": JointFeaturesSpec,
    "pretraining": PretrainingSpec,
    "bottleneck": BottleneckSpec,
    "submission": SubmissionSpec,
}


def parse_spec(data: str | bytes | dict[str, Any]) -> Spec:
    """Return the spec that JSON text or a dictionary holds; its ``kind`` says which.

    Raises
    ------
    SpecError
        A field is unknown, missing or out of range; every one is named.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(AnySpec)
    try:
        spec: Spec = adapter.validate_python(data) if isinstance(data, dict) else adapter.validate_json(data)
    except ValidationError as error:
        raise spec_error(error) from error
    return spec


def spec_error(error: ValidationError) -> SpecError:
    """Turn pydantic's findings into one error that names every field."""
    lines = [
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']} (got {item.get('input')!r})"
        if item["loc"]
        else item["msg"].removeprefix("Value error, ")
        for item in error.errors()
    ]
    return SpecError("The run cannot be specified.", got="; ".join(lines), mend="change these fields.")

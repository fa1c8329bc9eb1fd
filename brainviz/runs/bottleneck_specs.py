"""What can be asked for about bottleneck networks: features of pictures, pre-training, and the encoder itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from brainviz.runs.concept_specs import ClipFields
from brainviz.runs.network_specs import FinetuneSpec, NetworkFields, method_of, require_equal
from brainviz.runs.spec_base import (
    CODE_VERSIONS,
    SEPARATOR,
    AreaFields,
    Spec,
    SplitFields,
    setting,
)

#: What stands for the layer in tables of encoders: the bottleneck network has one answer.
BOTTLENECK = "bottleneck"


#: Fields of the leak, and of all that a linear model lacks.
OF_LEAK = ("leak_alpha", "leak_beta", "inference_noise")
OF_NETWORK = ("leak", "bottleneck_width", "bottleneck_dropout", *OF_LEAK)


def unused_fields(*, linear: bool, leak: bool) -> tuple[str, ...]:
    """Return the fields of a network that mean nothing for it, and so stay at their defaults."""
    return OF_NETWORK if linear else () if leak else OF_LEAK


class JointFeaturesSpec(ClipFields, NetworkFields, SplitFields, Spec):
    """Scores of several subjects' pictures on principal components that they have in common (methods, section 9)."""

    kind: Literal["joint-features"] = "joint-features"
    version: int = CODE_VERSIONS["joint-features"]
    source: Literal["image-text", "network"] = setting(
        "image-text",
        "Features from",
        "the last hidden state of an image-text network, or layers of a network in any state",
        group="features",
    )
    finetune: FinetuneSpec | None = Field(None, description="the tuned state; none for another network")
    layers: tuple[str, ...] = setting(
        (), "Layers", "of the network; several weigh the same, whatever their size", group="features"
    )
    feature_components: int = setting(300, "Feature components", "principal components", group="features", ge=1)
    pca_pictures: int = setting(
        8000,
        "Pictures for them",
        "distinct training pictures of all subjects that the components are found on, at most",
        group="features",
        ge=2,
    )
    seed: int = setting(0, "Seed", "of random weights", ge=0)

    @field_validator("layers")
    @classmethod
    def _each_once(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layers))

    @model_validator(mode="after")
    def _fits_its_source(self) -> JointFeaturesSpec:
        """Keep what the source does not use at its default, so that it cannot make another run of the same one."""
        names = self.subject.split(SEPARATOR)
        if names != sorted(set(names)):
            raise ValueError("subjects are to be named once, in order")
        of_network = {*NetworkFields.model_fields, "finetune", "layers", "seed"}
        unused = of_network if self.source == "image-text" else set(ClipFields.model_fields)
        for name in sorted(unused):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing for features from the {self.source} network")
        if self.source == "network" and not self.layers:
            raise ValueError("at least one layer of the network is needed")
        if self.finetune is not None:
            names = ["dataset", "network", "weights", "weights_digest", "image_size", "test_share", "split_seed"]
            require_equal(self, self.finetune, tuple(names))
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (self.finetune,) if self.finetune else ()

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, in order."""
        return tuple(self.subject.split(SEPARATOR))

    @property
    def words(self) -> str:
        """Which network, and what of it."""
        if self.source == "image-text":
            return f"{self.clip_network}, last hidden state"
        tuned = f" {self.finetune.subject} {self.finetune.hemi} {self.finetune.roi}" if self.finetune else ""
        return f"{self.network} {method_of(self.finetune, self.weights)}{tuned}, {', '.join(self.layers)}"

    @property
    def label(self) -> str:
        return f"{count_subjects(self.subjects)}, {self.words}"


class BottleneckFields(AreaFields):
    """The bottleneck network and its training."""

    response_components: int = setting(
        75, "Response components", "principal components of each hemisphere", group="bottleneck", ge=1
    )
    bottleneck_loss: Literal["racing", "cosine", "mse"] = setting(
        "racing",
        "Loss",
        "cosines that push the lagging hemisphere (racing), their plain mean, or mean squared error",
        group="bottleneck",
    )
    leak: bool = setting(True, "Leak", "targets and noise leak into the hidden layer", group="bottleneck")
    linear: bool = setting(
        False, "Linear", "control: one dense layer per hemisphere in place of the network", group="bottleneck"
    )
    bottleneck_width: int = setting(6000, "Width", "of the hidden layer", group="bottleneck", ge=1)
    bottleneck_dropout: float = setting(0.2, "Dropout", "of the hidden layer", group="bottleneck", ge=0, lt=1)
    leak_alpha: float = setting(0.02, "Leak of targets", "alpha", group="bottleneck", ge=0)
    leak_beta: float = setting(0.002, "Leak of noise", "beta", group="bottleneck", ge=0)
    bottleneck_epochs: int = setting(10, "Epochs", "of each stage; the best one is kept", group="bottleneck", ge=1)
    bottleneck_batch: int = setting(128, "Batch size", "pictures per step", group="bottleneck", ge=1)
    bottleneck_rate: float = setting(
        1e-4, "Learning rate", "of Lion: how far each weight moves in a step", group="bottleneck", gt=0
    )
    weight_decay: float = setting(1e-3, "Weight decay", "of Lion, decoupled", group="bottleneck", ge=0)
    bottleneck_validation: float = setting(
        0.1, "Validation share", "of the training pictures, which choose the epoch", group="bottleneck", gt=0, lt=1
    )
    inference_noise: bool = setting(
        True, "Noise at inference", "always the same; r without it is told beside", group="bottleneck"
    )
    bottleneck_seed: int = setting(
        0, "Seed", "of weights, batches, dropout, noise, and of which pictures validate", group="bottleneck", ge=0
    )

    @model_validator(mode="after")
    def _means_something(self) -> BottleneckFields:
        """Keep what a variant does not use at its default, so that it cannot make another run of the same one."""
        if self.hemi != "both":
            raise ValueError("a bottleneck network is of both hemispheres")
        for name in unused_fields(linear=self.linear, leak=self.leak):
            if getattr(self, name) != BottleneckFields.model_fields[name].default:
                raise ValueError(f"{name} means nothing {'for a linear model' if self.linear else 'without a leak'}")
        return self


class PretrainingSpec(BottleneckFields, Spec):
    """Train one bottleneck network on all subjects, from which each one's own training begins (methods, section 9)."""

    kind: Literal["pretraining"] = "pretraining"
    version: int = CODE_VERSIONS["pretraining"]
    features: JointFeaturesSpec

    @model_validator(mode="after")
    def _about_its_subjects(self) -> PretrainingSpec:
        if (self.dataset, self.subject) != (self.features.dataset, self.features.subject):
            raise ValueError("the features belong to other subjects")
        if len(self.features.subjects) < 2:
            raise ValueError("pre-training is on several subjects")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (self.features,)

    @property
    def label(self) -> str:
        return f"{count_subjects(self.features.subjects)}, {variant_of(self)}"


class BottleneckSpec(BottleneckFields, Spec):
    """Predict both hemispheres through a small latent space, tested on held-out pictures (methods, section 9)."""

    kind: Literal["bottleneck"] = "bottleneck"
    version: int = CODE_VERSIONS["bottleneck"]
    features: JointFeaturesSpec
    pretraining: PretrainingSpec | None = Field(None, description="what the training begins from")
    n_bootstrap: int = setting(
        1000, "Bootstrap samples", "resamples of the test pictures, for the intervals", ge=100, le=100_000
    )
    resample_seed: int = setting(0, "Resample seed", "of the resamples of the test pictures", ge=0)

    @model_validator(mode="after")
    def _parts_agree(self) -> BottleneckSpec:
        if self.dataset != self.features.dataset or self.subject not in self.features.subjects:
            raise ValueError("the features belong to another data set or to other subjects")
        if self.pretraining is not None:
            if self.pretraining.features != self.features:
                raise ValueError("the pre-training has other features")
            for name in BottleneckFields.model_fields:
                if getattr(self, name) != getattr(self.pretraining, name):
                    raise ValueError(f"{name} differs from the pre-training's")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (self.features, *filter(None, [self.pretraining]))

    @property
    def method(self) -> str:
        """What it is called among methods of encoding."""
        return BOTTLENECK

    @property
    def layers(self) -> tuple[str, ...]:
        """What stands for the layers of an encoding model."""
        return (BOTTLENECK,)

    @property
    def tested_on(self) -> dict[str, Any]:
        """What decides which test pictures there are, and how they are resampled."""
        split = {name: getattr(self.features, name) for name in SplitFields.model_fields}
        return split | {"shuffle_images": False, "n_bootstrap": self.n_bootstrap, "seed": self.resample_seed}

    @property
    def label(self) -> str:
        seed = f", seed {self.bottleneck_seed}" if self.bottleneck_seed else ""
        return f"{self.subject} {self.roi}, {variant_of(self)}{seed}"


#: The network with everything that was published.
FULL = "full"


def variant_of(spec: BottleneckSpec | PretrainingSpec) -> str:
    """Return in words which parts a network lacks: ``"full"``, ``"no leak"``, ``"no pre-training, mse"``."""
    lacking = []
    if isinstance(spec, BottleneckSpec) and spec.pretraining is None:
        lacking.append("no pre-training")
    lacking += [name for name, on in (("no leak", not spec.leak), ("linear", spec.linear)) if on]
    if spec.bottleneck_loss != "racing":
        lacking.append({"cosine": "plain cosine", "mse": "MSE"}[spec.bottleneck_loss])
    return ", ".join(lacking) or FULL


def count_subjects(subjects: tuple[str, ...]) -> str:
    """Return the name of one subject, or how many there are."""
    return subjects[0] if len(subjects) == 1 else f"{len(subjects)} subjects"

"""What can be asked for about networks: tuning them, their features, and encoding models on these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from brainviz.runs.spec_base import (
    CODE_VERSIONS,
    AreaFields,
    Hemisphere,
    Spec,
    SplitFields,
    only_for,
    setting,
)

#: What a method of tuning suggests instead of a field's own default (methods, section 1).
METHOD_DEFAULTS: dict[str, dict[str, Any]] = {"regression": {"learning_rate": 2.5e-5, "epochs": 75}}

#: Network states that no run tunes: pretrained weights, and weights drawn at random.
UNTUNED, RANDOM = "untuned", "random"


class NetworkFields(BaseModel):
    """Which network, with which weights, seeing pictures of which size."""

    network: str = setting("alexnet", "Network", "torchvision classifier, or alexnet_compact", group="network")
    weights: str = setting(
        "imagenet",
        "Weights",
        "imagenet (torchvision's), demo (the compact network's own), random, or a local .safetensors or .pth file",
        group="network",
    )
    weights_digest: str = Field("", description="SHA-256 of the weights, or its known first digits; empty for random")
    image_size: int = setting(224, "Image size", "pixels on a side, after resizing", group="network", ge=16, le=1024)


class FinetuneSpec(NetworkFields, SplitFields, Spec):
    """Fine-tune a network on the responses of one ROI (methods, section 1)."""

    kind: Literal["finetune"] = "finetune"
    version: int = CODE_VERSIONS["finetune"]
    hemi: Hemisphere = Field(title="Hemisphere", description="lh or rh")
    roi: str = Field(title="ROI", description="name of the ROI, a union such as V1, or all", min_length=1)
    method: Literal["contrastive", "regression"] = setting("contrastive", "Method", "how the network is tuned")
    loss: Literal["paper", "poster", "symmetric"] = setting(
        "paper",
        "Loss",
        "InfoNCE: images against brain vectors (paper), without positives (poster), both ways (symmetric)",
        methods=("contrastive",),
    )
    temperature: float = setting(0.3, "Temperature", "divides the cosine similarities", methods=("contrastive",), gt=0)
    learning_rate: float = setting(1e-4, "Learning rate", "of Adam", gt=0)
    batch_size: int = setting(1024, "Batch size", "pictures per step; falls to what the images allow", ge=2)
    epochs: int = setting(30, "Epochs", "passes over the training pictures", ge=1)
    hidden_ratio: float = setting(
        0.8,
        "Hidden width",
        "h, as a share of the ROI's vertices; at least 8",
        group="head",
        methods=("contrastive",),
        gt=0,
    )
    embedding_ratio: float = setting(
        0.2,
        "Embedding width",
        "z, as a share of the ROI's vertices; at least 4",
        group="head",
        methods=("contrastive",),
        gt=0,
    )
    validation_share: float = setting(
        0.1, "Validation share", "share of the training pictures that only monitor the fit", group="split", ge=0, lt=1
    )
    zscore: bool = setting(False, "Z-score responses", "standardise every vertex over the training pictures first")
    seed: int = setting(0, "Seed", "of the new layers, the batches and the dropout", ge=0)

    @model_validator(mode="after")
    def _fields_mean_something(self) -> FinetuneSpec:
        """Keep what the method does not use at its default, so that it cannot make another run of the same one."""
        for name, info in type(self).model_fields.items():
            methods = only_for(info)
            if methods and self.method not in methods and getattr(self, name) != info.default:
                raise ValueError(f"{name} means nothing for the method {self.method}")
        return self

    @property
    def label(self) -> str:
        return f"{self.subject} {self.hemi} {self.roi} {self.method}"


def require_equal(spec: Spec, tuned: FinetuneSpec, names: tuple[str, ...]) -> None:
    """Raise `ValueError` unless these fields of a spec are those of the tuned network that it holds."""
    for name in names:
        if getattr(spec, name) != getattr(tuned, name):
            raise ValueError(f"{name} differs from the tuned network's")


class FeaturesSpec(NetworkFields, SplitFields, Spec):
    """PCA scores of a network state's layers for one subject's pictures (methods, section 2)."""

    kind: Literal["features"] = "features"
    version: int = CODE_VERSIONS["features"]
    finetune: FinetuneSpec | None = Field(None, description="the tuned state; none for the untuned network")
    layers: tuple[str, ...] = setting((), "Layers", "candidate layers; the best one per ROI is reported", min_length=1)
    n_components: int = setting(1000, "PCA components", "principal components per layer, at most", ge=1)
    seed: int = setting(0, "Seed", "of random weights", ge=0)

    @field_validator("layers")
    @classmethod
    def _each_once(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layers))

    @model_validator(mode="after")
    def _tuned_state_agrees(self) -> FeaturesSpec:
        if self.finetune is not None:
            names = ("dataset", "network", "weights", "weights_digest", "image_size", "test_share", "split_seed")
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
        tuned_on = f" {self.finetune.hemi} {self.finetune.roi}" if self.finetune else ""
        return f"{self.subject} {self.method}{tuned_on}"


class EncodingSpec(AreaFields, Spec):
    """Ridge from a layer's PCA scores to the responses of ROIs, tested on held-out pictures (methods, section 2)."""

    kind: Literal["encoding"] = "encoding"
    version: int = CODE_VERSIONS["encoding"]
    features: FeaturesSpec
    alphas: tuple[float, ...] = setting(
        tuple(10.0**k for k in range(-1, 8)),
        "Ridge penalties",
        "chosen per vertex; extended while over 5 % of the vertices choose an edge",
        min_length=1,
    )
    n_folds: int = setting(5, "Folds", "of the cross-validation inside the training pictures", ge=2)
    n_bootstrap: int = setting(
        1000, "Bootstrap samples", "resamples of the test pictures, for the intervals", ge=100, le=100_000
    )
    shuffle_images: bool = setting(False, "Shuffle pictures", "control: pair the responses with the wrong pictures")
    seed: int = setting(0, "Seed", "of the folds, of the resamples and of the shuffling", ge=0)

    @field_validator("alphas")
    @classmethod
    def _ascending(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        """Sort the penalties, each once: the same grid is the same run."""
        return tuple(sorted(set(alphas)))

    @model_validator(mode="after")
    def _features_agree(self) -> EncodingSpec:
        if (self.features.dataset, self.features.subject) != (self.dataset, self.subject):
            raise ValueError("the features belong to another data set or subject")
        if any(alpha <= 0 for alpha in self.alphas):
            raise ValueError("every ridge penalty must be above 0")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (self.features,)

    @property
    def method(self) -> str:
        """How the network came to be: ``"untuned"``, ``"random"``, or how it was tuned."""
        return self.features.method

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that it is fitted on."""
        return self.features.layers

    @property
    def tested_on(self) -> dict[str, Any]:
        """What decides which test pictures there are, and how they are resampled."""
        split = {name: getattr(self.features, name) for name in SplitFields.model_fields}
        return split | {name: getattr(self, name) for name in ("shuffle_images", "n_bootstrap", "seed")}

    @property
    def label(self) -> str:
        return f"{self.subject} {self.hemi} {self.roi} {self.method}"


def method_of(finetune: FinetuneSpec | None, weights: str) -> str:
    """Return how a network came to be: ``"untuned"``, ``"random"``, or how it was tuned."""
    if finetune is not None:
        return finetune.method
    return RANDOM if weights == RANDOM else UNTUNED

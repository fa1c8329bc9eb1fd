"""What can be asked for about shared concepts: embeddings of pictures and texts, decoders, clusters of weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from brainviz.runs.spec_base import (
    CODE_VERSIONS,
    SEPARATOR,
    AreaFields,
    Spec,
    SplitFields,
    setting,
)

#: Vertices that UMAP lays out, at most: as many as a browser draws quickly.
MOST_MAPPED = 20_000


class ClipFields(BaseModel):
    """Which image-text network, with which weights."""

    clip_network: str = setting(
        "ViT-B-32", "Image-text network", "open_clip's name of it, or clip_compact", group="embedding"
    )
    clip_weights: str = setting(
        "openai",
        "Its weights",
        "openai (open_clip's), demo (the compact network's own), random, or a local .safetensors or .pth file",
        group="embedding",
    )
    clip_digest: str = Field("", description="SHA-256 of the weights, or its known first digits; empty for random")


class EmbeddingSpec(ClipFields, Spec):
    """What an image-text network makes of one subject's pictures: unit vectors (methods, section 8)."""

    kind: Literal["embedding"] = "embedding"
    version: int = CODE_VERSIONS["embedding"]

    @property
    def label(self) -> str:
        return f"{self.subject} {self.clip_network}"


class TextsSpec(ClipFields, Spec):
    """What an image-text network makes of words or captions: unit vectors (methods, section 8)."""

    kind: Literal["texts"] = "texts"
    version: int = CODE_VERSIONS["texts"]
    # Texts belong to no data set, and are embedded once for all.
    dataset: str = Field("", description="always empty", pattern=r"^$")
    subject: str = Field("", description="always empty", pattern=r"^$")
    texts: str = setting("words", "Texts", "name of the words or captions that concepts are described by", min_length=1)
    texts_digest: str = Field(description="of the texts", pattern=r"^[0-9a-f]{64}$")

    @property
    def label(self) -> str:
        return f"{self.texts}, {self.clip_network}"


class DecoderSpec(AreaFields, SplitFields, Spec):
    """Linear decoders from responses to the embeddings of pictures, averaged over seeds (methods, section 8)."""

    kind: Literal["decoder"] = "decoder"
    version: int = CODE_VERSIONS["decoder"]
    embedding: EmbeddingSpec
    selection: Literal["noise-ceiling", "repeats", "encoding", "none"] = setting(
        "noise-ceiling",
        "Vertices by",
        "the data set's noise ceiling, one from pictures shown repeatedly, cross-validated r of ridge from the "
        "embedding (both: training pictures only), or none: every vertex",
        group="decoder",
    )
    vertex_threshold: float = setting(
        0.08,
        "Threshold",
        "vertices above it are used: single-trial noise ceiling (0..1), or r; r unless named: at least what noise "
        "exceeds in one of 1,000 vertices",
        group="decoder",
        lt=1,
    )
    n_seeds: int = setting(50, "Seeds", "decoders that are averaged", group="decoder", ge=1, le=1000)
    iterations: int = setting(5001, "Iterations", "steps of Adam per seed", group="decoder", ge=1)
    decoder_learning_rate: float = setting(1e-4, "Learning rate", "of Adam", group="decoder", gt=0)
    decoder_batch: int = setting(
        128, "Batch size", "pictures per step; fewer where there are fewer", group="decoder", ge=2
    )
    decoder_temperature: float = setting(0.03, "Temperature", "divides the cosine similarities", group="decoder", gt=0)
    input_noise: float = setting(
        1.0, "Input noise", "standard deviation, added to the z-scored responses", group="decoder", ge=0
    )
    n_candidates: int = setting(
        1000, "Candidates", "held-out pictures among which one is looked for, at most", group="decoder", ge=2
    )
    ridge_alphas: tuple[float, ...] = setting(
        tuple(10.0**k for k in range(0, 8)),
        "Ridge penalties",
        "of the baseline, each embedding dimension's chosen by leaving out one training picture at a time",
        group="decoder",
        min_length=1,
    )
    seed: int = setting(0, "Seed", "of the decoders and of the candidates", ge=0)

    @field_validator("ridge_alphas")
    @classmethod
    def _one_order(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _embedding_agrees(self) -> DecoderSpec:
        if (self.embedding.dataset, self.embedding.subject) != (self.dataset, self.subject):
            raise ValueError("the embeddings belong to another data set or subject")
        if any(alpha <= 0 for alpha in self.ridge_alphas):
            raise ValueError("every ridge penalty must be above 0")
        if self.selection == "none" and self.vertex_threshold != type(self).model_fields["vertex_threshold"].default:
            raise ValueError("vertex_threshold means nothing where every vertex is used")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (self.embedding,)

    @property
    def label(self) -> str:
        return f"{self.subject} {self.hemi} {self.roi}, {self.n_seeds} seeds"


class ConceptsSpec(Spec):
    """Clusters of decoding weights that several participants have in common (methods, section 8)."""

    kind: Literal["concepts"] = "concepts"
    version: int = CODE_VERSIONS["concepts"]
    subject: str = Field(description="the participants, with commas between them", min_length=1)
    decoders: tuple[DecoderSpec, ...] = Field(min_length=2, description="one per participant")
    described_by: TextsSpec
    eps: float = setting(
        0.6, "eps", "largest cosine distance of vertices near each other", group="concepts", gt=0, lt=2
    )
    min_participants: int = setting(
        3, "Other participants", "who have a vertex near a core vertex, at least", group="concepts", ge=1
    )
    expansion: float = setting(
        0.05,
        "Second stage",
        "a participant's vertices join within eps + this of a member; 0: none do",
        group="concepts",
        ge=0,
        lt=2,
    )
    expansion_limit: float = setting(
        0.65, "At most", "largest cosine distance of the second stage", group="concepts", gt=0, lt=2
    )
    scanned_eps: tuple[float, ...] = setting(
        (0.45, 0.5, 0.55, 0.6, 0.65, 0.7), "Scanned eps", "shown beside each other; none: no scan", group="concepts"
    )
    leave_one_out: bool = setting(
        True,
        "Leave one out",
        "cluster again without each participant, to see which concepts stay",
        group="concepts",
    )
    map_points: int = setting(
        4000, "Vertices mapped", "sample that UMAP lays out; 0: none", group="concepts", ge=0, le=MOST_MAPPED
    )
    map_neighbors: int = setting(15, "UMAP neighbours", "of each vertex", group="concepts", ge=2)
    map_min_dist: float = setting(0.1, "UMAP distance", "least distance in the picture", group="concepts", ge=0, lt=1)
    map_seed: int = setting(0, "Map seed", "of the sample and of UMAP", group="concepts", ge=0)
    turn_seed: int = setting(
        0,
        "Chance seed",
        "of the random turns of every participant's weights, which show what is shared by chance",
        group="concepts",
        ge=0,
    )

    @field_validator("scanned_eps")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < eps < 2 for eps in values):
            raise ValueError("every eps must be above 0 and below 2")
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _one_space(self) -> ConceptsSpec:
        names = ("clip_network", "clip_weights", "clip_digest")
        for decoder in self.decoders:
            for name in names:
                if getattr(decoder.embedding, name) != getattr(self.described_by, name):
                    raise ValueError(f"{decoder.label} decodes into another space: its {name} differs")
            if decoder.dataset != self.dataset:
                raise ValueError(f"{decoder.label} belongs to another data set")
            for name in ("test_share", "split_seed"):
                if getattr(decoder, name) != getattr(self.decoders[0], name):
                    raise ValueError(f"{decoder.label} is tested on other pictures: its {name} differs")
        participants = [decoder.subject for decoder in self.decoders]
        if len(set(participants)) < len(participants):
            raise ValueError("a participant is named twice")
        if SEPARATOR.join(participants) != self.subject:
            raise ValueError("the decoders are not those of the participants named")
        return self

    def dependencies(self) -> tuple[Spec, ...]:
        return (*self.decoders, self.described_by)

    @property
    def radius(self) -> float:
        """Largest cosine distance of the second stage."""
        return min(self.eps + self.expansion, self.expansion_limit)

    @property
    def label(self) -> str:
        return f"concepts of {len(self.decoders)} participants, eps {self.eps:g}"

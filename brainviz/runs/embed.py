"""Embedding runs: pictures of a subject, and words or captions, as unit vectors of an image-text network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.images import image_array
from brainviz.errors import WeightsError
from brainviz.runs.concept_specs import ClipFields, EmbeddingSpec, TextsSpec
from brainviz.runs.context import Context
from brainviz.runs.remembered import load_dataset, load_texts, weights_path
from brainviz.runs.store import Run, write_array

if TYPE_CHECKING:
    from pathlib import Path

    from brainviz.models.clip import ImageText

#: The file of the vectors, (n, p) float32, in the order of the pictures or texts.
EMBEDDINGS = "embeddings.npy"


def embedding(spec: EmbeddingSpec, context: Context) -> dict[str, Any]:
    """Embed a subject's pictures, training and test; writes ``embeddings`` (n, p), rows of length 1."""
    from brainviz.models.clip import clip_fit, clip_image_size

    dataset, index = load_dataset(spec.dataset, context.store.cache, context.progress("checking the data set"))
    dataset.require_subject(spec.subject)
    size, fit = clip_image_size(spec.clip_network), clip_fit(spec.clip_network)
    images = image_array(
        dataset.images(spec.subject),
        index.subjects[spec.subject].image_digests,
        size,
        context.store.cache / "images",
        context.progress("decoding pictures"),
        fit=fit,
    )
    network = open_image_text(spec, context.store.cache)
    vectors = network.embed_images(images, device=context.device, progress=context.progress("embedding pictures"))
    write_array(context.path / EMBEDDINGS, vectors)
    return {"n_images": len(vectors), "n_dimensions": vectors.shape[1], "image_size": size}


def texts(spec: TextsSpec, context: Context) -> dict[str, Any]:
    """Embed words or captions; writes ``embeddings`` (m, p), rows of length 1.

    Texts that the network can make nothing of get a row of 0, and are counted.
    """
    known = load_texts(spec.texts_digest, context.store.cache)
    network = open_image_text(spec, context.store.cache)
    readable = [row for row, text in enumerate(known.texts) if network.can_read(text)]
    vectors = np.zeros((len(known.texts), network.n_dimensions), np.float32)
    vectors[readable] = network.embed_texts(
        [known.texts[row] for row in readable], device=context.device, progress=context.progress("embedding texts")
    )
    write_array(context.path / EMBEDDINGS, vectors)
    unread = len(known.texts) - len(readable)
    return {"n_texts": len(vectors), "n_unreadable": unread, "n_dimensions": vectors.shape[1]}


def open_image_text(spec: ClipFields, cache: Path) -> ImageText:
    """Return the image-text network that a spec names.

    Raises
    ------
    WeightsError
        A local weights file was asked for and its place is not known, or its contents have changed; or there is no
        network connection to fetch published ones.
    """
    from brainviz.models.clip import load_clip

    path = None
    if spec.clip_weights == "file" and (path := weights_path(spec.clip_digest, cache)) is None:
        raise WeightsError(
            "Nobody remembers where this weights file is.",
            got=f"SHA-256 {spec.clip_digest}",
            mend="ask for the run again and name the file.",
        )
    return load_clip(spec.clip_network, spec.clip_weights, spec.clip_digest, path)


def read_embeddings(run: Run) -> NDArray[np.float32]:
    """Return the vectors of a finished run, memory-mapped."""
    vectors: NDArray[np.float32] = np.load(run.file(EMBEDDINGS), mmap_mode="r")
    return vectors

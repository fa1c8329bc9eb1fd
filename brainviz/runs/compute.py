"""From a spec to result files: reads data, calls training and encoding, and writes what they return.

One function per kind, here or in a module of its own (`encode`, `compare`, `classify`, `landscape`, `lateralize`,
`embed`, `decode`, `share`, `bottleneck`, `submit`); each writes into the run's folder and returns the scalars of
``result.json``. Nothing here knows who asked, or who computes: the queue calls it in a process of its own, a test may
call it directly.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.splits import hold_out
from brainviz.errors import RunError, SpecError
from brainviz.runs.bottleneck import bottleneck, joint_features, pretraining
from brainviz.runs.bottleneck_specs import BottleneckSpec, JointFeaturesSpec, PretrainingSpec
from brainviz.runs.classify import classification
from brainviz.runs.compare import comparison
from brainviz.runs.concept_specs import ConceptsSpec, DecoderSpec, EmbeddingSpec, TextsSpec
from brainviz.runs.context import Context, open_pictures, read_images, read_responses, standardised
from brainviz.runs.decode import decoder
from brainviz.runs.embed import embedding, texts
from brainviz.runs.encode import encoding
from brainviz.runs.landscape import landscape
from brainviz.runs.lateralize import lateralization
from brainviz.runs.network_specs import EncodingSpec, FeaturesSpec, FinetuneSpec
from brainviz.runs.networks import WEIGHTS, features_of, open_backbone, open_state, passes, scratch
from brainviz.runs.places import require_roi
from brainviz.runs.share import concepts
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, ComparisonSpec, LandscapeSpec, LateralizationSpec, SubmissionSpec
from brainviz.runs.store import Run, Store, atomic_file, write_array
from brainviz.runs.submit import submission

if TYPE_CHECKING:
    from brainviz.models.contrastive import ContrastiveNetwork
    from brainviz.models.regression import RegressionNetwork
    from brainviz.runs.context import Pictures
    from brainviz.training.fit import Objective

#: Resamples of the test pictures for the interval of the information bound.
INFORMATION_RESAMPLES = 1000


def compute(spec: Spec, context: Context) -> dict[str, Any]:
    """Compute a run and write its result files.

    Parameters
    ----------
    spec : Spec
        Of any kind in `specs.SPEC_CLASSES`; the runs it builds on are done.
    context : Context

    Returns
    -------
    dict
        The scalars of ``result.json``.

    Raises
    ------
    BrainvizError
        Data, weights or settings do not allow it.
    """
    if isinstance(spec, FinetuneSpec):
        return finetune(spec, context)
    if isinstance(spec, FeaturesSpec):
        return features(spec, context)
    if isinstance(spec, EncodingSpec):
        return encoding(spec, context)
    if isinstance(spec, ComparisonSpec):
        return comparison(spec, context)
    if isinstance(spec, ClassificationSpec):
        return classification(spec, context)
    if isinstance(spec, LandscapeSpec):
        return landscape(spec, context)
    if isinstance(spec, LateralizationSpec):
        return lateralization(spec, context)
    if isinstance(spec, EmbeddingSpec):
        return embedding(spec, context)
    if isinstance(spec, TextsSpec):
        return texts(spec, context)
    if isinstance(spec, DecoderSpec):
        return decoder(spec, context)
    if isinstance(spec, ConceptsSpec):
        return concepts(spec, context)
    if isinstance(spec, JointFeaturesSpec):
        return joint_features(spec, context)
    if isinstance(spec, PretrainingSpec):
        return pretraining(spec, context)
    if isinstance(spec, BottleneckSpec):
        return bottleneck(spec, context)
    if isinstance(spec, SubmissionSpec):
        return submission(spec, context)
    raise RunError("Nothing here computes this kind of run.", got=spec.kind)


def finetune(spec: FinetuneSpec, context: Context) -> dict[str, Any]:
    """Tune a network on the responses of one ROI (methods, section 1).

    Writes ``weights.safetensors``: the tuned backbone (``backbone.*``) and the heads.
    """
    pictures = open_pictures(spec, spec, context)
    require_roi(pictures.dataset, spec.subject, spec.hemi, spec.roi)
    fit_rows, validation_rows = hold_out(pictures.split.train, pictures.digests, spec.validation_share, spec.split_seed)
    responses = read_responses(pictures, spec.hemi, spec.roi)
    if spec.zscore:
        responses = standardised(responses, fit_rows)
    images = read_images(pictures, spec.image_size, context)

    # Only now that the data are known to be good: torch takes seconds.
    import torch
    from safetensors.torch import save

    from brainviz.models.contrastive import ContrastiveNetwork
    from brainviz.models.states import flat_state
    from brainviz.training.fit import fit

    network, objective, sizes = _network_and_objective(spec, responses.shape[1], context)
    outcome = fit(
        network,
        objective,
        images,
        responses,
        fit_rows,
        validation_rows,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        seed=spec.seed,
        device=torch.device(context.device),
        report=context.report,
    )
    with atomic_file(context.path / WEIGHTS) as file:
        file.write(save(flat_state(network)))
    n_validation = len(validation_rows)
    result = {
        "epochs": outcome.epochs,
        "loss": outcome.loss,
        **outcome.monitored,
        "retrieval_chance": 1 / n_validation if n_validation else None,
        "seconds": outcome.seconds,
        "images_per_second": outcome.images_per_second,
        "batch_size": outcome.batch_size,
        "micro_batch_size": outcome.micro_batch_size,
        "n_fit": len(fit_rows),
        "n_validation": n_validation,
        "n_test": len(pictures.split.test),
        "n_vertices": responses.shape[1],
        **sizes,
    }
    if isinstance(network, ContrastiveNetwork):
        result |= _information(network, spec, images, responses, fit_rows, validation_rows, pictures)
    return result


def _network_and_objective(
    spec: FinetuneSpec, n_vertices: int, context: Context
) -> tuple[ContrastiveNetwork | RegressionNetwork, Objective, dict[str, int]]:
    """Return the network that a method tunes, what it minimises, and the sizes of its new layers."""
    from brainviz.models.backbones import count_logits
    from brainviz.models.contrastive import ContrastiveNetwork, head_sizes
    from brainviz.models.regression import RegressionNetwork
    from brainviz.training.fit import ContrastiveObjective, RegressionObjective

    backbone = open_backbone(spec, spec.seed, context)
    n_logits = count_logits(backbone, spec.image_size)
    if spec.method == "regression":
        regression = RegressionNetwork(backbone, n_logits, n_vertices, seed=spec.seed)
        return regression, RegressionObjective(regression), {"n_logits": n_logits}
    hidden, embedding = head_sizes(n_vertices, spec.hidden_ratio, spec.embedding_ratio)
    network = ContrastiveNetwork(backbone, n_logits, n_vertices, hidden, embedding, seed=spec.seed)
    objective = ContrastiveObjective(network, spec.temperature, spec.loss)
    return network, objective, {"n_logits": n_logits, "hidden": hidden, "embedding": embedding}


def _information(
    network: ContrastiveNetwork,
    spec: FinetuneSpec,
    images: NDArray[np.uint8],
    responses: NDArray[np.float32],
    fit_rows: NDArray[np.int64],
    validation_rows: NDArray[np.int64],
    pictures: Pictures,
) -> dict[str, float | str]:
    """Return the lower bound of the mutual information between test pictures and responses (methods, section 3).

    Its scale beta is chosen on the training pictures that only monitored the fit: embeddings of those that were fitted
    agree better than any others, and the beta that suits them can bring the bound of the test pictures below 0. Where
    there are none, ``information_beta_chosen_on`` says "fitted": beta is then from as many fitted pictures as there are
    test pictures. The interval is a bootstrap over the terms of the test pictures.
    """
    from brainviz.encoding.information import choose_beta, information_bound
    from brainviz.encoding.statistics import bootstrap_weights, interval
    from brainviz.training.fit import embeddings

    test = pictures.split.test
    held_out = len(validation_rows) > 1
    chosen_on = validation_rows if held_out else np.random.default_rng(spec.seed).permutation(fit_rows)[: len(test)]
    beta = choose_beta(*embeddings(network, images, responses, chosen_on), spec.temperature)
    bound = information_bound(*embeddings(network, images, responses, test), spec.temperature, beta)
    weights = bootstrap_weights(len(test), INFORMATION_RESAMPLES, spec.seed, pictures.groups(test))
    low, high = interval(weights @ bound.per_image / weights.sum(axis=1))
    return {
        "information_nats": bound.nats,
        "information_low": float(low),
        "information_high": float(high),
        "information_limit": bound.limit,
        "information_beta": beta,
        "information_beta_chosen_on": "validation" if held_out else "fitted",
    }


def features(spec: FeaturesSpec, context: Context) -> dict[str, Any]:
    """Pass all pictures through a network and keep the PCA scores of some of its layers (methods, section 2).

    Writes ``scores_<layer>`` (n, k) and ``explained_<layer>`` (k,), shares of the training pictures' variance. Layers
    that another run of the same network state has already are taken from there.
    """
    from brainviz.encoding.pca import fit_pca

    pictures = open_pictures(spec, spec, context)
    known = _known_layers(spec, context.store)
    for layer, run in known.items():
        for name in (f"scores_{layer}.npy", f"explained_{layer}.npy"):
            _link(run.file(name), context.path / name)
    wanted = tuple(layer for layer in spec.layers if layer not in known)
    if wanted:
        images = read_images(pictures, spec.image_size, context)
        backbone = open_state(spec, context)
        for layers in passes(backbone, wanted, images):
            with scratch(context) as folder:
                found = features_of(backbone, layers, images, folder, context)
                for layer in layers:
                    context.progress(f"PCA of {layer}")(wanted.index(layer), len(wanted))
                    pca = fit_pca(found.pop(layer), pictures.split.train, spec.n_components, device=context.device)
                    write_array(context.path / f"scores_{layer}.npy", pca.scores)
                    write_array(context.path / f"explained_{layer}.npy", pca.explained_variance_ratio)
    explained = {layer: np.load(context.path / f"explained_{layer}.npy") for layer in spec.layers}
    return {
        "n_images": len(pictures.digests),
        "n_train": len(pictures.split.train),
        "n_components": {layer: len(shares) for layer, shares in explained.items()},
        "explained_variance": {layer: float(shares.sum()) for layer, shares in explained.items()},
        "layers_taken_over": len(known),
    }


def _known_layers(spec: FeaturesSpec, store: Store) -> dict[str, Run]:
    """Return which of the layers a finished run of the same network state and pictures has."""
    found: dict[str, Run] = {}
    for run in store.runs(kind="features", state="done"):
        try:
            other = run.spec
        except SpecError:  # written by another version
            continue
        assert isinstance(other, FeaturesSpec)
        if other.model_copy(update={"layers": spec.layers}) == spec:
            found |= {layer: run for layer in other.layers if layer in spec.layers and _whole(run, layer)}
    return found


def _whole(run: Run, layer: str) -> bool:
    """Return whether a run still has what it wrote for a layer."""
    try:
        return all(run.file(f"{name}_{layer}.npy") for name in ("scores", "explained"))
    except RunError:
        return False


def _link(source: Path, target: Path) -> None:
    """Give a result file a second name, or copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

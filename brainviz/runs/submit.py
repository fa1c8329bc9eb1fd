"""Submissions to the Algonauts 2023 challenge: predicted responses to its test pictures, from any encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.images import image_array
from brainviz.datasets.index import test_picture_digests
from brainviz.errors import DatasetError
from brainviz.runs.areas import open_areas
from brainviz.runs.bottleneck import FeatureSource, load_network, predicted_scores, project
from brainviz.runs.bottleneck_specs import BottleneckSpec
from brainviz.runs.compare import EncoderRun
from brainviz.runs.context import Context, Pictures, open_pictures, read_images
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.networks import feature_blocks, open_state, scratch, stack_blocks
from brainviz.runs.remembered import memo_dir
from brainviz.runs.specs import SubmissionSpec
from brainviz.runs.store import write_array

#: Hemisphere, columns (v,) of its responses, and predicted responses (m, v).
Predicted = tuple[str, NDArray[np.int64], NDArray[np.floating]]


def submission(spec: SubmissionSpec, context: Context) -> dict[str, Any]:
    """Predict the responses to the pictures that have none, with encoders as they were tested.

    Writes ``subjXX/{lh,rh}_pred_test.npy`` (m, v) float32 per subject, in the order of the test pictures. A vertex that
    no encoder is about gets 0, and is counted. Where two ROIs share a vertex, the first one's prediction stands.
    """
    n_pictures, unpredicted, n_vertices = 0, 0, 0
    for subject, expected in zip(spec.subjects, spec.pictures_digests, strict=True):
        own = [encoder for encoder in spec.encoders if encoder.subject == subject]
        first = own[0]
        pictures = open_pictures(first, first.features, context)
        challenge = TestPictures(pictures, expected, context)
        n_pictures += len(challenge.digests)
        hemispheres = pictures.dataset.hemispheres(subject)
        sizes = {hemi: pictures.dataset.n_vertices(subject, hemi) for hemi in hemispheres}
        responses = {hemi: np.zeros((len(challenge.digests), size), np.float32) for hemi, size in sizes.items()}
        known = {hemi: np.zeros(size, bool) for hemi, size in sizes.items()}
        for encoder in own:
            found = (
                _by_bottleneck(encoder, challenge, context)
                if isinstance(encoder, BottleneckSpec)
                else _by_ridge(encoder, challenge, context)
            )
            for hemi, columns, values in found:
                new = ~known[hemi][columns]
                responses[hemi][:, columns[new]] = values[:, new]
                known[hemi][columns] = True
        (context.path / subject).mkdir(exist_ok=True)
        for hemi, values in responses.items():
            write_array(context.path / subject / f"{hemi}_pred_test.npy", values)
            unpredicted += int((~known[hemi]).sum())
            n_vertices += len(known[hemi])
    return {"n_images": n_pictures, "n_vertices": n_vertices, "n_unpredicted": unpredicted}


class TestPictures:
    """One subject's pictures without responses, made sure to be those that were asked for.

    Parameters
    ----------
    pictures : Pictures
    expected : str
        Their digest, as `brainviz.datasets.index.test_picture_digests` gives it.
    context : Context

    Attributes
    ----------
    digests : tuple of str
        One per picture.

    Raises
    ------
    DatasetError
        They have changed.
    """

    __test__ = False  # not for pytest, in spite of the name

    def __init__(self, pictures: Pictures, expected: str, context: Context) -> None:
        self.context, self.images = context, pictures.dataset.test_images(pictures.subject)
        self.digests, digest = test_picture_digests(pictures.dataset, pictures.subject, memo_dir(context.store.cache))
        if digest != expected:
            raise DatasetError(
                f"The test pictures of {pictures.subject} have changed since they were asked for.",
                got=f"{len(self.digests)} pictures, digest {digest[:12]}",
                expected=f"digest {expected[:12]}",
                mend="ask for the submission again.",
            )

    def squeezed(self, size: int) -> NDArray[np.uint8]:
        """Return them as networks take them, (m, size, size, 3)."""
        folder, tell = self.context.store.cache / "images", self.context.progress("decoding test pictures")
        return image_array(self.images, self.digests, size, folder, tell)


def _by_bottleneck(spec: BottleneckSpec, challenge: TestPictures, context: Context) -> Iterator[Predicted]:
    run, joint = context.finished(spec), context.finished(spec.features)
    source = FeatureSource(spec.features, context)
    scores = project(joint, source, source.decoded(challenge.images, challenge.digests))
    network = load_network(spec, scores.shape[1], run)
    result = run.result()
    eigenvalues = np.asarray(run.array("eigenvalues"))
    predicted = predicted_scores(network, scores, eigenvalues, spec, float(result["target_scale"]))
    for hemi, half in predicted.items():
        mean, axes = np.asarray(run.array(f"mean_{hemi}")), np.asarray(run.array(f"axes_{hemi}"))
        yield hemi, np.asarray(run.array(f"vertices_{hemi}")), half @ axes + mean


def _by_ridge(spec: EncodingSpec, challenge: TestPictures, context: Context) -> Iterator[Predicted]:
    """Fit the encoding model again, at the layers and penalties that it chose, with the test pictures beside.

    The components are found on the training pictures again: the scores of other pictures are not kept, nor what would
    give them.
    """
    from brainviz.encoding.pca import fit_pca
    from brainviz.encoding.ridge import prepare_ridge

    pictures = open_pictures(spec, spec.features, context)  # divided as this encoder's are, whatever the others' are
    fitted = EncoderRun(spec, pictures, context)
    train = pictures.split.train
    backbone = open_state(spec.features, context)
    size = spec.features.image_size
    parts = (read_images(pictures, size, context), challenge.squeezed(size))
    n, m = (len(part) for part in parts)
    for number, layer in enumerate(spec.features.layers):
        areas = [area for area in open_areas(pictures, spec.areas) if fitted.own_layer(area) == number]
        if not areas:
            continue
        with scratch(context) as folder:
            blocks = (block for part in parts for block in feature_blocks(backbone, layer, part, context))
            features = stack_blocks(blocks, n + m, layer, folder)
            context.progress(f"PCA of {layer}")(0, 1)
            scores = fit_pca(features, train, spec.features.n_components, device=context.device).scores
        for area in areas:
            alpha = fitted.alpha(area, layer)
            design = prepare_ridge(scores[train], alpha[:1], spec.n_folds, device=context.device)
            values = np.empty((m, len(area.columns)), np.float32)
            for columns, predicted, means in design.predict(scores[n:], area.responses, alpha, rows=train):
                values[:, columns] = predicted + means
            yield area.hemi, area.columns, values

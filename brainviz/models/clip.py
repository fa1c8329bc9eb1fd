"""Image-text networks: which there are, their weights found and checked, pictures and texts turned to unit vectors."""

from __future__ import annotations

import difflib
import logging
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from brainviz.config import nearest
from brainviz.errors import DatasetError, SpecError, WeightsError
from brainviz.models.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ResolvedWeights,
    demo_weights,
    file_weights,
    training_record,
)
from brainviz.models.states import fill, read_state, require_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from brainviz.datasets.images import Fit
    from brainviz.models.compact_clip import CompactImageText

COMPACT_CLIP = "clip_compact"

#: Offered in forms; every other network of open_clip is accepted by its name.
CLIP_NETWORKS = ("ViT-B-32", COMPACT_CLIP)

#: Names of weights that need no file of the user's.
CLIP_WEIGHTS = ("openai", "demo", "random")

#: Channel means and standard deviations that CLIP's pictures (0..1) are normalised with (Radford et al. 2021, code).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_COMPACT_WEIGHTS = Path(__file__).parent / "weights" / "clip_compact.safetensors"

# What follows is known without importing open_clip and torch, which takes seconds: forms ask for it at once.
_KNOWN_SIZES = {"ViT-B-32": 224, COMPACT_CLIP: 64}
_KNOWN_DIMENSIONS = {"ViT-B-32": 512, COMPACT_CLIP: 128}
_KNOWN_DIGESTS = {"ViT-B-32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"}

#: Characters of a text that an error quotes.
QUOTED = 60

#: What OpenAI's archives hold beside the weights.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")

Progress = Callable[[int, int], None]


# --- networks ---------------------------------------------------------------------------------------------------------


def default_clip_weights(network: str) -> str:
    """``"demo"`` for the compact network, whose weights brainviz carries, ``"openai"`` for open_clip's.

    Raises
    ------
    SpecError
        No such network.
    """
    require_clip_network(network)
    return "demo" if network == COMPACT_CLIP else "openai"


def clip_image_size(network: str) -> int:
    """Pixels on a side of the pictures that the network takes.

    Raises
    ------
    SpecError
        No such network, or its pictures are not square.
    """
    require_clip_network(network)
    if network in _KNOWN_SIZES:
        return _KNOWN_SIZES[network]
    size = _configuration(network)["vision_cfg"].get("image_size", 224)
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) > 1:
        raise SpecError(f"{network} takes pictures that are not square.", got=str(size), mend="choose another network.")
    return int(sides.pop())


def clip_dimensions(network: str) -> int:
    """Dimensions of the space that pictures and texts share.

    Raises
    ------
    SpecError
        No such network.
    """
    require_clip_network(network)
    return _KNOWN_DIMENSIONS.get(network) or int(_configuration(network)["embed_dim"])


def clip_fit(network: str) -> Fit:
    """How pictures are to become squares for a network: as it was trained (`brainviz.datasets.images.Fit`)."""
    require_clip_network(network)
    return "squeezed" if network == COMPACT_CLIP else "trimmed"


def require_clip_network(network: str) -> None:
    """Raise `SpecError`, naming the nearest, unless `network` is the compact network or one of open_clip's.

    Those of open_clip are refused whose published weights all expect pictures prepared in another way than CLIP's:
    another normalisation, another filter, or squeezed ones.
    """
    if network in _KNOWN_SIZES:
        return
    known = (*_open_clip_networks(), COMPACT_CLIP)
    if network not in known:
        by_lower = {name.lower(): name for name in known}
        close = [by_lower[name] for name in difflib.get_close_matches(network.lower(), by_lower, n=3)]
        raise SpecError(
            f"There is no image-text network {network!r}.",
            got=network,
            expected=f"a network of open_clip, or {COMPACT_CLIP}",
            mend=f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(CLIP_NETWORKS)}.",
        )
    published = _published(network)
    if published and not any(map(_has_clips_pictures, published.values())):
        raise SpecError(
            f"open_clip's weights of {network} expect pictures prepared in a way that brainviz does not offer.",
            got=", ".join(f"{key} {value}" for key, value in _preparation(next(iter(published.values()))).items()),
            expected=f"channel means {CLIP_MEAN}, bicubic, the shorter side resized",
            mend="choose another network.",
        )


@cache
def _open_clip_networks() -> tuple[str, ...]:
    import open_clip  # type: ignore[import-untyped]

    return tuple(open_clip.list_models())


@cache
def _configuration(network: str) -> dict[str, Any]:
    """Return open_clip's description of an architecture."""
    import open_clip

    found: dict[str, Any] = open_clip.get_model_config(network)
    return found


@cache
def _published(network: str) -> dict[str, dict[str, Any]]:
    """Return open_clip's published weights of a network: tag -> where they are, and how to prepare pictures."""
    from open_clip.pretrained import (  # type: ignore[import-untyped]
        get_pretrained_cfg,
        list_pretrained_tags_by_model,
    )

    return {tag: get_pretrained_cfg(network, tag) for tag in list_pretrained_tags_by_model(network)}


def _preparation(published: dict[str, Any]) -> dict[str, Any]:
    return {key: published.get(key) for key in ("mean", "interpolation", "resize_mode")}


def _has_clips_pictures(published: dict[str, Any]) -> bool:
    found = _preparation(published)
    return tuple(found["mean"]) == CLIP_MEAN and (found["interpolation"], found["resize_mode"]) == (
        "bicubic",
        "shortest",
    )


# --- weights found ----------------------------------------------------------------------------------------------------


def resolve_clip_weights(network: str, weights: str, *, allow_path: bool = True) -> ResolvedWeights:
    """Find the weights that a name or a path stands for, and their digest; nothing is downloaded.

    Parameters
    ----------
    network : str
        See `CLIP_NETWORKS`.
    weights : str
        One of `CLIP_WEIGHTS`, a name in ``[weights]`` of brainviz.toml, or the path of a local file.
    allow_path : bool
        False refuses paths: what a form or a link says is never used as one.

    Returns
    -------
    ResolvedWeights
        The digest of ``openai`` is that of OpenAI's own archive, as open_clip's table has it: it says which weights
        these are. open_clip fetches the same weights as a safetensors file.

    Raises
    ------
    SpecError
        No such network, or no such weights for it.
    WeightsError
        The file is absent or of an unknown kind.
    """
    require_clip_network(network)
    if weights == "random":
        return ResolvedWeights("random", "")
    if weights == "demo":
        return demo_weights(network, COMPACT_CLIP, _COMPACT_WEIGHTS, "openai, random, or a file")
    if weights == "openai":
        return ResolvedWeights("openai", _openai_digest(network))
    return file_weights(weights, allow_path, CLIP_WEIGHTS)


def _openai_digest(network: str) -> str:
    if network in _KNOWN_DIGESTS:
        return _KNOWN_DIGESTS[network]
    if network == COMPACT_CLIP:
        raise SpecError(f"{COMPACT_CLIP} has no weights by OpenAI.", got="openai", expected="demo, random, or a file")
    published = _published(network).get("openai")
    if published is None:
        raise SpecError(
            f"{network} has no weights by OpenAI.", got="openai", expected="random, or a file", mend="name a file."
        )
    found = re.search(r"/([0-9a-f]{64})/", published["url"])
    # Without a digest in the table, the name of what open_clip fetches has to do.
    return found.group(1) if found else str(published["hf_hub"] or published["url"])


# --- weights loaded ---------------------------------------------------------------------------------------------------


def load_clip(network: str, weights_name: str, digest: str, path: Path | None = None, seed: int = 0) -> ImageText:
    """Return an image-text network with its weights, float32, on the CPU, in eval mode.

    Parameters
    ----------
    network, weights_name, digest, path
        As `resolve_clip_weights` gave them. ``openai`` weights are fetched by open_clip unless the Hugging Face cache
        holds them. A file is a plain state dict with open_clip's names, with or without a prefix that all of them
        share (``module.``).
    seed : int
        Of random weights; the global random state is left as it was.

    Raises
    ------
    SpecError
        No such network or weights, or open_clip cannot build it here.
    WeightsError
        The file is absent, damaged, not the one with this digest, of another kind, or does not fit; or there is no
        network connection.

    Notes
    -----
    OpenAI trained with the activation QuickGELU, and ``openai`` weights get it under either name of the network. Of a
    file this cannot be seen: the name of the network decides, as in open_clip: ``ViT-B-32-quickgelu`` for weights by
    OpenAI (and others that open_clip lists so), ``ViT-B-32`` for most others.
    """
    require_clip_network(network)
    quick = False
    if weights_name == "random":
        return _build(network, seed=seed)
    if weights_name == "openai":
        _require_openai(network, digest)
        quick, path = bool(_published(network)["openai"].get("quick_gelu")), _openai_file(network)
    elif weights_name == "demo":
        path = demo_weights(network, COMPACT_CLIP, _COMPACT_WEIGHTS, "openai, random, or a file").path
    if path is None:
        raise SpecError(
            f"The weights {weights_name!r} need a file.",
            got="no path",
            mend="name the file, or openai, demo or random.",
        )
    _refuse_archive(path)
    state = read_state(path)
    if weights_name != "openai":  # checked by its own name above: the file is another form of the same weights
        require_digest(path, digest)
    loaded = _build(network, quick_gelu=quick)
    if network != COMPACT_CLIP:
        state = _open_clip_names(network, state, path, quick or bool(_configuration(network).get("quick_gelu")))
    fill(loaded.model, state, str(path))
    return loaded


def _require_openai(network: str, digest: str) -> None:
    known = _openai_digest(network)
    if digest != known:
        raise WeightsError(
            f"OpenAI's weights of {network} are not the ones that were asked for.",
            got=f"SHA-256 {known}",
            expected=f"SHA-256 {digest or '(none given)'}",
            mend="ask for a new run.",
        )


def _openai_file(network: str) -> Path:
    """Return OpenAI's weights as a safetensors file in the Hugging Face cache, fetched when they are not there yet."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME  # type: ignore[import-untyped]
    from open_clip.pretrained import download_pretrained_from_hf

    repository = str(_published(network)["openai"]["hf_hub"]).rstrip("/")
    try:
        with _quiet():
            return Path(download_pretrained_from_hf(repository, filename=HF_SAFE_WEIGHTS_NAME))
    except (OSError, RuntimeError, ValueError) as error:
        quick = network if network.endswith("-quickgelu") else f"{network}-quickgelu"
        named = f"for the network {quick}" if quick in _open_clip_networks() else "for this network"
        url = f"https://huggingface.co/{repository}/resolve/main/{HF_SAFE_WEIGHTS_NAME}"
        raise WeightsError(
            f"OpenAI's weights of {network} could not be downloaded.",
            got=(str(error) or type(error).__name__).splitlines()[0],
            mend=f"without a connection: fetch {url} elsewhere and name the file {named}, "
            f"or choose {COMPACT_CLIP}, which knows the demo's pictures only.",
        ) from error


def _refuse_archive(path: Path) -> None:
    """Raise `WeightsError` for a TorchScript archive, OpenAI's own format: reading one would run the code in it."""
    if path.suffix == ".safetensors" or not path.is_file() or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return  # read_state says what is wrong with it
    if scripted:
        raise WeightsError(
            f"The weights file {path} is a TorchScript archive, which holds code.",
            got="an archive as OpenAI publishes them",
            expected="a plain state dict, .safetensors or .pt",
            mend="choose the weights openai, or convert it where you trust it: "
            'safetensors.torch.save_file(torch.jit.load(path).state_dict(), "ViT-B-32.safetensors").',
        )


def _open_clip_names(network: str, state: dict[str, Tensor], path: Path, quick_gelu: bool) -> dict[str, Tensor]:
    """Return the state without a prefix that all names share, and without what OpenAI adds to the weights."""
    if any(name.startswith(("vision_model.", "text_model.")) for name in state):
        raise WeightsError(
            f"The weights file {path} has the names of transformers (Hugging Face), not of open_clip.",
            got="vision_model.* and text_model.*",
            expected="visual.*, transformer.*, ...",
            mend="fetch the file that open_clip publishes (open_clip_model.safetensors) instead.",
        )
    of_scale = next((name for name in state if name.split(".")[-1] == "logit_scale"), "logit_scale")
    prefix = of_scale.removesuffix("logit_scale")
    if prefix and all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    extras = [name for name in _OPENAI_EXTRAS if name in state]
    if extras and not quick_gelu:
        raise WeightsError(
            f"The weights file {path} comes from OpenAI, whose networks have another activation than {network}.",
            got=f"{network} with {', '.join(extras)} in the file",
            expected=f"{network}-quickgelu",
            mend="choose that network for this file.",
        )
    return {name: tensor for name, tensor in state.items() if name not in _OPENAI_EXTRAS}


def _build(network: str, *, quick_gelu: bool = False, seed: int = 0) -> ImageText:
    """Return the network with seeded random weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _Compact() if network == COMPACT_CLIP else _OpenClip(network, quick_gelu)


# --- pictures and texts -----------------------------------------------------------------------------------------------


class ImageText(ABC):
    """An image-text network: pictures and texts in one space, where likeness is the cosine.

    Attributes
    ----------
    network : str
    image_size : int
        Pixels on a side of its pictures.
    n_dimensions : int
        Of the shared space, p.
    model : nn.Module
        The network itself, in eval mode.

    Notes
    -----
    Convolutions and products are full float32 on either device (no TF32), so that embeddings do not depend on it by
    more than rounding.
    """

    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]

    def __init__(self, network: str, model: nn.Module) -> None:
        self.network = network
        self.image_size = clip_image_size(network)
        self.n_dimensions = clip_dimensions(network)
        self.model = model.eval()

    def embed_images(
        self,
        images: NDArray[np.uint8],
        *,
        device: str = "cpu",
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Return the unit vectors of pictures.

        Parameters
        ----------
        images : (n, s, s, 3) uint8 array
            s is `image_size`, made square by `clip_fit`. May be memory-mapped.
        device : str
            ``"cpu"`` or ``"cuda"``.
        batch_size : int
            Pictures per forward pass.
        progress : callable, optional
            Called with the pictures done and the number of all.

        Returns
        -------
        (n, p) float32 array

        Raises
        ------
        DatasetError
            The pictures are not an (n, s, s, 3) uint8 array.
        """
        return self._shown(images, self._image_vectors, device, batch_size, progress)

    def hidden_states(
        self,
        images: NDArray[np.uint8],
        *,
        device: str = "cpu",
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Return the last hidden state of the image tower, flattened.

        Parameters
        ----------
        images, device, batch_size, progress
            As for `embed_images`.

        Returns
        -------
        (n, tokens * width) float32 array
            For a vision transformer the output of its last block, before the final norm and the projection, the class
            token first, a token's channels side by side: what transformers (Hugging Face) calls
            ``CLIPVisionModel(...).last_hidden_state``, 50 x 768 for ViT-B-32. For the compact network its last feature
            map, (n, channels * rows * columns).

        Raises
        ------
        DatasetError
            The pictures are not an (n, s, s, 3) uint8 array.
        SpecError
            The image tower is no vision transformer of open_clip's own.
        """
        return self._shown(images, self._last_states, device, batch_size, progress)

    def embed_texts(
        self,
        texts: Sequence[str],
        *,
        device: str = "cpu",
        batch_size: int = 256,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Return the unit vectors of texts.

        Parameters
        ----------
        texts : m str
            What is longer than the network reads (77 tokens in CLIP, 64 words in the compact one) is cut off.
        device : str
            ``"cpu"`` or ``"cuda"``.
        batch_size : int
            Texts per forward pass.
        progress : callable, optional
            Called with the texts done and the number of all.

        Returns
        -------
        (m, p) float32 array

        Raises
        ------
        SpecError
            A text is blank; or, with the compact network, has no word that it knows.
        """
        if isinstance(texts, str):
            raise SpecError("The texts are one string.", got=repr(texts), expected="a list of texts")
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise SpecError(
                    f"Text {number} of {len(texts)} is blank.", got=repr(text), mend="write a word or more."
                )
            self._require_known(text)
        embedded = np.empty((len(texts), self.n_dimensions), np.float32)
        with self._at_work(device):
            for start in range(0, len(texts), batch_size):
                part = list(texts[start : start + batch_size])
                embedded[start : start + len(part)] = self._text_vectors(self._tokens(part).to(device)).cpu().numpy()
                if progress:
                    progress(start + len(part), len(texts))
        return embedded

    def can_read(self, text: str) -> bool:
        """Return whether the network can make anything of a text: one that is not blank, and has a word it knows."""
        try:
            self._require_known(text)
        except SpecError:
            return False
        return bool(text.strip())

    @abstractmethod
    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that the network leaves out because it does not know them, each once."""

    def _shown(
        self,
        images: NDArray[np.uint8],
        answer: Callable[[Tensor], Tensor],
        device: str,
        batch_size: int,
        progress: Progress | None,
    ) -> NDArray[np.float32]:
        """Return the answer to every picture, (n, ...), flattened to one row each."""
        import torch

        self._require_pictures(images)
        answers = np.empty((0, 0), np.float32)  # as wide as the first answer
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.std))
        with self._at_work(device):
            for start in range(0, len(images), batch_size):
                batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(device).permute(0, 3, 1, 2)
                rows = answer((batch.float() / 255 - mean) / std).flatten(1).cpu().numpy()
                if start == 0:
                    answers = np.empty((len(images), rows.shape[1]), np.float32)
                answers[start : start + len(rows)] = rows
                if progress:
                    progress(start + len(batch), len(images))
        return answers

    def _require_pictures(self, images: NDArray[np.uint8]) -> None:
        size = self.image_size
        if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8 or len(images) == 0:
            raise DatasetError(
                f"The pictures cannot be shown to {self.network}.",
                got=f"{images.dtype} {images.shape}",
                expected=f"uint8 (images, {size}, {size}, 3), at least one",
            )

    @contextmanager
    def _at_work(self, device: str) -> Iterator[None]:
        import torch

        self.model.to(device)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield

    @abstractmethod
    def _require_known(self, text: str) -> None:
        """Raise `SpecError` for a text that the network cannot read at all."""

    @abstractmethod
    def _image_vectors(self, images: Tensor) -> Tensor: ...

    @abstractmethod
    def _last_states(self, images: Tensor) -> Tensor: ...

    @abstractmethod
    def _tokens(self, texts: list[str]) -> Tensor: ...

    @abstractmethod
    def _text_vectors(self, tokens: Tensor) -> Tensor: ...


class _OpenClip(ImageText):
    """A network of open_clip."""

    mean, std = CLIP_MEAN, CLIP_STD
    model: Any  # of a class of open_clip, which has no types

    def __init__(self, network: str, quick_gelu: bool) -> None:
        import open_clip

        try:
            with _quiet():
                model = open_clip.create_model(
                    network, load_weights=False, force_quick_gelu=quick_gelu, pretrained_text=False
                )
                self._tokenise = open_clip.get_tokenizer(network)
        except (RuntimeError, OSError, ImportError, AssertionError, TypeError) as error:
            raise SpecError(
                f"open_clip cannot build {network} here.",
                got=(str(error) or type(error).__name__).splitlines()[0],
                mend=f"choose another network, for example {CLIP_NETWORKS[0]}.",
            ) from error
        super().__init__(network, model)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        return ()

    def _require_known(self, text: str) -> None:
        return  # CLIP's tokens spell any text

    def _image_vectors(self, images: Tensor) -> Tensor:
        vectors: Tensor = self.model.encode_image(images, normalize=True)
        return vectors

    def _last_states(self, images: Tensor) -> Tensor:
        from open_clip.transformer import VisionTransformer  # type: ignore[import-untyped]

        if not isinstance(self.model.visual, VisionTransformer):
            raise SpecError(
                f"The hidden states of {self.network} are not offered.",
                got=type(self.model.visual).__name__,
                expected="a vision transformer of open_clip's own",
                mend=f"choose for example {CLIP_NETWORKS[0]}.",
            )
        found = self.model.visual.forward_intermediates(
            images, indices=1, intermediates_only=True, output_fmt="NLC", output_extra_tokens=True
        )
        import torch

        return torch.cat([found["image_intermediates_prefix"][-1], found["image_intermediates"][-1]], dim=1)

    def _tokens(self, texts: list[str]) -> Tensor:
        tokens: Tensor = self._tokenise(texts)
        return tokens

    def _text_vectors(self, tokens: Tensor) -> Tensor:
        vectors: Tensor = self.model.encode_text(tokens, normalize=True)
        return vectors


class _Compact(ImageText):
    """The demo's network."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD
    model: CompactImageText

    def __init__(self) -> None:
        from brainviz.models.compact_clip import CompactImageText

        self._number_of = {
            word: number for number, word in enumerate(training_record(_COMPACT_WEIGHTS)["words"], start=1)
        }
        super().__init__(COMPACT_CLIP, CompactImageText(len(self._number_of)))

    def unknown_words(self, text: str) -> tuple[str, ...]:
        from brainviz.models.compact_clip import words_of

        return tuple(dict.fromkeys(word for word in words_of(text) if word not in self._number_of))

    def _require_known(self, text: str) -> None:
        from brainviz.models.compact_clip import words_of

        words = words_of(text)
        if any(word in self._number_of for word in words):
            return
        near = [found for word in words if (found := nearest(word, self._number_of))]
        raise SpecError(
            f"{COMPACT_CLIP} knows no word of this text.",
            got=repr(text if len(text) <= QUOTED else f"{text[:QUOTED]}…"),
            expected="words of the demo's captions, for example food, faces, house, red, night",
            mend=f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else "choose other words.",
        )

    def _image_vectors(self, images: Tensor) -> Tensor:
        return self.model.embed_images(images)

    def _last_states(self, images: Tensor) -> Tensor:
        return self.model.last_map(images)

    def _tokens(self, texts: list[str]) -> Tensor:
        from brainviz.models.compact_clip import CONTEXT, numbered

        return numbered(texts, self._number_of, CONTEXT)

    def _text_vectors(self, tokens: Tensor) -> Tensor:
        return self.model.embed_words(tokens)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning that no weights are loaded, which comes next, and of every retry of a download."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

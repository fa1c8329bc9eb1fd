"""Image-text networks: weights found by name or file and loaded exactly, unit vectors, refusals that say what to do.

The loading code is tested on a small network under a name of its own in open_clip's table, saved by the tests.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from open_clip import factory, pretrained
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.scenes import CATEGORIES
from brainviz.datasets.images import squeezed, trimmed
from brainviz.errors import DatasetError, SpecError, WeightsError
from brainviz.models import clip
from brainviz.models.backbones import ResolvedWeights
from brainviz.models.clip import (
    CLIP_NETWORKS,
    COMPACT_CLIP,
    ImageText,
    clip_dimensions,
    clip_fit,
    clip_image_size,
    default_clip_weights,
    load_clip,
    resolve_clip_weights,
)
from brainviz.models.compact_clip import scene_of
from brainviz.models.states import file_digest

ROOT = Path(__file__).resolve().parents[2]
OPENAI_VIT_B_32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two small networks in open_clip's table, "tiny" with weights by OpenAI."""
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", TINY)
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-quickgelu", {**TINY, "quick_gelu": True})
    published = {**pretrained._PRETRAINED["ViT-B-32"]["openai"], "hf_hub": "nobody/tiny/"}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"openai": published})
    caches = (clip._open_clip_networks, clip._configuration, clip._published)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def tiny_model(network: str = "tiny", seed: int = 3) -> open_clip.CLIP:
    torch.manual_seed(seed)
    return open_clip.create_model(network).eval()


def saved(folder: Path, name: str, state: dict[str, torch.Tensor]) -> tuple[str, Path]:
    path = folder / name
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return file_digest(path), path


def pictures(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture
def compact() -> ImageText:
    return load_clip(COMPACT_CLIP, "demo", resolve_clip_weights(COMPACT_CLIP, "demo").digest)


# --- what forms ask ---------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    assert [default_clip_weights(name) for name in CLIP_NETWORKS] == ["openai", "demo"]
    assert [clip_image_size(name) for name in (*CLIP_NETWORKS, "RN50x4", "tiny")] == [224, 64, 288, 32]
    assert [clip_dimensions(name) for name in (*CLIP_NETWORKS, "RN50x4", "tiny")] == [512, 128, 640, 24]
    assert [clip_fit(name) for name in CLIP_NETWORKS] == ["trimmed", "squeezed"]


def test_what_is_known_without_open_clip_is_what_open_clip_says() -> None:
    told = clip._configuration("ViT-B-32")
    assert (told["vision_cfg"]["image_size"], told["embed_dim"]) == (224, 512)
    published = pretrained.get_pretrained_cfg("ViT-B-32", "openai")
    assert published["url"].split("/")[-2] == clip._KNOWN_DIGESTS["ViT-B-32"] == OPENAI_VIT_B_32
    assert (tuple(published["mean"]), tuple(published["std"])) == (clip.CLIP_MEAN, clip.CLIP_STD)
    assert published["quick_gelu"], "OpenAI trained with QuickGELU"


def test_what_forms_ask_needs_no_torch() -> None:
    code = """
import sys
from brainviz.models import clip as c
for name in c.CLIP_NETWORKS:
    c.clip_image_size(name), c.clip_dimensions(name), c.clip_fit(name)
    c.resolve_clip_weights(name, c.default_clip_weights(name)), c.resolve_clip_weights(name, "random")
assert not {"torch", "torchvision", "open_clip"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    "call", [default_clip_weights, clip_image_size, clip_dimensions, lambda name: resolve_clip_weights(name, "random")]
)
def test_unknown_networks_are_refused_with_the_nearest(call) -> None:
    with pytest.raises(SpecError, match="did you mean ViT-B-32"):
        call("vit-b32")
    with pytest.raises(SpecError, match="did you mean clip_compact"):
        call("clip-compact")
    with pytest.raises(SpecError, match="choose one of ViT-B-32, clip_compact"):
        call("zzz")


def test_networks_that_need_other_pictures_or_programs_are_refused() -> None:
    with pytest.raises(SpecError, match="prepared in a way"):
        clip_image_size("ViT-B-16-SigLIP")
    with pytest.raises(SpecError, match="cannot build roberta-ViT-B-32"):
        load_clip("roberta-ViT-B-32", "random", "")


# --- weights found ----------------------------------------------------------------------------------------------------


def test_named_weights() -> None:
    assert resolve_clip_weights("ViT-B-32", "random") == ResolvedWeights("random", "", None)
    assert resolve_clip_weights("ViT-B-32", "openai") == ResolvedWeights("openai", OPENAI_VIT_B_32, None)
    assert resolve_clip_weights("ViT-B-32-quickgelu", "openai").digest == OPENAI_VIT_B_32
    demo = resolve_clip_weights(COMPACT_CLIP, "demo")
    assert demo.path is not None
    assert demo.digest == file_digest(demo.path)


@pytest.mark.parametrize(
    ("network", "weights"), [("ViT-B-32", "demo"), (COMPACT_CLIP, "openai"), ("ViT-B-32-256", "openai")]
)
def test_weights_that_a_network_lacks_are_refused(network: str, weights: str) -> None:
    with pytest.raises(SpecError, match=network):
        resolve_clip_weights(network, weights)


def test_files_and_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, path = saved(tmp_path, "lab.safetensors", {"a": torch.zeros(1)})
    (tmp_path / "brainviz.toml").write_text('[weights]\nlab = "lab.safetensors"\nlost = "lost.pth"\n')
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(tmp_path / "brainviz.toml"))
    for name in ("lab", str(path)):
        assert resolve_clip_weights("ViT-B-32", name) == ResolvedWeights("file", digest, path)
    with pytest.raises(SpecError, match="openai, demo, random, lab, lost"):
        resolve_clip_weights("ViT-B-32", str(path), allow_path=False)
    with pytest.raises(SpecError, match="no weights 'openia'"):
        resolve_clip_weights("ViT-B-32", "openia")
    for absent in ("lost", str(tmp_path / "nowhere.pt")):
        with pytest.raises(WeightsError, match="no weights file"):
            resolve_clip_weights("ViT-B-32", absent)


# --- weights loaded ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_restore_the_network(tmp_path: Path, name: str, prefix: str) -> None:
    """Pictures and texts go the way that open_clip's own model, transform and tokenizer take."""
    model = tiny_model()
    state = {f"{prefix}{key}": tensor for key, tensor in model.state_dict().items()}
    network = load_clip("tiny", "file", *saved(tmp_path, name, state))
    assert (network.network, network.image_size, network.n_dimensions) == ("tiny", 32, 24)
    assert not network.model.training

    image = Image.fromarray(pictures(1, 50)[0, :41])
    transform = open_clip.image_transform(32, is_train=False, mean=clip.CLIP_MEAN, std=clip.CLIP_STD)
    texts = ["a photo of a dog", "faces"]
    with torch.no_grad():
        seen = model.encode_image(transform(image)[None], normalize=True)
        told = model.encode_text(open_clip.get_tokenizer("tiny")(texts), normalize=True)
    np.testing.assert_allclose(network.embed_images(trimmed(image, 32)[None]), seen.numpy(), atol=1e-6)
    np.testing.assert_allclose(network.embed_texts(texts), told.numpy(), atol=1e-6)


def test_the_name_decides_on_the_activation_of_a_file(tmp_path: Path) -> None:
    digest, path = saved(tmp_path, "w.pt", tiny_model().state_dict())
    images = pictures(3, 32)
    plain, quick = (load_clip(name, "file", digest, path).embed_images(images) for name in ("tiny", "tiny-quickgelu"))
    assert np.abs(plain - quick).max() > 1e-4
    for name, found in (("tiny", plain), ("tiny-quickgelu", quick)):
        model = open_clip.create_model(name, pretrained=str(path)).eval()
        normalised = (
            torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - torch.tensor(clip.CLIP_MEAN)[:, None, None]
        ) / (torch.tensor(clip.CLIP_STD)[:, None, None])
        with torch.no_grad():
            np.testing.assert_allclose(found, model.encode_image(normalised, normalize=True).numpy(), atol=1e-6)


def test_what_an_openai_archive_holds_beside_the_weights_is_left_out(tmp_path: Path) -> None:
    """A converted archive: half precision, three numbers; its activation is known, so the wrong name is refused."""
    state = {name: tensor.half() for name, tensor in tiny_model().state_dict().items()}
    extras = {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
    digest, path = saved(tmp_path, "w.safetensors", {**state, **extras})
    network = load_clip("tiny-quickgelu", "file", digest, path)
    assert {parameter.dtype for parameter in network.model.parameters()} == {torch.float32}
    assert torch.equal(network.model.visual.proj, state["visual.proj"].float())
    with pytest.raises(WeightsError, match=r"Expected: tiny-quickgelu"):
        load_clip("tiny", "file", digest, path)


def test_openai_weights_get_quickgelu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the download: the state of a network made with QuickGELU, loaded under the plain name."""
    model = tiny_model("tiny-quickgelu")
    digest, path = saved(tmp_path, "open_clip_model.safetensors", model.state_dict())
    asked: list[tuple[str, str]] = []

    def download(repository: str, filename: str) -> str:
        asked.append((repository, filename))
        return str(path)

    monkeypatch.setattr(pretrained, "download_pretrained_from_hf", download)
    network = load_clip("tiny", "openai", resolve_clip_weights("tiny", "openai").digest)
    assert asked == [("nobody/tiny", "open_clip_model.safetensors")]
    same = load_clip("tiny-quickgelu", "file", digest, path)
    images = pictures(2, 32)
    np.testing.assert_array_equal(network.embed_images(images), same.embed_images(images))
    with pytest.raises(WeightsError, match="not the ones that were asked for"):
        load_clip("tiny", "openai", digest)


def test_without_a_connection_the_error_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_arguments: object, **_options: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(pretrained, "hf_hub_download", unreachable)
    with pytest.raises(WeightsError) as caught:
        load_clip("ViT-B-32", "openai", OPENAI_VIT_B_32)
    url = "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors"
    for word in (url, "Name or service not known", "for the network ViT-B-32-quickgelu", COMPACT_CLIP):
        assert word in str(caught.value)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_archives_with_code_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(WeightsError, match=r"TorchScript archive.*\n.*\n.*\n.*torch\.jit\.load\(path\)\.state_dict"):
        load_clip("ViT-B-32", "file", file_digest(path), path)


def test_files_of_another_make_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="names of transformers"):
        load_clip("tiny", "file", *saved(tmp_path, "hf.pt", {"vision_model.post_layernorm.weight": torch.zeros(3)}))
    state = tiny_model().state_dict() | {"visual.conv1.weight": torch.zeros(32, 3, 4, 4)}
    with pytest.raises(WeightsError, match=r"do not fit CLIP.*\n.*of another shape: visual\.conv1\.weight"):
        load_clip("tiny", "file", *saved(tmp_path, "other.pt", state))
    with pytest.raises(WeightsError, match="not a plain state dict"):
        load_clip("tiny", "file", *saved(tmp_path, "nested.pt", {"state_dict": {"a": torch.zeros(1)}}))
    with pytest.raises(WeightsError, match="refused"):
        load_clip("tiny", "file", *saved(tmp_path, "whole.pt", tiny_model()))


def test_damaged_changed_and_absent_files_are_refused(tmp_path: Path) -> None:
    state = tiny_model().state_dict()
    digest, path = saved(tmp_path, "w.pt", state)
    with pytest.raises(WeightsError, match="NaN or infinite weights"):
        load_clip("tiny", "file", *saved(tmp_path, "nan.pt", state | {"visual.proj": torch.full((32, 24), torch.nan)}))
    whole = path.read_bytes()
    for name, content in (("half.pt", whole[: len(whole) // 2]), ("half.safetensors", b"\x10" * 50), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match="damaged"):
            load_clip("tiny", "file", hashlib.sha256(content).hexdigest(), tmp_path / name)
    saved(tmp_path, "w.pt", state | {"visual.proj": torch.zeros(32, 24)})
    with pytest.raises(WeightsError, match=digest):
        load_clip("tiny", "file", digest, path)
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        load_clip(COMPACT_CLIP, "demo", "0" * 64)
    with pytest.raises(WeightsError, match="no weights file"):
        load_clip("tiny", "file", digest, tmp_path / "nowhere.pt")
    with pytest.raises(SpecError, match="need a file"):
        load_clip("tiny", "file", digest)


@pytest.mark.parametrize("name", ["tiny", COMPACT_CLIP])
def test_random_weights_are_seeded_and_leave_the_global_generator_alone(name: str) -> None:
    before, images = torch.get_rng_state(), pictures(2, clip_image_size(name))
    one, same, other = (load_clip(name, "random", "", seed=seed).embed_images(images) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


# --- pictures and texts -----------------------------------------------------------------------------------------------


def loaded(name: str) -> ImageText:
    weights = resolve_clip_weights(name, "demo" if name == COMPACT_CLIP else "random")
    return load_clip(name, weights.name, weights.digest)


@pytest.mark.parametrize("name", ["tiny", COMPACT_CLIP])
def test_embeddings_are_unit_vectors_whatever_the_batches(name: str) -> None:
    network = loaded(name)
    images, texts = pictures(7, network.image_size), ["food", "a red house on the left", "faces", "two words", "night"]
    seen, told, states = network.embed_images(images), network.embed_texts(texts), network.hidden_states(images)
    assert seen.shape == (7, network.n_dimensions)
    assert told.shape == (5, network.n_dimensions)
    assert seen.dtype == told.dtype == states.dtype == np.float32
    for vectors in (seen, told):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    calls: list[tuple[int, int]] = []
    tell = lambda done, total: calls.append((done, total))  # noqa: E731
    np.testing.assert_allclose(network.embed_images(images, batch_size=3, progress=tell), seen, atol=1e-5)
    np.testing.assert_allclose(network.embed_texts(texts, batch_size=2, progress=tell), told, atol=1e-5)
    assert calls == [(3, 7), (6, 7), (7, 7), (2, 5), (4, 5), (5, 5)]
    np.testing.assert_allclose(network.hidden_states(images, batch_size=2), states, atol=1e-4)
    np.testing.assert_array_equal(network.embed_images(images), seen)
    assert network.embed_texts([]).shape == (0, network.n_dimensions)
    assert not network.model.training


def test_hidden_states_are_the_last_blocks_answers_before_the_final_norm(compact: ImageText) -> None:
    """From them, the final norm of the class token and the projection give the embedding (Radford et al. 2021)."""
    network, images = loaded("tiny"), pictures(3, 32)
    states = network.hidden_states(images)
    assert states.shape == (3, 17 * 32), "4 x 4 patches and the class token"
    visual = network.model.visual
    with torch.no_grad():
        projected = visual.ln_post(torch.from_numpy(states).view(3, 17, 32)[:, 0]) @ visual.proj
    found = torch.nn.functional.normalize(projected, dim=1).numpy()
    np.testing.assert_allclose(found, network.embed_images(images), atol=1e-6)

    states = compact.hidden_states(pictures(3, 64))
    assert states.shape == (3, 64 * 5 * 5)
    with torch.no_grad():
        projected = compact.model.image.classifier(torch.from_numpy(states))
    found = torch.nn.functional.normalize(projected, dim=1).numpy()
    np.testing.assert_allclose(found, compact.embed_images(pictures(3, 64)), atol=1e-5)


def test_image_towers_without_tokens_have_no_hidden_states(monkeypatch: pytest.MonkeyPatch) -> None:
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-resnet", {**TINY, "vision_cfg": vision})
    clip._open_clip_networks.cache_clear()
    network = load_clip("tiny-resnet", "random", "")
    assert network.embed_images(pictures(1, 64)).shape == (1, 24)
    with pytest.raises(SpecError, match="ModifiedResNet"):
        network.hidden_states(pictures(1, 64))


@pytest.mark.parametrize("wrong", [(0, 64, 64, 3), (2, 32, 32, 3), (2, 64, 64), (2, 3, 64, 64)])
def test_wrong_pictures_are_refused(compact: ImageText, wrong: tuple[int, ...]) -> None:
    for call in (compact.embed_images, compact.hidden_states):
        with pytest.raises(DatasetError, match=r"uint8 \(images, 64, 64, 3\)"):
            call(np.zeros(wrong, np.uint8))
        with pytest.raises(DatasetError, match="float32"):
            call(np.zeros((2, 64, 64, 3), np.float32))


@pytest.mark.parametrize("name", ["tiny", COMPACT_CLIP])
@pytest.mark.parametrize("blank", ["", " \n"])
def test_blank_texts_are_refused(name: str, blank: str) -> None:
    network = loaded(name)
    with pytest.raises(SpecError, match="Text 2 of 3 is blank"):
        network.embed_texts(["food", blank, "faces"])
    with pytest.raises(SpecError, match="one string"):
        network.embed_texts("food")


def test_unknown_words_are_left_out_and_a_text_of_nothing_else_is_refused(compact: ImageText) -> None:
    assert compact.unknown_words("A zebra, a red Zebra and an apfel!") == ("zebra", "apfel")
    assert compact.unknown_words("a red house") == loaded("tiny").unknown_words("zebra") == ()
    with_it, without = compact.embed_texts(["a red zebra house", "A RED HOUSE!"])
    np.testing.assert_allclose(with_it, without, atol=1e-6)
    with pytest.raises(SpecError, match="did you mean house or apple"):
        compact.embed_texts(["food", "housse appel"])
    with pytest.raises(SpecError, match="for example food"):
        compact.embed_texts(["qqq"])


@pytest.fixture(scope="module")
def fresh_scenes() -> tuple[list[set[str]], NDArray[np.uint8], list[str]]:
    """300 scenes that no training saw: the kinds in each, the pictures, the captions."""
    scenes = [scene_of(26, number) for number in range(300)]
    images = np.stack([squeezed(draw_scene(scene), 64) for scene in scenes])
    return [{thing.kind for thing in scene.things} for scene in scenes], images, [scene.caption for scene in scenes]


def test_words_find_the_pictures_that_hold_such_things(
    compact: ImageText, fresh_scenes: tuple[list[set[str]], NDArray[np.uint8], list[str]]
) -> None:
    there, images, _ = fresh_scenes
    cosines = compact.embed_images(images) @ compact.embed_texts(list(CATEGORIES)).T
    for column, (category, kinds) in enumerate(CATEGORIES.items()):
        area = roc_auc_score([bool(found & set(kinds)) for found in there], cosines[:, column])
        assert area > 0.85, f"{category}: {area:.3f}"


def test_captions_find_their_own_pictures(
    compact: ImageText, fresh_scenes: tuple[list[set[str]], NDArray[np.uint8], list[str]]
) -> None:
    """Chance is 1 and 10 of 300."""
    _, images, captions = fresh_scenes
    cosines = compact.embed_texts(captions) @ compact.embed_images(images).T
    rank = (cosines > np.diag(cosines)[:, None]).sum(1)
    assert (rank == 0).mean() > 0.6
    assert (rank < 10).mean() > 0.95


@pytest.mark.slow
def test_the_network_of_the_paper_has_its_shapes() -> None:
    network = load_clip("ViT-B-32", "random", "")
    images = pictures(2, 224)
    assert network.embed_images(images).shape == (2, 512)
    assert network.embed_texts(["a dog"]).shape == (1, 512)
    assert network.hidden_states(images).shape == (2, 50 * 768)

"""Backbones: candidate layers of every network, weights found by name or file, loaded exactly, refused with a word."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from brainviz.errors import SpecError, WeightsError
from brainviz.models import backbones
from brainviz.models.backbones import (
    COMPACT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    NETWORKS,
    candidate_layers,
    count_logits,
    default_image_size,
    default_weights,
    last_map,
    load_backbone,
    load_tuned_backbone,
    logit_layer,
    require_layers,
    require_network,
    resolve_weights,
)
from brainviz.models.contrastive import ContrastiveNetwork
from brainviz.models.states import file_digest, flat_state

ROOT = Path(__file__).resolve().parents[2]
SQUEEZENET = ROOT.parent / "shared" / "data" / "weights" / "squeezenet1_1_imagenet.safetensors"

#: One of every family; the others of a family differ in depth and width only.
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnet50", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg16_bn", "vit_b_32",
    "wide_resnet50_2",
)  # fmt: skip


def outputs(network: nn.Module, layers: tuple[str, ...], pictures: torch.Tensor) -> tuple[dict[str, int], torch.Tensor]:
    """Flattened size of every layer's output, in the order in which they ran, and the logits."""
    sizes: dict[str, int] = {}
    for name in layers:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: sizes.update({name: output.flatten(1).shape[1]})
        )
    with torch.no_grad():
        return sizes, network(pictures)


def on_meta(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return network and picture without memory: shapes only."""
    size = default_image_size(name)
    with torch.device("meta"):
        return backbones._architecture(name, 1000).eval(), torch.empty(1, 3, size, size)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_alexnets_layers_are_the_papers() -> None:
    """Methods, section 2."""
    network, picture = on_meta("alexnet")
    sizes, _ = outputs(network, candidate_layers("alexnet"), picture)
    assert sizes == {
        "features.2": 46_656,
        "features.5": 32_448,
        "features.7": 64_896,
        "features.9": 43_264,
        "features.12": 9_216,
        "classifier.2": 4_096,
        "classifier.5": 4_096,
        "classifier.6": 1_000,
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_candidate_layers_run_in_order_and_end_with_the_logits(name: str) -> None:
    network, picture = on_meta(name)
    layers = candidate_layers(name)
    sizes, logits = outputs(network, layers, picture)
    assert tuple(sizes) == layers
    assert logits.shape == (1, 1000)
    assert sizes[logit_layer(name)] == 1000
    assert len(layers) >= 5


def test_regnets_layers() -> None:
    """By themselves: torchvision cannot build them without memory."""
    network = load_backbone("regnet_y_400mf", "random", "")
    sizes, logits = outputs(network, candidate_layers("regnet_y_400mf"), torch.zeros(1, 3, 64, 64))
    assert tuple(sizes) == candidate_layers("regnet_y_400mf")
    assert sizes["fc"] == logits.shape[1] == 1000


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("alexnet", "features.12"),
        (COMPACT, "features.12"),
        ("squeezenet1_1", "features.12"),
        ("vgg11", "features.20"),
        ("resnet18", "layer4"),
        ("mobilenet_v2", "features.18"),
    ],
)
def test_the_last_map_has_rows_and_columns_and_no_later_layer_has_more(name: str, layer: str) -> None:
    assert last_map(name) == layer
    assert layer in candidate_layers(name)
    network, picture = (
        on_meta(name) if name != COMPACT else (load_backbone(name, "random", ""), torch.zeros(1, 3, 64, 64))
    )
    shapes: list[torch.Size] = []
    network.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        network(picture)
    (shape,) = shapes
    assert len(shape) == 4
    assert min(shape[2:]) > 1
    later = candidate_layers(name)[candidate_layers(name).index(layer) + 1 :]
    assert not any(each.startswith("features") for each in later)


def test_a_network_whose_names_do_not_tell_has_no_last_map() -> None:
    with pytest.raises(SpecError, match="name one for Grad-CAM"):
        last_map("vit_b_32")
    with pytest.raises(SpecError, match="no network"):
        last_map("alexnit")


@pytest.mark.slow
def test_every_torchvision_classifier_has_candidate_layers() -> None:
    for name in models.list_models(module=models):
        assert len(candidate_layers(name)) >= 5, name


def test_the_compact_network_has_alexnets_layers() -> None:
    from brainviz.models.compact import COMPACT_INPUT_SIZE, AlexNetCompact

    assert default_image_size(COMPACT) == COMPACT_INPUT_SIZE
    picture = torch.zeros(1, 3, COMPACT_INPUT_SIZE, COMPACT_INPUT_SIZE)
    sizes, logits = outputs(AlexNetCompact(n_classes=7).eval(), candidate_layers(COMPACT), picture)
    assert tuple(sizes) == candidate_layers("alexnet") == candidate_layers(COMPACT)
    assert sizes["classifier.6"] == logits.shape[1] == 7


def test_defaults() -> None:
    assert [default_image_size(name) for name in ("alexnet", "squeezenet1_1", "inception_v3", "efficientnet_b3")] == [
        224,
        224,
        299,
        300,
    ]
    assert default_weights("alexnet") == default_weights("vgg16") == "imagenet"
    assert default_weights(COMPACT) == "demo"
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name in NETWORKS:
        require_network(name)


def test_any_module_is_a_layer_and_nothing_else_is() -> None:
    require_layers("alexnet", ("features.0", "classifier.6"))
    with pytest.raises(SpecError, match=r"did you mean features\.10"):
        require_layers("alexnet", ("features.2", "feature.10"))


@pytest.mark.parametrize(
    "call", [candidate_layers, default_image_size, default_weights, lambda n: resolve_weights(n, "random")]
)
def test_unknown_networks_are_refused_with_the_nearest(call) -> None:
    with pytest.raises(SpecError, match="did you mean squeezenet1_1"):
        call("squeezenet11")
    with pytest.raises(SpecError, match="choose one of alexnet"):
        call("fcn_resnet50_of_mine")  # nothing like a classifier


def test_what_forms_ask_needs_no_torch() -> None:
    code = """
import sys
from brainviz.models import backbones as b
for name in ("alexnet", "alexnet_compact"):
    b.candidate_layers(name), b.logit_layer(name), b.default_image_size(name), b.default_weights(name)
b.resolve_weights("alexnet", "imagenet"), b.resolve_weights("alexnet", "random")
assert not {"torch", "torchvision"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- weights found ----------------------------------------------------------------------------------------------------


def test_named_weights() -> None:
    assert resolve_weights("alexnet", "random") == backbones.ResolvedWeights("random", "", None)
    assert resolve_weights("squeezenet1_1", "imagenet") == backbones.ResolvedWeights("imagenet", "b8a52dc0", None)
    assert resolve_weights("resnet50", "imagenet").digest == "0676ba61", "the original weights, not the later ones"


def test_alexnets_digest_is_torchvisions() -> None:
    url = models.AlexNet_Weights.IMAGENET1K_V1.url
    assert url.endswith(f"-{resolve_weights('alexnet', 'imagenet').digest}.pth")


def test_every_torchvision_classifier_has_a_digest_or_a_reason() -> None:
    for name in models.list_models(module=models):
        if name == "efficientnet_v2_l":
            with pytest.raises(SpecError, match="normalised"):
                resolve_weights(name, "imagenet")
        else:
            assert len(resolve_weights(name, "imagenet").digest) >= 8, name


@pytest.mark.parametrize(("network", "weights"), [("alexnet", "demo"), (COMPACT, "imagenet")])
def test_weights_that_a_network_lacks_are_refused(network: str, weights: str) -> None:
    with pytest.raises(SpecError, match=network):
        resolve_weights(network, weights)


def test_files_and_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lab.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    (tmp_path / "brainviz.toml").write_text(
        '[weights]\nlab = "lab.safetensors"\nlost = "lost.pth"\nodd = "brainviz.toml"\n'
    )
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(tmp_path / "brainviz.toml"))
    expected = backbones.ResolvedWeights("file", hashlib.sha256(path.read_bytes()).hexdigest(), path)
    assert resolve_weights("alexnet", "lab") == expected
    assert resolve_weights("alexnet", "lab", allow_path=False) == expected
    assert resolve_weights("alexnet", str(path)) == expected
    with pytest.raises(SpecError, match="imagenet, demo, random, lab"):
        resolve_weights("alexnet", str(path), allow_path=False)
    with pytest.raises(SpecError, match="no weights 'imagnet'"):
        resolve_weights("alexnet", "imagnet")
    for absent in ("lost", str(tmp_path / "nowhere.pth")):
        with pytest.raises(WeightsError, match="no weights file"):
            resolve_weights("alexnet", absent)
    with pytest.raises(WeightsError, match="unknown kind"):
        resolve_weights("alexnet", "odd")


# --- weights loaded ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet() -> nn.Module:
    torch.manual_seed(7)
    return models.squeezenet1_1().eval()


def saved(folder: Path, name: str, state: dict[str, torch.Tensor]) -> tuple[str, Path]:
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return file_digest(path), path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_files_restore_the_network(tmp_path: Path, squeezenet: nn.Module, name: str) -> None:
    network = load_backbone("squeezenet1_1", "file", *saved(tmp_path, name, squeezenet.state_dict()))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(pictures), squeezenet(pictures))
    assert not network.training
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_half_precision_files_become_float32(tmp_path: Path, squeezenet: nn.Module) -> None:
    half = {name: tensor.half() for name, tensor in squeezenet.state_dict().items()}
    network = load_backbone("squeezenet1_1", "file", *saved(tmp_path, "w.safetensors", half))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert torch.equal(network.features[0].weight, half["features.0.weight"].float())


def test_the_number_of_classes_follows_the_file(tmp_path: Path) -> None:
    for name in ("squeezenet1_1", "mobilenet_v3_small"):
        state = models.get_model(name, num_classes=365).state_dict()
        network = load_backbone(name, "file", *saved(tmp_path, f"{name}.pth", state))
        assert count_logits(network, 64) == 365


def test_names_that_torchvisions_own_loaders_change(tmp_path: Path) -> None:
    """DenseNet's published file has dots in layer names; GoogLeNet's has auxiliary classifiers."""
    dense = models.densenet121(num_classes=3)
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): t for name, t in dense.state_dict().items()}
    assert old.keys() != dense.state_dict().keys()
    network = load_backbone("densenet121", "file", *saved(tmp_path, "dense.pth", old))
    assert all(torch.equal(tensor, dense.state_dict()[name]) for name, tensor in network.state_dict().items())

    state = models.googlenet(num_classes=3, aux_logits=True, init_weights=False).state_dict()
    network = load_backbone("googlenet", "file", *saved(tmp_path, "google.pth", state))
    assert network.train()(torch.zeros(2, 3, 64, 64)).shape == (2, 3), "no auxiliary outputs while training"
    assert network.transform_input


def test_weights_of_another_network_are_refused(tmp_path: Path, squeezenet: nn.Module) -> None:
    digest, path = saved(tmp_path, "w.pth", squeezenet.state_dict())
    with pytest.raises(
        WeightsError,
        match=r"do not fit MobileNetV3.*\n.*missing: features\.0\.0\.weight.*unexpected: features\.0\.weight",
    ):
        load_backbone("mobilenet_v3_small", "file", digest, path)
    cut = {name: tensor for name, tensor in squeezenet.state_dict().items() if name != "features.3.squeeze.bias"}
    cut["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    with pytest.raises(
        WeightsError, match=r"missing: features\.3\.squeeze\.bias; of another shape: features\.0\.weight"
    ):
        load_backbone("squeezenet1_1", "file", *saved(tmp_path, "cut.pth", cut))


def test_changed_and_unnamed_files_are_refused(tmp_path: Path, squeezenet: nn.Module) -> None:
    digest, path = saved(tmp_path, "w.pth", squeezenet.state_dict())
    saved(tmp_path, "w.pth", {name: tensor + 1 for name, tensor in squeezenet.state_dict().items()})
    with pytest.raises(WeightsError, match=digest):
        load_backbone("squeezenet1_1", "file", digest, path)
    with pytest.raises(SpecError, match="need a file"):
        load_backbone("squeezenet1_1", "file", digest)


def test_random_weights_are_seeded_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (load_backbone("squeezenet1_1", "random", "", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["features.0.weight"], other["features.0.weight"])


def test_the_compact_network_loads_its_own_weights() -> None:
    if not backbones._COMPACT_WEIGHTS.is_file():
        pytest.skip("the compact network's weights are not there")
    weights = resolve_weights(COMPACT, "demo")
    assert weights.digest == file_digest(weights.path)
    network = load_backbone(COMPACT, "demo", weights.digest)
    size = default_image_size(COMPACT)
    assert count_logits(network, size) == count_logits(load_backbone(COMPACT, "random", ""), size)


def test_a_real_network_loads() -> None:
    """SqueezeNet 1.1 with ImageNet weights: logits that tell pictures apart, and equal torchvision's own."""
    if not SQUEEZENET.is_file():
        pytest.skip(f"{SQUEEZENET} is not there")
    weights = resolve_weights("squeezenet1_1", str(SQUEEZENET))
    network = load_backbone("squeezenet1_1", weights.name, weights.digest, weights.path)
    reference = models.squeezenet1_1().eval()
    reference.load_state_dict(load_file(SQUEEZENET))
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(pictures), reference(pictures))


# --- torchvision's weights --------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache of downloads, empty, and no network."""

    def unreachable(*_arguments: object, **_options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    return tmp_path / "checkpoints"


def test_without_a_connection_the_error_says_what_to_fetch(hub: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone("squeezenet1_1", "imagenet", "b8a52dc0")
    url = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
    for word in (url, str(hub / "squeezenet1_1-b8a52dc0.pth"), "--weights FILE", "Name or service not known"):
        assert word in str(caught.value)


def test_downloads_are_checked_and_kept(hub: Path, squeezenet: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the server hands out a file; its digest decides, also of what lies in the cache already."""
    asked: list[tuple[str, str]] = []

    def download(url: str, destination: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, hash_prefix))
        torch.save(squeezenet.state_dict(), destination)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        load_backbone("squeezenet1_1", "imagenet", "b8a52dc0")
    assert asked == [("https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth", "b8a52dc0")]
    digest = file_digest(hub / "squeezenet1_1-b8a52dc0.pth")[:8]
    network = load_backbone("squeezenet1_1", "imagenet", digest)
    assert torch.equal(network.features[0].weight, squeezenet.features[0].weight)
    assert len(asked) == 1, "a file in the cache is not fetched again"


def test_damaged_files_in_the_cache_are_refused(hub: Path) -> None:
    hub.mkdir()
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="damaged"):
        load_backbone("squeezenet1_1", "imagenet", "b8a52dc0")


# --- tuned networks, picture sizes ------------------------------------------------------------------------------------


def test_tuned_backbones_are_restored_from_the_whole_state(tmp_path: Path, squeezenet: nn.Module) -> None:
    network = ContrastiveNetwork(squeezenet, 1000, 30, 24, 6).to(memory_format=torch.channels_last)
    path = tmp_path / "weights.safetensors"
    save_file(flat_state(network), path)
    restored = load_tuned_backbone("squeezenet1_1", path)
    assert all(torch.equal(tensor, squeezenet.state_dict()[name]) for name, tensor in restored.state_dict().items())
    save_file({"g_A.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match="no tuned backbone"):
        load_tuned_backbone("squeezenet1_1", path)


def test_pictures_too_small_for_a_network_are_refused() -> None:
    network = load_backbone("squeezenet1_1", "random", "")
    assert count_logits(network, 32) == 1000
    with pytest.raises(SpecError, match="16 x 16 pixels"):
        count_logits(network, 16)

"""State dict files: both kinds are read alike; damaged, foreign and malicious ones are refused with a word."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from brainviz.errors import WeightsError
from brainviz.models.states import file_digest, fill, flat_state, read_state, require_digest


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"0.weight": torch.randn(4, 3, generator=generator), "0.bias": torch.randn(4, generator=generator)}


def write(path: Path, content: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt"])
def test_both_kinds_are_read_alike(tmp_path: Path, name: str) -> None:
    read = read_state(write(tmp_path / name, state()))
    assert read.keys() == state().keys()
    assert all(torch.equal(read[key], state()[key]) for key in read)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_tensors_become_float32_and_integers_stay(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    content = {key: tensor.to(dtype) for key, tensor in state().items()} | {"n": torch.tensor(3)}
    read = read_state(write(tmp_path / name, content))
    assert read["0.weight"].dtype == torch.float32
    assert torch.equal(read["0.weight"], content["0.weight"].float())
    assert read["n"].dtype == torch.int64


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name, state())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match="damaged"):
        read_state(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("<html>The page was not found</html>" * 100)
    with pytest.raises(WeightsError, match="damaged"):
        read_state(path)


class Malicious:
    """A pickle that would write a file when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"0.weight": Malicious(trace)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(WeightsError, match="refused"):
            read_state(tmp_path / name)
    assert not trace.exists()


def test_checkpoints_with_more_than_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": state()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="'epoch' holds a int"):
        read_state(tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        read_state(tmp_path / "list.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    content = state()
    content["0.bias"][1] = value
    with pytest.raises(WeightsError, match=r"NaN or infinite.*\n.*0\.bias"):
        read_state(write(tmp_path / "w.safetensors", content))


def test_absent_and_unknown_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        read_state(tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="unknown kind"):
        read_state(tmp_path / "w.npz")


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert file_digest(path) == digest
    require_digest(path, digest)
    require_digest(path, digest[:8])
    for wrong in ("", "0" * 64, digest[1:9]):
        with pytest.raises(WeightsError, match="not the one that was asked for"):
            require_digest(path, wrong)
    with pytest.raises(WeightsError, match="cannot be read"):
        file_digest(tmp_path / "absent.pth")


def test_a_state_must_fit_name_by_name_and_shape_by_shape() -> None:
    network = nn.Sequential(nn.Linear(3, 4))
    fill(network, state(), "here")
    assert torch.equal(network[0].weight, state()["0.weight"])
    wrong = {"0.weight": torch.zeros(4, 9), "1.bias": torch.zeros(4)}
    with pytest.raises(WeightsError) as caught:
        fill(network, wrong, "there.pth")
    for word in ("there.pth", "missing: 0.bias", "unexpected: 1.bias", "0.weight (4, 9) instead of (4, 3)"):
        assert word in str(caught.value)
    assert torch.equal(network[0].weight, state()["0.weight"]), "a state that does not fit must change nothing"


def test_only_some_of_many_wrong_names_are_listed() -> None:
    with pytest.raises(WeightsError, match="and 95 more"):
        fill(nn.Sequential(nn.Linear(3, 4)), state() | {f"layer{i}": torch.zeros(1) for i in range(101)}, "here")


def test_a_networks_state_can_be_saved_whatever_its_memory_layout(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    save_file(flat_state(network), tmp_path / "w.safetensors")
    read = read_state(tmp_path / "w.safetensors")
    assert read.keys() == network.state_dict().keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in network.state_dict().items())

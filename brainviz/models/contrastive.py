"""The contrastive network: a backbone and the maps that bring images and brain responses into one space."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainviz.errors import SpecError

MIN_HIDDEN, MIN_EMBEDDING = 8, 4

#: Rows of the running statistics in `SharedBatchNorm`.
IMAGE, BRAIN = 0, 1


def head_sizes(n_vertices: int, hidden_ratio: float = 0.8, embedding_ratio: float = 0.2) -> tuple[int, int]:
    """Return (h, z): ``h = int(hidden_ratio * v)``, at least 8, and ``z = int(embedding_ratio * v)``, at least 4.

    Raises
    ------
    SpecError
        No vertices, or a ratio that is not above 0.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067, for h = int(0.8 v) and z = int(0.2 v).
    """
    if n_vertices < 1 or not (hidden_ratio > 0 and embedding_ratio > 0):
        raise SpecError(
            "The sizes of the head cannot be derived.",
            got=f"{n_vertices} vertices, ratios {hidden_ratio} and {embedding_ratio}",
            expected="at least one vertex, and ratios above 0",
        )
    return max(MIN_HIDDEN, int(hidden_ratio * n_vertices)), max(MIN_EMBEDDING, int(embedding_ratio * n_vertices))


class SharedBatchNorm(nn.Module):
    """Batch normalisation whose weights images and brain responses share, with running statistics of their own.

    While training this is `torch.nn.BatchNorm1d` called once per modality. Outside training, one set of running
    statistics for both would describe neither: it would be a mixture of two distributions, weighted towards the last
    one seen. The running statistics are a plain mean over the first ten batches and an exponential one (momentum 0.1)
    afterwards, so that a fit of few steps is monitored fairly too.
    """

    running_mean: Tensor
    running_var: Tensor
    batches_seen: Tensor

    def __init__(self, size: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.register_buffer("running_mean", torch.zeros(2, size))
        self.register_buffer("running_var", torch.ones(2, size))
        self.register_buffer("batches_seen", torch.zeros(2, dtype=torch.long))

    def forward(self, x: Tensor, modality: int) -> Tensor:
        """Normalise x, (B, size), of one modality (`IMAGE` or `BRAIN`)."""
        momentum = 0.0
        if self.training:
            self.batches_seen[modality] += 1
            momentum = max(self.momentum, 1 / int(self.batches_seen[modality]))
        mean, var = self.running_mean[modality], self.running_var[modality]
        return functional.batch_norm(x, mean, var, self.weight, self.bias, self.training, momentum, self.eps)


class SharedHead(nn.Module):
    """g_H: two layers of Linear(h, h) + batch norm + ReLU, then Linear(h, z) without bias; one for both modalities."""

    def __init__(self, hidden: int, embedding: int) -> None:
        super().__init__()
        self.linear_1, self.norm_1 = nn.Linear(hidden, hidden), SharedBatchNorm(hidden)
        self.linear_2, self.norm_2 = nn.Linear(hidden, hidden), SharedBatchNorm(hidden)
        self.out = nn.Linear(hidden, embedding, bias=False)

    def forward(self, x: Tensor, modality: int) -> Tensor:
        """Map x, (B, h), of one modality to the embedding, (B, z)."""
        x = functional.relu(self.norm_1(self.linear_1(x), modality))
        x = functional.relu(self.norm_2(self.linear_2(x), modality))
        embedding: Tensor = self.out(x)
        return embedding


class ContrastiveNetwork(nn.Module):
    """Backbone f, image map g_A, brain map g_Y and shared head g_H: ``z^x = g_H(g_A(f(x)))``, ``z^y = g_H(g_Y(y))``.

    Everything is trainable. The state dict's keys begin with ``backbone.``, ``g_A.``, ``g_Y.`` and ``g_H.``.

    Parameters
    ----------
    backbone : nn.Module
        Maps pictures (B, 3, s, s) to logits (B, n_logits).
    n_logits, n_vertices : int
        Widths of the two inputs.
    hidden, embedding : int
        h and z, see `head_sizes`.
    seed : int
        Of the new layers' initial weights; the global random state is left as it was.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067.
    """

    def __init__(
        self, backbone: nn.Module, n_logits: int, n_vertices: int, hidden: int, embedding: int, seed: int = 0
    ) -> None:
        super().__init__()
        sizes = {"logits": n_logits, "vertices": n_vertices, "hidden": hidden, "embedding": embedding}
        if min(sizes.values()) < 1:
            raise SpecError("Every size of a contrastive network must be at least 1.", got=str(sizes))
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.g_A = nn.Linear(n_logits, hidden, bias=False)
            self.g_Y = nn.Linear(n_vertices, hidden, bias=False)
            self.g_H = SharedHead(hidden, embedding)

    def embed_image(self, logits: Tensor) -> Tensor:
        """Map logits, (B, n_logits), to embeddings, (B, z)."""
        z_image: Tensor = self.g_H(self.g_A(logits), IMAGE)
        return z_image

    def embed_brain(self, responses: Tensor) -> Tensor:
        """Map responses, (B, v), to embeddings, (B, z)."""
        z_brain: Tensor = self.g_H(self.g_Y(responses), BRAIN)
        return z_brain

    def forward(self, pictures: Tensor, responses: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of responses and of pictures, (B, z) each, in the order that the loss takes."""
        return self.embed_brain(responses), self.embed_image(self.backbone(pictures))

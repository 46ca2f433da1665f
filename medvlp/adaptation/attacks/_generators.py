"""The generators of C-PGC, of fixed noise and a condition each: a change of all pictures, a word; loss and training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core.randomness import torch_generator
from medvlp.objectives._contrast import contrast

_SIDE = 3  # of the noise
_ATTENDING = 24  # the largest side at which maps still ask the condition
_WIDTH = 16  # of the noise's channels


class ChangeGenerator(nn.Module):
    """Noise (M, Z, 3, 3) and text vectors (T, D) -> one change (1, C, H, W) in [-1, 1].

    Transposed convolutions double the side; between them the maps ask the texts by cross-attention. At the end M maps
    of C channels go through tanh, and one convolution makes one of them. M is an option and not the size of a batch,
    which in the authors' code is baked into that convolution; a tanh bounds the end, where the card has a clamp whose
    gradient is 0 outside. Norms are over channels, so that nothing depends on a batch.

    Args:
        shape: (C, H, W) of a picture.
        texts: D.
        maps: M.
        width: channels of the first stage; each later one has half, 8 at least.
        seed: of the noise and the weights.
    """

    noise: Tensor

    def __init__(self, shape: tuple[int, int, int], *, texts: int, maps: int, width: int, seed: int) -> None:
        super().__init__()
        channels, self.size = shape[0], shape[1:]
        stages = max(1, (max(self.size) // _SIDE).bit_length() - 1)
        widths = [max(8, width >> stage) for stage in range(stages)]
        self.register_buffer(
            "noise", torch.randn(maps, _WIDTH, _SIDE, _SIDE, generator=torch_generator(seed, 0, "maps"))
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pairs = zip([_WIDTH, *widths], widths, strict=False)
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
            self.norm = nn.ModuleList(nn.GroupNorm(1, each) for each in widths)
            asking = [each for stage, each in enumerate(widths) if _SIDE * 2 ** (stage + 1) <= _ATTENDING]
            self.ask = nn.ModuleList(_Asking(each, texts) for each in asking)
            self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
            self.join = nn.Conv2d(maps, 1, 3, padding=1)

    def forward(self, texts: Tensor) -> Tensor:
        """Return the change for a set of texts."""
        maps = self.noise
        for stage, (up, norm) in enumerate(zip(self.up, self.norm, strict=True)):
            maps = F.relu(norm(up(maps)))
            if stage < len(self.ask):
                maps = self.ask[stage](maps.flatten(2).transpose(1, 2), texts).transpose(1, 2).reshape(maps.shape)
        every = torch.tanh(self.out(maps)).transpose(0, 1)  # (C, M, h, w)
        one = torch.tanh(self.join(every)).transpose(0, 1)
        return F.interpolate(one, size=self.size, mode="bilinear", align_corners=False)


class WordGenerator(nn.Module):
    """Noise and image vectors (N, D) -> one word vector (W,), its length held within the vocabulary's.

    Args:
        words: (V, W) vectors of the vocabulary.
        images: D.
        width: of the hidden layer.
        seed: of the noise and the weights.
    """

    noise: Tensor
    lengths: Tensor

    def __init__(self, words: Tensor, *, images: int, width: int, seed: int) -> None:
        super().__init__()
        length = words.detach().cpu().norm(dim=1)
        self.register_buffer("lengths", torch.stack([length.min(), length.max()]))
        self.register_buffer("noise", torch.randn(1, 1, _WIDTH, generator=torch_generator(seed, 0, "word")))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(_WIDTH, width)
            self.ask = _Asking(width, images)
            self.last = nn.Linear(width, words.shape[1])

    def forward(self, images: Tensor) -> Tensor:
        """Return the vector for a set of images."""
        vector = self.last(self.ask(F.relu(self.first(self.noise)), images)).flatten()
        length = vector.norm().clamp_min(1e-12)
        return vector * (length.clamp(self.lengths[0], self.lengths[1]) / length)


def malicious_loss(views: Sequence[Tensor], own: Tensor, far: Tensor, *, temperature: float) -> Tensor:
    """Return the mean over rows of log(P / (P + N)): InfoNCE with its sign turned.

    Args:
        views: S of (B, D), unit rows of what is attacked.
        own: (B, D), what they belong to.
        far: (B, D), what they should be taken for.
        temperature: tau.
    """
    near, away = (torch.stack([(view * side).sum(dim=1) for view in views], dim=1) for side in (own, far))
    target = torch.cat([torch.ones_like(near), torch.zeros_like(away)], dim=1).bool()
    return -contrast(torch.cat([near, away], dim=1) / temperature, target, positives="any").value()


def train(made: nn.Module, losses: Callable[[], Iterable[Tensor]], *, rate: float, epochs: int) -> None:
    """Train a generator by Adam, one step for each loss that an epoch yields."""
    optimiser = torch.optim.Adam(made.parameters(), lr=rate, betas=(0.5, 0.999))
    for _ in range(epochs):
        for loss in losses():
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


class _Asking(nn.Module):
    """Rows (R, N, W) plus what they find among (T, D) vectors by attention."""

    def __init__(self, width: int, vectors: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, kdim=vectors, vdim=vectors, batch_first=True)

    def forward(self, rows: Tensor, vectors: Tensor) -> Tensor:
        every = vectors[None].expand(len(rows), -1, -1)
        return rows + self.attention(rows, every, every, need_weights=False)[0]

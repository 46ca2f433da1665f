"""GAMA: a generator moves pictures of several findings toward a text that names others (Aich et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import combinations
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medvlp.adaptation.attacks._generators import train
from medvlp.adaptation.attacks._surrogate import Seen, embedded, held, parts_of, pixels_of, with_pixels
from medvlp.core.attack import Attack, Ball, Perturbation
from medvlp.core.encoded import unit
from medvlp.core.protocols import Model
from medvlp.core.randomness import torch_generator
from medvlp.core.sample import Batch


class Gama(Attack):
    """A residual generator x -> x' in the ball learns by text guidance to leave the pictures' own features.

    With a = f(x') and n = f(x) unit embeddings, p the text least like x of as many as the batch has pictures, drawn
    from "A and B" of findings that occur together, and M(.) feature maps weighted by where their energy lies:

    ``L = (text_loss(a, p, n) - |a - f_g(x)|^2 + cos(M(x'), M(x))) / 3``

    is made small. Pictures (B, C, H, W) then get x' of their own, by a network that is the same for all. The paper's
    surrogate f is a classifier and its guide f_g CLIP; here both are the surrogate, so that their widths agree. The
    authors' code halves the text loss, takes the second term as a mean over the D numbers, weights both maps by the
    mean channel of x, and p by the least absolute cosine.

    Args:
        epsilon: gray levels (1/255), in the largest norm.
        epochs: over the batches that it is fitted on; the paper's are 1 to 20.
        rate: of Adam, with betas 0.5 and 0.999.
        margin: of the embeddings' distance.
        width: of the generator; the paper's 64 is slow on a processor.
        blocks: residual ones.
        seed: of weights and texts.

    References:
        Aich et al. 2022, GAMA: eq. of the contrastive text loss, the features' distance and the attended maps; the
        third term and the choice of texts as the method's card has them.

    Note:
        Findings that occur together (effusion and cardiomegaly) are asked together, since radiographs hold several.
        Where batches have no labels their own reports are the texts. Batches are never changed in place, as the
        authors' normalisation does.

    Example:
        >>> Gama(epsilon=10.0, width=8, blocks=2).ball.epsilon
        10.0
    """

    def __init__(
        self,
        *,
        epsilon: float = 10.0,
        epochs: Annotated[int, Field(ge=0)] = 10,
        rate: Annotated[float, Field(gt=0)] = 1e-4,
        margin: Annotated[float, Field(ge=0)] = 0.2,
        width: Annotated[int, Field(ge=1)] = 64,
        blocks: Annotated[int, Field(ge=0)] = 6,
        seed: int = 0,
    ) -> None:
        self.ball, self.epochs, self.rate, self.margin = Ball(epsilon), epochs, rate, margin
        self.width, self.blocks, self.seed = width, blocks, seed

    def fit(self, model: Model, batches: Sequence[Batch]) -> Perturbation:
        """Train the generator on the batches; see `Attack.fit`."""
        with held(model):
            seen = embedded(model, batches)
            texts = _texts(model, seen)
            made = _generator(pixels_of(seen.batches[0]).shape[1], self.width, self.blocks, seed=self.seed)
            made.to(next(model.parameters()).device)
            draw = torch_generator(self.seed, 0, "texts")

            def losses() -> Iterable[Tensor]:
                for batch, rows in seen.rows():
                    yield self._loss(model, made, batch, seen.image[rows], texts, draw)

            train(made, losses, rate=self.rate, epochs=self.epochs)
        return partial(_moved, made.requires_grad_(False).eval(), self.ball)

    def _loss(
        self, model: Model, made: nn.Module, batch: Batch, own: Tensor, texts: Tensor, draw: torch.Generator
    ) -> Tensor:
        images = pixels_of(batch)
        some = texts[torch.randint(len(texts), (len(images),), generator=draw).to(texts.device)]
        least = some[(own @ some.T).argmin(dim=1)]
        with torch.no_grad():
            before = parts_of(model, with_pixels(batch, images), "image", "tokens")[0]
        changed = with_pixels(batch, self.ball.add(images, _drawn(made, images) - images))
        anchor, after = parts_of(model, changed, "image", "embedding", "tokens")
        away = (anchor - own).square().sum(dim=1).mean()
        maps = F.cosine_similarity(attended(after), attended(before), dim=1).mean()
        return (text_loss(anchor, least, own, margin=self.margin) - away + maps) / 3


def text_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """Return half the mean over rows of |a - p|^2 and max(0, margin - |a - n|)^2, of (B, D) at unit length.

    It is 0 where the anchor is the positive and the negative lies opposite.

    Example:
        >>> right = torch.tensor([[2.0, 0.0]])
        >>> text_loss(right, right, -right, margin=0.2).item(), text_loss(right, -right, right, margin=0.2).item()
        (0.0, 2.0199999809265137)
    """
    a, p, n = unit(anchor), unit(positive), unit(negative)
    pull = (a - p).square().sum(dim=1)
    push = (margin - torch.linalg.vector_norm(a - n, dim=1)).clamp_min(0.0).square()
    return (pull + push).mean() / 2


def attended(tokens: Tensor) -> Tensor:
    """Return (B, N W) tokens (B, N, W), each weighted by its share of the picture's energy."""
    energy = tokens.square().mean(dim=2, keepdim=True)
    return (tokens * energy / energy.sum(dim=1, keepdim=True).clamp_min(1e-12)).flatten(1)


@torch.no_grad()
def _texts(model: Model, seen: Seen) -> Tensor:
    """Return (T, D): texts of two findings that occur together; of rows without such labels their reports."""
    pairs = set[tuple[str, str]]()
    for batch in seen.batches:
        labels = [name for name in batch.columns if name.startswith("label.")]
        there = {name: torch.as_tensor(batch[name].values) == 1 for name in labels}
        pairs |= {(a, b) for a, b in combinations(sorted(labels), 2) if bool((there[a] & there[b]).any())}
    words = [f"{a} and {b}.".replace("label.", "").replace("_", " ") for a, b in sorted(pairs)]
    if not words:
        return seen.text
    return parts_of(model, Batch.of({"text": words}).to(next(model.parameters()).device), "text", "embedding")[0]


def _moved(made: nn.Module, ball: Ball, batch: Batch) -> Batch:
    images = pixels_of(batch)
    device = next(made.parameters()).device
    with torch.no_grad(), torch.inference_mode(False):
        wanted = _drawn(made, images.to(device)).to(images.device)
        return with_pixels(batch, ball.add(images, wanted - images))


def _drawn(made: nn.Module, images: Tensor) -> Tensor:
    """Return what the generator makes of (B, C, H, W), whose sides it brings up to multiples of 4."""
    return made(images)[..., : images.shape[2], : images.shape[3]]


def _generator(channels: int, width: int, blocks: int, *, seed: int) -> nn.Module:
    """Return (B, C, H, W) -> the same shape in [0, 1]: two halvings, residual blocks, two doublings."""
    from monai.networks.nets.autoencoder import AutoEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = AutoEncoder(
            spatial_dims=2, in_channels=channels, out_channels=channels, channels=(width, 2 * width, 4 * width),
            strides=(1, 2, 2), inter_channels=[4 * width] * blocks, num_inter_units=2,
        )  # fmt: skip
    return nn.Sequential(made, nn.Sigmoid())

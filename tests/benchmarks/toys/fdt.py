"""FDT: pictures of two objects and texts that name both, as mixtures of 32 codes; most have a share at first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.models.heads.fdt import Codebook, Fdt
from medvlp.objectives import contrast
from tests.benchmarks.toys._objects import TYPES, WIDTH, Mixer, draw

CLAIM = "A picture and its text have more of their shares in the same codes than a picture and another one's text."
BETTER, WORSE = "matched", "random"


def toy(seed: int) -> dict[str, float]:
    """Return sum_k min(w_k, w'_k) over pairs of held-out pictures and texts, their own and drawn ones."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    book = Codebook(32, 16)
    heads = [Fdt(token_width=32, embed_dim=16, share=lambda *_: book, codes=32, temperature=16.0) for _ in range(2)]
    towers = [Mixer(WIDTH), nn.Sequential(nn.Embedding(TYPES, 32), Mixer(32))]
    scale = nn.Parameter(torch.tensor(10.0).log())
    weights = [p for part in (book, *heads, *towers) for p in part.parameters()]
    optimiser = torch.optim.Adam([*weights, scale], lr=3e-3)

    def mixed(count: int) -> list[dict[str, Tensor]]:
        seen, found = draw(count, 2, together=0.0, generator=generator), []
        for tower, head, values in zip(towers, heads, (seen.cells, seen.types), strict=True):
            tokens = tower(values)
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
            found.append(dict(head(Encoded(owner=torch.arange(count), tokens=tokens, mask=mask), "f")))
        return found

    for _ in range(300):
        image, text = (unit(side["f"]) for side in mixed(32))
        z = scale.exp().clamp(max=100) * image @ text.T
        loss = (contrast(z, torch.arange(32)) + contrast(z.T, torch.arange(32))).value()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        image, text = (side["f_weights"] for side in mixed(500))
    shared = torch.minimum(image[:, None], text[None]).sum(dim=2)
    own = torch.eye(500, dtype=torch.bool)
    return {"matched": shared[own].mean().item(), "random": shared[~own].mean().item()}

"""Two noisy views of ten groups, and thirty prototypes."""

from __future__ import annotations

import torch
from sklearn.metrics import normalized_mutual_info_score

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives import swav

CLAIM = "Equal shares keep prototypes apart; without them all samples come to few prototypes and say nothing."
BETTER, WORSE = "equal_shares", "softmax"


class Softmax(swav.Swav):
    """The same with codes that are a softmax."""

    @torch.no_grad()
    def _assigned(self, ctx, view, prototypes):
        scores = prototypes.scores(unit(ctx.all(self._key(view))), learn=False)
        return (scores / self.epsilon).softmax(dim=1)


def toy(seed: int) -> dict[str, float]:
    """Return the mutual information of nearest prototypes and groups, normalised."""
    options = {"assigners": ["image.first", "image.second"], "predictors": [], "hidden": None, "prototypes": 30}
    return {"equal_shares": _trained(swav.Swav(**options), seed), "softmax": _trained(Softmax(**options), seed)}


def _trained(objective: swav.Swav, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    middle, group, owner = torch.randn(10, 16, generator=generator), torch.arange(200) % 10, torch.arange(200)
    torch.manual_seed(seed)
    net, head = torch.nn.Linear(16, 8), Prototypes(embed_dim=8, prototypes=30)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.02)
    batch = Batch(tuple(map(str, range(200))), owner, {})
    rows = torch.zeros(0)
    for _ in range(300):
        rows, second = (net(middle[group] + torch.randn(200, 16, generator=generator)) for _ in range(2))
        parts = {"image.first/raw": rows, "image.second/raw": second}
        parts = {parse_key(key): Part(values, owner) for key, values in parts.items()}
        optimiser.zero_grad()
        objective(Context(parts=parts, batch=batch, heads={"swav": head}))["swapped"].value().backward()
        optimiser.step()
        head.after_step(0)
    nearest = head.scores(unit(rows.detach()), learn=False).argmax(dim=1)
    return float(normalized_mutual_info_score(group.numpy(), nearest.numpy()))

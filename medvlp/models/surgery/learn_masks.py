"""Progressive masks (TinyCLIP, Wu et al. 2023): which heads and channels a tower could do without is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.models._draws import RowDraws
from medvlp.models.architectures._recipe import kind_of
from medvlp.models.architectures._standing import Standing
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._text import TextTower
from medvlp.models.surgery._blocks import branches_of, stack_of

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3  # of the hard concrete distribution
_START = 3.0  # a gate is open with a probability of 0.99, and settled it is open wholly


class LearnMasks:
    """Put a gate on each attention head and each hidden channel of a tower's blocks.

    A gate z in [0, 1] multiplies what its head or channel adds to the tokens. In training it is drawn for each row
    from the hard concrete distribution of its parameter log alpha; frozen or in evaluation it is settled at

        z = clamp((1.1 + 0.1) sigmoid(log alpha) - 0.1, 0, 1),

    which is 1 at first: the tower computes what it did. The objective ``l0_sparsity`` closes them, with the part
    ``open``, (R, 2, L): weights behind open gates, expected, and all weights, of each of the L gated layers. Freeze
    ``*.log_alpha`` in a last phase, then let ``weight_inheritance`` take out what is closed.

    TinyCLIP also masks the width of the tokens and whole layers, which is left out here, and draws one mask a step. Its
    code holds log alpha within 4.6 of 0 and settles gates at sigmoid(1.2 log alpha), which is never quite 0 or 1.

    Args:
        kind: of the tower; the trunk of a single-tower model is shared, so that both kinds get the gates.

    Raises:
        ConfigError: by the call, if there is no such tower, its blocks are of another form, or patches stand.

    References:
        Wu et al. 2023 (TinyCLIP), section 3.2; Louizos et al. 2018 (hard concrete, eq. 10-13).

    Note:
        What a small batch can do without is judged by what is common in it: compare rare findings before and after.

    Example:
        >>> Gates(2).settled().tolist()
        [1.0, 1.0]
    """

    def __init__(self, *, kind: str) -> None:
        self.kind = kind

    def __call__(self, model: TowerModel) -> None:
        """Change the model's tower."""
        stack = stack_of(model, self.kind, who="learn_masks")
        for i, branches in enumerate(branches_of(model, self.kind, who="learn_masks")):
            width = branches.layer(0).in_features
            head = 4 * width * (branches.layer(1).in_features // branches.heads)
            for which, groups, size in ((1, branches.heads, head), (3, branches.channels, 2 * width)):
                layer = branches.layer(which)
                made = Gated(layer, groups, size=size, draws=model.draws, site=f"{branches.names[which]}[{i}]")
                branches.put(which, made.to(layer.weight).train(layer.training))
        for kind, tower in model.towers.items():
            inside = [site.module for site in tower.sites().values()]
            for gated in (m for m in stack.modules() if isinstance(m, Gated) and any(b is stack[0] for b in inside)):
                model.publish(Standing(gated.key(kind), kind, "*", ("open",), several=True))
            if isinstance(tower, TextTower):
                tower.in_groups = False  # draws are of rows in their order


class Gates(nn.Module):
    """Gates (G,) by their log alpha; `rank` are their numbers, the most open first, as the last step left them."""

    rank: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.full((count,), _START))
        # Of a whole number an average of weights takes the student's: both will lose the same gates.
        self.register_buffer("rank", torch.arange(count))

    def forward(self, uniform: Tensor | None) -> Tensor:
        """Return z: (R, G) by draws in [0, 1) of that shape while it is trained, else (G,)."""
        if uniform is None or not self.training:
            return self.settled()
        u = uniform.to(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        drawn = ((u.logit() + self.log_alpha) / TEMPERATURE).sigmoid()
        return (drawn * (HIGH - LOW) + LOW).clamp(0, 1)

    def settled(self) -> Tensor:
        """Return z (G,) without draws."""
        return (self.log_alpha.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)

    def open(self) -> Tensor:
        """Return the probability of each gate that z is not 0, (G,)."""
        return (self.log_alpha - TEMPERATURE * torch.tensor(-LOW / HIGH).log().to(self.log_alpha)).sigmoid()

    @torch.no_grad()
    def after_step(self, samples_seen: int) -> None:
        """Order the gates anew."""
        self.rank.copy_(self.log_alpha.argsort(descending=True, stable=True))


class Gated(nn.Module):
    """A linear layer whose inputs pass gates, equally many each; a gate's closing saves `size` weights of the block."""

    def __init__(self, linear: nn.Linear, groups: int, *, size: int, draws: RowDraws, site: str) -> None:
        super().__init__()
        self.linear = linear
        self.gates = Gates(groups)
        self.size, self.site = size, site
        self._draws = draws

    def key(self, kind: str) -> str:
        """Return by which name its part is known in a tower of a kind."""
        return f"learn_masks@{kind}:{self.site}"

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (R, N, W') of (R, N, W)."""
        draws, groups = self._draws, len(self.gates.rank)
        uniform = None
        if self.gates.training and draws.view:
            if len(draws.positions) != len(tokens):
                raise ConfigError(
                    "learn_masks draws gates for each row, and this tower's blocks see others: freeze them."
                )
            uniform = draws.uniform(groups, self.key("all"))
        gates = self.gates(uniform)
        if draws.view:
            both = torch.stack([self.gates.open().sum() * self.size, self.gates.open().new_tensor(groups * self.size)])
            draws.give("open", self.key(kind_of(draws.view)), both.expand(len(tokens), 2))
        gates = gates.to(tokens.dtype).view(-1, 1, groups, 1)
        return self.linear((tokens.unflatten(-1, (groups, -1)) * gates).flatten(-2))

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """Return the layer with the settled gates in its weights."""
        each = self.linear.in_features // len(self.gates.rank)
        weight = self.linear.weight * self.gates.settled().repeat_interleave(each)
        self.linear.weight = nn.Parameter(weight, requires_grad=self.linear.weight.requires_grad)
        return self.linear

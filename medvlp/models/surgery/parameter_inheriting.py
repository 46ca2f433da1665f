"""Parameter inheriting with momentum (GrowCLIP, Deng et al. 2023): old weights, and a share of fresh ones."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from medvlp.core.registry import build
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.encoders._blocks import Trunk
from medvlp.models.surgery._blocks import tower_of
from medvlp.text.tokenizers import with_length


class ParameterInheriting:
    """Every weight of the towers becomes theta = beta theta_old + (1 - beta) theta_fresh.

    The fresh weights are those that a new model of the same specification begins with, earlier surgery included. A
    model that goes on from weights which fit the data of before stays near their minimum; moved a little towards fresh
    ones it finds one that fits the new data too (as shrink and perturb, Ash and Adams 2020). beta = 1 leaves the model
    as it is, beta = 0 gives a fresh tower. A tower that began with published weights is mixed with random ones.

    List it in front of `grow_depth` or `grow_width`, which add new parts to what was inherited.

    Args:
        beta: the share of the old weights. The paper's is not known to us: 0.9 is a guess.
        kinds: of the towers; empty: all. Heads and the logit scale stay.

    Raises:
        ConfigError: by the call, if there is no such tower, or it stands under patches.

    References:
        Deng et al. 2023 (GrowCLIP), as known from its abstract and from descriptions; its code is not public.

    Note:
        What the model knew of rare findings is in its old weights, and suffers first: compare it by finding, not by
        means alone, on the patients of before.

    Example:
        >>> ParameterInheriting(beta=0.8).beta
        0.8
    """

    def __init__(self, *, beta: Annotated[float, Field(ge=0, le=1)] = 0.9, kinds: tuple[str, ...] = ()) -> None:
        self.beta = beta
        self.kinds = kinds

    @torch.no_grad()
    def __call__(self, model: TowerModel) -> None:
        """Change the model's towers."""
        for kind in self.kinds or model.towers:
            tower_of(model, kind, who="parameter_inheriting")
        if self.beta == 1:
            return  # the very parameters stay
        # Who operates has seeded the draws, so that an average of the model meets the same fresh weights.
        fresh = dict(_fresh(model, int(torch.randint(2**31, ()))).named_parameters())
        chosen = {id(p) for kind in self.kinds or model.towers for p in _of_tower(model, kind)}
        for name, old in list(model.named_parameters()):
            if id(old) in chosen:
                mixed = self.beta * old + (1 - self.beta) * fresh[name].to(old)
                owner, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(owner), leaf, nn.Parameter(mixed, requires_grad=old.requires_grad))


def _of_tower(model: TowerModel, kind: str) -> list[nn.Parameter]:
    """Return a tower's parameters, those of a trunk that it shares among them."""
    inside = [site.module for site in model.towers[kind].sites().values()]
    inside += [each for each in model.modules() if isinstance(each, Trunk) and each.blocks[0] in inside]  # its norm
    return [p for module in (model.towers[kind], *inside) for p in module.parameters()]


def _fresh(model: TowerModel, seed: int) -> TowerModel:
    """Return a new model of the same shape."""
    from medvlp.models.surgery._surgery import operate

    done: list[dict[str, Any]] = model.spec.get("surgery", [])  # pyrefly: ignore
    plain = {key: value for key, value in model.spec.items() if key not in ("surgery", "heads", "patches")}
    given: dict[str, Any] = {"banks": {}, "seed": seed, "where": "model"}
    if model.tokenizer is not None:
        length = model.tokenizer.max_length
        for each in reversed([each for each in done if each["name"] == "stretch_positions"]):
            length = each["keep"] + (length - each["keep"]) // each["ratio"]  # as it was before it was stretched
        given["tokenizer"] = with_length(model.tokenizer, length)
    new: TowerModel = build("models/architectures", plain, where="model", given=given)
    # What changes no shape is left out: weights are fresh either way.
    operate(new, [each for each in done if each["name"] != "parameter_inheriting"], seed=seed)
    return new

"""What dual, single-tower and vision models have in common: views are encoded as the plan asks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, Plan
from medvlp.core.protocols import Encoder
from medvlp.core.registry import schema
from medvlp.core.sample import Batch, Tokens
from medvlp.models.architectures._mounting import HeadedModel
from medvlp.models.architectures._recipe import Recipe, make_recipe
from medvlp.models.architectures._rows import constant, only, size_of, tokens_of, widened
from medvlp.models.architectures._standing import Standing, join_parts
from medvlp.models.bank import Bank
from medvlp.models.encoders._norm import by_running_statistics
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.encoders.slices import SliceEncoder
from medvlp.text.tokenizers import Tokenizer


class TowerModel(HeadedModel):
    """Towers by kind, each with a head that gives ``raw``, a projection; see `Model`.

    A view is encoded by the tower of its kind: ``image.local`` by that of images. Banks are encoded by the text tower,
    or are the constant vectors of a frozen encoder. Part names are the tower's own, ``raw``, ``embedding`` (``raw`` at
    unit length) and those of the mounted heads; nothing that the plan does not ask for is computed.

    Args:
        towers: kind -> encoder.
        embed_dim: D of ``raw``.
        vocab_size: of the text tower's tokenizer, for heads that write.
        options: of the architecture's constructor: ``projection``, those of the component that gives ``raw`` in each
            tower (with a name, another one); ``heads``, further ones that belong to the model, ``"kind/part"`` or, at
            stage ``call``, ``"part"``, each of which may have ``weights``, a safetensors file that it starts from;
            ``scale`` of the logits, ``banks``, ``seed`` of the first weights, and ``where``, path in the configuration.

    Attributes:
        patches: parameters of patches that stand at the towers' sites.
        standing: those patches in their order, and what surgery put inside the towers that gives parts.
        draws: random draws for patches, by row.
        shared: modules that several heads or patches have together, by name: one module, saved once.
        training_only: names of mounted heads that do not go into the bundle.
        remembered: outputs of towers that learn nothing, where they are stored.
        spec: architecture with every option, from which `build_model` makes this model again, weights aside.
    """

    def describe(self, name: str, options: Mapping[str, Any], towers: Mapping[str, object]) -> None:
        """Set `spec` to all options of an architecture's constructor, None left out; patches are put on afterwards.

        Args:
            name: of the component.
            options: of its constructor, as they were given.
            towers: options of the towers in the form that a bundle needs.
        """
        given = {key: options[key] for key in schema("models/architectures", name).model_fields}
        plain = {key: value.model_dump() if isinstance(value, BaseModel) else value for key, value in given.items()}
        plain |= {**towers, "heads": {head: self.released_head(head) for head in given["heads"]}, "patches": []}
        self.spec = {"name": name, **copy.deepcopy({key: value for key, value in plain.items() if value is not None})}

    @property
    def scale(self) -> nn.Module:
        """See `Model`."""
        return self.logit_scale

    @property
    def vision_kind(self) -> str:
        """See `Model`."""
        return next(iter(self.kinds), "image")

    @property
    def kinds(self) -> tuple[str, ...]:
        """See `Model`."""
        if self._asked:
            return (self._asked,)
        return tuple(kind for kind in ("image", "stack", "volume") if kind in self.towers)

    def of_kind(self, kind: str) -> TowerModel:
        """See `Model`."""
        super().of_kind(kind)
        asked = copy.copy(self)
        asked._asked = kind
        return asked

    @property
    def reads_text(self) -> bool:
        """See `Model`."""
        return "text" in self.towers

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer whose ids its text tower takes; None without such a tower."""
        tower = dict(self.towers.items()).get("text")
        return tower.words if isinstance(tower, TextEncoder) else None

    @property
    def slice_weights(self) -> str | None:
        """See `Model`."""
        stacked = [name for name, head in self.heads.items() if name.startswith("stack/") and "weights" in head.gives]
        return f"{stacked[0].partition('/')[2]}_weights" if stacked and self.vision_kind == "stack" else None

    # encoding -------------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch, plan: Plan) -> dict[str, Encoded]:
        """See `Model`. A plan of banks alone needs nothing of the batch."""
        return {view: self._encode(batch, recipe) for view, recipe in self._recipe(plan).items()}

    def finish(self, encoded: Mapping[str, Encoded], plan: Plan) -> dict[str, Encoded]:
        """See `Model`."""
        done = dict(encoded)
        for view, recipe in self._recipe(plan).items():
            for part in recipe.later:
                rows = done[view]
                done[view] = rows.give(self.heads[f"{recipe.kind}/{part}"](widened(rows), part))
        return done

    def texts_of(self, bank: str, images: Encoded) -> Tensor:
        """See `HeadedModel`."""
        view = f"bank.{bank}"
        recipe = self._recipe(Plan.of([Key(view, "embedding")]))[view]
        if recipe.later:
            raise ConfigError(
                f"The texts of the bank {bank!r} are asked inside the towers, and their projection runs after them: "
                "set its stage to tower."
            )
        asked = self.banks[bank].vectors is None and any(s.reads and s.acts_on(view) for s in self.standing)
        nobody = Batch((), torch.zeros(0, dtype=torch.int64, device=images.owner.device), {})
        found = self._encode(nobody, recipe, images if asked else None).part("embedding")
        return found.unflatten(0, (len(images.owner), -1)) if asked else found

    def _encode(self, batch: Batch, recipe: Recipe, images: Encoded | None = None) -> Encoded:
        bank = self.banks.get(recipe.bank)
        if bank is not None and bank.vectors is not None:
            return constant(bank.vectors, like=self.logit_scale.log_scale)
        tower = self.towers[recipe.kind]
        device = self.logit_scale.log_scale.device
        column = batch.columns.get(recipe.view)
        mask, position, blank = None, None, False
        if bank is not None:
            tokens = self._tokens_of_bank(bank, tower, device)
            values, owner, mask = tokens.ids, torch.full((len(bank.texts),), -1, device=device), tokens.mask
            if images is not None:
                count = len(images.owner)
                owner = torch.arange(count, device=device).repeat_interleave(len(values))
                values, mask = values.repeat(count, 1), None if mask is None else mask.repeat(count, 1)
        elif column is None or column.owner.numel() == 0:
            values, owner, blank = tower.blank(device), torch.full((1,), -1, device=device), True
        elif isinstance(column.values, Tensor):
            values, owner, mask, position = column.values, column.owner, column.mask, column.position
        else:
            tokens = tokens_of(column.values, column.tokens, tower, recipe.view).to(device)
            values, owner, mask = tokens.ids, column.owner, tokens.mask
        if self.standing:
            positions = batch.positions if images is None else torch.zeros_like(images.owner)
            real: int | Tensor = 1
            if isinstance(tower, SliceEncoder):  # slices: its rows
                tower.draws, real = self.draws, 1 if mask is None else mask.sum(1)
            self.draws.enter(recipe.view, positions, owner.repeat_interleave(real), asked=recipe.patched, images=images)
        other = blank or self.standing or len(self.shared) or not (mask is None or recipe.kind == "text")
        memory = None if other or position is not None else self.remembered
        stored = None if memory is None else memory.rows(values, mask, recipe, tower, self.heads)
        with by_running_statistics(tower) if blank else nullcontext():
            rows = tower(values, parts=recipe.tower, mask=mask, position=position) if stored is None else stored.rows
        if not isinstance(rows, Encoded):
            raise ConfigError(f"{type(tower).__name__} gave {type(rows).__name__}: let it return Encoded(...).")
        for part, name in (("pooled", "width"), ("tokens", "token_width")):
            made = getattr(rows, part)
            if made is not None and made.shape[-1] != getattr(tower, name):
                said = f"{part} of width {made.shape[-1]}, and its {name} is {getattr(tower, name)}"
                raise ConfigError(f"{type(tower).__name__} gave {said}: let both be the same.")
        rows = replace(rows, owner=owner, blank=blank)
        if self.standing:
            given = self.draws.leave()
            rows = rows.give(join_parts(given, recipe.patched, self.standing, recipe.kind, recipe.view, len(owner)))
        if recipe.kind != "text":
            rows = replace(rows, size=size_of(recipe.kind, values), pixels=values)
        for part in recipe.heads[0 if stored is None else stored.heads :]:
            rows = rows.give(self.heads[f"{recipe.kind}/{part}"](rows, part))
        return only(rows, recipe.keep)

    def _tokens_of_bank(self, bank: Bank, tower: Encoder, device: torch.device) -> Tokens:
        """Return a bank's ids, made once by each tokenizer that the tower has had."""
        made = bank.texts, "" if self.tokenizer is None else self.tokenizer.identity
        with torch.inference_mode(False):  # made in a validation, they must still serve a step that trains
            found = self._bank_tokens.get(made) or tokens_of(bank.texts, {}, tower, f"bank.{bank.name}")
            self._bank_tokens[made] = found.to(device)
        return self._bank_tokens[made]

    # plan -----------------------------------------------------------------------------------------------------------

    def check(self, plan: Plan) -> None:
        """See `Model`."""
        self._recipe(plan)

    def _recipe(self, plan: Plan) -> dict[str, Recipe]:
        if plan not in self._recipes:
            towers, heads = dict(self.towers.items()), dict(self.heads.items())
            self._recipes[plan] = {
                view: make_recipe(view, parts, towers=towers, heads=heads, banks=self.banks, standing=self.standing)
                for view, parts in plan.views.items()
            }
        return self._recipes[plan]

    def outside_forward(self) -> list[str]:
        """See `Model`."""
        outside = {name for name, head in self.heads.items() if head.stage != "tower"}
        late = tuple(f"heads.{name}." for name in sorted(outside))
        late += tuple(f"shared.{name}." for name in self.shared.only_of(outside))
        return [name for name, _ in self.named_parameters() if name.startswith((*late, "logit_scale."))]

    def add_bank(self, bank: Bank) -> None:
        """Add a bank, or replace the one of its name."""
        self.banks[bank.name] = bank
        self._recipes.clear()

    # patches --------------------------------------------------------------------------------------------------------

    def stand(self, standing: Standing, patch: nn.Module) -> None:
        """Take in the parameters of a patch that stands at a site."""
        like = self.logit_scale.log_scale
        self.patches[standing.key.replace(".", "-")] = patch.to(device=like.device, dtype=like.dtype)
        self.standing.append(standing)
        self._recipes.clear()

    def publish(self, standing: Standing) -> None:
        """Take in that a module which surgery put inside a tower gives parts, by `draws`, in place of what it gave."""
        self.standing = [*(one for one in self.standing if one.key != standing.key), standing]
        self._recipes.clear()

    def unpublish(self, prefix: str) -> None:
        """Forget those whose keys begin so, as their modules are gone."""
        self.standing = [one for one in self.standing if not one.key.startswith(prefix)]
        self._recipes.clear()

    def take_patches(self, standing: Sequence[Standing]) -> None:
        """Remove patches, and the modules that only they shared."""
        for one in standing:
            self.shared.forget(one.key)
            if one in self.standing:
                self.standing.remove(one)
                del self.patches[one.key.replace(".", "-")]
        self._recipes.clear()


def needed(tokenizer: Tokenizer | None, *, where: str) -> Tokenizer:
    """Return the tokenizer of a model that reads texts; none is refused (ConfigError)."""
    if tokenizer is None:
        raise ConfigError(
            f"{where} needs a tokenizer, and there is none: the data has no texts, or the bundle of init_from reads "
            "none; leave init_from out, or start from one that does."
        )
    return tokenizer

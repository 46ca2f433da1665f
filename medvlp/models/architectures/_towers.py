"""What dual and single-tower models have in common: towers by kind, heads, banks, scale, and the plan they obey."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, Plan
from medvlp.core.protocols import Encoder, Head, HeadSpec, Model
from medvlp.core.registry import build, fill
from medvlp.core.sample import Batch, Tokens
from medvlp.core.suggest import did_you_mean
from medvlp.models._draws import RowDraws
from medvlp.models._seeded import seeded
from medvlp.models.architectures._mounting import reading_order, reads_of, spread_heads
from medvlp.models.architectures._recipe import Recipe, kind_of, make_recipe
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.architectures._rows import constant, only, size_of, tokens_of, widened
from medvlp.models.architectures._sharing import SharedModules
from medvlp.models.architectures._standing import Standing, join_parts
from medvlp.models.bank import Bank
from medvlp.models.encoders._norm import by_running_statistics
from medvlp.models.encoders._text import TextEncoder
from medvlp.models.pretrained_head import Loaded, hash_of_tensors, load_head
from medvlp.models.scale import LogitScale, ScaleOptions
from medvlp.text.tokenizers import Tokenizer

__all__ = ["TowerModel"]


class TowerModel(Model):
    """Towers by kind, each with a head that gives ``raw``, a projection; see `Model`.

    A view is encoded by the tower of its kind: ``image.local`` by that of images. Banks are encoded by the text tower,
    or are the constant vectors of a frozen encoder. Part names are the tower's own, ``raw``, ``embedding`` (``raw`` at
    unit length) and those of the mounted heads; nothing that the plan does not ask for is computed.

    Args:
        towers: kind -> encoder.
        embed_dim: D of ``raw``.
        projection: options of the component `projection` that gives ``raw`` in each tower; with a name, another one.
        heads: further heads that belong to the model, ``"kind/part"`` or, for call-stage heads, ``"part"``; beside its
            own options each may have ``weights``, a safetensors file that it starts from.
        scale: of the logits.
        banks: by name.
        vocab_size: of the text tower's tokenizer, for heads that speak.
        seed: of the first weights.
        where: path in the configuration, for error sentences.

    Attributes:
        towers: kind -> encoder.
        heads: mounted heads.
        banks: by name.
        patches: parameters of patches that stand at the towers' sites.
        standing: these patches, in their order: where they act and what they give.
        draws: random draws for patches, by row.
        shared: modules that several heads or patches have together, by name: one module, saved once.
        training_only: names of mounted heads that do not go into the bundle.
        remembered: what towers that learn nothing gave, where that is kept.
        spec: architecture with every option, from which `build_model` makes this model again, weights aside.
        embed_dim: D.
    """

    def __init__(
        self,
        *,
        towers: Mapping[str, Encoder],
        embed_dim: int,
        projection: Mapping[str, object],
        heads: Mapping[str, Mapping[str, object]],
        scale: ScaleOptions,
        banks: Mapping[str, Bank],
        vocab_size: int | None,
        seed: int,
        where: str,
    ) -> None:
        super().__init__()
        self.towers: Mapping[str, Encoder] = nn.ModuleDict(dict(towers))  # pyrefly: ignore
        self.heads: Mapping[str, Head] = nn.ModuleDict()  # pyrefly: ignore
        self.patches = nn.ModuleDict()
        self.standing: list[Standing] = []
        self.shared = SharedModules(seed=seed)
        self.logit_scale = LogitScale(init=scale.init, max=scale.max, bias=scale.bias, min=scale.min)
        self.banks: dict[str, Bank] = dict(banks)
        self.draws = RowDraws(seed=seed)
        self.embed_dim = embed_dim
        self.training_only: set[str] = set()
        self.remembered: Remembered | None = None
        self.spec: dict[str, object] = {}
        self._vocab_size = vocab_size
        self._seed = seed
        self._where = where
        self._loaded: dict[str, Loaded] = {}
        self._head_specs: dict[str, Mapping[str, object]] = {}
        self._recipes: dict[Plan, dict[str, Recipe]] = {}
        self._bank_tokens: dict[tuple[tuple[str, ...], str], Tokens] = {}
        self._asked = ""
        own = {f"{kind}/raw": {"name": "projection", **projection} for kind in self.towers}
        self._mount_all({**own, **heads}, where=f"{where}.heads.")

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
        """Part that says how much each slice of a stack counts, where a head gives one."""
        if self.vision_kind != "stack":
            return None
        names = [
            f"{name.partition('/')[2]}_weights"
            for name, head in self.heads.items()
            if name.startswith("stack/") and "weights" in head.gives
        ]
        return names[0] if names else None

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
                head = self.heads[f"{recipe.kind}/{part}"]
                done[view] = rows.give(head(widened(rows), part))
        return done

    def texts_of(self, bank: str, pictures: Encoded) -> Tensor:
        """Return embeddings of a bank's K texts, (K, D); (R, K, D) where a patch makes others for each picture.

        Args:
            bank: name.
            pictures: R rows with the parts that patches on the bank read.

        Raises:
            ConfigError: if a head gives the embedding only after the towers.
        """
        view = f"bank.{bank}"
        recipe = self._recipe(Plan.of([Key(view, "embedding")]))[view]
        if recipe.later:
            raise ConfigError(
                f"The texts of the bank {bank!r} are asked inside the towers, and their projection runs after them: "
                "set its stage to tower."
            )
        asked = self.banks[bank].vectors is None and any(s.reads and s.acts_on(view) for s in self.standing)
        nobody = Batch((), torch.zeros(0, dtype=torch.int64, device=pictures.owner.device), {})
        found = self._encode(nobody, recipe, pictures if asked else None).part("embedding")
        return found.unflatten(0, (len(pictures.owner), -1)) if asked else found

    def _encode(self, batch: Batch, recipe: Recipe, pictures: Encoded | None = None) -> Encoded:
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
            if pictures is not None:
                count = len(pictures.owner)
                owner = torch.arange(count, device=device).repeat_interleave(len(values))
                values, mask = values.repeat(count, 1), None if mask is None else mask.repeat(count, 1)
        elif column is None or column.owner.numel() == 0:
            values, owner, blank = tower.blank(device), torch.full((1,), -1, device=device), True
        elif isinstance(column.values, Tensor):
            values, owner, mask, position = column.values, column.owner, column.mask, column.position
        else:
            tokens = tokens_of(column.values, column.tokens, tower, recipe.view).to(device)
            values, owner, mask = tokens.ids, column.owner, tokens.mask
        if len(self.patches):
            positions = batch.positions if pictures is None else torch.zeros_like(pictures.owner)
            self.draws.enter(recipe.view, positions, owner, asked=recipe.patched, pictures=pictures)
        other = blank or len(self.patches) or len(self.shared) or not (mask is None or recipe.kind == "text")
        alone = None if other or position is not None else self.remembered
        kept = None if alone is None else alone.rows(values, mask, recipe, tower, self.heads)
        with by_running_statistics(tower) if blank else nullcontext():
            rows = tower(values, parts=recipe.tower, mask=mask, position=position) if kept is None else kept.rows
        rows = replace(rows, owner=owner)
        if len(self.patches):
            said = self.draws.leave()
            rows = rows.give(join_parts(said, recipe.patched, self.standing, recipe.kind, recipe.view, len(owner)))
        if recipe.kind != "text":
            rows = replace(rows, size=size_of(recipe.kind, values), pixels=values)
        for part in recipe.heads[0 if kept is None else kept.heads :]:
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
        late += tuple(f"shared.{name}." for name in self.shared.of_these_alone(outside))
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

    def take_patches(self, standing: Sequence[Standing]) -> None:
        """Give them up again, and what they alone share."""
        for one in standing:
            self.shared.forget(one.key)
            if one in self.standing:
                self.standing.remove(one)
                del self.patches[one.key.replace(".", "-")]
        self._recipes.clear()

    # what is saved --------------------------------------------------------------------------------------------------

    def loaded_heads(self) -> Mapping[str, str]:
        """See `Model`."""
        return {name: loaded.sha256 for name, loaded in self._loaded.items()}

    def unchanged_heads(self) -> Mapping[str, str]:
        """See `Model`."""
        frozen = [n for n in self._loaded if not any(p.requires_grad for p in self.heads[n].parameters())]
        same = [n for n in frozen if n in self.training_only and _same(self.heads[n], self._loaded[n])]
        return {name: self._loaded[name].sha256 for name in same}

    def left_out(self) -> tuple[str, ...]:
        """See `Model`: heads of training alone, and what only they share."""
        heads = tuple(f"heads.{name}." for name in sorted(self.training_only))
        return heads + tuple(f"shared.{name}." for name in self.shared.of_these_alone(self.training_only))

    # heads ----------------------------------------------------------------------------------------------------------

    def mount(self, heads: Mapping[str, HeadSpec], plan: Plan) -> None:
        """See `Model`. A head mounted before with the same options stays as it is, with its weights.

        Raises:
            ConfigError: if nothing asks for a head, its options are faulty, or another head has its name.
        """
        asked = {(kind_of(view), part) for view, parts in plan.views.items() for part in parts}
        wanted = spread_heads(heads, asked, kinds=tuple(self.towers))
        fresh = {name for name in wanted if name not in self.heads}
        twins = frozenset(name for name, head in wanted.items() if head.twins)
        specs = {name: {"name": head.name, "weights": head.weights, **head.options} for name, head in wanted.items()}
        self._mount_all(specs, where="head ", twins=twins)
        self.training_only |= {name for name in fresh if not wanted[name].keep}
        for name in (name for name, head in wanted.items() if head.keep):
            self.training_only.discard(name)
            kept: Mapping[str, object] = self.spec.get("heads") or {}  # pyrefly: ignore
            self.spec["heads"] = {**kept, name: self._head_specs[name]}

    def _mount_all(
        self, specs: Mapping[str, Mapping[str, object]], *, where: str, twins: frozenset[str] = frozenset()
    ) -> None:
        """Mount heads, those that others read first: they tell how wide they are."""
        plain = {name: {k: v for k, v in spec.items() if k != "weights"} for name, spec in specs.items()}
        for name in reading_order(plain, where=where):
            there = name in self.heads
            self._mount_one(name, plain[name], where=f"{where}{name}", twin=name in twins)
            file = specs[name].get("weights")
            if file is not None and there and name not in self._loaded:
                raise ConfigError(
                    f"{where}{name}: it is mounted already, without the weights {str(file)!r}: give them where it is "
                    f"described first."
                )
            if file is not None and not there:
                self._loaded[name] = load_head(self.heads[name], str(file), where=f"{where}{name}")

    def _mount_one(self, name: str, spec: Mapping[str, object], *, where: str, twin: bool) -> None:
        filled = fill("models/heads", spec, where=where)
        if name in self.heads:
            if filled != self._head_specs[name]:
                raise ConfigError(
                    f"{where}: another head {name!r} is mounted already, with {dict(self._head_specs[name])}: give one "
                    f"of the two another name."
                )
            return
        kind, slash, part = name.rpartition("/")
        if slash and kind not in self.towers:
            raise ConfigError(f"{where}: there is no tower of kind {kind!r}: {did_you_mean(kind, self.towers)}.")
        if not part or "." in name:
            raise ConfigError(f"{where}: a head's name is kind/part, or part for a call-stage head, without dots.")
        # Twins draw from one seed: the same shape on another kind gets the same weights.
        with seeded(self._seed, f"head {part if twin else name}"):
            share = self.shared.asking(name, like=self.logit_scale.log_scale, where=where)
            given = {**self._given(kind, reads_of(filled)), "share": share}
            head = build("models/heads", spec, where=where, given=given)
        if (head.stage == "call") != (not slash):
            form = "a plain part" if head.stage == "call" else "kind/part"
            raise ConfigError(f"{where}: a head of stage {head.stage!r} is mounted as {form}, not as {name!r}.")
        self._refuse_late_reads(kind, head, where=where)
        self.shared.settle(name, inside=head.stage == "tower", where=where)
        like = self.logit_scale.log_scale
        self.heads[name] = head.to(device=like.device, dtype=like.dtype)  # pyrefly: ignore
        self._head_specs[name] = filled
        self._recipes.clear()

    def _given(self, kind: str, reads: tuple[str, ...]) -> dict[str, object]:
        """Return what a head may ask of the model; a call-stage head reads images where there are images."""
        kind = kind or ("image" if "image" in self.towers else next(iter(self.towers)))
        tower = self.towers[kind]
        given: dict[str, object] = {"embed_dim": self.embed_dim, "token_width": tower.token_width, "banks": self.banks}
        given |= {"levels": tower.levels, "texts_of": self.texts_of, "scale": self.logit_scale}
        if "text" in self.towers:
            given["text"] = self.towers["text"]
        if self._vocab_size is not None:
            given["vocab_size"] = self._vocab_size
        first = reads[0] if reads else "pooled"
        above = self._read_head(kind, first)
        width = above.width if above is not None else {"pooled": tower.width}.get(first, tower.token_width)
        if width is not None:
            given["width"] = width
        return given

    def _read_head(self, kind: str, part: str) -> Head | None:
        name = f"{kind}/{'raw' if part == 'embedding' else part}"
        return dict(self.heads.items()).get(name)

    def _refuse_late_reads(self, kind: str, head: Head, *, where: str) -> None:
        for read in head.reads:
            above = self._read_head(kind, read)
            if head.stage == "tower" and above is not None and above.stage == "batch":
                raise ConfigError(
                    f"{where}: it runs inside the tower and reads {read!r}, made after it: set its stage to batch."
                )


def _same(head: Head, loaded: Loaded) -> bool:
    return hash_of_tensors(head) == loaded.tensors

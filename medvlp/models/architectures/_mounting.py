"""Heads on towers: which are mounted where and in what order, and what each is told of the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.keys import Plan
from medvlp.core.protocols import Encoder, Head, HeadSpec, Model
from medvlp.core.registry import build, component, fill
from medvlp.core.sample import Tokens
from medvlp.models._draws import RowDraws, seeded
from medvlp.models.architectures._recipe import Recipe, kind_of
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.architectures._sharing import SharedModules
from medvlp.models.architectures._standing import Standing
from medvlp.models.bank import Bank
from medvlp.models.heads._cells import projected_tokens
from medvlp.models.pretrained_head import Loaded, hash_of_tensors, load_head
from medvlp.models.scale import LogitScale

Specs = Mapping[str, Mapping[str, object]]


class HeadedModel(Model):
    """Base of models with towers by kind and mounted heads; see `TowerModel` for arguments and attributes."""

    def __init__(
        self, *, towers: Mapping[str, Encoder], embed_dim: int, vocab_size: int | None, options: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.towers: Mapping[str, Encoder] = nn.ModuleDict(dict(towers))  # pyrefly: ignore
        self.heads: Mapping[str, Head] = nn.ModuleDict()  # pyrefly: ignore
        self.patches = nn.ModuleDict()
        self.shared = SharedModules(seed=options["seed"])
        self.logit_scale = LogitScale(**options["scale"].model_dump())
        self.banks: dict[str, Bank] = dict(options["banks"] or {})
        self.embed_dim = embed_dim
        self.training_only: set[str] = set()
        self.spec: dict[str, object] = {}
        self.standing: list[Standing] = []
        self.draws = RowDraws(seed=options["seed"])
        self.remembered: Remembered | None = None
        self._vocab_size, self._seed, self._where = vocab_size, options["seed"], options["where"]
        self._loaded: dict[str, Loaded] = {}
        self._head_specs: dict[str, Mapping[str, object]] = {}
        self._asked = ""
        self._bank_tokens: dict[tuple[tuple[str, ...], str], Tokens] = {}
        self._recipes: dict[Plan, dict[str, Recipe]] = {}
        own = {f"{kind}/raw": {"name": "projection", **options["projection"]} for kind in self.towers}
        self._mount_all({**own, **options["heads"]}, where=f"{self._where}.heads.")

    @abstractmethod
    def texts_of(self, bank: str, images: Encoded) -> Tensor:
        """Return embeddings of a bank's K texts, (K, D); (R, K, D) where a patch makes others for each image.

        Args:
            bank: name.
            images: R rows, of any kind that is seen, with the parts that patches on the bank read.

        Raises:
            ConfigError: if a head gives the embedding only after the towers.
        """

    def projected(self, kind: str, encoded: Encoded) -> Tensor:
        """Return the tokens (R, N, D) of rows of a kind through the projection of its pictures, see `projected_tokens`.

        Raises:
            ConfigError: for one that runs after the towers, or that tokens do not fit.
        """
        head = dict(self.heads.items()).get(f"{kind}/raw")
        if head is not None and head.stage != "tower":
            raise ConfigError(
                f"The projection of {kind} runs after the towers, and its tokens are asked inside: set stage to tower."
            )
        return projected_tokens(encoded, head)

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
            released: Mapping[str, object] = self.spec.get("heads") or {}  # pyrefly: ignore
            self.spec["heads"] = {**released, name: self.released_head(name)}

    def unmount(self, name: str) -> None:
        """Take a mounted head away, which no other may read: its name is free again."""
        del self.heads[name], self._head_specs[name]  # pyrefly: ignore
        self._loaded.pop(name, None)
        self.training_only.discard(name)
        self.shared.forget(name)
        released: Mapping[str, object] = self.spec.get("heads") or {}  # pyrefly: ignore
        self.spec["heads"] = {other: options for other, options in released.items() if other != name}
        self._recipes.clear()

    def released_head(self, name: str) -> Mapping[str, object]:
        """Return the options from which a bundle rebuilds a head."""
        return {**self._head_specs[name], **self.heads[name].released()}

    def loaded_heads(self) -> Mapping[str, str]:
        """See `Model`."""
        return {name: loaded.sha256 for name, loaded in self._loaded.items()}

    def unchanged_heads(self) -> Mapping[str, str]:
        """See `Model`."""
        frozen = [n for n in self._loaded if not any(p.requires_grad for p in self.heads[n].parameters())]
        own = [n for n in frozen if n in self.training_only]
        now = {n: hash_of_tensors(self.heads[n].state_dict()) for n in own}
        return {n: self._loaded[n].sha256 for n in own if now[n] == self._loaded[n].tensors}

    def left_out(self) -> tuple[str, ...]:
        """See `Model`: heads of training alone, and what only they share."""
        heads = tuple(f"heads.{name}." for name in sorted(self.training_only))
        return heads + tuple(f"shared.{name}." for name in self.shared.only_of(self.training_only))

    def _mount_all(self, specs: Specs, *, where: str, twins: frozenset[str] = frozenset()) -> None:
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
        like = self.logit_scale.log_scale
        # Twins draw from one seed: the same shape on another kind gets the same weights.
        with seeded(self._seed, f"head {part if twin else name}"):
            given = {**self._given(kind, reads_of(filled)), "share": self.shared.asking(name, like=like, where=where)}
            head = build("models/heads", spec, where=where, given=given)
        if (head.stage == "call") != (not slash):
            form = "a plain part" if head.stage == "call" else "kind/part"
            raise ConfigError(f"{where}: a head of stage {head.stage!r} is mounted as {form}, not as {name!r}.")
        for read in head.reads if head.stage == "tower" else ():
            above = self._read_head(kind, read)
            if above is not None and above.stage == "batch":
                raise ConfigError(
                    f"{where}: it runs inside the tower and reads {read!r}, made after it: set its stage to batch."
                )
        self.shared.settle(name, inside=head.stage == "tower", where=where)
        self.heads[name] = head.to(device=like.device, dtype=like.dtype)  # pyrefly: ignore
        self._head_specs[name] = filled
        self._recipes.clear()

    def _given(self, kind: str, reads: tuple[str, ...]) -> dict[str, object]:
        """Return what a head may ask of the model; a call-stage head reads images where there are images."""
        kind = kind or ("image" if "image" in self.towers else next(iter(self.towers)))
        tower, first = self.towers[kind], reads[0] if reads else "pooled"
        above = self._read_head(kind, first)
        given = {
            "embed_dim": self.embed_dim,
            "token_width": tower.token_width,
            "banks": self.banks,
            "levels": tower.levels,
            "texts_of": self.texts_of,
            "project": partial(self.projected, kind),
            "scale": self.logit_scale,
            "text": dict(self.towers.items()).get("text"),
            "vocab_size": self._vocab_size,
            "width": (tower.width if first == "pooled" else tower.token_width) if above is None else above.width,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _read_head(self, kind: str, part: str) -> Head | None:
        return dict(self.heads.items()).get(f"{kind}/{'raw' if part == 'embedding' else part}")


def reads_of(filled: Mapping[str, object]) -> tuple[str, ...]:
    """Return what a head with these filled options reads: its option ``reads``, else what its class declares."""
    reads = filled.get("reads", _class_of(str(filled["name"])).reads)
    return (reads,) if isinstance(reads, str) else tuple(reads)  # pyrefly: ignore


def _class_of(name: str) -> type[Head]:
    return component("models/heads", name)  # pyrefly: ignore


def spread_heads(
    heads: Mapping[str, HeadSpec], asked: Iterable[tuple[str, str]], *, kinds: Sequence[str]
) -> dict[str, HeadSpec]:
    """Spread heads declared as ``"part"`` over the kinds that need the part, directly or through another head.

    `asked` are (kind, part) of the plan. A head that nothing needs is refused (ConfigError).
    """
    filled = {n: fill("models/heads", {"name": h.name, **h.options}, where=f"head {n}") for n, h in heads.items()}
    call = {n for n in heads if filled[n].get("stage", _class_of(heads[n].name).stage) == "call"}
    spread = {name for name in heads if "/" not in name and name not in call}
    found = {name: head for name, head in heads.items() if name not in spread}
    seen: set[tuple[str, str]] = set()
    explicit = [(kind, part) for kind, slash, part in (name.partition("/") for name in found) if slash]
    waiting = sorted({*asked, *explicit})
    while waiting:
        kind, part = waiting.pop()
        name = f"{kind}/{part}" if f"{kind}/{part}" in heads else part
        if (kind, part) in seen or name not in heads or name in call or kind not in kinds:
            continue
        seen.add((kind, part))
        found[f"{kind}/{part}"] = heads[name]
        waiting += [(kind, read) for read in reads_of(filled[name])]
    for name in sorted(spread - {part for _, part in seen}):
        raise ConfigError(
            f"Head {name!r} is declared, but no need asks a view for {name!r}: need it, or drop the head."
        )
    return found


def reading_order(specs: Specs, *, where: str) -> list[str]:
    """Order heads so that each comes after those of the same kind that it reads; a circle is refused (ConfigError)."""
    order: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in open_:
            raise ConfigError(f"{where}{name}: heads read each other in a circle: {' -> '.join([*open_, name])}.")
        open_.append(name)
        kind = name.rpartition("/")[0]
        for read in reads_of(fill("models/heads", specs[name], where=f"{where}{name}")):
            part = "raw" if read == "embedding" else read
            # A call-stage head has no kind: it comes after every head of the part that it reads.
            for above in specs if not kind else (f"{kind}/{part}",):
                if above in specs and above.partition("/")[2] == part:
                    visit(above)
        open_.pop()
        order.append(name)

    for name in specs:
        visit(name)
    return order

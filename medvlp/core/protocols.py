"""The parts that a developer can add, each one file: what the engine asks of them and what it promises.

Every part is a component found by its file name (`medvlp.core.registry`). The protocols are base classes where the part
holds parameters, so that a state dict, a teacher and a feature pass see them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, Plan
from medvlp.core.sample import Batch
from medvlp.core.term import Terms

if TYPE_CHECKING:
    from medvlp.core.context import Context
    from medvlp.core.table import FeatureTable


@dataclass(frozen=True)
class HeadSpec:
    """A head that an objective needs: a component of `medvlp.models.heads` and its options.

    Attributes:
        name: of the component.
        options: of its constructor.
        keep: whether it goes into the bundle, because the released model's score reads what it gives.
        twins: whether heads of this spec on several kinds start with the same weights.
        weights: safetensors file that it starts from; None: it starts afresh.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    keep: bool = False
    twins: bool = False
    weights: str | None = None


@dataclass(frozen=True)
class AnswerSpec:
    """An answer that an objective teaches: a component of `medvlp.answers` and its options.

    Attributes:
        name: of the component.
        options: of its constructor; those that the objective does not know keep their defaults.
        alias: name under which the bundle keeps it; that of the component where empty.
        score: component of `medvlp.models.scores` by which it compares, with its options; None where it compares not.
        module: that score, with what it learns; the bundle keeps its weights.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    alias: str = ""
    score: Mapping[str, object] | None = None
    module: Score | None = None


class Head(nn.Module):
    """A named map from parts of one view to more parts of it.

    Attributes:
        reads: parts it needs in the `Encoded` it is given.
        stage: ``tower``: runs inside the model, chunk by chunk; ``batch``: runs after it on all own rows of the process
            (BatchNorm allowed); ``call``: runs only when an objective calls it (``ctx.heads[name]``).
        width: of what it gives, for a head that reads it; None where that is no width.
        gives: what it gives beside the part of its own name: ``weights`` of the head ``volume`` is the part
            ``volume_weights``.
        banks: banks whose texts it has encoded, with the patches that act on them.
        names: what the second axis of what it gives names: queries, organs; none where nothing.
    """

    reads: tuple[str, ...] = ("pooled",)
    gives: tuple[str, ...] = ()
    banks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    stage: Literal["tower", "batch", "call"] = "tower"
    width: int | None = None

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {part: (R, ...)}; a head with one output gives it under the name it is mounted with."""
        raise NotImplementedError

    def released(self) -> Mapping[str, object]:
        """Options with which a bundle rebuilds it, where they are others than it was built with: no path is left."""
        return {}


class Score(nn.Module, ABC):
    """A similarity of rows and columns, used alike by objective, recipe, retrieval and evaluation.

    Attributes:
        reads: parts it needs of both sides.
        cosine: whether it is the dot product of the embeddings: then several texts are one vector, and nearest
            neighbours are found without it.
        by_token: whether it is the mean over the real tokens of a row of what each scores alone: then it has a map.
    """

    reads: tuple[str, ...] = ("embedding",)
    cosine: bool = False
    by_token: bool = False

    def heads(self) -> Mapping[str, HeadSpec]:
        """Heads that compute the parts it reads, for both sides; an objective using the score declares them."""
        return {}

    @abstractmethod
    def forward(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> Tensor:
        """Return (R, C), unscaled."""

    def both_ways(self, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (R, C) of rows and columns, and (C, R) of the same with their sides exchanged, unscaled."""
        return self(rows, columns), self(columns, rows)


@dataclass(frozen=True)
class Site:
    """A named place where a patch may wrap a module.

    Attributes:
        module: the module whose input or output passes here.
        when: ``before`` wraps the first positional input, ``after`` the output.
    """

    module: nn.Module
    when: Literal["before", "after"]


@dataclass(frozen=True)
class Level:
    """A map that an encoder offers as the part ``level[i]``.

    Attributes:
        channels: C.
        stride: view pixels to a cell, along (rows, columns) of an image, (slices, rows, columns) of a volume.
    """

    channels: int
    stride: tuple[int, ...]


class Encoder(nn.Module, ABC):
    """A tower: values of one kind -> `Encoded`.

    Attributes:
        kinds: kinds of field it encodes.
        offers: parts it can compute.
        width: W of ``pooled``.
        token_width: W of ``tokens``.
        causal: whether no token sees a later one.
        levels: maps it offers, finest first: ``level[i]`` is (R, C, H, W), of a stack or volume (R, C, S, H, W).
    """

    kinds: tuple[str, ...]
    offers: frozenset[str] = frozenset({"pooled", "tokens", "mask"})
    width: int
    token_width: int
    causal: bool = False
    levels: tuple[Level, ...] = ()

    @abstractmethod
    def forward(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """Encode R rows; `owner` is filled by the model. Only what `parts` asks for must be computed.

        Args:
            values: (R, ...); of texts their token ids (R, L), of volumes' slices (R, S, C, H, W).
            parts: what is asked for.
            mask: (R, S) or (R, L), True where a slice of a stack or a token of a text is real; None: all are.
            position: (R, S, 3) in mm, of a stack's slices.
        """

    @abstractmethod
    def sites(self) -> Mapping[str, Site]:
        """Sites: ``tokens.input``, ``block.before[i]``, ``block.after[i]``, ``block.mlp[i]``, ``linear[NAME]``..."""

    @abstractmethod
    def blank(self, device: torch.device) -> Tensor:
        """One row that stands in for an absent view, so that every process runs the same collectives."""

    def released(self) -> Mapping[str, object]:
        """Options with which a bundle rebuilds it: no first weights to fetch, nothing left to chance or to a path."""
        return {}


class Model(nn.Module, ABC):
    """``model(batch, plan) -> {view: Encoded}``: the only function that is wrapped for several processes.

    Attributes:
        heads: mounted heads by name: ``"kind/part"`` (tower and batch stage) or ``"part"`` (call stage).
    """

    heads: Mapping[str, Head]

    @property
    @abstractmethod
    def vision_kind(self) -> str:
        """Kind of pictures it is asked about: ``image``, ``stack`` or ``volume``; of several the first of `kinds`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of pictures that it encodes, into one space."""
        return (self.vision_kind,)

    def of_kind(self, kind: str) -> Model:
        """Return this model, weights shared, as one that is asked about one of its kinds.

        Raises:
            ConfigError: if it does not encode that kind.
        """
        if kind not in self.kinds:
            raise ConfigError(f"This model encodes {' and '.join(self.kinds)} and not {kind}: choose another.")
        return self

    @property
    def reads_text(self) -> bool:
        """Whether it encodes texts."""
        return True

    @property
    @abstractmethod
    def slice_weights(self) -> str | None:
        """Part of a stack that says how much each of its slices counts; None where nothing does."""

    @abstractmethod
    def forward(self, batch: Batch, plan: Plan) -> dict[str, Encoded]:
        """Encode the planned views with the parts asked for, tower-stage heads included."""

    @abstractmethod
    def finish(self, encoded: Mapping[str, Encoded], plan: Plan) -> dict[str, Encoded]:
        """Apply the planned batch-stage heads on all own rows."""

    @abstractmethod
    def mount(self, heads: Mapping[str, HeadSpec], plan: Plan) -> None:
        """Build and mount heads that objectives declare, for the kinds the plan asks them of; training only."""

    @abstractmethod
    def check(self, plan: Plan) -> None:
        """Refuse a plan that this model cannot compute.

        Raises:
            ConfigError: naming the need and what the model offers.
        """

    @property
    @abstractmethod
    def scale(self) -> nn.Module:
        """The logit scale: called with scores (R, C) it returns them scaled and shifted."""

    @abstractmethod
    def outside_forward(self) -> list[str]:
        """Names of parameters not used in `forward` (batch and call heads, scale): averaged once by the task."""

    def loaded_heads(self) -> Mapping[str, str]:
        """Heads that started from a file -> its SHA-256."""
        return {}

    def unchanged_heads(self) -> Mapping[str, str]:
        """Heads from a file that only training uses, are frozen, and still equal that file."""
        return {}

    def left_out(self) -> tuple[str, ...]:
        """Prefixes of the parameters that only training needs: a bundle is without them."""
        return ()


class Objective(nn.Module, ABC):
    """A loss: it declares what it needs, and returns terms. It knows no ranks, devices, chunks or logs.

    Attributes:
        scope: ``batch``: evaluated once on all own rows, may use `Context.all`; ``sample``: evaluated inside each
            chunk, a sum over samples.
    """

    scope: Literal["batch", "sample"] = "batch"

    @abstractmethod
    def needs(self) -> frozenset[Key]:
        """What the context must hold; may depend on options, never on the batch."""

    def heads(self) -> Mapping[str, HeadSpec]:
        """Heads to mount: ``"part"`` on every kind the needs ask it of, or ``"kind/part"``."""
        return {}

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """Views that make fields which it needs: components of `medvlp.data.views`, put last, each once."""
        return ()

    def answers(self) -> Sequence[AnswerSpec]:
        """What a model trained by it can be asked; heads that an answer reads are declared with ``keep=True``."""
        return ()

    @abstractmethod
    def forward(self, ctx: Context) -> Terms:
        """Return {name: Term}."""

    def extra_repr(self) -> str:
        """Name the options that are words, numbers or lists of them."""
        plain = {k: v for k, v in vars(self).items() if k[0] != "_" and isinstance(v, str | int | float | tuple)}
        return ", ".join(f"{name}={value}" for name, value in plain.items() if name != "training")


class State(ABC):
    """What lives across steps. The same bytes on every process.

    Attributes:
        needs_refresh: whether it is empty before its first `refresh`: a recipe that never refreshes it is refused.
        encodes_in_steps: whether it lets the model that it was built with encode at every step; processes that hold
            that model in parts (fsdp) have all of it at a `refresh` alone.
    """

    needs_refresh: bool = False
    encodes_in_steps: bool = False

    def needs(self) -> frozenset[Key]:
        """What `observe` reads, at every step."""
        return frozenset()

    def refresh_needs(self) -> frozenset[Key]:
        """What `refresh` reads: the columns of its table."""
        return frozenset()

    def fields(self) -> tuple[str, ...]:
        """Batch fields that it adds, by sample id."""
        return ()

    def extend(self, batch: Batch) -> Batch:
        """Return the batch with those fields."""
        return batch

    def refresh(self, table: FeatureTable) -> None:  # noqa: B027
        """Update from a feature pass: the table holds the rows of this process; in rank order they are the whole."""

    def observe(self, ctx: Context) -> None:  # noqa: B027
        """Look at a step's features, once per optimiser step, before it."""

    def after_step(self, model: nn.Module, samples_seen: int) -> None:  # noqa: B027
        """Follow the model, once per optimiser step, after it."""

    def restructure(self, model: Model) -> None:  # noqa: B027
        """Follow the model after patches changed which tensors it has."""

    def operate(self, surgery: Callable[[Model], None]) -> None:  # noqa: B027
        """Apply the model's surgery to a model that this state holds, such as an EMA teacher."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Tensors to save."""

    @abstractmethod
    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""


class Teacher(State):
    """A state that encodes: asked by keys ``NAME:view/part``, always without gradient."""

    @abstractmethod
    def bind(self, model: Model) -> None:
        """Look at the freshly built student, once, before the first step."""

    @abstractmethod
    def encode(self, batch: Batch, plan: Plan) -> dict[str, Encoded]:
        """Encode and finish the planned views."""

    def check(self, plan: Plan) -> None:
        """Refuse, once bound, a plan that it cannot encode.

        Raises:
            ConfigError: naming the need and what the teacher offers.
        """

"""A tower's forward pass as compiled graphs, one for each shape of question, checked against torch when it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import get_args

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.protocols import Encoder, Model
from medvlp.models.backends.engines import ENGINES, Engine, Graph, Outputs
from medvlp.models.backends.int8 import Int8, stored
from medvlp.models.patches._patch import acting

BACKENDS = ("torch", *get_args(Engine), "int8")
LEAST_COSINE = 0.9995  # of any row's outputs with torch's

_PARTS = frozenset({"pooled", "tokens", "mask"})  # what a graph gives; the rest lies inside the tower
_CHECKED = 8  # rows
WORTH = 1000  # texts before a graph of them is made: the prompts of a prediction are done sooner than that


def use_backend(model: Model, name: str, int8: Int8 | None = None) -> list[CompiledTower]:
    """Let another engine compute a model's towers of images, slices and texts; with ``torch`` nothing is changed.

    Graphs are made when they are first needed, of texts when there are many, in seconds. Each is compared with torch on
    what it was made for. With ``int8`` the graphs are those that the bundle holds, and all other towers stay torch's.

    Args:
        model: in evaluation mode, on the processor.
        name: one of `BACKENDS`.
        int8: the bundle's towers in 8 bits, where it holds some.

    Returns:
        The towers, which know how well they agree.

    Raises:
        ConfigError: if there is no such backend, or the model has patches, whose place is inside a tower.
        UserError: if the engine is not installed, the model is on another device than the processor, or the bundle
            holds no towers in 8 bits and they are asked for.
    """
    if name not in BACKENDS:
        raise ConfigError(f"There is no backend {name!r}: choose {', '.join(BACKENDS)}.")
    if name == "torch":
        return []
    refuse_patches(model, name)
    if (device := next(model.parameters()).device).type != "cpu":
        raise UserError(f"The backend {name} computes on the processor, and the model is on {device}: use torch there.")
    if name == "int8":
        if int8 is None:
            raise UserError("The bundle holds no towers in 8 bits: make one that does with `medvlp quantise`.")
        named = {n: each for n, each in model.named_modules() if n in int8.graphs and isinstance(each, Encoder)}
        return [CompiledTower(each, stored(n, int8.graphs[n]), least=-1.0) for n, each in named.items()]
    engine = ENGINES[name]()
    towers = [each for each in model.modules() if isinstance(each, Encoder) and {"image", "text"} & set(each.kinds)]
    inner = {id(part) for tower in towers for part in tower.modules() if part is not tower}  # of a `mof`, in its graph
    towers = [each for each in towers if id(each) not in inner]
    return [CompiledTower(tower, engine, least=LEAST_COSINE) for tower in towers]


def refuse_patches(model: Model, name: str) -> None:
    """Refuse graphs of a model with patches that act in use (ConfigError)."""
    if acting(model):
        raise ConfigError(f"The model has patches, which have no place in a graph of {name}: use the backend torch.")


class CompiledTower:
    """Stands in for the forward pass of a tower; see the module.

    Args:
        tower: whose forward pass it takes.
        engine: (`Outputs`, example inputs, dynamic sizes) -> graph.
        least: cosine with torch below which a graph is refused.

    Attributes:
        cosine: the least cosine of any row's outputs with torch's, over all graphs so far; 1 before the first.
    """

    def __init__(self, tower: Encoder, engine: Callable[..., Graph], *, least: float) -> None:
        self.cosine, self._least = 1.0, least
        self._tower, self._engine, self._plain = tower, engine, tower.forward
        self._graphs: dict[tuple[object, ...], Graph] = {}
        self._grids: dict[tuple[object, ...], tuple[int, ...] | None] = {}
        self._lock = Lock()
        self._texts = 0
        tower.forward = self  # type: ignore[method-assign]

    @property
    def used(self) -> bool:
        """Whether a graph was made: what lies inside the tower, and a few texts, are computed by torch."""
        return bool(self._graphs)

    def __call__(
        self, values: Tensor, *, parts: frozenset[str], mask: Tensor | None = None, position: Tensor | None = None
    ) -> Encoded:
        """See `Encoder.forward`."""
        wanted = ["pooled"] * ("pooled" in parts) + ["tokens"] * bool(parts & {"tokens", "mask"})
        if torch.is_grad_enabled() or self._tower.training or not wanted or not parts <= _PARTS or not len(values):
            return self._plain(values, parts=parts, mask=mask, position=position)
        words = "text" in self._tower.kinds
        self._texts += len(values) if words else 0
        if words and self._texts <= WORTH:
            return self._plain(values, parts=parts, mask=mask, position=position)
        if words and mask is None:
            mask = torch.ones_like(values, dtype=torch.bool)
        inputs = (values,) if mask is None or not words else (values, mask)
        key = (*wanted, *(() if words else values.shape[1:]))
        with self._lock:
            if key not in self._graphs:
                self._graphs[key] = self._made(wanted, inputs)
                self._grids[key] = self._checked(self._graphs[key], wanted, parts, inputs)
            found = dict(zip(wanted, self._graphs[key](inputs), strict=True))
        tokens = found.get("tokens")
        if not words:  # every token of a picture is real
            mask = None if tokens is None else torch.ones(tokens.shape[:2], dtype=torch.bool)
        owner, grid = torch.arange(len(values)), self._grids[key]
        return Encoded(owner=owner, grid=grid, pooled=found.get("pooled"), tokens=tokens, mask=mask)

    def _made(self, wanted: Sequence[str], inputs: tuple[Tensor, ...]) -> Graph:
        # Of one row the exporter would make a graph for one row.
        rows, module = torch.export.Dim("rows", min=1), Outputs(self._tower, self._plain, wanted)
        if len(inputs) == 1:
            return self._engine(module, (torch.cat([inputs[0][:1]] * 2),), ({0: rows},))
        most = self._tower.words.max_length  # type: ignore[union-attr]
        ids = inputs[0].new_full((2, min(most, 12)), int(inputs[0][0, 0]))
        mask = torch.arange(ids.shape[1])[None] < torch.tensor([[ids.shape[1]], [ids.shape[1] // 2 + 1]])
        sizes = {0: rows, 1: torch.export.Dim("length", min=2, max=most)}
        return self._engine(module, (ids, mask), (sizes, sizes))

    def _checked(
        self, graph: Graph, wanted: Sequence[str], parts: frozenset[str], inputs: tuple[Tensor, ...]
    ) -> tuple[int, ...] | None:
        some = tuple(each[:_CHECKED] for each in inputs)
        plain = self._plain(some[0], parts=parts, mask=some[1] if len(some) > 1 else None)
        for name, found in zip(wanted, graph(some), strict=True):
            expected = getattr(plain, name)
            if name == "tokens" and plain.mask is not None:  # what stands in padding is nobody's
                found, expected = found * plain.mask[..., None], expected * plain.mask[..., None]
            cosine = nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min().item()
            self.cosine = min(cosine, self.cosine)  # in this order what is not a number stays so
        if not self.cosine >= self._least:
            raise UserError(
                f"The backend computes the tower of {self._tower.kinds[0]} otherwise than torch (cosine "
                f"{self.cosine:.5f}, and {self._least} is asked for): use the backend torch."
            )
        return plain.grid

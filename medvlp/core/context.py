"""What an objective sees of a step: own rows, everybody's rows, who is the same as whom, states and draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, parse_key
from medvlp.core.parts import FieldRows, Part
from medvlp.core.places import record_tensor
from medvlp.core.randomness import hashed_uniform
from medvlp.core.sample import Batch
from medvlp.core.step_index import REPORT, Exchange, IntArray, StepIndex, share_a_tag

T = TypeVar("T")
# What the words of `Context.same` compare; any other word is the name of a batch field.
_SAME = {"sample": (), "report": ("text", REPORT), "study": ("id.study",), "patient": ("id.patient",)}


class Context:
    """See the module. Built by the task; by hand, for an example or a test of an objective, with `of`.

    Args:
        parts: planned key -> rows.
        batch: the samples of this process (or of this chunk, for sample-scope objectives).
        scale: the model's logit scale.
        states: by name.
        heads: call-stage heads by name.
        seed: of the run.
        samples_seen: by the whole run, before this step.
        chunk: True inside a chunk: `all` is refused, because other chunks are not there.
        exchange: what processes tell each other, and what earlier steps' messages were; None: this is the first step.

    Example:
        >>> ctx = Context.of({"image/raw": torch.eye(2)}, {"text": ["a", "a"]})
        >>> ctx["image/raw"].shape, ctx.same("report", rows="image", columns="image").all().item()
        (torch.Size([2, 2]), True)
    """

    def __init__(
        self,
        *,
        parts: Mapping[Key, Part],
        batch: Batch,
        scale: nn.Module | None = None,
        states: Mapping[str, object] | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        seed: int = 0,
        samples_seen: int = 0,
        chunk: bool = False,
        exchange: Exchange | None = None,
    ) -> None:
        self.parts = parts
        self.batch = batch
        self.scale = scale if scale is not None else nn.Identity()
        self.state = {} if states is None else states
        self.heads = heads or {}
        self.samples_seen = samples_seen
        self._seed = seed
        self._chunk = chunk
        self._gathered: dict[str, Tensor] = {}
        self._made: dict[str, object] = {}
        self._exchange = exchange if exchange is not None else Exchange()
        self._whole: StepIndex | None = None

    @classmethod
    def of(
        cls,
        rows: Mapping[str, Tensor | Part],
        fields: Mapping[str, Tensor | Sequence[str]] | Batch,
        *,
        states: Mapping[str, object] | None = None,
    ) -> Context:
        """Make a context by hand, as an example or a test of an objective needs it.

        Args:
            rows: key -> rows (R, ...), the i-th of sample i; a `Part` where samples have several rows or none.
            fields: field -> one value a sample, or a whole batch.
            states: by name.

        Example:
            >>> rows = torch.eye(2)
            >>> Context.of({"image/embedding": rows, "text/embedding": rows}, {"text": ["clear", "nodule"]}).batch.size
            2
        """
        parts = {parse_key(k): v if isinstance(v, Part) else Part(v, torch.arange(len(v))) for k, v in rows.items()}
        return cls(parts=parts, batch=fields if isinstance(fields, Batch) else Batch.of(fields), states=states)

    def __getitem__(self, key: str) -> Tensor:
        """Own rows (R, ...) of a key, or the (B, ...) values of a batch field."""
        parsed = parse_key(key)
        if parsed.is_field:
            fields = self._exchange.fields
            if fields is not None and parsed.view not in fields | {each.view for each in self.parts}:
                raise ConfigError(f"Field {key!r} was not planned: {did_you_mean(key, fields)}; let needs() name it.")
            values = self.batch[parsed.view].values
            if not isinstance(values, Tensor):
                raise ConfigError(f"Field {key!r} holds words: use ctx.same({key!r}) or ctx.batch.strings({key!r}).")
            return values
        return self._part(key).values

    def owner(self, key: str) -> Tensor:
        """Which sample owns each own row, (R,) int64, counted over all processes."""
        owner = self._part(key).owner
        return owner if parse_key(key).is_bank else torch.where(owner >= 0, owner + self._index.first, owner)

    def all(self, key: str) -> Tensor:
        """Everybody's rows (sum of R, ...) in rank order, with exact gradients; a bank is everybody's already."""
        self._refuse_chunk(key)
        # Kept for whoever asks next, who may want the gradient that this one switched off.
        with torch.enable_grad():
            if key not in self._gathered:
                self._gathered |= self._gather(key)
        return self._gathered[key]

    def all_owner(self, key: str) -> Tensor:
        """The owner of each row of `all`."""
        bank = parse_key(key).is_bank
        return self.once(f"owner of {key}", lambda: self.owner(key) if bank else self._device(self._index.owner(key)))

    def own(self, key: str) -> Tensor:
        """Where own rows stand within `all`, (R,) int64."""
        owner = self._part(key).owner
        start = 0 if parse_key(key).is_bank else self._index.own(key).start
        return torch.arange(len(owner), device=owner.device) + start

    def rows(self, field: str, key: str) -> FieldRows:
        """Return a batch field's rows beside each own row of a key: those of the same sample.

        Where the key's view is the field itself, they are each row's own. A sample may have no row of the field, one or
        several; `FieldRows.one` gives one value a row of the key.

        Raises:
            ConfigError: if the field holds words, or the batch lacks it.

        Example:
            >>> rows = {"text/raw": Part(torch.eye(3), torch.tensor([0, 1, 1]))}
            >>> ctx = Context.of(rows, {"label.effusion": torch.tensor([0.0, 1.0])})
            >>> ctx.rows("label.effusion", "text/raw").one().tolist()
            [0.0, 1.0, 1.0]
        """
        values = self[field]
        row, index = self._beside(field, key)
        return FieldRows(field, values[index], row, len(self._part(key).owner))

    def ids(self, key: str) -> list[str]:
        """Return the id of the sample of each own row of a key."""
        return [self.batch.ids[i] for i in self._part(key).owner.tolist()]

    def grid(self, key: str) -> tuple[int, ...]:
        """Return (rows, columns) of a view's tokens or of a map ``level[i]``, (S, rows, columns) of a stack's.

        Raises:
            ConfigError: if its tokens form no grid.
        """
        if parse_key(key).part.startswith("level["):
            return tuple(self._part(key).values.shape[2:])
        found = self._part(key).grid
        if found is None:
            raise ConfigError(
                f"The tokens of {key!r} form no grid, so nobody can tell where they lie: use a tower whose tokens do, "
                "and leave token dropping out."
            )
        return found

    def record(self, key: str) -> Tensor:
        """Return where the view of each own row lies in its source: points (x, y, 1) of its pixels -> of the source.

        Args:
            key: of an image or stack.

        Returns:
            float32: of images (R, 2, 3), of a volume's slices (R, 3, 4), of stacks (R, S, 3, 4); see
            `medvlp.core.places.record_tensor`.

        Raises:
            ConfigError: if it is not known of all rows.

        Example:
            >>> from medvlp.core.sample import Column, ImageRecord
            >>> crop = Column(torch.zeros(1, 1, 2, 2), torch.tensor([0]))
            >>> where = {"image": (ImageRecord(seed=0, box=(4, 4, 8, 8)),)}
            >>> batch = Batch(("a",), torch.arange(1), {"image": crop}, where)
            >>> ctx = Context.of({"image/raw": torch.zeros(1, 3)}, batch)
            >>> (ctx.record("image/raw") @ torch.tensor([1.0, 1.0, 1.0])).tolist()  # the middle of the view
            [[6.0, 6.0]]
        """
        view, rows = parse_key(key).view, len(self._part(key).owner)
        records = self.batch.records.get(view, ())
        if len(records) != rows:
            raise ConfigError(
                f"It is not known where {view!r} lies in its source: let the views of the data read it from files."
            )
        column = self.batch[view]
        assert isinstance(column.values, Tensor), "pictures have records"
        size = column.values.shape[-2:] if column.mask is None else (column.values.shape[1], *column.values.shape[-2:])
        found = record_tensor(records, size).to(column.values.device)
        return found if column.mask is None else found * column.mask[:, :, None, None]

    def same(self, what: str, *, rows: str, columns: str, part: slice = slice(None)) -> Tensor:
        """Whether own rows and everybody's columns are the same in some respect, bool (R, C).

        Samples are compared by their ids, labels and numbers. Of a field that may have several rows a sample (a text)
        rows are compared: a row of the field's own view has its own value, any other row every value of its sample, and
        two are the same if they have one in common.

        Args:
            what: ``sample``, ``report`` (equal text, white space and case aside, or the same whole report, however
                views shortened or rewrote it: ``id.report``), ``study``, ``patient`` (equal ids, to the letter), or the
                name of a batch field. A missing value, or label -1, equals nothing; rows of a sample belong together.
            rows: view or key of the rows, e.g. ``"image"``.
            columns: view or key of the columns.
            part: some of the own rows.

        Example:
            >>> from medvlp.core.sample import Column
            >>> owner = torch.tensor([0, 0, 1])
            >>> words = Column(("Nodule.", "Effusion.", "effusion."), owner)
            >>> rows = {"text/raw": Part(torch.eye(3), owner), "image/raw": torch.eye(2)}
            >>> ctx = Context.of(rows, Batch(("a", "b"), torch.arange(2), {"text": words}))
            >>> ctx.same("text", rows="image", columns="text").tolist()
            [[True, True, True], [False, True, True]]
        """
        row_key, column_key = self._any_key(rows), self._any_key(columns)
        row_owner, column_owner = self.owner(row_key)[part], self.all_owner(column_key)
        same = torch.where(row_owner >= 0, row_owner, -2)[:, None] == column_owner[None, :]  # no column is of -2
        for name in _SAME.get(what, (what,)):
            if name not in self._index and name != REPORT:
                raise ConfigError(f"ctx.same needs field {name!r}: {did_you_mean(name, self.batch.columns)}.")
            if self._index.anywhere(name) and not (parse_key(row_key).is_bank or parse_key(column_key).is_bank):
                own = self._tags(name, row_key)[self._index.own(row_key)][part]
                same = same | share_a_tag(own, self._tags(name, column_key))
        return same

    def shared_labels(self, *, rows: str, columns: str, part: slice = slice(None)) -> Tensor:
        """Whether two samples share a present finding over all ``label`` fields, bool (R, C); `part` as in `same`."""
        names = sorted(name for name in self.batch.columns if name.startswith("label"))
        if not names:
            raise ConfigError("Shared labels need label fields, and the batch has none: add labels to the manifest.")

        def present() -> Tensor:
            own = torch.stack([cast("Tensor", self.batch[name].values) == 1 for name in names], dim=1)  # (B, L)
            return own if self._chunk else collectives.gather_rows(own)

        labels = self.once("labels", present).float()
        row_owner, column_owner = self.owner(self._any_key(rows))[part], self.all_owner(self._any_key(columns))
        own = row_owner[:, None] == column_owner[None, :]
        return own | (labels[row_owner] @ labels[column_owner].T > 0)

    def gather(self, values: Tensor, owner: Tensor) -> Part:
        """Gather over all processes what an objective computed itself, with exact gradients.

        Every process must call it, with as many rows as it has, and let the result take part in its term.

        Args:
            values: (R, ...) of this process; rows of other processes may be longer along their first axis and are
                padded alike with zeros.
            owner: (R,) the sample of each row, counted over all processes as `owner` does.

        Returns:
            Everybody's rows in rank order, with their owners.

        Example:
            >>> ctx = Context.of({}, {"text": ["a", "b"]})
            >>> ctx.gather(torch.eye(2), torch.arange(2)).owner.tolist()
            [0, 1]
        """
        self._refuse_chunk("rows")
        if collectives.world_size() == 1:
            return Part(values, owner)
        sizes = owner.new_tensor([len(values), values.shape[1] if values.dim() > 1 else 1])
        every = self._exchange.integers(torch.cat([sizes, owner]))
        values = _padded(values, max(int(each[1]) for each in every))
        rows = collectives.gather_rows(values, [int(each[0]) for each in every])
        return Part(rows, self._device(np.concatenate([each[2:] for each in every])))

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Make something once a step, for all who ask for it by its name.

        Example:
            >>> ctx = Context.of({}, {"text": ["a"]})
            >>> ctx.once("draws", list) is ctx.once("draws", list)
            True
        """
        if name not in self._made:
            # A state that looks first does so without gradient, and an objective that asks for the same needs it.
            with torch.enable_grad():
                self._made[name] = make()
        return cast("T", self._made[name])

    def uniform(self, *shape: int, name: str) -> Tensor:
        """Draws in [0, 1) for each own sample, (B, *shape) float32: a function of (seed, position, name) alone."""
        draws = self._draws(self.batch.positions.numpy(), shape, name)
        return draws.reshape(self.batch.size, *shape).to(self.batch.device)

    def uniform_shared(self, *shape: int, name: str) -> Tensor:
        """Draws in [0, 1) that the whole step shares, (*shape) float32: the same on every process and in every chunk.

        A function of (seed, samples seen before the step, name) alone.

        Example:
            >>> first, second = (Context.of({}, Batch.of({"text": [word]}, first=5)) for word in "ab")
            >>> bool((first.uniform_shared(3, name="classes") == second.uniform_shared(3, name="classes")).all())
            True
        """
        draws = self._draws(np.array([self.samples_seen]), shape, f"shared {name}")
        return draws.reshape(shape).to(self.batch.device)

    def _draws(self, positions: np.ndarray, shape: tuple[int, ...], name: str) -> Tensor:
        """Return draws for each position, (P, prod(shape)) float32."""
        return torch.from_numpy(hashed_uniform(self._seed, name, math.prod(shape), positions))

    def _part(self, key: str) -> Part:
        parsed = parse_key(key)
        if parsed not in self.parts:
            known = did_you_mean(key, map(str, self.parts))
            raise ConfigError(f"Key {key!r} was not planned: {known}; let needs() name it.")
        return self.parts[parsed]

    def _any_key(self, view: str) -> str:
        if "/" in view:
            return view
        for key in sorted(self.parts):
            if key.view == view and not key.who:
                return str(key)
        raise ConfigError(f"View {view!r} was not planned: {did_you_mean(view, {k.view for k in self.parts})}.")

    def _refuse_chunk(self, key: str) -> None:
        if self._chunk:
            raise ConfigError(f"A sample-scope objective asked for everybody's {key!r}: declare scope = 'batch'.")

    @property
    def index(self) -> StepIndex:
        """Which rows and which small field values all processes hold, on the host.

        Example:
            >>> ctx = Context.of({"image/raw": torch.eye(2)}, {"text": ["a", "b"]})
            >>> ctx.index.owner("image/raw").tolist(), ctx.index.own("image/raw")
            ([0, 1], slice(0, 2, None))
        """
        self._refuse_chunk("rows")
        return self._index

    @property
    def _index(self) -> StepIndex:
        """Return what all processes hold, or inside a chunk the chunk alone; the first to ask sends the message."""
        if self._whole is None:
            self._whole = StepIndex(self.parts, self.batch, self._exchange, local=self._chunk)
        return self._whole

    def _device(self, values: IntArray) -> Tensor:
        return torch.from_numpy(values).to(self.batch.device)

    def _gather(self, key: str) -> dict[str, Tensor]:
        """Return everybody's rows of a key, and of those that were asked for in earlier steps, as one message."""
        part = self._part(key)
        if parse_key(key).is_bank or collectives.world_size() == 1:
            return {key: part.values}
        wanted = [key]
        if parse_key(key) not in self._exchange.apart:
            self._exchange.asked[key] = None
            there = {str(known): each.values.dtype for known, each in self.parts.items()}
            asked = [each for each in self._exchange.asked if there.get(each) == part.values.dtype]
            wanted = [each for each in asked if each not in self._gathered]
        values = [_padded(self._part(each).values, self._index.width(each)) for each in wanted]
        rows = collectives.gather_together(values, [self._index.counts(each) for each in wanted])
        return dict(zip(wanted, rows, strict=True))

    def _beside(self, field: str, key: str) -> tuple[Tensor, Tensor]:
        """Return pairs (own row of a key, row of a batch field) that belong together, (F,) each, in the key's order."""
        owner, of_field = self._part(key).owner, self.batch[field].owner
        parsed = parse_key(key)
        alike = parsed.view == field and torch.equal(owner, of_field)
        if alike or (parse_field(field).spec.collate == "stack" and not parsed.is_bank):
            row = torch.arange(len(owner), device=owner.device)
            return row, row if alike else owner
        row, index = (owner[:, None] == of_field[None, :]).nonzero(as_tuple=True)
        return row, index

    def _tags(self, name: str, key: str) -> Tensor:
        """Return tags of a field's values beside each of everybody's rows of a key, (sum of R, K); 0 is none."""
        return self.once(f"{name} beside {key}", lambda: self._device(self._index.tags(name, key)))


def _padded(values: Tensor, width: int) -> Tensor:
    """Pad axis 1 of (R, N, ...) rows with zeros: token counts differ between processes."""
    if values.dim() < 2 or width <= values.shape[1]:
        return values
    pad = values.new_zeros((values.shape[0], width - values.shape[1], *values.shape[2:]))
    return torch.cat([values, pad], dim=1)

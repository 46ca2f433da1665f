"""What an objective sees of a step: own rows, everybody's rows, who is the same as whom, states and draws."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.errors import ConfigError
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, parse_key
from medvlp.core.parts import FieldRows, Part
from medvlp.core.places import record_tensor
from medvlp.core.randomness import hashed_uniform
from medvlp.core.sample import Batch
from medvlp.core.suggest import did_you_mean

_REPORT = "id.report"  # left by views that show a part of a report, so that its whole is still known
# What the words of `Context.same` compare; any other word is the name of a batch field.
_SAME = {"sample": (), "report": ("text", _REPORT), "study": ("id.study",), "patient": ("id.patient",)}


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
    ) -> None:
        self.parts = parts
        self.batch = batch
        self.scale = scale if scale is not None else nn.Identity()
        self.state = states or {}
        self.heads = heads or {}
        self.samples_seen = samples_seen
        self._seed = seed
        self._chunk = chunk
        self._gathered: dict[str, Tensor] = {}
        self._first: int | None = None

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
            values = self.batch[parsed.view].values
            if not isinstance(values, Tensor):
                raise ConfigError(f"Field {key!r} holds words: use ctx.same({key!r}) or ctx.batch.strings({key!r}).")
            return values
        return self._part(key).values

    def owner(self, key: str) -> Tensor:
        """Which sample owns each own row, (R,) int64, counted over all processes."""
        owner = self._part(key).owner
        return torch.where(owner >= 0, owner + self._first_sample(), owner)

    def all(self, key: str) -> Tensor:
        """Everybody's rows (sum of R, ...) in rank order, with exact gradients; a bank is everybody's already."""
        self._refuse_chunk(key)
        # Kept for whoever asks next, who may want the gradient that this one switched off.
        with torch.enable_grad():
            return self._once(key, lambda: self._everybodys(key, self[key]))

    def all_owner(self, key: str) -> Tensor:
        """The owner of each row of `all`."""
        return self._once(f"owner of {key}", lambda: self._everybodys(key, self.owner(key)))

    def own(self, key: str) -> Tensor:
        """Where own rows stand within `all`, (R,) int64."""
        owner = self._part(key).owner
        counts = collectives.gather_objects(len(owner))
        start = 0 if self._chunk or parse_key(key).is_bank else sum(counts[: collectives.rank()])
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

    def same(self, what: str, *, rows: str, columns: str) -> Tensor:
        """Whether own rows and everybody's columns are the same in some respect, bool (R, C).

        Samples are compared by their ids, labels and numbers. Of a field that may have several rows a sample (a text)
        rows are compared: a row of the field's own view has its own value, any other row every value of its sample, and
        two are the same if they have one in common.

        Args:
            what: ``sample``, ``report`` (equal text, white space and case aside, or the same whole report, however
                views shortened or rewrote it: ``id.report``), ``study``, ``patient``, or the name of a batch field. A
                missing value equals nothing; the rows of a sample always belong together.
            rows: view or key of the rows, e.g. ``"image"``.
            columns: view or key of the columns.

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
        row_owner, column_owner = self.owner(row_key), self.all_owner(column_key)
        same = (row_owner[:, None] == column_owner[None, :]) & (row_owner >= 0)[:, None]
        for name in _SAME.get(what, (what,)):
            same = same | _share(self._tags(name, row_key), self._all_tags(name, column_key))
        return same

    def shared_labels(self, *, rows: str, columns: str) -> Tensor:
        """Whether two samples share at least one present finding over all ``label`` fields, bool (R, C)."""
        names = sorted(name for name in self.batch.columns if name.startswith("label"))
        if not names:
            raise ConfigError("Shared labels need label fields, and the batch has none: add labels to the manifest.")

        def present() -> Tensor:
            own = torch.stack([self[name] == 1 for name in names], dim=1)  # (B, L)
            return own if self._chunk else collectives.gather_rows(own)

        labels = self._once("labels", present).float()
        row_owner, column_owner = self.owner(self._any_key(rows)), self.all_owner(self._any_key(columns))
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
        return Part(collectives.gather_rows(_pad_alike(values)), collectives.gather_rows(owner))

    def uniform(self, *shape: int, name: str) -> Tensor:
        """Draws in [0, 1) for each own sample, (B, *shape) float32: a function of (seed, position, name) alone."""
        draws = self._draws(self.batch.positions.cpu().numpy(), shape, name)
        return draws.reshape(self.batch.size, *shape).to(self.batch.positions.device)

    def uniform_shared(self, *shape: int, name: str) -> Tensor:
        """Draws in [0, 1) that the whole step shares, (*shape) float32: the same on every process and in every chunk.

        A function of (seed, samples seen before the step, name) alone.

        Example:
            >>> first, second = (Context.of({}, Batch.of({"text": [word]}, first=5)) for word in "ab")
            >>> bool((first.uniform_shared(3, name="classes") == second.uniform_shared(3, name="classes")).all())
            True
        """
        draws = self._draws(np.array([self.samples_seen]), shape, f"shared {name}")
        return draws.reshape(shape).to(self.batch.positions.device)

    def _draws(self, positions: np.ndarray, shape: tuple[int, ...], name: str) -> Tensor:
        """Return draws for each position, (P, prod(shape)) float32."""
        return torch.from_numpy(hashed_uniform(self._seed, name, math.prod(shape), positions))

    def _part(self, key: str) -> Part:
        parsed = parse_key(key)
        if parsed not in self.parts:
            raise ConfigError(f"Key {key!r} was not planned: {did_you_mean(key, map(str, self.parts))}.")
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

    def _first_sample(self) -> int:
        if self._first is None:
            counts = [] if self._chunk else collectives.gather_objects(self.batch.size)
            self._first = sum(counts[: collectives.rank()])
        return self._first

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
        """Return 63-bit tags of a field's values beside each own row of a key, (R, K); 0 where there is none."""
        owner = self._part(key).owner
        if name not in self.batch.columns:
            if name != _REPORT:
                raise ConfigError(f"ctx.same needs field {name!r}: {did_you_mean(name, self.batch.columns)}.")
            return owner.new_zeros(len(owner), 1)

        def tags() -> Tensor:
            values = self.batch.columns[name].values
            if isinstance(values, Tensor):
                words = ["" if bool(v.isnan().any()) else repr(v.tolist()) for v in values]
            else:
                words = [" ".join(word.lower().split()) for word in values]
            row, index = self._beside(name, key)
            own = torch.tensor([_tag(word) for word in words], dtype=torch.int64, device=owner.device)
            return FieldRows(name, own[index], row, len(owner)).padded()

        return self._once(f"{name} beside {key}", tags)

    def _all_tags(self, name: str, key: str) -> Tensor:
        return self._once(f"all {name} beside {key}", lambda: self._everybodys(key, self._tags(name, key)))

    def _once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if name not in self._gathered:
            # A state that looks first does so without gradient, and an objective that asks for the same rows needs it.
            with torch.enable_grad():
                self._gathered[name] = make()
        return self._gathered[name]

    def _everybodys(self, key: str, values: Tensor) -> Tensor:
        """Gather rows of a key; those of a chunk, or of a bank, are everybody's already."""
        own = self._chunk or parse_key(key).is_bank
        return values if own else collectives.gather_rows(_pad_alike(values))


def _tag(word: str) -> int:
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 1) | 1 if word else 0


def _share(rows: Tensor, columns: Tensor) -> Tensor:
    """Whether tags (R, K) and (C, L) have one in common, bool (R, C)."""
    found = torch.zeros(len(rows), len(columns), dtype=torch.bool, device=rows.device)
    for own in rows.unbind(1):
        for other in columns.unbind(1):
            found |= (own[:, None] == other[None, :]) & (own != 0)[:, None]
    return found


def _pad_alike(values: Tensor) -> Tensor:
    """Pad axis 1 of (R, N, ...) rows with zeros to the longest of all processes: token counts differ between them."""
    if values.dim() < 2 or collectives.world_size() == 1:
        return values
    longest = max(collectives.gather_objects(values.shape[1]))
    if longest == values.shape[1]:
        return values
    pad = values.new_zeros((values.shape[0], longest - values.shape[1], *values.shape[2:]))
    return torch.cat([values, pad], dim=1)

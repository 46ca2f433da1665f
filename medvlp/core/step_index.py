"""Which rows and which small field values all processes hold in a step: one message, read by the host once.

Everything that a loss asks about other processes' samples (who owns which row, whose report is equal, which facts a
text states) is worked out from it on the host, without further messages and without waiting for the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, parse_key
from medvlp.core.parts import Part
from medvlp.core.sample import Batch

IntArray = NDArray[np.int64]

REPORT = "id.report"  # left by views that show a part of a report, so that its whole is still known

# Kinds whose values are few and small: words as tags, everything else as the bits of its numbers.
_SENT = ("text", "id", "label", "number", "graph")


class Exchange:
    """What a task remembers of its steps' messages: how long they were, and which rows were asked for.

    Both are functions of the configuration and of what all processes were sent, and so the same on all of them.

    Args:
        fields: batch fields whose values others may ask for, the same on all processes; one that a batch lacks has no
            rows there. None: what the batch has.

    Attributes:
        apart: keys whose rows are gathered each for itself, because a head outside the towers made them: with a message
            in common, a head that no term of the step uses would get a gradient of zeros in the place of none.
    """

    def __init__(self, fields: Sequence[str] | None = None) -> None:
        self.fields = None if fields is None else {*fields, REPORT}
        self.apart: frozenset[Key] = frozenset()
        self.capacity = 1024
        self.asked: dict[str, None] = {}

    def integers(self, own: Tensor) -> list[IntArray]:
        """Return every process's vector of int64, in rank order: one message, two where one is longer than before."""
        if collectives.world_size() == 1:
            return [own.cpu().numpy()]
        while True:
            padded = own.new_zeros(self.capacity)
            padded[0] = len(own)
            padded[1 : 1 + len(own)] = own[: self.capacity - 1]
            every = collectives.gather_equal(padded).cpu().numpy()
            longest = int(every[:, 0].max()) + 1
            if longest <= self.capacity:
                return [row[1 : 1 + row[0]] for row in every]
            self.capacity = 1 << (longest - 1).bit_length()


@dataclass(frozen=True)
class Held:
    """Rows of one key or field on all processes, in rank order.

    Attributes:
        owner: of each process (R_r,), the sample of each row within its process; -1 for none.
        widths: length of axis 1 of the rows of each process; 1 of plain numbers.
        values: of a field, of each process (R_r, K) int64.
    """

    owner: list[IntArray]
    widths: list[int]
    values: list[IntArray]

    @property
    def counts(self) -> list[int]:
        """Rows of each process."""
        return [len(each) for each in self.owner]


class StepIndex:
    """See the module.

    Args:
        parts: key -> own rows; every process has the same keys.
        batch: own samples.
        exchange: sends the message.
        local: only own rows exist, as in a chunk.
    """

    def __init__(self, parts: Mapping[Key, Part], batch: Batch, exchange: Exchange, *, local: bool = False) -> None:
        self._rank = 0 if local else collectives.rank()
        asked = sorted(batch.columns if exchange.fields is None else exchange.fields)
        small = [name for name in asked if parse_field(name).kind in _SENT]
        sent = {str(key): part for key, part in sorted(parts.items()) if not key.is_bank}
        device = batch.device
        numbers = [batch.size, int(_tags(["\n".join([*sent, *small]).encode()])[0])]
        body: list[Tensor] = []
        for part in sent.values():
            numbers += [len(part.owner), part.values.shape[1] if part.values.dim() > 1 else 1]
            body.append(part.owner)
        for name in small:
            values = _integers(batch, name)
            numbers += [len(values), values.shape[1]]
            body += [batch.columns[name].owner if name in batch else values[:, 0], values.reshape(-1)]
        own = torch.cat([torch.tensor(numbers, device=device), *body])
        every = [own.cpu().numpy()] if local else exchange.integers(own)
        if len({int(each[1]) for each in every}) > 1:
            raise RuntimeError("Processes hold other keys or fields than each other in this step.")
        self.sizes = [int(each[0]) for each in every]
        self._held = {name: Held([], [], []) for name in (*sent, *small)}
        for each in every:
            at = 2 + 2 * len(self._held)
            for i, (name, held) in enumerate(self._held.items()):
                count, width = (int(number) for number in each[2 + 2 * i : 4 + 2 * i])
                held.owner.append(each[at : at + count])
                held.widths.append(width)
                at += count
                if name in small:
                    held.values.append(each[at : at + count * width].reshape(count, width))
                    at += count * width

    @property
    def first(self) -> int:
        """Samples of the processes before this one."""
        return sum(self.sizes[: self._rank])

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def anywhere(self, field: str) -> bool:
        """Whether any process has a row of a field."""
        return field in self._held and sum(self.counts(field)) > 0

    def counts(self, key: str) -> list[int]:
        """Rows of a key of each process."""
        return self._held[key].counts

    def width(self, key: str) -> int:
        """Longest axis 1 of a key's rows on any process."""
        return max(self._held[key].widths)

    def own(self, key: str) -> slice:
        """Where own rows of a key stand among everybody's."""
        counts = self.counts(key)
        start = sum(counts[: self._rank])
        return slice(start, start + counts[self._rank])

    def owner(self, key: str) -> IntArray:
        """Return the sample of each of everybody's rows of a key, counted over all processes, (sum of R,)."""
        firsts = np.cumsum([0, *self.sizes[:-1]])
        of = zip(self._held[key].owner, firsts, strict=True)
        return np.concatenate([np.where(owner >= 0, owner + first, owner) for owner, first in of])

    def values(self, field: str, key: str) -> IntArray:
        """Return the values of a field beside each of everybody's rows of a key, (sum of R, K, W) int64.

        A row of the field's own view has its own values, any other row all of its sample. Words are tags; rows with
        fewer than K values are filled up with zeros.
        """
        if field not in self._held:
            raise ConfigError(f"The batch has no field {field!r}: {did_you_mean(field, self._held)}.")
        held, of_key = self._held[field], self._held[key]
        beside = [
            _beside(field, key, owner, of_field, values)
            for owner, of_field, values in zip(of_key.owner, held.owner, held.values, strict=True)
        ]
        most = max(1, *(rows.shape[1] for rows in beside))
        return np.concatenate([np.pad(rows, [(0, 0), (0, most - rows.shape[1]), (0, 0)]) for rows in beside])

    def tags(self, field: str, key: str) -> IntArray:
        """Return tags of a field's values beside each of everybody's rows of a key, (sum of R, K); 0 is none."""
        values = self.values(field, key)
        kind = parse_field(field).kind
        if kind in ("text", "id"):
            return values[..., 0]
        if kind in ("label", "number"):
            numbers = values[..., 0].astype(np.int32).view(np.float32)
            nothing = np.isnan(numbers) | ((kind == "label") & (numbers == -1))  # missing, or uncertain
            # No number has the bits of a NaN, so that only these are 0.
            return np.where(nothing, 0, (numbers + 0.0).view(np.int32).astype(np.int64) ^ _NAN)
        return _tags([pair.tobytes() for row in values for pair in row]).reshape(values.shape[:2])


def share_a_tag(rows: Tensor, columns: Tensor) -> Tensor:
    """Whether tags (R, K) and (C, L) have one in common, bool (R, C); 0 is none."""
    rows = torch.where(rows == 0, _NO_TAG, rows)
    found = torch.zeros(len(rows), len(columns), dtype=torch.bool, device=rows.device)
    for own in rows.unbind(1):
        for other in columns.unbind(1):
            found |= own[:, None] == other[None, :]
    return found


_NAN = 0x7FC0_0000
_POSITIVE = 2**63 - 1
_NO_TAG = -(2**63)  # neither words nor numbers have such a tag


def _integers(batch: Batch, name: str) -> Tensor:
    """Return a field's rows as int64 (R, K): words as tags, floating numbers by the bits of their float32.

    Texts are compared white space and case aside, ids as they are.
    """
    values = batch.columns[name].values if name in batch else ()
    if not isinstance(values, Tensor):
        exact = parse_field(name).kind == "id" and name != REPORT  # patients "aB" and "Ab" are two
        plain = [" ".join(word.lower().split()) for word in values]
        words = [word if exact and same else same for word, same in zip(values, plain, strict=True)]  # blank is none
        numbers = torch.from_numpy(_tags([word.encode() for word in words])).to(batch.device)
    else:
        numbers = values.float().view(torch.int32).long() if values.is_floating_point() else values.long()
    return numbers.reshape(len(numbers), 2 if parse_field(name).kind == "graph" else 1)


def _tags(words: Sequence[bytes]) -> IntArray:
    """Return a positive number for each word, the same in every program; 0 of an empty one."""
    digests = b"".join([hashlib.blake2b(word, digest_size=8).digest() for word in words])
    tags = np.frombuffer(digests, dtype="<i8") >> 1 & _POSITIVE | 1
    return np.where([bool(word) for word in words], tags, 0)


def _beside(field: str, key: str, owner: IntArray, of_field: IntArray, values: IntArray) -> IntArray:
    """Return the values beside each row of one process, (R, K, W)."""
    name, parsed = parse_field(field), parse_key(key)
    if parsed.view == field and np.array_equal(owner, of_field):
        return values[:, None]
    if name.spec.collate == "stack" and len(values):
        return values[owner][:, None]
    low, high = (np.searchsorted(of_field, owner, side) for side in ("left", "right"))  # owners of fields ascend
    place = np.arange(max(1, int((high - low).max(initial=0))))
    padded = np.concatenate([values, np.zeros((1, values.shape[1]), dtype=np.int64)])
    return padded[np.where(place < (high - low)[:, None], low[:, None] + place, len(values))]

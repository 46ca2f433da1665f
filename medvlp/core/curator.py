"""What chooses records of a raw pool before anything is trained: the protocol of `medvlp.curation`, one file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Generic, TypeVar

S = TypeVar("S")
Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a record.

    Attributes:
        reason: why it is left out; empty where it stays.
        more: fields that it gains, of those that the rule adds.
    """

    reason: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


class Curator(ABC, Generic[S]):
    """A rule over records in two passes: count over the whole pool, then decide on each record by itself.

    Counting is a sum: the counts of two parts of a pool add up to those of the whole, so that a pool may be larger than
    a machine's memory, or lie on several machines. A decision depends on the record, its id and the counts, never on
    the order of records; random ones are drawn from (seed, id).

    Attributes:
        reads: columns of a manifest that a record must have; a record misses those that are blank.
        adds: columns that it gives to records, blank where a record gains nothing.
    """

    reads: tuple[str, ...] = ("text",)
    adds: tuple[str, ...] = ()

    @abstractmethod
    def count(self, record: Record) -> S:
        """Return what one record adds to the counts."""

    @abstractmethod
    def add(self, total: S | None, more: S) -> S:
        """Return the sum of two counts; None is that of nothing. `total` may be changed."""

    @abstractmethod
    def apply(self, record: Record, counts: S) -> Verdict:
        """Decide on one record."""

    def measure(self, records: Iterable[Record]) -> S | None:
        """Return the counts over some records; None without any."""
        return reduce(self.add, map(self.count, records), None)

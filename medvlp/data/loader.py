"""Batches of a prepared cohort. Its state is one integer: the position in the run's sample stream.

Every sample is a function of (seed, position, manifest, views), so neither workers nor processes nor a restart can
change one. Workers are given (positions, indices); they know no epoch and keep no state.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medvlp.core.errors import ConfigError
from medvlp.core.memory import keep_freed_memory
from medvlp.core.processes import end_with_parent
from medvlp.core.randomness import seed_of
from medvlp.core.registry import build
from medvlp.core.sample import REPLAY, Batch, Sample
from medvlp.core.views import View
from medvlp.data.collate import collate
from medvlp.data.parallel import received, start_method
from medvlp.data.pipeline import apply_views, replay_tag, suffix_seed
from medvlp.data.prepare import Prepared
from medvlp.data.samplers._order import Sampler, rank_part
from medvlp.data.worker_tensors import SharedBlocks
from medvlp.text.tokenizers import Tokenizer

_MOST_BYTES = 128 << 20  # of a batch of whole stacks; one stack alone may have more


class Loader:
    """An endless stream of batches, and one pass in order.

    Args:
        prepared: the cohort.
        suffix: random views, in order; deterministic ones are allowed.
        batch: samples of a global batch, over all processes.
        seed: of the run.
        workers: processes; 0 makes batches in this one.
        rank: this process.
        world: number of processes.
        start: position at which the stream is taken up: samples seen so far by the whole run.
        origin: position at which this cohort's first epoch began (the begin of its phase).
        words: field of texts -> tokenizers of the towers that encode it: the workers tokenise.
        marks: boxes and masks of the manifest that batches hold: those that somebody reads.
        sampler: component of `medvlp.data.samplers`, which record stands at which place of the stream.
        states: what a sampler may follow, by name; they must not change while batches are made.
        replays: augmentations of each sample, one of which is drawn for each place of the stream; 0: always a new one.
            A batch then says in ``id.replay`` which, and made by what.
        prefix: views by which the cohort was prepared: part of what an augmentation is made by.

    Raises:
        ConfigError: if the batch cannot be cut into `world` equal parts, or for a faulty sampler.

    Example:
        >>> from pathlib import Path
        >>> from medvlp.data.manifest import Manifest
        >>> from medvlp.data.prepare import prepare
        >>> m = Manifest.of({"id": ["a", "b"], "text": ["x", "y"]}, root=Path("."))
        >>> batch = next(iter(Loader(prepare(m, []), [], batch=2, seed=0, workers=0)))
        >>> sorted(batch.ids), batch.positions.tolist()
        (['a', 'b'], [0, 1])
    """

    def __init__(
        self,
        prepared: Prepared,
        suffix: Sequence[View],
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        origin: int = 0,
        words: Mapping[str, Sequence[Tokenizer]] = {},
        marks: Sequence[str] = (),
        sampler: Mapping[str, object] = {"name": "uniform"},
        states: Mapping[str, object] = {},
        replays: int = 0,
        prefix: Sequence[View] = (),
    ) -> None:
        if start < origin:
            raise ConfigError(
                f"The loader starts at sample {start}, before its data begin at {origin}: check the phases."
            )
        self._part = rank_part(batch, rank=rank, world=world)
        self._prepared = prepared
        self._suffix = tuple(suffix)
        self._batch = batch
        self._seed = seed
        self._marks = tuple(marks)
        self._workers = workers
        self._rank = rank
        self._world = world
        self._words = dict(words)
        self.start = start
        self._origin = origin
        self._replays = replays
        self._tag = replay_tag(prefix, self._suffix) if replays else ""
        given = {"manifest": prepared.manifest, "seed": seed, "batch": batch, "states": states}
        self._sampler: Sampler = build("data/samplers", sampler, where="sampler", given=given)

    def __len__(self) -> int:
        """Number of samples in the cohort."""
        return len(self._prepared)

    def __iter__(self) -> Iterator[Batch]:
        """Yield this process's part of each global batch, for ever, from `start`."""
        return self._run(self._endless(), self._suffix)

    def once(self) -> Iterator[Batch]:
        """Yield the whole cohort in its order, without random views; the last batch may be short.

        With several processes each takes a contiguous part of the cohort; positions are indices in it. Whole stacks
        (nobody draws slices here) make batches shorter, so that one does not outgrow memory.
        """
        plan = [_Order(run, run) for run in self._cohort()]
        return self._run(plan, tuple(view for view in self._suffix if not view.random), replays=0)

    def replayed(self) -> Iterator[Batch]:
        """Yield every augmentation of every sample once, as training sees them: as `once`, one number after the other.

        Raises:
            ConfigError: if samples have no augmentations of their own.
        """
        if not self._replays:
            raise ConfigError("A pass over replays needs augmentations that can be replayed: set data.replays.")
        plan = [_Order(run, run, number) for number in range(self._replays) for run in self._cohort()]
        return self._run(plan, self._suffix)

    def _cohort(self) -> list[np.ndarray]:
        """Return this process's indices of the cohort, batch by batch."""
        size, step = len(self._prepared), self._batch // self._world
        first, last = self._rank * size // self._world, (self._rank + 1) * size // self._world
        weights = None if self._prepared.store is None else self._prepared.store.stacked_bytes()
        return [np.arange(start, stop) for start, stop in _runs(first, last, step, weights)]

    def episode(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the samples at places first..last-1 of the stream as training sees them there, each at its first place.

        With several processes each takes a contiguous part of those places, whatever it will be trained with.
        """
        indices = self._indices(first, last)
        places = np.sort(np.unique(indices, return_index=True)[1])
        own = places[self._rank * len(places) // self._world : (self._rank + 1) * len(places) // self._world]
        step = self._batch // self._world
        pieces = [own[begin : begin + step] for begin in range(0, len(own), step)]
        return self._run([_Order(first + piece, indices[piece]) for piece in pieces], self._suffix)

    def _endless(self) -> Iterator[_Order]:
        position = self.start
        while True:
            first, last = position + self._part.start, position + self._part.stop
            yield _Order(np.arange(first, last), self._indices(first, last))
            position += self._batch

    def _indices(self, first: int, last: int) -> np.ndarray:
        return self._sampler.indices(first - self._origin, last - self._origin)

    def _run(self, plan: Iterable[_Order], views: tuple[View, ...], *, replays: int | None = None) -> Iterator[Batch]:
        replays = self._replays if replays is None else replays
        keep_freed_memory()  # batches are made and freed all the time; forked workers inherit the setting
        maker = _Maker(self._prepared, views, self._seed, self._words, self._marks, replays, self._tag)
        if self._workers <= 0:
            return (maker[order] for order in plan)
        loader: Any = DataLoader(
            maker,
            batch_size=None,  # the plan already names batches
            sampler=plan,
            num_workers=self._workers,
            collate_fn=_as_made,
            worker_init_fn=partial(_begin_worker, SharedBlocks(self._workers)),
            multiprocessing_context=start_method(),
            prefetch_factor=4,
            pin_memory=torch.cuda.is_initialized(),  # for the GPU that this process computes on
        )
        return received(iter(loader))


def in_order(
    prepared: Prepared, *, batch: int = 128, rank: int = 0, world: int = 1, marks: Sequence[str] = ()
) -> Iterator[Batch]:
    """Yield a cohort in its order, without random views, in this process: what tables are made of.

    Args:
        rank: with `world`, yields this process's contiguous part only.
        world: number of processes that share the cohort.
        marks: boxes and masks that batches hold.
    """
    return Loader(prepared, [], batch=batch * world, seed=0, rank=rank, world=world, marks=marks).once()


def _runs(first: int, last: int, step: int, weights: np.ndarray | None) -> Iterator[tuple[int, int]]:
    """Cut first..last-1 into runs of `step`, shorter where padding to the heaviest would take more than is allowed."""
    start = first
    while start < last:
        stop = min(start + step, last)
        if weights is not None:
            padded = np.maximum.accumulate(weights[start:stop]) * np.arange(1, stop - start + 1)
            stop = start + max(1, int(np.searchsorted(padded, _MOST_BYTES, side="right")))
        yield start, stop
        start = stop


@dataclass(frozen=True)
class _Order:
    """What a worker is asked for: places in the stream and the samples that stand there, (B,) each.

    `replay` is the augmentation of all of them; None: the one that is drawn for each place.
    """

    positions: np.ndarray
    indices: np.ndarray
    replay: int | None = None


@dataclass(frozen=True, eq=False)
class _Maker(Dataset[Batch]):
    prepared: Prepared
    views: tuple[View, ...]
    seed: int
    words: Mapping[str, Sequence[Tokenizer]]
    marks: tuple[str, ...]
    replays: int
    tag: str

    def __getitem__(self, index: _Order) -> Batch:
        places = zip(index.positions.tolist(), index.indices.tolist(), strict=True)
        samples = [self._sample(position, row, index.replay) for position, row in places]
        fields, positions = self.prepared.records.stacked, torch.from_numpy(index.positions)
        return collate(samples, positions, fields=fields, words=self.words, marks=self.marks)

    def _sample(self, position: int, row: int, replay: int | None) -> Sample:
        sample = self.prepared.sample(row)
        if not self.replays:
            return apply_views(sample, self.views, draw=suffix_seed(self.seed, position))
        number = seed_of(self.seed, position, "replay") % self.replays if replay is None else replay
        # A function of neither run nor position, as a sample has few augmentations.
        made = apply_views(sample, self.views, draw=seed_of(0, number, f"replay {sample.id}"))
        return replace(made, fields={**made.fields, REPLAY: f"{number} {self.tag}"})


def _as_made(batch: Any) -> Any:  # noqa: ANN401 (the annotation of DataLoader expects a list, which it is not here)
    return batch


def _begin_worker(blocks: SharedBlocks, worker: int) -> None:
    blocks.begin(worker)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a process may not fork and go on using the threads of its parent
    if start_method() == "fork":  # not on a Mac, which does not tell who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_parent_asks, daemon=True).start()
    end_with_parent()  # behind the mask, which its thread has then; torch's worker waits until all that it sent is read


def _end_when_parent_asks() -> None:
    # As Python exits it ends so what is left. torchrun signals whole groups, and the last step may still need this one.
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)  # of an end that is no failure torch says nothing

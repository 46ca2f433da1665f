from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from types import FrameType

import pytest
import torch
from torch.utils.data import DataLoader

from medvlp.core.errors import ConfigError
from medvlp.core.sample import Batch
from medvlp.data.cache import Cache
from medvlp.data.loader import Loader, in_order
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import received, run_chunks, start_method
from medvlp.data.pipeline import apply_views, suffix_seed
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.views.affine import Affine
from medvlp.data.views.intensity import Intensity
from medvlp.data.views.read import Read
from medvlp.data.views.sections import Sections
from medvlp.data.views.sentences import Sentences
from medvlp.data.worker_tensors import SharedBlocks

SUFFIX = [Affine(), Intensity(), Sentences(probability=1)]


@pytest.fixture
def prepared(cohort: Callable[..., Manifest], cache: Cache) -> Prepared:
    return prepare(cohort(10), [Read(size=16), Sections()], cache=cache)


def take(loader: Loader, count: int) -> list[Batch]:
    return list(itertools.islice(iter(loader), count))


def assert_same(a: Batch, b: Batch) -> None:
    assert a.ids == b.ids
    assert torch.equal(a.positions, b.positions)
    assert a.columns.keys() == b.columns.keys()
    for name, column in a.columns.items():
        other = b[name]
        assert torch.equal(column.owner, other.owner)
        if isinstance(column.values, torch.Tensor):
            assert isinstance(other.values, torch.Tensor)
            assert torch.equal(column.values.nan_to_num(9), other.values.nan_to_num(9)), name
        else:
            assert column.values == other.values


def test_no_workers_two_workers_and_a_resumed_run_give_identical_bits(prepared: Prepared) -> None:
    alone = take(Loader(prepared, SUFFIX, batch=4, seed=3), 8)
    several = take(Loader(prepared, SUFFIX, batch=4, seed=3, workers=2), 8)
    resumed = take(Loader(prepared, SUFFIX, batch=4, seed=3, workers=2, start=12), 5)
    for a, b in zip(alone, several, strict=True):
        assert_same(a, b)
    for a, b in zip(alone[3:], resumed, strict=True):
        assert_same(a, b)


def shared_file(tensor: torch.Tensor) -> str:
    """Which file of shared memory holds a tensor, "0" for none: the inode of its mapping in /proc/self/maps."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        lines = [line.split() for line in maps]
    place = tensor.data_ptr()
    return next(line[4] for line in lines if int(line[0].split("-")[0], 16) <= place < int(line[0].split("-")[1], 16))


@pytest.fixture
def large(cohort: Callable[..., Manifest], cache: Cache) -> Prepared:
    return prepare(cohort(10), [Read(size=160), Sections()], cache=cache)


@pytest.mark.skipif(sys.platform != "linux", reason="where memory lies is read in /proc")
def test_pixels_come_from_a_worker_in_shared_memory_and_what_is_small_by_value(large: Prepared) -> None:
    made = take(Loader(large, SUFFIX, batch=4, seed=3), 3)
    for a, b in zip(made, take(Loader(large, SUFFIX, batch=4, seed=3, workers=1), 3), strict=True):
        assert_same(a, b)
        columns = {n: c.values for n, c in b.columns.items() if isinstance(c.values, torch.Tensor)}
        assert {name for name, values in columns.items() if shared_file(values) != "0"} == {"image"}
        assert {shared_file(each) for each in (b.positions, *(c.owner for c in b.columns.values()))} == {"0"}


@pytest.mark.skipif(sys.platform != "linux", reason="where memory lies is read in /proc")
def test_a_workers_shared_memory_is_written_again_once_no_view_of_a_batch_is_left(large: Prepared) -> None:
    made = take(Loader(large, SUFFIX, batch=4, seed=3), 36)
    stream = iter(Loader(large, SUFFIX, batch=4, seed=3, workers=2))
    held = [next(stream)["image"].values[1:] for _ in range(12)]
    files = {shared_file(view) for view in held}
    assert len(files) == 12
    for batch, view in zip(made, held, strict=False):
        assert torch.equal(batch["image"].values[1:], view)
    del held, view
    again = []
    for batch in made[12:]:
        sent = next(stream)["image"].values
        assert torch.equal(batch["image"].values, sent)
        again.append(shared_file(sent))
    assert files.intersection(again)
    assert len(files.union(again)) <= 12 + 2 * 4 + 1  # those held, those made ahead, the one that is looked at


def test_a_forked_process_that_forgets_a_batch_leaves_it_to_its_parent(large: Prepared) -> None:
    made = take(Loader(large, SUFFIX, batch=4, seed=3), 24)
    stream = iter(Loader(large, SUFFIX, batch=4, seed=3, workers=1))
    sent = next(stream)["image"].values
    child = os.fork()
    if child == 0:
        del sent
        os._exit(0)
    os.waitpid(child, 0)
    for batch in made[1:]:
        assert_same(batch, next(stream))
    assert torch.equal(sent, made[0]["image"].values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_all_sizes_and_types_go_through_a_workers_shared_memory(dtype: torch.dtype) -> None:
    sizes = [400, 300, 900, 1, 300, 900, 400, 0, 300, 900]
    made = [(torch.arange(size * size).view(size, size) % 7).to(dtype) for size in sizes]
    for tensors in (made, [tensor.T for tensor in made]):
        loader = DataLoader(tensors, batch_size=None, num_workers=1, worker_init_fn=SharedBlocks(1).begin)
        for tensor, sent in zip(tensors, loader, strict=True):
            assert sent.dtype == dtype
            assert torch.equal(sent, tensor)


@pytest.mark.slow
def test_workers_of_a_mac_are_spawned_and_give_identical_bits(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own libraries may not be used after a fork: CPython has spawned by itself there since 3.8."""
    alone = take(Loader(prepared, SUFFIX, batch=4, seed=3), 3)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert start_method() == "spawn"
    for a, b in zip(alone, take(Loader(prepared, SUFFIX, batch=4, seed=3, workers=1), 3), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_workers_make_batches_to_the_end_of_a_step_that_a_signal_to_the_whole_group_ends(
    prepared: Prepared, number: signal.Signals
) -> None:
    expected = take(Loader(prepared, SUFFIX, batch=4, seed=3), 24)
    others = set(multiprocessing.active_children())
    stream = iter(Loader(prepared, SUFFIX, batch=4, seed=3, workers=2))
    found = [next(stream), next(stream)]  # one of each worker, so that both have begun
    workers = [str(worker.pid) for worker in set(multiprocessing.active_children()) - others]
    subprocess.run(["kill", f"-{int(number)}", *workers], check=True)  # as torchrun's agent or a shell does
    found += itertools.islice(stream, 22)  # more than was made ahead
    for a, b in zip(expected, found, strict=True):
        assert_same(a, b)


STOPPED = """
import sys
from pathlib import Path
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
pairs = Manifest.of({"id": ["a", "b"], "text": ["x", "y"]}, root=Path("."))
batches = iter(Loader(prepare(pairs, []), [], batch=2, seed=0, workers=1))
sys.exit(len(next(batches).ids))
"""


def test_a_script_ends_with_its_own_exit_code_while_workers_are_making_batches() -> None:
    """At its exit Python sends SIGTERM to workers and waits for them, whatever holds them: a name, or a traceback."""
    ended = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stderr) == (2, "")


KILLED = """
import os, signal, time
from pathlib import Path
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
pairs = Manifest.of({"id": ["a", "b"], "text": ["x" * 1_000_000, "y"]}, root=Path("."))  # more than a pipe holds
batches = iter(Loader(prepare(pairs, []), [], batch=2, seed=0, workers=1))
next(batches)
time.sleep(1)  # the worker sends what nobody reads
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_a_script_that_is_killed_while_it_sends() -> None:
    """Else it would keep the lock of its run for ever; the output ends when no process is left that holds it."""
    ended = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stderr) == (-signal.SIGKILL, "")


def test_a_worker_that_is_killed_while_it_sends_is_told_as_torch_tells_of_others() -> None:
    def sent() -> Iterable[int]:
        yield 1
        raise ConnectionResetError(104, "Connection reset by peer")

    batches = received(iter(sent()))
    assert next(batches) == 1
    with pytest.raises(RuntimeError, match=r"^DataLoader worker was killed while it sent something: \[Errno 104\]"):
        next(batches)


def test_the_parts_of_all_processes_are_the_global_batch(prepared: Prepared) -> None:
    whole = take(Loader(prepared, SUFFIX, batch=4, seed=3), 6)
    for world in (2, 4):
        parts = [take(Loader(prepared, SUFFIX, batch=4, seed=3, rank=r, world=world), 6) for r in range(world)]
        each = 4 // world
        for k, batch in enumerate(whole):
            for r in range(world):
                assert_same(parts[r][k], batch.take(r * each, (r + 1) * each))


def test_epochs_are_exact_and_a_sample_is_seen_differently_each_time(prepared: Prepared) -> None:
    batches = take(Loader(prepared, SUFFIX, batch=4, seed=3), 5)
    ids = [name for batch in batches for name in batch.ids]
    assert sorted(ids[:10]) == sorted(ids[10:]) == sorted(prepared.manifest.column("id").tolist())
    where = [place for place, name in enumerate(ids) if name == "s0"]
    images = torch.cat([batch["image"].values for batch in batches])  # type: ignore[arg-type]
    assert not torch.equal(images[where[0]], images[where[1]])


def test_a_sample_can_be_made_again_alone_from_its_position(prepared: Prepared) -> None:
    batch = take(Loader(prepared, SUFFIX, batch=4, seed=3), 4)[3]
    for row, position in enumerate(batch.positions.tolist()):
        index = prepared.manifest.column("id").tolist().index(batch.ids[row])
        again = apply_views(prepared.sample(index), SUFFIX, draw=suffix_seed(3, position))
        assert torch.equal(batch["image"].values[row], again.fields["image"])  # type: ignore[index, arg-type]
        assert batch["text"].values[row] == again.fields["text"]


def test_once_is_the_whole_cohort_in_order_with_whole_reports_and_a_short_last_batch(prepared: Prepared) -> None:
    for workers in (0, 2):
        batches = list(Loader(prepared, SUFFIX, batch=4, seed=3, workers=workers).once())
        assert [batch.size for batch in batches] == [4, 4, 2]
        assert [name for batch in batches for name in batch.ids] == prepared.manifest.column("id").tolist()
        assert batches[2].positions.tolist() == [8, 9]
        assert batches[0].strings("text")[0] == "First fact 0. Second fact. Third fact.\n\nDone."
        assert torch.equal(batches[0]["image"].values[1], prepared.sample(1).fields["image"])  # type: ignore[index, arg-type]


def test_once_over_processes_covers_each_record_once(prepared: Prepared) -> None:
    seen = [
        name
        for rank in range(3)
        for batch in Loader(prepared, [], batch=6, seed=0, rank=rank, world=3).once()
        for name in batch.ids
    ]
    assert seen == prepared.manifest.column("id").tolist()


def test_labels_ids_and_missing_values_are_in_every_batch(prepared: Prepared) -> None:
    batch = next(Loader(prepared, [], batch=4, seed=0).once())
    labels = batch["label.effusion"].values
    torch.testing.assert_close(labels, torch.tensor([1.0, 0.0, -1.0, float("nan")]), equal_nan=True)
    assert batch["id.patient"].values == ("p0", "p0", "p1", "p1")


def test_an_origin_starts_the_epochs_of_a_phase(prepared: Prepared) -> None:
    late = take(Loader(prepared, [], batch=5, seed=3, start=15, origin=15), 2)
    assert sorted(name for batch in late for name in batch.ids) == sorted(prepared.manifest.column("id").tolist())
    with pytest.raises(ConfigError, match="starts at sample 5, before its data begin at 15"):
        Loader(prepared, [], batch=5, seed=3, start=5, origin=15)


def test_a_batch_for_unequal_processes_is_refused(prepared: Prepared) -> None:
    with pytest.raises(ConfigError, match="5 samples cannot be cut into 2 equal parts"):
        Loader(prepared, [], batch=5, seed=0, world=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_episode_is_what_training_sees_there_each_sample_once(prepared: Prepared, workers: int) -> None:
    """Thirteen places of a cohort of ten samples or fewer: whoever comes again is not seen twice."""
    seen = {}
    for batch in take(Loader(prepared, SUFFIX, batch=4, seed=3, start=8), 4):
        for i, each in enumerate(batch.ids):
            if batch.positions[i] < 21:
                seen.setdefault(each, batch.take(i, i + 1))
    episode = list(Loader(prepared, SUFFIX, batch=4, seed=3, workers=workers).episode(8, 21))
    assert [each for batch in episode for each in batch.ids] == list(seen)
    for batch in episode:
        for i, each in enumerate(batch.ids):
            assert_same(batch.take(i, i + 1), seen[each])


def test_processes_share_an_episode_and_a_cohort_in_contiguous_parts(prepared: Prepared) -> None:
    def ids(batches: Iterable[Batch]) -> list[str]:
        return [each for batch in batches for each in batch.ids]

    for world in (2, 4):
        parts = [Loader(prepared, SUFFIX, batch=4, seed=3, rank=r, world=world).episode(2, 9) for r in range(world)]
        assert ids(itertools.chain(*parts)) == ids(Loader(prepared, SUFFIX, batch=4, seed=3).episode(2, 9))
        parts = [in_order(prepared, batch=3, rank=r, world=world) for r in range(world)]
        assert ids(itertools.chain(*parts)) == ids(in_order(prepared))


def test_processes_of_a_pool_that_a_signal_ends_as_it_begins_end_too() -> None:
    """No thread tends them yet: Python would wait for them for ever as it exits."""
    before = set(multiprocessing.active_children())

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_qualname == "Thread.start" and "Manager" in repr(frame.f_locals["self"]):
            sys.setprofile(None)
            raise KeyboardInterrupt  # where the handler of a signal may

    sys.setprofile(interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(run_chunks(divmod, 7, [1, 2], workers=2))
    begun = set(multiprocessing.active_children()) - before
    for process in begun:
        process.join(60)
    left = [process for process in begun if process.is_alive()]
    for process in left:
        process.kill()
    assert not left

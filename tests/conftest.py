"""What tests of several folders share: a small synthetic hospital, made once, and the hash of a folder."""

from __future__ import annotations

import ast
import gc
import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.once import made_once
from tests.seeds import Seeds

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained


# Examples are drawn from a seed that the test's own text gives: a run that fails fails again.
settings.register_profile(
    "fixed", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fixed")


# Where files of tests lie in memory if there is room; on a disk a quarter of a run waits for what each save waits for.
MEMORY, ROOM = Path("/dev/shm"), 8 * 2**30


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Seeds())
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: that it be searched for garbage again was a tenth of a run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_itemcollected(item: pytest.Item) -> None:
    """What opens a browser is slow."""
    if "browser" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, whose fixtures it makes once; tests that start several processes go to one worker.

    Those share the processes of `pool.py`, and come first; the many small doctests come last and fill both workers.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, _, test = nodeid.partition("::")
            return "pool" if test.partition("[")[0] in _starting_processes(config.rootpath / path) else path

        def _assign_work_unit(self, node: Any) -> None:
            first = min(self.workqueue, key=lambda scope: (scope != "pool", not scope.startswith("tests/")))
            self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


@cache
def _starting_processes(path: Path) -> frozenset[str]:
    """Return the functions of a file that are marked ``pool``.

    Told by their text: the process that schedules does not collect, and pytest 9.2 hides the groups of xdist 3.8.
    """
    text = path.read_text(encoding="utf-8") if path.suffix == ".py" else ""
    if "pytest.mark.pool" not in text:
        return frozenset()
    functions = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    return frozenset(
        node.name for node in functions if any("mark.pool" in ast.unparse(each) for each in node.decorator_list)
    )


def sha256_of_tree(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by its path relative to it."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def hangup_heard() -> Iterator[None]:
    """SIGHUP has its usual meaning, here and in what is started, also where nohup started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def tree_hashes() -> Callable[[Path], dict[str, str]]:
    """Give the function that hashes all files of a folder (tests are imported without a package of their own)."""
    return sha256_of_tree


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    before = os.environ.get("MEDVLP_CACHE")
    os.environ["MEDVLP_CACHE"] = str(tmp_path_factory.mktemp("cache") / "medvlp")
    yield
    if before is None:
        del os.environ["MEDVLP_CACHE"]
    else:
        os.environ["MEDVLP_CACHE"] = before


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    """Twelve patients at 128 px with all three splits; read only: other tests share it."""
    from medvlp.phantom.cohort import make_cohort  # here, so that only who asks for a cohort imports the phantom

    def make(folder: Path) -> CohortSummary:
        return make_cohort(folder / "hospital", patients=12, image_size=128, workers=1)

    return made_once(tmp_path_factory, "tiny_cohort", make)


@pytest.fixture(scope="session")
def wide_cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    """Sixty patients at 64 px: half of them hold ten cases of a finding, of fewer nothing is calibrated; read only."""
    from medvlp.phantom.cohort import make_cohort

    def make(folder: Path) -> CohortSummary:
        return make_cohort(folder / "hospital", patients=60, image_size=64, workers=1)

    return made_once(tmp_path_factory, "wide_cohort", make)


@pytest.fixture(scope="session")
def films_and_volumes(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The radiographs of the twelve patients as ``cxr`` and their CT at 64 px as ``ct``, in one folder; read only."""
    from medvlp.phantom.cohort import make_cohort

    def make(folder: Path) -> Path:
        make_cohort(folder / "both" / "ct", patients=12, modality="ct", image_size=64, workers=1)
        shutil.copytree(tiny_cohort.root, folder / "both" / "cxr", copy_function=os.link)
        return folder / "both"

    return made_once(tmp_path_factory, "films_and_volumes", make)


@pytest.fixture(scope="session")
def tiny_run(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished run on the tiny hospital, with its bundle; read only: other tests share it."""
    from medvlp.config.tree import load_config
    from medvlp.runs.train import train
    from tests.tiny import tiny_tree, write_tree

    def make(folder: Path) -> Trained:
        tree = tiny_tree(folder / "run", tiny_cohort.root, folder / "cache")
        return train(load_config(write_tree(folder / "config.yaml", tree)))

    return made_once(tmp_path_factory, "tiny_run", make)

"""What tests of several folders share: a small synthetic hospital, made once, and the hash of a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from medvlp.config.train import Trained
    from medvlp.phantom.cohort import CohortSummary


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep files with tests that start several processes on one worker, so that they share the processes of `pool.py`.

    Told by their text: the process that schedules does not collect, and pytest 9.2 hides the groups of xdist 3.8.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "pool" if _starts_processes(config.rootpath / nodeid.partition("::")[0]) else nodeid

    return Scheduling(config, log)


@cache
def _starts_processes(path: Path) -> bool:
    return path.suffix == ".py" and "pytest.mark.pool" in path.read_text(encoding="utf-8")


def sha256_of_tree(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by its path relative to it."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


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

    return make_cohort(tmp_path_factory.mktemp("tiny") / "hospital", patients=12, image_size=128, workers=1)


@pytest.fixture(scope="session")
def wide_cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    """Sixty patients at 64 px: half of them hold ten cases of a finding, of fewer nothing is calibrated; read only."""
    from medvlp.phantom.cohort import make_cohort

    return make_cohort(tmp_path_factory.mktemp("wide") / "hospital", patients=60, image_size=64, workers=1)


@pytest.fixture(scope="session")
def tiny_run(tiny_cohort: CohortSummary, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished run on the tiny hospital, with its bundle; read only: other tests share it."""
    from medvlp.config.train import train
    from medvlp.config.tree import load_config
    from tests.tiny import tiny_tree, write_tree

    folder = tmp_path_factory.mktemp("tiny_run")
    tree = tiny_tree(folder / "run", tiny_cohort.root, folder / "cache")
    return train(load_config(write_tree(folder / "config.yaml", tree)))

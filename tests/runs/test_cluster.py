"""What is spread over a Ray cluster is what one process makes, in order, though workers die."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvlp.core.errors import DataError, UserError
from medvlp.core.table import FeatureTable
from medvlp.data.cache import Cache
from medvlp.data.leakage.check import check_cohorts
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import run_chunks
from medvlp.runs.cluster import over_ray, start_ray
from medvlp.runs.curate import curate
from medvlp.runs.embed import Asked, Embedder
from medvlp.runs.embed_parts import _by_ray, _Part
from medvlp.runs.index import index_to_files
from medvlp.runs.train import Trained
from tests.data.films import film, write

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of one machine with two cores."""
    found = pytest.importorskip("ray", reason="Ray is in the extra `scale`")
    found.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield found
    found.shutdown()


def test_a_cluster_that_is_not_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is in the extra `scale`")
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UserError, match=r"^Ray did not start \(Invalid address format: nonsense\): see that "):
        start_ray()


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Twenty films in training; twelve others, smaller copies of four, and a file that is none, in the test."""
    folder = tmp_path / "films"
    for part in ("train", "test"):
        (folder / part / "normal").mkdir(parents=True)
    for at in range(32):
        write(folder / ("train" if at < 20 else "test") / "normal", f"f{at:02d}.png", film(at))
    for at in range(4):
        write(folder / "test" / "normal", f"z{at:02d}.png", film(at).resize((64, 70)))
    (folder / "test" / "normal" / "broken.png").write_bytes(b"no picture")
    return folder


@slow
def test_an_index_and_a_search_for_copies_are_those_of_one_process(
    ray: Any, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, leaks, facts = [], [], []
    for name, spread in (("alone", False), ("spread", True)):
        out = tmp_path / name / "m.parquet"
        monkeypatch.setenv("MEDVLP_CACHE", str(tmp_path / name / "cache"))
        index_to_files("image_folder", films, out, page=None, ray=spread)
        manifest = Manifest.load(out)
        found = check_cohorts([manifest], workers=over_ray if spread else 0)
        made.append((manifest.hash, out.with_suffix(".quarantine.csv").read_bytes()))
        leaks.append([asdict(leak) for leak in found.leaks])
        with sqlite3.connect(Cache.default().files / "survey.sqlite") as database:
            facts.append(database.execute("SELECT * FROM facts ORDER BY path").fetchall())
    assert made[0] == made[1]
    assert facts[0] == facts[1]
    assert len(facts[0]) == 37
    assert len(manifest) == 36
    assert leaks[0] == leaks[1]
    assert sorted(leak["kind"] for leak in leaks[0]) == ["near_image"] * 4


@slow
def test_a_pool_is_curated_as_by_one_process(ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvlp.runs.curate._CHUNK", 9)
    rows = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    ids = [f"r{i}" for i in range(60)]
    FeatureTable(ids, {"image/embedding": rows}, {}).save(tmp_path / "i.parquet")
    texts = [f"The {'left' if i % 3 else 'right'} lobe is opaque." for i in range(60)]
    Manifest.of({"id": ids, "text": texts}, root=tmp_path).save(tmp_path / "pool.parquet")
    rules = {"align": ["max_shared=5"], "semdedup": [f"images={tmp_path / 'i.parquet'}", "similarity=0.999"]}
    for rule, options in rules.items():
        made = []
        for workers in (0, over_ray):
            done = curate(
                tmp_path / "pool.parquet", tmp_path / "o.parquet", rule=rule, options=options, workers=workers
            )
            made.append(((tmp_path / "o.parquet").read_bytes(), done.listed.read_bytes()))
        assert made[0] == made[1]
        assert 0 < done.records < 60


@slow
def test_a_chunk_whose_worker_died_is_given_to_another_and_none_is_lost_or_doubled(ray: Any, tmp_path: Path) -> None:
    def work(shared: np.ndarray, chunk: int) -> tuple[int, int, int]:
        dies = tmp_path / f"died-{chunk}"
        if chunk in (3, 17) and not dies.exists():
            dies.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return chunk, int(shared[chunk]), os.getpid()

    numbers = np.random.default_rng(0).integers(0, 1000, 40)
    found = list(run_chunks(work, numbers, range(40), workers=over_ray))
    assert [each[:2] for each in found] == [(at, int(numbers[at])) for at in range(40)]
    assert len(list(tmp_path.glob("died-*"))) == 2
    assert os.getpid() not in {each[2] for each in found}


@slow
def test_a_mistake_is_the_sentence_of_one_process_and_a_chunk_that_ends_each_worker_is_told(ray: Any) -> None:
    def refuse(shared: None, chunk: int) -> int:
        if chunk == 2:
            raise DataError("The file b.png cannot be read: index again.")
        return chunk

    def die(shared: None, chunk: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DataError, match=r"^The file b.png cannot be read: index again\.$"):
        list(run_chunks(refuse, None, range(4), workers=over_ray))
    with pytest.raises(UserError, match=r"gave up a piece of the work .*start again with more memory"):
        list(run_chunks(die, None, [0], workers=over_ray))


@slow
def test_what_a_worker_that_embeds_refuses_is_its_sentence(ray: Any, tiny_run: Trained, tmp_path: Path) -> None:
    """A bundle that one machine of the cluster has not, say: Ray told it with a traceback of its own."""
    asked = Asked(str(tiny_run.bundle), tiny_run.run / "manifest.parquet", None, "torch", "cpu")
    elsewhere, part = replace(asked, model=str(tmp_path / "nowhere")), _Part(tmp_path / "part.parquet", 0, 2)
    with pytest.raises(UserError, match=r"nowhere"):
        list(_by_ray(Embedder.open(asked), elsewhere, [part], 0))


def test_where_ray_is_not_installed_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvlp.core.installed.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'This needs ray: run `pip install "openmedvlp\[scale\]"`'):
        list(run_chunks(len, [], [0, 1], workers=over_ray))

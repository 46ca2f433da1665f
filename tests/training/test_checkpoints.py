from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from medvlp.core.errors import UserError
from medvlp.training import checkpoints
from medvlp.training.checkpoints import (
    Checkpoint,
    latest,
    load_checkpoint,
    load_weights,
    point_best,
    prune,
    save_checkpoint,
)


def checkpoint(value: float = 1.0) -> Checkpoint:
    shared = torch.full((2, 2), value)
    return Checkpoint({"a": shared, "b": shared}, {"a|step": torch.tensor(3.0)}, {}, {"samples_seen": 7})


def test_round_trip_of_tensors_that_share_memory(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "step-1", checkpoint())
    back = load_checkpoint(tmp_path / "step-1")
    assert torch.equal(back.weights["a"], back.weights["b"])
    assert back.optimiser["a|step"].item() == 3.0
    assert back.trainer == {"samples_seen": 7}


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "trainer.json"])
def test_a_flipped_byte_is_refused_and_named(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "step-1", checkpoint())
    path = tmp_path / "step-1" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{name} is damaged or was changed"):
        load_checkpoint(tmp_path / "step-1")


def test_a_torn_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.json").write_text('{"weights.safetensors": "')
    with pytest.raises(UserError, match=r"MANIFEST\.json is not JSON .* damaged"):
        load_checkpoint(tmp_path)


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    save_checkpoint(tmp_path / "checkpoints" / "step-00000001", checkpoint())
    (tmp_path / "checkpoints" / "step-00000002").mkdir()
    assert latest(tmp_path) == tmp_path / "checkpoints" / "step-00000001"


def test_the_best_is_kept_beside_the_last(tmp_path: Path) -> None:
    folders = [tmp_path / "checkpoints" / f"step-{i:08d}" for i in range(5)]
    for folder in folders:
        save_checkpoint(folder, checkpoint())
    point_best(folders[1])
    prune(tmp_path, keep=2)
    left = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert left == ["step-00000001", "step-00000003", "step-00000004"]
    assert (tmp_path / "checkpoints" / "best").resolve() == folders[1].resolve()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_symbolic_links_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*where: object, **how: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "symlink", refused)
    with pytest.raises(UserError, match=r"best\.part cannot be a symbolic link on this disk: choose a run folder on"):
        point_best(tmp_path / "step-00000001")


def test_a_kill_while_old_checkpoints_are_removed_leaves_whole_ones_and_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        save_checkpoint(tmp_path / "checkpoints" / f"step-{i:08d}", checkpoint())

    def killed(folder: Path) -> None:
        (folder / "MANIFEST.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path, keep=1)
    monkeypatch.undo()
    for folder in (tmp_path / "checkpoints").glob("step-*"):
        load_checkpoint(folder)
    prune(tmp_path, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


def test_what_a_kill_left_of_a_checkpoint_goes_with_the_next_of_another_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a run that was asked to stop, and killed while it saved: none will be written at that step again."""

    def killed(*written: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "checkpoints" / "step-00000007", checkpoint())
    monkeypatch.undo()
    save_checkpoint(tmp_path / "checkpoints" / "step-00000008", checkpoint())
    prune(tmp_path, keep=2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000008"]


def test_weights_of_another_model_are_refused_with_what_differs(tmp_path: Path) -> None:
    weights = {"weight": torch.zeros(2, 3), "scale": torch.zeros(1)}
    with pytest.raises(UserError, match=r"1 missing \(first: bias\); 1 unknown \(first: scale\); 1 of another shape"):
        load_weights(nn.Linear(2, 3), weights, source=tmp_path)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkpoints" / "step-00000001"
    save_checkpoint(folder, checkpoint(1.0))

    # The system's own error, raised where the kernel raises it: at the sync of the new files.
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(UserError, match=r"The disk is full: .* nothing that was complete is lost"):
        save_checkpoint(folder, checkpoint(2.0))
    monkeypatch.undo()
    assert load_checkpoint(folder).weights["a"][0, 0].item() == 1.0
    assert [path.name for path in folder.parent.iterdir()] == ["step-00000001"]

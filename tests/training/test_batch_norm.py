"""BatchNorm in a tower: what is exact over chunks, passes and processes, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medvlp.core import Batch
from medvlp.training._batch_norm import moved_once
from medvlp.training.task import Task
from tests.models.words import DUAL, VISION
from tests.training.world import SAMPLES, make_task, own_part, whole_batch

KEPT = {**DUAL, "vision": {**VISION, "norm": "keep"}}
# A sample-scope objective too: its counts are a pass of their own.
OBJECTIVES = [{"name": "clip"}, {"name": "caption", "width": 16, "layers": 1, "heads": 2}]
FIRST = "model.towers.image.backbone.conv1.1."  # of the stem


def statistics(root: nn.Module) -> dict[str, Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {n: t.clone() for n, t in root.named_buffers() if n.rpartition(".")[2] in names}


def task_of(chunks: int) -> tuple[Task, nn.ModuleDict]:
    return make_task(KEPT, OBJECTIVES, ["*"], chunks=chunks, dtype=torch.float64)


def step(chunks: int, without: int = 0) -> dict[str, Tensor]:
    """One step's statistics; the last `without` samples have no image."""
    task, root = task_of(chunks)
    batch = whole_batch(torch.float64)
    image = batch["image"].take(0, SAMPLES - without)
    task.backward(own_part(batch.with_columns({"image": image})), dict.fromkeys(task.objectives, 1.0), samples_seen=0)
    return statistics(root)


def test_one_chunk_moves_them_as_torch_does() -> None:
    """One forward pass of the tower in training, outside the engine."""
    expected_task, expected_root = task_of(1)
    expected_task.model(whole_batch(torch.float64), expected_task.plan)
    for name, tensor in statistics(expected_root).items():
        assert torch.equal(step(1)[name], tensor), name


@pytest.mark.parametrize("chunks", [2, 3, 4])
def test_several_chunks_move_them_once(chunks: int) -> None:
    """The first layer as one chunk does; all layers by the pooled mean and variance of the chunks that they saw."""
    before, one, got = statistics(task_of(1)[1]), step(1), step(chunks)
    for part in ("running_mean", "running_var"):
        torch.testing.assert_close(got[FIRST + part], one[FIRST + part], rtol=1e-12, atol=1e-14)
    task, root = task_of(chunks)
    seen: dict[str, list[Tensor]] = {}
    norms = {n: m for n, m in root.named_modules() if isinstance(m, nn.BatchNorm2d)}
    hooks = [
        m.register_forward_pre_hook(lambda _m, inputs, n=n: seen.setdefault(n, []).append(inputs[0].detach().clone()))
        for n, m in norms.items()
    ]
    for _, chunk in whole_batch(torch.float64).chunks(chunks):
        task.model(chunk, task.plan)
    for hook in hooks:
        hook.remove()
    for name, inputs in seen.items():
        values = torch.cat([x.transpose(0, 1).flatten(1) for x in inputs], dim=1)  # (C, N), every value of the step
        for part, now in (("running_mean", values.mean(1)), ("running_var", values.var(1))):
            expected = 0.9 * before[f"{name}.{part}"] + 0.1 * now
            torch.testing.assert_close(got[f"{name}.{part}"], expected, rtol=1e-10, atol=1e-12)
        assert got[f"{name}.num_batches_tracked"] == 1


@pytest.mark.pool
@pytest.mark.parametrize(("processes", "chunks"), [(2, 1), pytest.param(4, 1, marks=pytest.mark.slow), (2, 2)])
def test_several_processes_move_them_once_and_alike(pool: Any, processes: int, chunks: int) -> None:
    one, alike = step(1), step(processes * chunks)
    for got in pool.run(processes, step, chunks):
        torch.testing.assert_close(got[FIRST + "running_mean"], one[FIRST + "running_mean"], rtol=1e-12, atol=1e-14)
        for name, tensor in alike.items():  # k processes of c chunks are k c chunks
            torch.testing.assert_close(got[name], tensor, rtol=1e-10, atol=1e-12)


def test_a_chunk_without_images_moves_nothing_and_needs_no_second_value() -> None:
    """The maps of the last stage are 1 x 1 here: one black picture could not be normalised by itself."""
    # Six images in four chunks of two samples: the last has none, and the other three are three chunks of six.
    got = step(4, without=2)
    task, root = task_of(3)
    whole = whole_batch(torch.float64)
    six = Batch(whole.ids[:6], whole.positions[:6], whole.take(0, 6).columns)
    task.backward(six, dict.fromkeys(task.objectives, 1.0), samples_seen=0)
    for name, tensor in statistics(root).items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-12, atol=1e-14)


@pytest.mark.pool
def test_a_process_without_images_takes_part_and_moves_nothing(pool: Any) -> None:
    expected = step(2, without=4)
    for got in pool.run(2, step, 1, 4):
        for name, tensor in expected.items():
            torch.testing.assert_close(got[name], tensor, rtol=1e-10, atol=1e-12)


def test_a_black_picture_of_an_absent_view_has_no_part_in_the_gradient() -> None:
    def gradients(chunks: int, samples: int) -> dict[str, Tensor]:
        task, root = make_task(KEPT, [{"name": "clip"}], ["*"], chunks=chunks, dtype=torch.float64)
        batch = whole_batch(torch.float64).take(0, samples)
        text = batch["text"].take(0, 4)  # nothing but the images is in the last chunks
        task.backward(
            batch.with_columns({"text": text, "image": batch["image"].take(0, 4)}), {"clip": 1.0}, samples_seen=0
        )
        return {n: p.grad for n, p in root.named_parameters() if p.grad is not None}

    expected, got = gradients(2, 4), gradients(4, 8)
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-10, atol=1e-13)


def test_a_cumulative_average_and_a_layer_without_input() -> None:
    norm, idle = nn.BatchNorm1d(2, momentum=None).double(), nn.BatchNorm1d(2).double()
    rows = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for step_rows in rows:
        with moved_once(nn.ModuleList([norm, idle])):
            for part in step_rows.split([2, 4]):
                norm(part)
    torch.testing.assert_close(norm.running_mean, rows.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, rows.var(dim=1).mean(0))
    assert idle.running_mean is not None
    assert idle.running_var is not None
    assert not idle.running_mean.any()
    assert idle.running_var.eq(1).all()
    assert norm.momentum is None
    assert idle.momentum == 0.1


def test_a_step_that_fails_leaves_them_as_they_were() -> None:
    norm = nn.BatchNorm1d(2)
    with pytest.raises(ValueError, match="more than 1 value per channel"), moved_once(norm):
        nn.Sequential(norm, nn.Flatten(0), nn.Unflatten(0, (1, 8)), nn.BatchNorm1d(8))(torch.randn(4, 2))
    assert not norm.running_mean.any()
    assert norm.num_batches_tracked == 0
    assert norm.momentum == 0.1

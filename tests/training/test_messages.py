"""What a step costs beside its arithmetic: messages between processes, and tensors that the host waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medvlp.core.sample import Sample
from medvlp.data.collate import collate
from medvlp.data.views.facts import Facts
from tests.models.words import DUAL
from tests.training.world import make_task, own_part

RECIPE = Path(__file__).parents[2] / "configs" / "pretrain" / "phantom_quick.yaml"
VISION = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
VISION |= {"options": {"channels": [8, 8, 8, 8], "stem_width": 8}}
# Operators whose result the host must have before it goes on; beside them `Tensor.cpu` and `Tensor.tolist`.
WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "bincount")
REPORTS = ("Left effusion. No nodule.", "No nodule.", "Large nodule on the right.", "Clear.")


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for a device, by operator; masks as indices are read too."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITS or masked:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def counted(found: Counter[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found[name] += 1
        return call(*args, **kwargs)

    return wrapper


def cost_of_a_step(phase: int) -> dict[str, dict[str, int]]:
    """Messages and reads of the third step of a phase of the quick start's recipe on this process."""
    written = yaml.safe_load(RECIPE.read_text())["phases"][phase]["objectives"]
    objectives = [{key: value for key, value in each.items() if key != "weight"} for each in written]
    views = ("text", "text.findings", "text.impression", "text.stated", "text.negative")
    facts = [Facts(field=view) for view in views]
    samples = []
    for i in range(8):
        fields: dict[str, Any] = dict.fromkeys(views, REPORTS[i % 4]) | {"image": torch.rand(1, 32, 32)}
        sample = Sample(str(i), fields)
        for view in facts:
            sample = view(sample, torch.Generator())
        samples.append(sample)
    task, _ = make_task({**DUAL, "vision": VISION}, objectives, ["*"])
    weights = dict.fromkeys(task.objectives, 1.0)
    messages: Counter[str] = Counter()
    reads = Reads()
    for step in range(3):
        batch = own_part(collate(samples, torch.arange(8) + 8 * step))
        with ExitStack() as stack:
            stack.enter_context(patch("medvlp.training.task.wrap", lambda model: model))  # DDP's own are not counted
            if step == 2:
                for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list"):
                    stack.enter_context(patch.object(dist, name, counted(messages, name, getattr(dist, name))))
                for name in ("cpu", "tolist"):
                    call = counted(reads.found, name, getattr(Tensor, name))
                    stack.enter_context(patch.object(Tensor, name, call))
                stack.enter_context(reads)
            task.backward(batch, weights, samples_seen=8 * step)
    return {"messages": dict(messages), "reads": dict(reads.found)}


@pytest.mark.pool
@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_step_of_the_quick_start_sends_six_messages_and_is_read_twice(pool: Any, phase: int) -> None:
    """Beside DDP's own messages, and the gradient norm that the guard of the trainer reads."""
    for found in pool.run(2, cost_of_a_step, phase):
        assert sum(found["messages"].values()) <= 6, found
        assert not {name for name in found["messages"] if "object" in name}
        assert sum(found["reads"].values()) <= 2, found

"""What a training will cost: memory of a process and hours, on one process and on several, from steps measured here."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from medvlp.config.tree import RunConfig
from medvlp.core.console import silent
from medvlp.core.errors import UserError
from medvlp.core.sample import Batch
from medvlp.runs.train import Built
from medvlp.training.costs import StepCost, measure, standing_bytes
from medvlp.training.trainer import Trainer

MOST = 32  # samples a chunk that are measured


@dataclass(frozen=True)
class Share:
    """What a training costs each of some processes.

    Attributes:
        processes: how many, each with a device like this one.
        samples: of a step, each process's.
        memory: bytes at the peak, with ``training.parallel: ddp``; of what trains in the towers fsdp holds a part.
        seconds: of a step, in the phase that takes longest.
        hours: of the whole training, without validation, checkpoints and the gradients' way between processes.
    """

    processes: int
    samples: int
    memory: float
    seconds: float
    hours: float


@dataclass(frozen=True)
class TrainingPlan:
    """What was measured, and what follows.

    Attributes:
        device: on which steps were measured.
        sizes: samples of the measured steps.
        reading: seconds in which one process makes a sample from cached pixels.
        gradients: bytes that a process sends and receives each step where there are several.
        shares: one a number of processes.
    """

    device: str
    sizes: tuple[int, ...]
    reading: float
    gradients: int
    shares: tuple[Share, ...]

    def text(self) -> str:
        """Return it as a table, with what it leaves out.

        Example:
            >>> print(TrainingPlan("cpu", (2, 4), 0.01, 4 * 10**6, (Share(2, 64, 3 * 2**30, 1.5, 2.25),)).text())
            Measured on cpu with 2, 4 samples a step, 0.010 s to make a sample.
            processes  samples each  GiB each  s a step   hours
                    2            64      3.00     1.500    2.25
            Hours are without validation, checkpoints and the way of 4.0 MB of gradients a step between processes.
            Memory is that of training.parallel=ddp, whichever is set.
        """
        sizes = ", ".join(map(str, self.sizes))
        lines = [f"Measured on {self.device} with {sizes} samples a step, {self.reading:.3f} s to make a sample."]
        lines += [f"{'processes':>9}  {'samples each':>12}  {'GiB each':>8}  {'s a step':>8}  {'hours':>6}"]
        for each in self.shares:
            numbers = f"{each.memory / 2**30:8.2f}  {each.seconds:8.3f}  {each.hours:6.2f}"
            lines.append(f"{each.processes:9}  {each.samples:12}  {numbers}")
        end = f"the way of {self.gradients / 1e6:.1f} MB of gradients a step between processes."
        lines.append(f"Hours are without validation, checkpoints and {end}")
        return "\n".join([*lines, "Memory is that of training.parallel=ddp, whichever is set."])


def plan(config: RunConfig, *, most: int = 1) -> TrainingPlan:
    """Measure small steps of each phase of a training on this machine and work out what the whole costs.

    Nothing is written but the pixel cache. Memory is what torch allocates; the libraries take a few hundred MB more.

    Args:
        config: the training.
        most: processes, and 1, 2, 4, ... up to it, as far as they can share the batch equally, are worked out.

    Raises:
        UserError: for anything the user can mend.
    """
    batch, chunks = config.training.batch, config.training.chunks
    if batch % most:
        raise UserError(
            f"training.batch {batch} cannot be shared equally by {most} processes: give --gpus one that divides it."
        )
    top = min(batch, MOST * chunks)
    sizes = tuple(sorted({max(chunks, top // part) for part in (4, 2, 1)}))
    if len(sizes) < 2:
        raise UserError(f"training.batch {batch} in {chunks} chunks leaves nothing to measure: plan with fewer chunks.")
    with TemporaryDirectory() as folder, silent():
        training = config.training.model_copy(update={"batch": top, "workers": 0, "track": []})
        changed = config.model_copy(update={"run": str(Path(folder) / "run"), "training": training})
        trainer = Trainer(Built(changed).setup)
        device = next(trainer.setup.model.parameters()).device
        costs, lengths, standing, gradients, reading = [], [], 0, 0, 0.0
        for index, phase in enumerate(trainer.setup.phases):
            optimiser, step = trainer.rehearsal(index)
            whole, seconds = _read(phase.batches(trainer.samples_seen), phase.batches(trainer.samples_seen))
            costs.append(measure(lambda n, whole=whole, step=step: step(whole.take(0, n)), sizes, device=device))
            lengths.append(phase.until - trainer.samples_seen)
            standing = max(standing, standing_bytes(trainer.root, optimiser))
            trained = (p for group in optimiser.param_groups for p in group["params"])
            gradients, reading = max(gradients, sum(p.nbytes for p in trained)), max(reading, seconds)
    counts = sorted({n for n in (*(2**power for power in range(most.bit_length())), most) if batch % n == 0})
    shares = tuple(
        # DDP has a buffer for the gradients.
        _share(costs, lengths, n, batch, reading, config.training.workers, standing + (n > 1) * gradients)
        for n in counts
    )
    return TrainingPlan(f"{device} ({trainer.setup.precision.dtype})", sizes, reading, gradients, shares)


def _read(cold: Iterable[Batch], warm: Iterable[Batch]) -> tuple[Batch, float]:
    """Return a batch, and the seconds a sample when its pixels are in the cache."""
    next(iter(cold))
    start = time.perf_counter()
    batch = next(iter(warm))
    return batch, (time.perf_counter() - start) / batch.size


def _share(
    costs: list[StepCost], lengths: list[int], count: int, batch: int, reading: float, workers: int, standing: int
) -> Share:
    own = batch // count
    made = own * reading / max(workers, 1)
    # Workers make the next batch while this one is learned from.
    steps = [each.seconds.of(own, batch) for each in costs]
    steps = [max(each, made) if workers else each + made for each in steps]
    total = sum(length / batch * each for length, each in zip(lengths, steps, strict=True))
    memory = standing + max(each.peak.of(own, batch) for each in costs)
    return Share(count, own, memory, max(steps), total / 3600)

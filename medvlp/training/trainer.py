"""The loop. It knows phases, samples seen, checkpoints and logs; nothing of images or text.

Gradients are those of one process and one chunk, except in a tower with BatchNorm, see `medvlp.training.task`; whoever
builds a run says so once.

Restart precedence: a checkpoint of this run, else `init_from` (a bundle, taken in by the builder), else fresh weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.errors import ConfigError, UserError, did_you_mean
from medvlp.core.modes import evaluating
from medvlp.core.progress import Tell, progress
from medvlp.core.sample import Batch
from medvlp.core.schedules import value_at
from medvlp.training._batch_norm import running_statistics
from medvlp.training._parts import clip_gradients, gathered
from medvlp.training._remedies import remedy
from medvlp.training.averaging import averaged, take_averages
from medvlp.training.checkpoints import (
    Checkpoint,
    complete_weights,
    latest,
    leave_unchanged,
    load_checkpoint,
    load_weights,
    point_best,
    prune,
    refuse_other_choice,
    refuse_other_recipe,
)
from medvlp.training.checkpoints import save_checkpoint as write_checkpoint
from medvlp.training.distributed import refuse_other_data
from medvlp.training.guard import Guard
from medvlp.training.interruption import Interruption
from medvlp.training.journal import SKIPPED, Journal, append_row
from medvlp.training.optimisation import load_optimiser_state, optimiser_state, set_rate
from medvlp.training.phases import PhasePlan, optimiser_of, set_trainable
from medvlp.training.rows import HeldRows, chosen_rows
from medvlp.training.setup import Outcome, Setup
from medvlp.training.shape import Shape
from medvlp.training.sharded import Twin
from medvlp.training.stalls import Stalls
from medvlp.training.task import StepLog, Task


class Trainer:
    """Runs the phases of a setup, from its newest checkpoint if there is one."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        objectives = {name: part for phase in setup.phases for name, part in phase.objectives.items()}
        self.root = nn.ModuleDict({"model": setup.model, "objectives": nn.ModuleDict(objectives)}).to(self._device)
        self.guard = Guard(setup.options.guard)
        self.samples_seen = 0
        self.best_value: float | None = None
        self.stale = 0
        self._trained: nn.Module = self.root  # under FSDP with the model's twin
        self._twin: Twin | None = None
        self._phase = -1
        self._asked = Interruption()
        self._stalls = Stalls()
        self._moments: Mapping[str, Tensor] = {}
        self._shape = Shape(self.root, setup.model, setup.states, setup.phases, seed=setup.seed)
        self._held = HeldRows({}, {})
        self._resumed = False
        self._best_name = ""
        self._saved: int | None = None

    def fit(self, *, stop_at: int | None = None) -> Outcome:
        """Train to the end of the last phase.

        Args:
            stop_at: samples seen at which to save and stop, as a signal would.

        Raises:
            UserError: when interrupted (everything saved), out of memory, or after too many skipped steps.
        """
        self.resume()
        first = collectives.rank() == 0
        journal = Journal(self.setup.run, samples_seen=self.samples_seen, active=first, tracking=self.setup.tracking)
        try:
            with self._asked, progress("Training", unit="samples") as tell:
                for index, phase in enumerate(self.setup.phases):
                    if self.samples_seen < phase.until and not self._ended_early():
                        self._run_phase(index, phase, journal, stop_at, tell)
            self._join()
            self.guard.finish()
            return Outcome(self.samples_seen, self._best(), self.best_value, self.guard.skipped)
        finally:
            journal.close()

    def dry_run(self) -> tuple[str, StepLog]:
        """Build the first phase and run one batch without changing anything; returns the plan in words."""
        phase = self.setup.phases[0]
        task, _ = self._start(0, phase)
        self._refresh(phase, 0)
        batch = next(iter(phase.batches(0))).to(self._device)
        log = task.backward(batch, {n: value_at(weight, 0) for n, weight in phase.weights.items()}, samples_seen=0)
        norm = clip_gradients([p for p in task.parameters() if p.grad is not None], math.inf)
        if reason := self.guard.refuses(loss=log.loss, norm=norm, terms=log.terms):
            raise UserError(f"Training would skip its first step because {reason}: look at its objectives and samples.")
        listed = {**task.plan.views, **{who: map(str, plan.needs) for who, plan in task.plan.teachers.items()}}
        return "\n".join(f"  {view}: {', '.join(sorted(parts))}" for view, parts in listed.items()), log

    def rehearsal(self, index: int) -> tuple[torch.optim.Optimizer, Callable[[Batch], None]]:
        """Begin a phase; returns its optimiser and what takes one of its steps. Weights move, a run is not written."""
        phase, before = self.setup.phases[index], self.setup.phases[:index]
        task, optimiser = self._start(index, phase)
        self.samples_seen = before[-1].until if before else 0
        self._refresh(phase, self.samples_seen)

        def step(batch: Batch) -> None:
            self._step(task, optimiser, phase, batch, asked=False)

        return optimiser, step

    # ----------------------------------------------------------------------------------------------------------------

    def stand_at(self, index: int) -> None:
        """Give the model the shape of a phase: what its checkpoints hold and its model computes; see `Shape`."""
        self._moments = self._shape.stand_at(index, self._moments)

    def has_outgrown(self, index: int) -> bool:
        """Whether surgery of a phase after that one was done."""
        return self._shape.has_outgrown(index)

    def _run_phase(self, index: int, phase: PhasePlan, journal: Journal, stop_at: int | None, tell: Tell) -> None:
        begin = self.setup.phases[index - 1].until if index else 0
        task, optimiser = self._start(index, phase)
        if self.samples_seen == 0:
            self._checkpoint(optimiser)
        options = self.setup.options
        origin = begin if phase.own_optimiser else 0
        horizon = (phase.until if phase.own_optimiser else self.setup.phases[-1].until) - origin
        for batch in self._batches(phase, begin):
            seen = self.samples_seen
            rate = set_rate(optimiser, phase.optimiser, samples=seen - origin, horizon=horizon)
            last = stop_at is not None and seen + options.batch >= stop_at
            log, norm, skipped = self._step(task, optimiser, phase, batch, asked=last or self._asked.name is not None)
            if skipped is not None:
                self._write_skipped(batch, skipped)
                self.guard.stop(skipped)
            self.samples_seen = seen + options.batch
            tell(self.samples_seen, self.setup.phases[-1].until, self._stalls.note)
            if _crossed(seen, self.samples_seen, options.log_every) or skipped:
                row = {"loss": log.loss, **log.terms, "rate": rate, "scale": log.scale, "norm": norm}
                row |= {"truncated": log.truncated} if log.truncated else {}
                journal.write("train", self.samples_seen, row | ({"skipped": skipped} if skipped else {}))
            done = self.samples_seen >= phase.until
            validated = done or _crossed(seen, self.samples_seen, options.validate_every)
            if validated:
                self._validate(journal, optimiser)
            elif _crossed(seen, self.samples_seen, options.checkpoint_every):
                self._checkpoint(optimiser)
            # Every process must stop after the same step; validation takes long, so they ask each other once more.
            here = collectives.world_size() == 1 and self._asked.name is not None
            if log.asked or (self._asked.anywhere(self._device) if validated else here):
                self._save_and_stop(optimiser, self._asked.name or ("stop_at" if last else "in another process"))
            if done or self._ended_early():
                self._moments = optimiser_state(optimiser)
                return

    def _batches(self, phase: PhasePlan, begin: int) -> Iterator[Batch]:
        """Yield batches, each after the feature passes that are due; whatever follows a state is made after its own."""
        batches = None if phase.follows else self._stalls.watch(phase.batches(self.samples_seen))
        batch = None
        while batches is None or (batch := next(batches, None)) is not None:
            if phase.follows in self._refresh(phase, begin) or batch is None:
                batches = self._stalls.watch(phase.batches(self.samples_seen))
                batch = next(batches)
            yield batch

    def _start(self, index: int, phase: PhasePlan) -> tuple[Task, torch.optim.Optimizer]:
        self._join()
        self.stand_at(index)
        set_trainable(self.root, phase.trainable, where=f"phases[{index}]")
        before = self.setup.phases[max(index - 1, 0)].optimiser  # its moments mean nothing to another algorithm
        fresh = self._phase != index and (phase.own_optimiser or before.name != phase.optimiser.name)
        if self._phase != index:
            take_averages(self.root, self._moments, before.betas[0], trained_too=fresh)
        if self.setup.options.parallel == "fsdp" and collectives.world_size() > 1:
            self._twin = Twin(self.setup.model, self.setup.states)
            self._trained = nn.ModuleDict({"model": self._twin.trained, "objectives": self.root["objectives"]})
        named = dict(self._trained.named_parameters())
        self._held = HeldRows(named, chosen_rows(named, phase.trainable, where=f"phases[{index}].trainable"))
        task = Task(
            model=self.setup.model if self._twin is None else self._twin.trained,
            objectives=phase.objectives,
            states=self.setup.states,
            seed=self.setup.seed,
            chunks=self.setup.options.chunks,
            recompute=self.setup.options.recompute,
            compiles=self.setup.options.compile,
            precision=self.setup.precision,
            batch_views=phase.batch_views,
        )
        optimiser = optimiser_of(self._trained, self.setup.phases, index)
        if not fresh:
            load_optimiser_state(optimiser, self._moments)
        self.stale, self._phase = self.stale if self._phase == index else 0, index  # another phase trains other parts
        return task, optimiser

    def _join(self) -> None:
        """Let the model have all its weights again, if processes hold them in parts."""
        if self._twin is not None:
            self._twin.fill()
        self._trained, self._twin = self.root, None

    def _whole(self, *, everywhere: bool) -> AbstractContextManager[None]:
        return nullcontext() if self._twin is None else self._twin.whole(everywhere=everywhere)

    def _step(
        self, task: Task, optimiser: torch.optim.Optimizer, phase: PhasePlan, batch: Batch, *, asked: bool
    ) -> tuple[StepLog, float, str | None]:
        seen = self.samples_seen
        optimiser.zero_grad(set_to_none=True)
        weights = {name: value_at(weight, seen) for name, weight in phase.weights.items()}
        statistics = [(tensor, tensor.clone()) for tensor in running_statistics(self._trained)]
        try:
            log = task.backward(batch.to(self._device), weights, samples_seen=seen, asked=asked)
        except RuntimeError as error:
            if (sentence := remedy(error, self.root, self.setup.options, self.setup.phases)) is None:
                raise
            raise UserError(sentence) from error
        self._held.mask_gradients()
        trained = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        norm = clip_gradients(trained, math.inf if phase.optimiser.clip is None else phase.optimiser.clip)
        reason = self.guard.refuses(loss=log.loss, norm=norm, terms=log.terms)
        if reason is None:
            with self._held.still(optimiser):
                optimiser.step()
            task.after_step(seen + self.setup.options.batch)
        else:
            # A step that is not taken leaves nothing behind: one NaN in a running mean would never go away.
            for tensor, before in statistics:
                tensor.copy_(before)
        return log, norm, reason

    def _write_skipped(self, batch: Batch, reason: str) -> None:
        row = {"samples_seen": self.samples_seen, "reason": reason, "ids": collectives.gather_list(batch.ids)}
        if collectives.rank() == 0:
            append_row(self.setup.run / SKIPPED, row)

    def _refresh(self, phase: PhasePlan, begin: int) -> set[str]:
        """Make the feature passes that are due; return the states that had one."""
        done: set[str] = set()
        batch, since = self.setup.options.batch, self.samples_seen - begin
        for refresh in phase.refresh:
            if self.setup.feature_pass is None or not (since == 0 or _crossed(since - batch, since, refresh.every)):
                continue
            episode = None
            if refresh.over == "episode" and phase.episode is not None:
                # To the step at which the next pass is due, or the phase ends: both fall on whole batches.
                end = min((since // refresh.every + 1) * refresh.every, phase.until - begin)
                episode = phase.episode(self.samples_seen, begin + math.ceil(end / batch) * batch)
            elif refresh.over == "replays" and phase.replays is not None:
                episode = phase.replays(self.samples_seen)
            state = self.setup.states[refresh.state]
            with self._whole(everywhere=True):  # a state, too, may have something encoded: definitions of its anchors
                state.refresh(self.setup.feature_pass(self.setup.model, state.refresh_needs(), episode))
            done.add(refresh.state)
        return done

    # validation and checkpoints -------------------------------------------------------------------------------------

    def _validate(self, journal: Journal, optimiser: torch.optim.Optimizer) -> None:
        metrics: Mapping[str, float] = {}
        if self.setup.validate is not None:
            with averaged(optimiser), nullcontext() if self.setup.released else self._whole(everywhere=False):
                if collectives.rank() == 0:
                    model = self.setup.released() if self.setup.released else self.setup.model
                    with evaluating(model):
                        metrics = dict(self.setup.validate(model, self.samples_seen))
            metrics = collectives.broadcast_object(dict(metrics))
            journal.write("validate", self.samples_seen, metrics)
        value = metrics.get(self.setup.choose)
        # Data may lack what a whole family of metrics needs (labels): then the last checkpoint is released.
        family = {name.split("/")[0] for name in metrics}
        unknown = value is None and self.setup.asked and self.setup.choose.split("/")[0] in family
        better = value is not None and (value > self.best_value if self.best_value is not None else value == value)
        self.stale = 0 if better or value is None else self.stale + 1
        if better:
            self.best_value = value
            self._best_name = self._folder.name
        self._checkpoint(optimiser)
        if better and collectives.rank() == 0:
            point_best(self._folder)
            prune(self.setup.run, keep=self.setup.options.keep)
        if unknown:
            raise ConfigError(
                f"evaluation.choose is {self.setup.choose!r}, which validation does not measure: "
                f"{did_you_mean(self.setup.choose, metrics)}; all is saved, mend it and resume."
            )

    @property
    def _folder(self) -> Path:
        return self.setup.run / "checkpoints" / f"step-{self.samples_seen // self.setup.options.batch:08d}"

    def _checkpoint(self, optimiser: torch.optim.Optimizer) -> None:
        if self._saved == self.samples_seen:
            return  # a signal right after a checkpoint, or a run that was just resumed: the same bytes
        weights, moments = gathered(self._trained.state_dict()), gathered(optimiser_state(optimiser))
        if collectives.rank() == 0:
            states = {
                f"{name}|{key}": tensor
                for name, state in self.setup.states.items()
                for key, tensor in state.state_dict().items()
            }
            trainer: dict[str, object] = {
                "samples_seen": self.samples_seen,
                "phase": self._phase,
                "recipe": self.setup.recipe,
                "data": self.setup.data,
                "best": self._best_name,
                "best_value": self.best_value,
                "choose": self.setup.choose,
                "stale": self.stale,
                "guard": self.guard.state(),
            }
            weights, trainer["left_out"] = leave_unchanged(weights, self.setup.model)
            write_checkpoint(self._folder, Checkpoint(weights, moments, states, trainer))
            prune(self.setup.run, keep=self.setup.options.keep)
        collectives.barrier()
        self._saved = self.samples_seen

    def resume(self) -> None:
        """Take up the newest checkpoint of the run, if there is one; a second call does nothing.

        Raises:
            UserError: if it is damaged, or of another configuration, model or data.
        """
        if not self._resumed:
            self._resumed = True
            refuse_other_data(self.setup.data)
            # A machine may see a disk that several share as it was a minute ago: the first process looks for all.
            if (folder := collectives.broadcast_object(latest(self.setup.run))) is not None:
                self._take_up(folder)
            collectives.barrier()  # nobody writes before everybody has looked

    def _take_up(self, folder: Path) -> None:
        refuse_other_recipe(self.setup.run, self.setup.recipe)
        checkpoint = load_checkpoint(folder)
        trainer = checkpoint.trainer
        if trainer["data"] != self.setup.data:
            raise UserError(
                f"The training records of {self.setup.run} are not those that it was trained on (hash "
                f"{trainer['data']}, now {self.setup.data}): restore the data, or choose another run folder."
            )
        refuse_other_choice(trainer, self.setup.choose, run=self.setup.run)
        self._phase = trainer["phase"]
        if self._phase >= 0:
            self.stand_at(self._phase)
        load_weights(self.root, complete_weights(checkpoint, self.setup.model, source=folder), source=folder)
        for name, state in self.setup.states.items():
            state.load_state_dict(checkpoint.state_of(name))
        self.samples_seen, self.best_value, self.stale = (trainer[n] for n in ("samples_seen", "best_value", "stale"))
        self.guard.restore(trainer["guard"])
        self._moments = checkpoint.optimiser
        self._saved = self.samples_seen
        self._best_name = trainer["best"]
        # Killed between a checkpoint and its link, the run would release another model than one that was not.
        best = folder.parent / self._best_name
        if self._best_name and collectives.rank() == 0 and best.is_dir():
            point_best(best)

    def _best(self) -> Path | None:
        link = self.setup.run / "checkpoints" / "best"
        return link.resolve() if link.is_symlink() else latest(self.setup.run)

    def _ended_early(self) -> bool:
        return self.stale >= (self.setup.options.patience or math.inf)

    # interruption ---------------------------------------------------------------------------------------------------

    def _save_and_stop(self, optimiser: torch.optim.Optimizer, word: str) -> NoReturn:
        self._checkpoint(optimiser)
        raise UserError(
            f"Training was interrupted ({word}) after {self.samples_seen} samples; all of it is saved in "
            f"{self.setup.run}: start the same command again, or medvlp train --resume, to go on."
        )

    @property
    def _device(self) -> torch.device:
        return next(self.setup.model.parameters()).device


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every

"""The training step as one contract: ``log = task.backward(batch)`` owns both passes and leaves exact gradients.

A step is cut at `Encoded`. Pass 1 encodes chunk by chunk without a graph and keeps the planned rows as leaves; the
batch-scope terms are computed on the leaves of all chunks (and, through `Context.all`, of all processes), and their
backward fills the leaves' gradients. Pass 2 encodes each chunk again with a graph, adds the sample-scope terms, and
sends both back through the towers in one backward. With one chunk, pass 1 is pass 2's forward.

Why every process ends with the gradient of the whole batch: each term enters as ``world * sum / count over all``; the
gradient of `gather_rows` sums over processes; towers are averaged by DDP in the last chunk, everything outside the
towers (batch heads, scale, objective parameters) once by this class.

Not exact is a tower with BatchNorm in training: it normalises the rows of one chunk of one process by one another, so
that its gradient is that of the chunks, and others give another. Its running statistics move once a step, by all rows
(`medvlp.training._batch_norm`); a view without rows moves none. In bfloat16 sums are rounded: chunks agree to about
1e-3 of the gradient.

Dropout and the like draw from the device's generator, which is seeded per chunk from the position of its first sample:
so pass 2 repeats pass 1, and a resumed run repeats the interrupted one, without any generator state to save.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.encoded import Encoded
from medvlp.core.fields import parse_field
from medvlp.core.keys import Key, Plan
from medvlp.core.parts import collect_parts
from medvlp.core.protocols import Model, Objective, State, Teacher
from medvlp.core.randomness import seed_of
from medvlp.core.sample import Batch
from medvlp.core.step_index import Exchange
from medvlp.core.term import Term, checked_terms
from medvlp.core.views import BatchView
from medvlp.training._batch_norm import moved_once, untracked
from medvlp.training._leaves import Cursor, leaves_of
from medvlp.training._planned import with_planned
from medvlp.training.compiling import compilable, compiled
from medvlp.training.distributed import wrap
from medvlp.training.precision import Precision
from medvlp.training.recompute import recomputable, recomputed
from medvlp.training.sharded import is_sharded


@dataclass(frozen=True)
class StepLog:
    """What a step reports: ``loss`` is the weighted sum, ``terms`` the unweighted global values.

    Attributes:
        asked: whether any process asked for something at this step, see `Task.backward`.
        truncated: texts of all processes that lost their end.
    """

    loss: float
    terms: Mapping[str, float]
    scale: float
    asked: bool = False
    truncated: int = 0


@dataclass
class _Chunk:
    first: int
    batch: Batch
    plan: Plan


def make_plan(objectives: Mapping[str, Objective], states: Mapping[str, State]) -> Plan:
    """Return the union of what objectives and states need."""
    needs: set[Key] = set()
    for part in (*objectives.values(), *states.values()):
        needs |= part.needs()
    return Plan.of(needs)


class Task(nn.Module):
    """Model, objectives and states of one phase.

    Args:
        model: as built, on its device.
        objectives: by name.
        states: by name; a `Teacher` serves keys ``name:view/part``.
        seed: of the run.
        chunks: how many chunks a process's part of the batch is encoded in.
        recompute: whether blocks of towers are computed again for the backward pass, see `medvlp.training.recompute`.
        compiles: whether they are compiled, see `medvlp.training.compiling`.
        precision: autocast of the towers; terms are float32.
        batch_views: what is done to a batch before it is encoded, in order.
    """

    def __init__(
        self,
        *,
        model: Model,
        objectives: Mapping[str, Objective],
        states: Mapping[str, State],
        seed: int,
        chunks: int,
        precision: Precision,
        recompute: bool = False,
        compiles: bool = False,
        batch_views: Sequence[BatchView] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(dict(objectives))
        self.states = states
        self.seed = seed
        self.chunks = chunks
        self.precision = precision
        self.batch_views = batch_views
        self.plan = make_plan(objectives, states)
        self.model.check(self.plan)
        self._wrapped: nn.Module | None = None
        self._exchange = Exchange(self.plan.fields)
        self._blocks = recomputable(model) if recompute else []
        self._compiled = compilable(model, recompute=recompute) if compiles else {}

    def backward(
        self, batch: Batch, weights: Mapping[str, float], *, samples_seen: int, asked: bool = False
    ) -> StepLog:
        """Leave the gradient of the weighted sum of all terms in every trainable parameter's ``grad``.

        Args:
            batch: this process's samples, on the model's device.
            weights: objective name -> weight at this step.
            samples_seen: by the run before this step.
            asked: what this process asks of all at the end of the step (to stop); travels with the counts.
        """
        device = batch.device
        # Whoever calls this finds the generators as they were.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # A single pass of a single process moves running statistics itself.
            several = min(self.chunks, batch.size) > 1 or collectives.world_size() > 1 or self._several_pictures()
            with moved_once(self.model) if several else nullcontext():
                return self._backward(batch, weights, samples_seen, asked)

    def _backward(self, batch: Batch, weights: Mapping[str, float], samples_seen: int, asked: bool) -> StepLog:
        for state in self.states.values():
            batch = state.extend(batch)
        batch = with_planned(batch, self.plan.fields)
        for view in self.batch_views:
            batch = view(batch, seed=self.seed)
        chunks = self._chunks(batch)
        if len(chunks) == 1:
            first_pass = [self._encode(chunks[0], wrapped=True)]
        else:
            with torch.no_grad(), untracked(self.model):
                first_pass = [self._encode(chunk, wrapped=False) for chunk in chunks]
        leaves = leaves_of(first_pass, [chunk.first for chunk in chunks])
        taught = self._teach(batch)
        terms = self._batch_terms(batch, leaves, taught, samples_seen)
        # What terms are divided by must be known before the first goes backward.
        ahead = self._sample_terms_ahead(chunks, first_pass, samples_seen)
        totals, scale, (others, truncated) = self._totals({**terms, **ahead}, asked, batch.truncated)
        counts = {name: count for name, (_, count) in totals.items()}
        loss = self._sum(terms, counts, weights)
        if loss.requires_grad:
            loss.backward()
        whole = ahead if len(chunks) == 1 else None
        sums = self._second_pass(chunks, first_pass, Cursor(leaves), weights, samples_seen, counts, whole)
        self._average_outside()
        values = {name: total / count if count else 0.0 for name, (total, count) in totals.items()}
        if sums:  # of several chunks: what goes backward is made once more, with draws of its own in the heads
            again, _, _ = self._totals({name: Term(each, each) for name, each in sums.items()})
            values |= {name: total / counts[name] if counts[name] else 0.0 for name, (total, _) in again.items()}
        shares = {name: weights[name.split("/")[0]] for name in values}
        # As in the gradient: of weight 0 no value counts, be it NaN.
        weighted = sum((share * values[name] for name, share in shares.items() if share != 0), 0.0)
        return StepLog(weighted, values, scale, others > 0, int(truncated))

    def after_step(self, samples_seen: int) -> None:
        """Let the modules clamp or normalise and the states follow, after the optimiser's step."""
        for module in self.modules():
            hook = getattr(module, "after_step", None)
            if module is not self and callable(hook):
                hook(samples_seen)
        for state in self.states.values():
            state.after_step(self.model, samples_seen)

    # passes ---------------------------------------------------------------------------------------------------------

    def _chunks(self, batch: Batch) -> list[_Chunk]:
        pieces = list(batch.chunks(min(self.chunks, batch.size)))
        # A bank belongs to no chunk: it is encoded once, with the last one, in which the towers are reduced.
        without = Plan(frozenset(key for key in self.plan.needs if not (key.is_bank and not key.who)))
        plans = [without] * (len(pieces) - 1) + [self.plan]
        return [_Chunk(first, piece, plan) for (first, piece), plan in zip(pieces, plans, strict=True)]

    def _encode(self, chunk: _Chunk, *, wrapped: bool) -> dict[str, Encoded]:
        torch.manual_seed(seed_of(self.seed, int(chunk.batch.positions.numpy()[0]), "device generator"))
        # Inside out: what is compiled, what is computed again around it, what is sharded around both (in hooks).
        with self.precision.autocast(), compiled(self._compiled), recomputed(self._blocks):
            return (self._ddp() if wrapped else self.model)(chunk.batch, chunk.plan)

    def _several_pictures(self) -> bool:
        """Whether a tower of pictures encodes more than one view."""
        return sum(not view.startswith("bank.") and parse_field(view).kind != "text" for view in self.plan.views) > 1

    def _ddp(self) -> nn.Module:
        if self._wrapped is None:
            self._wrapped = self.model if is_sharded(self.model) else wrap(self.model)
        return self._wrapped

    def _teach(self, batch: Batch) -> dict[str, dict[str, Encoded]]:
        taught = {}
        for name, plan in self.plan.teachers.items():
            teacher = self.states[name]
            assert isinstance(teacher, Teacher)  # the builder has checked it, with a sentence for the user
            with torch.no_grad(), self.precision.autocast():
                taught[name] = teacher.encode(batch, plan)
        return taught

    def _batch_terms(
        self, batch: Batch, leaves: dict[str, Encoded], taught: dict[str, dict[str, Encoded]], samples_seen: int
    ) -> dict[str, Term]:
        # Masked rows of absent views are dropped before batch heads, so that no statistic sees them.
        there = {view: rows if view.startswith("bank.") else rows.present() for view, rows in leaves.items()}
        parts = collect_parts(self.model.finish(there, self.plan), self.plan.views)
        for name, encoded in taught.items():
            parts |= collect_parts(encoded, self.plan.teachers[name].views, who=name, dtype=self._dtype)
        made = {key for key in parts if not key.who and not key.is_bank and key.part not in there[key.view].parts()}
        self._exchange.apart = frozenset(made)
        ctx = self._context(parts, batch, samples_seen, chunk=False)
        for state in self.states.values():
            state.observe(ctx)
        return self._terms("batch", ctx)

    def _second_pass(
        self,
        chunks: Sequence[_Chunk],
        first_pass: Sequence[dict[str, Encoded]],
        cursor: Cursor,
        weights: Mapping[str, float],
        samples_seen: int,
        counts: Mapping[str, float],
        whole: Mapping[str, Term] | None,
    ) -> dict[str, Tensor]:
        """Send everything back through the towers; returns this process's sums of sample-scope terms over its chunks.

        Args:
            whole: sample-scope terms of the one chunk, which its first pass has made; then no sums are returned.
        """
        sums: dict[str, Tensor] = {}
        for i, chunk in enumerate(chunks):
            with self._sync(last=i == len(chunks) - 1):
                encoded = self._encode(chunk, wrapped=True) if whole is None else first_pass[0]
                outputs, grads = cursor.next(encoded)
                if self._by_sample:
                    terms = self._sample_terms(chunk, encoded, samples_seen) if whole is None else whole
                    loss = self._sum(terms, counts, weights)
                    if loss.requires_grad:
                        outputs.append(loss)
                        grads.append(None)
                    if whole is None:
                        own = {name: term.sum.detach() for name, term in terms.items()}
                        sums = {name: sums[name] + each if name in sums else each for name, each in own.items()}
                if outputs:
                    torch.autograd.backward(outputs, grads)
        return sums

    @property
    def _dtype(self) -> torch.dtype:
        """The model's number format: of what it is judged by, too."""
        return next(each.dtype for each in self.model.parameters() if each.is_floating_point())

    @property
    def _by_sample(self) -> bool:
        return any(objective.scope == "sample" for objective in self.objectives.values())

    def _sample_terms_ahead(
        self, chunks: Sequence[_Chunk], first_pass: Sequence[dict[str, Encoded]], samples_seen: int
    ) -> dict[str, Term]:
        """Return sample-scope terms over this process's chunks: of one chunk to go backward, of several to count."""
        if not self._by_sample:
            return {}
        if len(chunks) == 1:
            return self._sample_terms(chunks[0], first_pass[0], samples_seen)
        found: dict[str, Term] = {}
        with torch.no_grad(), untracked(self.model):
            for chunk, encoded in zip(chunks, first_pass, strict=True):
                for name, term in self._sample_terms(chunk, encoded, samples_seen).items():
                    found[name] = found[name] + term if name in found else term
        return found

    def _sample_terms(self, chunk: _Chunk, encoded: dict[str, Encoded], samples_seen: int) -> dict[str, Term]:
        parts = collect_parts(encoded, _tower_parts(encoded, chunk.plan))
        return self._terms("sample", self._context(parts, chunk.batch, samples_seen, chunk=True))

    # terms ----------------------------------------------------------------------------------------------------------

    def _context(self, parts: dict, batch: Batch, samples_seen: int, *, chunk: bool) -> Context:
        return Context(
            parts=parts,
            batch=batch,
            scale=self.model.scale,
            states=self.plan.states(self.states),
            heads=self.model.heads,
            seed=self.seed,
            samples_seen=samples_seen,
            chunk=chunk,
            exchange=self._exchange,
        )

    def _terms(self, scope: str, ctx: Context) -> dict[str, Term]:
        return {
            f"{name}/{part}": term
            for name, objective in self.objectives.items()
            if objective.scope == scope
            for part, term in checked_terms(objective(ctx), name).items()
        }

    def _totals(
        self, terms: Mapping[str, Term], *more: float
    ) -> tuple[dict[str, tuple[float, float]], float, list[float]]:
        """Return sum and count of each term over all processes, the scale, and sums of further numbers: one message.

        The host reads it once, and so knows what the step will report before it goes backward.
        """
        device = next(self.model.parameters()).device
        wide = collectives.widest(device)
        own = [each.detach().to(wide) for term in terms.values() for each in (term.sum, term.count)]
        own += torch.tensor(more, dtype=wide, device=device).unbind()
        value = getattr(self.model.scale, "value", None)
        scale = value.detach().to(wide) if isinstance(value, Tensor) else torch.ones((), dtype=wide, device=device)
        *numbers, factor = torch.cat([collectives.total(torch.stack(own)), scale.reshape(1)]).tolist()
        rest = 2 * len(terms)
        found = zip(numbers[:rest:2], numbers[1:rest:2], strict=True)
        return dict(zip(terms, found, strict=True)), factor, numbers[rest:]

    def _sum(self, terms: Mapping[str, Term], counts: Mapping[str, float], weights: Mapping[str, float]) -> Tensor:
        # The zero keeps the sum differentiable where every weight or count is 0.
        loss = sum((p.sum() * 0 for p in self.model.scale.parameters()), torch.zeros(()))
        for name, term in terms.items():
            weight, count = weights[name.split("/")[0]], counts[name]
            if weight != 0 and count != 0:
                loss = loss + term.sum * (weight * collectives.world_size() / count)
        return loss

    def _sync(self, *, last: bool) -> AbstractContextManager[object]:
        wrapped = self._ddp()
        return nullcontext() if last or not isinstance(wrapped, DistributedDataParallel) else wrapped.no_sync()

    def _average_outside(self) -> None:
        """Average what DDP does not see; a gradient that no process has stays none, as with one process."""
        outside, parts = set(self.model.outside_forward()), is_sharded(self.model)
        own = [p for n, p in self.model.named_parameters() if n in outside or (parts and not isinstance(p, DTensor))]
        own += self.objectives.parameters()
        collectives.average_gradients_([p for p in own if p.requires_grad])


def _tower_parts(encoded: Mapping[str, Encoded], plan: Plan) -> dict[str, frozenset[str]]:
    """Planned parts that are there before batch-stage heads: what a sample-scope objective may read."""
    return {v: parts & frozenset(encoded[v].parts()) for v, parts in plan.views.items() if v in encoded}

"""Train from a configuration: the one path that the command line, the quick start and the tests take."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from medvlp.answers.asking.declared import check_overrides, stored_answer
from medvlp.config.recipe import full_tree, recipe_of
from medvlp.config.tree import PhaseConfig, RunConfig
from medvlp.core import collectives
from medvlp.core.console import silent
from medvlp.core.devices import choose_device
from medvlp.core.errors import UserError
from medvlp.core.files import check_place, write_json, write_text
from medvlp.core.keys import Key, Plan
from medvlp.core.memory import keep_freed_memory
from medvlp.core.processes import exclusive
from medvlp.core.protocols import Model, Teacher
from medvlp.core.provenance import code_hash, environment
from medvlp.core.sample import REPLAY, Batch
from medvlp.core.table import FeatureTable
from medvlp.data.leakage import Seen, leak_caveats, seen_of
from medvlp.data.loader import Loader, in_order
from medvlp.data.manifest import Manifest
from medvlp.data.marks import copied_marks
from medvlp.data.pipeline import added_fields
from medvlp.data.prepare import Prepared
from medvlp.data.readable import left_out_words
from medvlp.data.splits import part_facts, part_line, split_caveats, split_hash
from medvlp.features.feature_pass import feature_pass
from medvlp.measures._points import first_choice
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.bundle import Bundle, check_manifest, load_seen, save_bundle, save_patches
from medvlp.runs.build import Parts, Words, build_banks, build_parts, open_tokenizer, path_of, phase_plan, save_words
from medvlp.runs.data import build_views, fitted_views, open_manifest, open_split, repeats
from medvlp.runs.fitting import fitted_bundle
from medvlp.runs.gate import learn_gate, modalities_of
from medvlp.runs.needs import check_parts
from medvlp.runs.phases import phase_begin, sampler_of, short_of_warmup
from medvlp.runs.release import origin_of, taught_answers, training_card
from medvlp.runs.slices import released_preprocessing
from medvlp.runs.start import files_of, finished, refuse_late_copies, refuse_other_files, rehearse_phases, start_from
from medvlp.runs.validate import Validator
from medvlp.state.ema import Ema
from medvlp.training._batch_norm import tracking_norms
from medvlp.training.averaging import take_averages
from medvlp.training.checkpoints import complete_weights, load_checkpoint, load_weights, refuse_other_recipe
from medvlp.training.distributed import processes
from medvlp.training.precision import choose_precision
from medvlp.training.setup import Outcome, Setup
from medvlp.training.task import make_plan
from medvlp.training.tracking import Tracking
from medvlp.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A finished run: its folder, the released bundle, the cohort, and whether it was complete before."""

    run: Path
    bundle: Path
    outcome: Outcome
    manifest: Manifest
    complete: bool = False


def train(config: RunConfig, *, stop_at: int | None = None, judged: Iterable[str] = ()) -> Trained:
    """Train, or go on training, and release the best model as ``run/bundle``; each automatic choice is logged.

    Args:
        config: the run.
        stop_at: samples seen at which to save and stop, as a signal would.
        judged: splits that the model is judged on later: one that the data lacks is refused before anything is trained.

    Raises:
        UserError: for anything the user can mend, an interruption included; all that was complete is saved.
    """
    run = Path(config.run)
    # Before anything is written: a run folder of another recipe stays as it is.
    refuse_other_recipe(run, recipe_of(config))
    refuse_other_files(config)
    with processes(config.training.device), ExitStack() as after, torch.inference_mode(False):  # gradients, for anybody
        after.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())  # the caller's own
        if collectives.rank() == 0:
            check_place(run)
        if (done := finished(config)) is not None:
            return Trained(run, run / "bundle", *done, complete=True)
        built = Built(config)
        for split in judged:
            built.manifest.split_of(split)
        lock = exclusive(run, what="training", otherwise="choose another run", lock=".training.lock")
        with lock if collectives.rank() == 0 else nullcontext():
            trainer = Trainer(built.setup)
            trainer.resume()
            if collectives.rank() == 0:
                built.write_run_files()
            outcome = trainer.fit(stop_at=stop_at)
            if collectives.rank() == 0:
                if outcome.best_value is None:
                    odd = ", and training ended in skipped steps (skipped.jsonl)" if trainer.guard.in_a_row else ""
                    what = repr(built.choose) if built.choose else "anything"
                    logger.info(f"Validation does not measure {what}{odd}: the last checkpoint is released.")
                built.release(outcome, trainer)
            collectives.barrier()
    return Trained(run, run / "bundle", outcome, built.manifest)


def dry_run(config: RunConfig) -> str:
    """Build everything, send one batch through the first phase, return the plan; only the pixel cache is written."""
    check_place(Path(config.run))
    with silent():
        built = Built(config)
    plan, log = Trainer(built.setup).dry_run()
    sizes = {name: sum(p.numel() for p in tower.parameters()) for name, tower in built.parts.model.named_children()}
    terms = ", ".join(f"{name} {value:.4f}" for name, value in log.terms.items())
    apart = left_out_words(built.manifest)
    return (
        f"Plan of the first phase (view: parts)\n{plan}\n"
        f"Parameters: {', '.join(f'{name} {size:,}' for name, size in sizes.items())}\n"
        f"{part_line(part_facts(built.manifest))}{f' {apart}.' if apart else ''}\n"
        f"Readable: {', '.join(f'{name} {len(p.manifest)}' for name, p in built.splits.items())}\n"
        f"One batch of {config.training.batch}: loss {log.loss:.4f} ({terms}); nothing was changed.\n"
        + "\n".join(filter(None, built.remarks))
    ).rstrip()


class Built:
    """Everything of a run, made once: data, words, model, setup."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.run = Path(config.run)
        options = config.training
        # What is quick to refuse comes before hours of reading.
        self.tree: dict[str, Any] = full_tree(config)
        check_overrides(config.answers)
        self.recipe = recipe_of(config)
        build_banks(config, encode=False)
        path_of(config.tokenizer)
        self.tracking = Tracking(options.track, self.tree) if collectives.rank() == 0 else None
        if config.init_from is not None:
            check_manifest(Path(config.init_from))
        keep_freed_memory()
        device = choose_device(config.training.device, where="training.device")
        precision = choose_precision(options.precision, device.device)
        logger.info(f"Device {device.device}: {device.reason}. Towers in {precision.dtype}: {precision.reason}.")
        if options.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA refuses to be deterministic
            torch.use_deterministic_algorithms(True)
        if options.batch % collectives.world_size():
            raise UserError(
                f"training.batch {options.batch} cannot be shared equally by {collectives.world_size()} processes: "
                "choose a multiple."
            )
        self.manifest = open_manifest(config.data)
        if "split" in self.manifest:
            logger.info(part_line(part_facts(self.manifest)))
        there = set(self.manifest.column("split").tolist()) - {None}
        check_parts(config, there)
        names = [name for name in ("train", "validate") if name in there]
        where = {"train": {}, "validate": config.evaluation.where}
        self.splits: dict[str, Prepared] = {name: self._open(name, where[name]) for name in names}
        self.remarks = [repeats(options.batch, len(self.splits["train"])), *short_of_warmup(config)]
        for remark in filter(None, self.remarks):
            logger.info(remark)
        self.tokenizer = open_tokenizer(config, self.run, self.splits["train"])
        self.suffix = fitted_views(build_views(config.data.suffix, where="data.suffix"), self.splits["train"])
        self.prefix = build_views(config.data.prefix, where="data.prefix")
        first = self.splits["train"]
        read = {*first.manifest.record(0)} & {*self.manifest.file_columns} - {*first.sample(0).fields}  # into others
        self._fields = [name for name in self.manifest.names if name not in ("id", *read)]
        self._fields += added_fields([*self.prefix, *self.suffix])
        self._fields += [REPLAY] if config.data.replays else []
        self._fields += copied_marks(self.manifest.names, self._fields)
        self._device, self._precision = device.device, precision
        self._assemble()
        inexact = len(tracking_norms(self.parts.model))
        if inexact and (options.chunks > 1 or collectives.world_size() > 1):
            logger.info(
                f"{inexact} BatchNorm layers see one chunk of one process at a time: gradients are not exact, other "
                "chunks or processes give others (norm: group has no such layers); running statistics move once a step."
            )

    def _assemble(self) -> None:
        """Build model, states, objectives and setup, as they are at the start of the run."""
        config = self.config
        self.parts: Parts = build_parts(config, self.tokenizer, self._fields)
        if config.init_from is not None:
            start_from(self.parts.model, Path(config.init_from), [*self.parts.answers.values()])
        self.parts.model.to(self._device)
        if self.config.training.remember and isinstance(self.parts.model, TowerModel):
            self.parts.model.remembered = Remembered()
        # Teachers copy the student: after its weights have come and it stands on its device.
        for state in self.parts.states.values():
            if isinstance(state, Teacher):
                state.bind(self.parts.model)
        plans = [make_plan(objectives, self.parts.states) for objectives in self.parts.objectives]
        for plan in (*plans, *(Plan.of(state.refresh_needs()) for state in self.parts.states.values())):
            for name, asked in plan.teachers.items():
                teacher = self.parts.states[name]
                if isinstance(teacher, Teacher):
                    teacher.check(asked)
        rehearse_phases(self.parts, config)
        refuse_late_copies(self.parts.model, self.parts.states, config)
        answers = {name: each.answer for name, each in self.parts.answers.items()}
        measures = config.evaluation.measures
        self.choose = config.evaluation.choose or first_choice(answers, self._fields, options=measures) or ""
        if self.choose and self.choose != config.evaluation.choose and "validate" in self.splits:
            logger.info(f"The best checkpoint is chosen by {self.choose}: the first metric of what the recipe teaches.")
        watched = self.splits.get("validate")
        self.setup = self._setup(None if watched is None else Validator(watched, answers, measures=measures))

    def _open(self, split: str, where: Mapping[str, object]) -> Prepared:
        chosen = self.manifest.where(where) if where else self.manifest
        workers = self.config.training.workers
        return open_split(chosen, split, prefix=self.config.data.prefix, data=self.config.data, workers=workers)

    def _setup(self, validate: Validator | None) -> Setup:
        config, states = self.config, dict(self.parts.states)
        released = None
        if config.training.average is not None:
            average = Ema(horizon=config.training.average)
            average.bind(self.parts.model)
            states["average"] = average
            released = lambda: average.model  # noqa: E731 (binding again replaces the model)
        return Setup(
            run=self.run,
            model=self.parts.model,
            states=states,
            phases=[phase_plan(config, self.parts, at, self._loaders) for at in range(len(config.phases))],
            options=config.training,
            seed=config.seed,
            precision=self._precision,
            recipe=self.recipe,
            data=self.splits["train"].manifest.hash,
            validate=validate,
            choose=self.choose,
            asked=config.evaluation.choose is not None,
            feature_pass=self._features,
            released=released,
            tracking=self.tracking,
        )

    def _loaders(self, phase: PhaseConfig, words: Callable[[], Words]) -> Callable[[int], Loader]:
        train = self._open("train", phase.where) if phase.where else self.splits["train"]
        # A phase with its own data begins its own first epoch; phases on the same data go on in the one stream.
        begin = phase_begin(self.config, phase) if phase.where or phase.sampler else 0
        options = self.config.training

        def loader(start: int) -> Loader:
            return Loader(
                train,
                [*self.suffix, *self.parts.views],
                batch=options.batch,
                seed=self.config.seed,
                workers=options.workers,
                rank=collectives.rank(),
                world=collectives.world_size(),
                start=start,
                origin=begin,
                sampler=sampler_of(self.config, phase),
                states=self.parts.states,
                replays=self.config.data.replays,
                prefix=self.prefix,
                words=words(),
                marks=self.parts.marks,
            )

        return loader

    def _features(self, model: Model, needs: frozenset[Key], batches: Iterable[Batch] | None) -> FeatureTable:
        if batches is None:
            rank, world = collectives.rank(), collectives.world_size()
            batches = in_order(self.splits["train"], batch=256, rank=rank, world=world, marks=self.parts.marks)
        teachers = {name: state for name, state in self.parts.states.items() if isinstance(state, Teacher)}
        return feature_pass(model, batches, needs, teachers=teachers)

    # files ----------------------------------------------------------------------------------------------------------

    def write_run_files(self) -> None:
        """Write config.yaml (full tree), environment.json, data.json and the words."""
        save_words(self.config, self.run, self.tokenizer)
        write_text(self.run / "config.yaml", yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True))
        made = {"device": str(self._device), "precision": str(self._precision.dtype).removeprefix("torch.")}
        write_json(self.run / "environment.json", {**environment(), **made})
        self.manifest.save(self.run / "manifest.parquet")
        write_json(self.run / "data.json", {**self.data_facts(), "files": files_of(self.config)})

    def data_facts(self) -> dict[str, object]:
        """Return the hash, counts and quarantined records of the data."""
        manifest, meta = self.manifest, self.manifest.meta
        splits = [side for side in manifest.column("split").tolist() if side is not None]
        return {
            "manifest": manifest.hash,
            "split": split_hash(manifest),
            "split_made": meta.get("split"),
            "subset": meta.get("subset"),
            **({"sets": meta["sets"]} if "sets" in meta else {}),
            "records": {name: splits.count(name) for name in sorted(set(splits))},
            "leaks_allowed": self.config.data.allow_leaks,
            "leaks": meta.get("leaks"),
            "synthetic": bool(meta.get("synthetic", False)),
            "opened": list(self.splits),  # of other parts no file was read, so none is known to be damaged
            "quarantined": [
                {"split": name, **dataclasses.asdict(each)} for name, p in self.splits.items() for each in p.quarantined
            ],
        }

    def release(self, outcome: Outcome, trainer: Trainer) -> None:
        """Load the best checkpoint and save it as the run's bundle."""
        if (best := outcome.best) is None:
            return
        checkpoint = load_checkpoint(best)
        phase = int(str(checkpoint.trainer["phase"]))
        if phase < len(self.config.phases) - 1:
            logger.info(f"By {self.choose} the best checkpoint is of phases[{phase}]: no later phase is released.")
        if trainer.has_outgrown(phase):
            with silent():
                self._assemble()  # what a later phase's surgery did to the model cannot be undone
            trainer = Trainer(self.setup)
        trainer.stand_at(phase)
        # The objectives' too: answers compare by the scores that they hold.
        load_weights(trainer.root, complete_weights(checkpoint, self.parts.model, source=best), source=best)
        take_averages(trainer.root, checkpoint.optimiser, trainer.setup.phases[phase].optimiser.betas[0])
        model: Model = self.parts.model
        average = self.setup.states.get("average")
        if self.config.training.average is not None and isinstance(average, Ema):
            average.load_state_dict(checkpoint.state_of("average"))
            model = average.model
        facts = self.data_facts()
        flaw = " ".join((*split_caveats(self.manifest), *leak_caveats(self.manifest)))
        start = None if self.config.init_from is None else Path(self.config.init_from)
        provenance: Mapping[str, object] = {
            "recipe": self.recipe,
            "code": code_hash(),
            "data": facts["manifest"],
            "samples_seen": checkpoint.trainer["samples_seen"],
            "seed": self.config.seed,
            "synthetic": facts["synthetic"],
            "leaks_allowed": self.config.data.allow_leaks,
            "split": facts["split"],
            **({"split_flaw": flaw} if flaw else {}),
            **({"modalities": found} if (found := modalities_of(self.splits["train"])) else {}),
            **({"pretrained_heads": dict(model.loaded_heads())} if model.loaded_heads() else {}),
            **origin_of(start),
        }
        taught = taught_answers([*self.parts.answers.values()], self.splits["train"], suffix=self.suffix, start=start)
        preprocessing, warning = released_preprocessing(self.tree["data"]["prefix"], self.manifest.meta, model)
        if warning:
            logger.info(warning)
        bundle = Bundle(
            model=model,
            tokenizer=self.tokenizer,
            preprocessing=preprocessing,
            answers=tuple(stored_answer(each) for each in taught),
            provenance=provenance,
            gate=learn_gate(self.splits, self.config.gate, model.vision_kind),
            seen=self._seen(),
        )
        if "validate" in self.splits and self.config.evaluation.fit == "validate":
            options = self.config.evaluation
            chosen = {"data": self.manifest.hash, "calibration": options.calibration, "points": options.points}
            bundle = fitted_bundle(bundle, self.splits["validate"], **chosen)
        bundle = dataclasses.replace(bundle, card=training_card(bundle, outcome, self.tree, self.parts.answers))
        save_bundle(self.run / "bundle", bundle)
        if start is not None and save_patches(self.run / "patches", bundle, base=start):
            logger.info(f"What this run added to {start} is released alone too: {self.run / 'patches'}.")

    def _seen(self) -> Seen | None:
        """Return the hashes of whom the model is trained and chosen on, those of the bundle that it starts from too."""
        if not self.config.data.hashes:
            return None
        start, leaks = self.config.init_from, self.manifest.meta.get("leaks")
        base = None if start is None else load_seen(start)
        return seen_of(
            {name: prepared.manifest for name, prepared in self.splits.items()},
            salt=f"{self.recipe} {self.manifest.hash}",
            near=isinstance(leaks, Mapping) and bool(leaks.get("near_images")),
            base=base,
            knows_base=start is None or base is not None,
        )

"""Where a run starts: at its end, or with a bundle's weights, whatever was done to its model, and what phases do."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from torch import nn

from medvlp.answers.asking.declared import Declared, stored_answer
from medvlp.config.recipe import full_tree
from medvlp.config.tree import RunConfig
from medvlp.config.yaml import read_yaml
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.files import read_json, sha256_of
from medvlp.core.protocols import Model, State
from medvlp.data.manifest import Manifest
from medvlp.models.bundle import head_findings, load_bundle
from medvlp.models.encoders.inflated import inflate_weights
from medvlp.models.encoders.slices import named_for_slices
from medvlp.models.patches import apply_patches
from medvlp.models.pretrained_head import misfits
from medvlp.models.surgery import operate
from medvlp.runs.build import Parts, build_banks, operated
from medvlp.runs.data import open_manifest
from medvlp.runs.phases import phase_ends
from medvlp.state._model_teacher import tensors_of
from medvlp.state.frozen import Frozen
from medvlp.training.checkpoints import latest, load_checkpoint, load_weights
from medvlp.training.optimisation import OptimiserOptions, make_optimiser
from medvlp.training.phases import set_trainable
from medvlp.training.setup import Outcome

logger = logging.getLogger(__name__)


def files_of(config: RunConfig) -> dict[str, str]:
    """Return hashes of the banks' texts, of the files of objectives and views, and of the weights at the start."""
    found: dict[str, str] = {}
    with suppress(DataError):  # a file that is gone is missed by who reads it, and a finished run reads none
        found |= {f"banks.{name}": bank.sha256 for name, bank in build_banks(config, encode=False).items()}
    specs = [*config.data.prefix, *config.data.suffix, *(each for phase in config.phases for each in phase.objectives)]
    files = {str(spec["file"]): Path(str(spec["file"])).expanduser() for spec in specs if spec.get("file")}
    files |= {} if config.init_from is None else {"init_from": Path(config.init_from) / "model.safetensors"}
    return found | {name: sha256_of(path) for name, path in files.items() if path.is_file()}


def refuse_other_files(config: RunConfig) -> None:
    """Refuse a run folder whose run noted another content of a file, before anything in it is touched."""
    run = Path(config.run)
    noted = run / "data.json"
    before = read_json(noted).get("files") if latest(run) is not None and noted.is_file() else None
    now = files_of(config) if before else {}
    digests = before if isinstance(before, Mapping) else {}
    if changed := [name for name, digest in digests.items() if now.get(name, digest) != digest]:
        raise UserError(
            f"{run} holds a run with another content of {', '.join(changed)}: restore it, or choose another run."
        )


def finished(config: RunConfig) -> tuple[Outcome, Manifest] | None:
    """Return the outcome and cohort of a run that this configuration and data finished, before anything is built."""
    run, tree = Path(config.run), full_tree(config)
    newest, written = latest(run), run / "config.yaml"
    # A run that was killed while it released has all its samples and no bundle.
    if newest is None or not written.is_file() or not (run / "bundle" / "MANIFEST.sha256").is_file():
        return None
    if {**read_yaml(written), "run": tree["run"]} != tree:  # wherever the folder now lies
        return None
    facts, patience = load_checkpoint(newest).trainer, config.training.patience
    if facts["samples_seen"] < config.phases[-1].until and (patience is None or facts["stale"] < patience):
        return None
    manifest = open_manifest(config.data)
    if read_json(run / "data.json")["manifest"] != manifest.hash:
        return None
    best = (newest.parent / facts["best"]).resolve() if facts["best"] else newest
    return Outcome(facts["samples_seen"], best, facts["best_value"], facts["guard"]["skipped"]), manifest


def rehearse_phases(parts: Parts, config: RunConfig) -> None:
    """Let each phase begin, surgery being done to a copy: what fails, or names nothing, is refused before any batch.

    Raises:
        UserError: naming the phase.
    """
    model = copy.deepcopy(parts.model) if any(phase.surgery for phase in config.phases) else parts.model
    objectives = nn.ModuleDict({name: each for phase in parts.objectives for name, each in phase.items()})
    for i, phase in enumerate(config.phases):
        operate(model, phase.surgery, where=f"phases[{i}].surgery")
        patches = apply_patches(model, phase.patches, seed=config.seed, where=f"phases[{i}].patches")
        root = nn.ModuleDict({"model": model, "objectives": objectives})
        set_trainable(root, phase.trainable, where=f"phases[{i}]")
        # Patterns of options that phases share are compared when the first begins.
        make_optimiser(root, phase.optimiser or OptimiserOptions(), where=f"phases[{i}].optimiser")
        patches.remove()


def refuse_late_copies(model: Model, states: Mapping[str, State], config: RunConfig) -> None:
    """Refuse a `frozen` teacher that is to copy the student when patches or surgery have given it other tensors.

    Raises:
        ConfigError: naming the state and the phase.
    """
    starts = [0, *phase_ends(config)[:-1]]
    for name, state in states.items():
        if not isinstance(state, Frozen) or not 0 < state.begin <= config.phases[-1].until:
            continue
        last = max(i for i, start in enumerate(starts) if start < state.begin)
        if not config.phases[last].patches and not any(phase.surgery for phase in config.phases[: last + 1]):
            continue
        copied, student = (
            {key: tensor.shape for key, tensor in tensors_of(each).items()}
            for each in (model, operated(model, config, last))
        )
        if copied != student:
            raise ConfigError(
                f"states.{name}.begin is {state.begin}, in phases[{last}], where patches or surgery have given the "
                "student other tensors than its copy has: let it begin where a phase without patches, and before any "
                "surgery, ends."
            )


def start_from(model: Model, source: Path, answers: Sequence[Declared] = ()) -> None:
    """Take a bundle's weights; heads that it lacks start afresh, and those that the model lacks stay behind.

    A head that by the run's `answers` scores other findings, or in another order, starts afresh too; what scores of
    answers have learnt goes on.

    What surgery the bundle's model has undergone, the model has undergone before (`medvlp.runs.build.build_parts`).

    A model of stacks may start from one of images: its tower then looks at slices, its projection stands behind the
    pooler, and the pooler starts afresh, as the second stage of RadCLIP does. An inflated tower takes 2D kernels. Of a
    model of both, what the bundle knows of one kind only starts afresh for the other; so does a tower of texts after a
    bundle of pictures alone. BatchNorm that the model freezes counts no batches. A patch that hid tokens in training
    stays behind too.
    """
    bundle = load_bundle(source)
    given = bundle.model
    before, after = map(head_findings, (bundle.answers, [stored_answer(each) for each in answers]))
    other = tuple(part for part in after if before.get(part, after[part]) != after[part])
    for part in other:
        logger.info(f"The head {part!r} starts afresh: {source} has one of {', '.join(before[part])}.")
    learnt = {each.name: each.weights for each in bundle.answers}
    for each in answers:  # that compare by a score with weights, such as `cross_decoder`
        if each.module is not None and not misfits(each.module.state_dict(), learnt.get(each.name, {})):
            each.module.load_state_dict(dict(learnt.get(each.name, {})))
    gone = tuple(f"heads.{kind}{part}." for kind in ("", *(f"{kind}/" for kind in given.kinds)) for part in other)
    weights = {name: tensor for name, tensor in given.state_dict().items() if not name.startswith(gone)}
    fresh = model.left_out()
    if model.kinds == ("stack",) and any(name.startswith("towers.image.") for name in weights):
        weights = named_for_slices(weights)
    unknown = [kind for kind in model.kinds if len(model.kinds) > 1 and not _has(weights, f"heads.{kind}/")]
    unknown += [] if _has(weights, "towers.text.") else ["text"]  # after a bundle without words: its own first weights
    fresh = (*fresh, *(f"towers.{kind}." for kind in unknown))
    there = model.state_dict()
    fresh = (*fresh, *(head for head in {_of_head(name) for name in there} if head and not _has(weights, head)))
    weights = {name: tensor for name, tensor in weights.items() if not _of_head(name) or _has(there, _of_head(name))}
    # A scale belongs to its bias: SigLIP after CLIP, or CLIP after SigLIP, starts with its own; so do first words.
    if (_BIAS in there) != (_BIAS in weights) or (model.reads_text and "text" in unknown):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("logit_scale.")}
        fresh = (*fresh, "logit_scale.")
    hid = tuple(f"patches.{key}." for key, patch in given.patches.items() if "hidden" in patch.gives)  # pyrefly: ignore
    idle = {name for name in weights if name.endswith(_COUNTER) or name.startswith(hid)}
    weights = {name: tensor for name, tensor in weights.items() if name in there or name not in idle}
    own = {name: tensor for name, tensor in there.items() if fresh and name.startswith(fresh)}
    load_weights(model, inflate_weights({**own, **weights}, like=there), source=source)
    pixels = {name: each for name, each in given.named_buffers() if name.endswith((".mean", ".std"))}  # in no weights
    for name, now in model.named_buffers():
        if name in pixels and float((now - pixels[name]).abs().max()) > 0.01:
            here, its = ([round(each, 3) for each in one.flatten().tolist()] for one in (now, pixels[name]))
            logger.warning(f"{name} is {here}, and {source} was trained with {its}: set it as in its bundle.yaml.")


_BIAS = "logit_scale.bias"
_COUNTER = ".num_batches_tracked"


def _of_head(name: str) -> str:
    """Return the prefix of the head, or of the module that heads share, which a parameter belongs to, or nothing."""
    return ".".join(name.split(".")[:2]) + "." if name.startswith(("heads.", "shared.")) else ""


def _has(weights: Mapping[str, object], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights)

"""What importers have in common: reading without running, mapping without a name left over.

A component of ``medvlp/zoo`` is a function ``(source, options) -> Bundle``: the architecture of the foreign project in
our parts, its weights, and the preprocessing it was trained with. It is the one place where a file of pickled tensors
is opened, by torch's reader of weights alone, which refuses all but tensors and plain data.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import no_file
from medvlp.core.registry import build, component
from medvlp.models.bundle import Bundle

_SHOWN = 5
_ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
_PREFIXES = ("module._orig_mod.", "_orig_mod.module.", "module.", "_orig_mod.")


def convert(source: Path, *, name: str, options: Mapping[str, object]) -> Bundle:
    """Run an importer.

    Args:
        source: file or folder of the foreign project.
        name: of the importer.
        options: of the importer.

    Raises:
        ConfigError: if there is no such importer or option.
        UserError: if the source is not what the importer reads, or it makes no bundle.
    """
    component("zoo", name)  # whose own code, where it cannot even be imported, is no fault of the file
    try:
        made = build("zoo", {"name": name, **options}, where=f"--from {name}", given={"source": source})
    except _ODD as error:  # a file may hold anything in the place of any number, name or table
        why = f"it lacks {error}" if isinstance(error, KeyError) else _reason(error)
        raise DataError(
            f"{source} is not what the importer {name} reads ({why}): it is damaged or another model. Get it again, or "
            "name what the importer is for."
        ) from error
    if not isinstance(made, Bundle):
        raise UserError(f"The importer {name!r} gave {type(made).__name__}: let it return Bundle(...).")
    return made


def read_checkpoint(path: Path, *, inside: Sequence[str] = (), parts: Sequence[str] = ()) -> dict[str, Tensor]:
    """Read the tensors of a ``.pth``, ``.pt``, ``.ckpt`` or ``.safetensors`` file, without running anything in it.

    A prefix ``module.`` or ``_orig_mod.`` that all names share, left by training on several devices or compiled, is
    taken off. Numbers of half precision become float32, in which importers compute with them.

    Args:
        inside: keys under which projects keep the weights beside optimiser and configuration; the first there counts.
        parts: keys of several state dicts that are needed all; their names begin with the key then.

    Raises:
        UserError: if the file is missing, damaged, holds anything but tensors and plain data, or holds no weights.
    """
    if not path.is_file():
        raise UserError(f"{path} {no_file(path)}: name the checkpoint's file.")
    try:
        with with_inert_settings(path):
            held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # whatever the readers raise at a damaged or hostile file means the same to the user
        raise UserError(
            f"{path} cannot be read as weights alone ({_reason(error)}): get the file again, or, if it comes from a "
            "project you trust, save its state dict by itself."
        ) from None
    within: Mapping[str, object] = held if isinstance(held, Mapping) else {}
    key = next((key for key in inside if isinstance(within.get(key), Mapping)), None)
    found = {f"{part}.": within.get(part) for part in parts} or {"": held if key is None else within[key]}
    named: dict[str, Tensor] = {}
    for start, weights in found.items():
        if not isinstance(weights, Mapping) or not weights or not all(map(_is_plain, weights.values())):
            wanted = ", ".join(parts or inside) or "its top"
            raise UserError(f"{path} holds no state dict (looked under {wanted}): name another file.")
        prefix = next((each for each in _PREFIXES if all(str(name).startswith(each) for name in weights)), "")
        named |= {
            f"{start}{str(name).removeprefix(prefix)}": tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }
    return named


def _reason(error: Exception) -> str:
    """Return what is wrong in a line; torch's own first one is advice to read the file without care."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    line = re.split(r"[.\s]*(?:In PyTorch 2\.6|Please use)", text.strip().partition("\n")[0])[0]
    return line or type(error).__name__


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor with numbers of its own: neither sparse, nor quantised, nor a shape alone."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_quantized or value.is_meta)


def load_strictly(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    rename: Callable[[str], str | None],
    *,
    source: Path,
    own: Sequence[str] = (),
) -> None:
    """Load foreign weights under our names; one that is missing, unexpected or of another shape is refused.

    Axes of length 1 make no difference: a class token is (W,) here and (1, 1, W) there.

    Args:
        model: ours.
        weights: by foreign name.
        rename: foreign name -> ours, None where there is none.
        source: for the sentence.
        own: names of ours that a foreign checkpoint does not have: they keep what the model was built with.

    Raises:
        DataError: naming the first few that do not fit, or hold what is no number.
    """
    target = model.state_dict()
    renamed: dict[str, Tensor] = {}
    unexpected = []
    for name, tensor in weights.items():
        ours = rename(name)
        if ours is None or ours not in target or ours in own or ours in renamed:
            unexpected.append(name)
        else:
            like = target[ours].shape
            same = [n for n in tensor.shape if n != 1] == [n for n in like if n != 1]
            renamed[ours] = tensor.reshape(like) if same else tensor
    # BatchNorm counts batches since torch 0.4.1, and reads the count in no model that is used: as torch itself.
    there = {*renamed, *own, *(name for name in target if name.endswith(".num_batches_tracked"))}
    missing = [name for name in target if name not in there]
    shapes = [
        f"{name} {tuple(tensor.shape)} for {tuple(target[name].shape)}"
        for name, tensor in renamed.items()
        if tensor.shape != target[name].shape
    ]
    infinite = [name for name, tensor in renamed.items() if not bool(tensor.isfinite().all())]
    kinds = [n for n, t in renamed.items() if target[n].is_floating_point() and not t.is_floating_point()]
    found = {"are missing": missing, "are not expected": unexpected, "differ in shape": shapes}
    found |= {"are infinite or no numbers (nan)": infinite, "are no real numbers (int8 ..., complex)": kinds}
    faults = [f"{len(names)} {what}, such as {', '.join(names[:_SHOWN])}" for what, names in found.items() if names]
    if faults:
        raise DataError(
            f"The weights of {source} do not fit: {'; '.join(faults)}. It is another version or another model: name "
            "the checkpoint that this importer is for."
        )
    model.load_state_dict({**target, **renamed})


# Checkpoints with a configuration or numpy's numbers beside the weights: torch's reader of weights alone refuses every
# class that it does not know by name. Here the names of known libraries stand for classes without behaviour, which are
# thrown away, and nothing of another project is run; any other name is still refused.

_INERT = ("omegaconf.", "numpy.", "pytorch_lightning.callbacks.", "pathlib.", "argparse.Namespace", "typing.Any")
_PLAIN = {"collections.defaultdict": collections.defaultdict, "builtins.dict": dict, "builtins.list": list}
_PLAIN |= {"builtins.int": int, "builtins.float": float, "builtins.str": str, "builtins.bool": bool}


def with_inert_settings(path: Path) -> AbstractContextManager[Any]:
    """Return a context in which torch reads a file whose settings are objects of known libraries."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError):  # an older form, or damaged: the reader itself says so
        return nullcontext()
    if not all(name.startswith(_INERT) or name in _PLAIN for name in names):
        return nullcontext()
    return torch.serialization.safe_globals([(_PLAIN.get(name) or _inert(), name) for name in names])


def _inert() -> type:
    """Return a class of its own that takes anything and does nothing."""
    nothing = lambda self, *given, **named: None  # noqa: E731
    made = lambda cls, *given: object.__new__(cls)  # noqa: E731
    return type("Inert", (), {"__init__": nothing, "__setstate__": nothing, "__new__": made})

"""Tensors that lie on another device than the processor, as a GPU's do, where there is no GPU.

They compute with what they hold and say that they are on ``meta``. What CUDA refuses is refused: operations on tensors
of two devices (but for single numbers and indices), draws from a processor's generator, numpy, products of whole
numbers; and what torch lists as without a deterministic kernel on CUDA. Of a Mac's device float64 is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

ELSEWHERE = torch.device("meta")
_MOVES = {"aten::copy_", "aten::_to_copy", "aten::_local_scalar_dense"}
_NUMBERS = {"aten::masked_fill", "aten::masked_fill_", "aten::index_fill", "aten::fill_", "aten::where"}
_PRODUCTS = {"aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::mv", "aten::dot", "aten::convolution"}
_UNREPEATABLE = {
    *(f"aten::upsample_{kind}_backward" for kind in ("linear1d", "bicubic2d", "trilinear3d")),
    *(f"aten::_upsample_{kind}2d_aa_backward" for kind in ("bilinear", "bicubic")),
    *(f"aten::grid_sampler_{axes}d_backward" for axes in (2, 3)),
    *(f"aten::_adaptive_avg_pool{axes}d_backward" for axes in (2, 3)),
    *("aten::adaptive_max_pool2d_backward", "aten::avg_pool3d_backward", "aten::nll_loss2d_forward"),
    *(f"aten::reflection_pad{axes}d_backward" for axes in (1, 2, 3)),
    *("aten::histc", "aten::put_", "aten::kthvalue", "aten::_ctc_loss_backward"),
}


class Elsewhere(torch.Tensor):
    """A tensor on the other device."""

    inside: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inside: Tensor) -> Elsewhere:
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.size(),
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=ELSEWHERE,
        )
        made.inside = inside
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Elsewhere:
        made = Elsewhere(self.inside.detach().clone()).requires_grad_(self.requires_grad)
        made.__dict__ |= {name: each for name, each in self.__dict__.items() if name == "_is_param"}
        memo[id(self)] = made
        return made

    def tolist(self) -> Any:
        return self.inside.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("A tensor of a device is not numpy's: copy it to the processor.")

    __array__ = numpy


class Devices(TorchDispatchMode):
    """Context manager in which the other device has a memory, and what CUDA refuses is refused.

    Args:
        repeatable: whether what has no deterministic kernel is refused too.
        wide: whether the device has float64, which mps has not.

    Attributes:
        convolutions: how many ran on the device.
    """

    def __init__(self, *, repeatable: bool = True, wide: bool = True) -> None:
        super().__init__()
        self.repeatable, self.wide = repeatable, wide
        self.convolutions = 0

    def __enter__(self) -> Devices:
        self._before, self._numbers = (torch.autocast, torch.is_autocast_enabled, torch.inference_mode), _Numbers()
        # torch has none of them for a device of this kind.
        torch.autocast = lambda *_, **__: nullcontext()
        torch.is_autocast_enabled = lambda *_: False
        torch.inference_mode = lambda mode=True: torch.set_grad_enabled(not mode)
        self._numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._numbers.__exit__(*error)
        torch.autocast, torch.is_autocast_enabled, torch.inference_mode = self._before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, values = func._schema.name, [each for each in args if isinstance(each, Elsewhere)]
        self.convolutions += bool(values) and name == "aten::convolution"
        sums = name == "aten::cumsum" and any(each.is_floating_point() for each in values)
        if self.repeatable and values and (sums or name in _UNREPEATABLE):
            raise RuntimeError(f"{name} has no deterministic kernel on CUDA")
        found = _run(func, args, kwargs or {})
        made = [each for each in _flat([found]) if isinstance(each, Elsewhere)]
        if not self.wide and any(each.dtype == torch.float64 for each in made):
            raise TypeError(f"{name} to float64, which mps does not have")
        return found


class _Numbers(TorchFunctionMode):
    """Numbers of the host are brought to the device as tensors; torch would make one without any."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], dtype=options.get("dtype", args[0].dtype)).to(ELSEWHERE)
        if func in (torch.tensor, torch.as_tensor) and torch.device(options.get("device") or "cpu") == ELSEWHERE:
            return func(*args, **{**options, "device": None}).to(ELSEWHERE)
        return func(*args, **options)


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    leaves = [each for each in _flat([*args, *kwargs.values()]) if isinstance(each, torch.Tensor | torch.Generator)]
    there = [each for each in leaves if isinstance(each, Elsewhere)]
    asked = kwargs.get("device")
    moved = there if asked is None else torch.device(asked) == ELSEWHERE
    if not there and not moved:
        return func(*args, **kwargs)
    here = [each for each in leaves if isinstance(each, torch.Tensor) and not isinstance(each, Elsewhere)]
    name = func._schema.name
    if there and here and name not in _MOVES:
        _refuse_two(func, name, args, here)
    if moved and len(leaves) > len(here) + len(there):
        raise RuntimeError(f"{name} draws from a generator of the processor on a device")
    if name in _PRODUCTS and not all(each.is_floating_point() for each in there):
        raise RuntimeError(f"{name} has no kernel for whole numbers on CUDA")
    options = {key: _plain(each) for key, each in kwargs.items()}
    if asked is not None:
        options["device"] = torch.device("cpu")
    found = func(*(_plain(each) for each in args), **options)
    if name in ("aten::copy_", "aten::_local_scalar_dense") or not moved:
        return args[0] if name == "aten::copy_" else found
    wrapped = _wrapped(found)
    if name == "aten::_to_copy":
        return wrapped
    return return_and_correct_aliasing(func, tuple(args), dict(kwargs), wrapped)


def _flat(values: Sequence[Any]) -> list[Any]:
    """Operations take values and lists of values (torch's own walk of any tree was a third of these tests)."""
    return [each for value in values for each in (value if isinstance(value, list | tuple) else (value,))]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.inside if isinstance(value, Elsewhere) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_wrapped(each) for each in value)
    return Elsewhere(value) if isinstance(value, torch.Tensor) else value


def _refuse_two(func: Any, name: str, args: Sequence[Any], here: Sequence[Tensor]) -> None:
    """Refuse tensors of two devices where CUDA does: single numbers and the indices of a device's tensor go along."""
    bad = list(here)
    if "index" in name and isinstance(args[1], list | tuple):
        values = [each for each in args[2:3] if isinstance(each, torch.Tensor) and each.dim()]
        bad = [each for each in (args[0], *values) if not isinstance(each, Elsewhere)]
    elif torch.Tag.pointwise in func.tags or name in _NUMBERS or name.endswith("_backward"):
        bad = [each for each in here if each.dim()]
    if bad:
        raise RuntimeError(f"{name} of tensors on two devices: on the processor {[tuple(each.shape) for each in bad]}")

"""Building timm backbones from options that a configuration may set, and refusing the others with a sentence."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, UserError, did_you_mean

Option = bool | int | float | str | list[bool | int | float | str]

# What this class sets itself, and what would read files or run code that a configuration must not name.
_RESERVED: Mapping[str, str] = {
    "num_classes": "heads",
    "in_chans": "channels",
    "img_size": "image_size",
    "global_pool": "pool",
    "drop_path_rate": "drop_path",
    "pretrained": "pretrained",
    **dict.fromkeys(
        ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"), "init_from of the run"
    ),
    **dict.fromkeys(("features_only", "scriptable", "exportable", "no_jit", "device", "dtype"), "nothing"),
}


def create_backbone(
    architecture: str,
    *,
    image_size: int,
    channels: int,
    pretrained: bool,
    pool: str | None,
    drop_path: float,
    options: Mapping[str, Option],
) -> Any:  # noqa: ANN401  (timm tells of its models at run time only)
    """Create a timm model without classifier.

    Raises:
        ConfigError: for an architecture or option that timm does not know, or that cannot be built.
        UserError: if pretrained weights are asked for and cannot be had.
    """
    _check_options(architecture, options)
    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": channels, **sizes}
    if has_fixed_size(architecture):
        arguments["img_size"] = image_size
    if pool is not None:
        arguments["global_pool"] = pool
    if drop_path > 0:
        arguments["drop_path_rate"] = drop_path
    try:
        return timm.create_model(architecture, pretrained=pretrained, **arguments)
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise ConfigError(_unbuildable(architecture, options, error)) from error
        name = _RESERVED.get(unknown[1], unknown[1])
        raise ConfigError(
            f"timm's {architecture!r} has no option {name!r}: {did_you_mean(name, _known(architecture))}."
        ) from None
    except OSError as error:
        if not pretrained:
            raise
        raise UserError(
            f"The pretrained weights of timm's {architecture!r} are not in the local cache and could not be fetched "
            f"({type(error).__name__}): set pretrained: false, or run once with a network."
        ) from error
    except (ValueError, RuntimeError, AssertionError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise ConfigError(_unbuildable(architecture, options, error)) from error


def _unbuildable(architecture: str, options: Mapping[str, Option], error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"timm cannot build {architecture!r} with options {dict(options)} ({reason}): change or drop them."


def _check_options(architecture: str, options: Mapping[str, Option]) -> None:
    if ":" in architecture or not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.4)
        such_as = f", such as {', '.join(near)}" if near else ""
        raise ConfigError(f"timm has no architecture {architecture!r}: use one of its names{such_as}.")
    for name in options:
        if name in _RESERVED:
            raise ConfigError(
                f"options of timm's {architecture!r} may not set {name!r}: use {_RESERVED[name]} instead."
            )


def _known(architecture: str) -> list[str]:
    """Names of the options of an architecture that this project does not set itself."""
    with torch.device("meta"):
        model = timm.create_model(architecture)
    names = inspect.signature(type(model).__init__).parameters
    return [name for name in names if name not in ("self", "kwargs", *_RESERVED)]


def has_fixed_size(architecture: str) -> bool:
    """Whether an architecture is built for one image size."""
    config = timm.models.get_pretrained_cfg(architecture)
    return bool(config is not None and config.fixed_input_size)


def channel_statistic(given: Sequence[float] | None, default: Sequence[float], *, channels: int, name: str) -> Tensor:
    """Return one number a channel, (1, C, 1, 1), of one or as many; gray takes the average of a colour backbone's."""
    if given is not None and len(given) not in (1, channels):
        raise ConfigError(
            f"{name} of the image tower has {len(given)} numbers: give one, or one a channel ({channels})."
        )
    if given is not None and name == "std" and not min(given) > 0:
        raise ConfigError(f"std of the image tower is {list(given)}, and pixels are divided by it: use more than 0.")
    values = torch.tensor(list(default if given is None else given), dtype=torch.float64)
    if len(values) != channels:
        values = values.mean().expand(channels)
    return values.to(torch.get_default_dtype()).clone().view(1, channels, 1, 1)

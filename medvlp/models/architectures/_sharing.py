"""Modules that several heads or patches have together: one codebook for both towers, one prompt for two.

A component asks for one by a parameter ``share: Annotated[Share, FromModel("share")]``, by convention under the name in
its option ``shared``: ``share(shared, lambda: Codebook(codes, width))``. The first to ask has it made, the others are
given the same; the model registers and saves it, so a component holds it in a tuple, which hides it from its own state
dict.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from medvlp.core.errors import ConfigError

__all__ = ["Share", "refuse_other"]

# (name, how to make it) -> the module of that name
Share = Callable[[str, Callable[[], nn.Module]], nn.Module]


def refuse_other(standing: nn.Module, made: nn.Module, *, name: str, where: str) -> None:
    """Refuse to give one module to two who mean different ones.

    Raises:
        ConfigError: if they differ in class or in the shape of a tensor.

    Example:
        >>> refuse_other(nn.Linear(2, 3), nn.Linear(2, 3), name="codebook", where="heads.fdt")
    """
    first, second = ({n: tuple(t.shape) for n, t in m.state_dict().items()} for m in (standing, made))
    if type(standing) is type(made) and first == second:
        return
    raise ConfigError(
        f"{where}: the shared module {name!r} is a {type(standing).__name__} with {first} already, and a "
        f"{type(made).__name__} with {second} is asked for: give both the same options, or another name."
    )

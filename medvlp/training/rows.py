"""What of each parameter trains: all of it, nothing, or some of its rows while the others stand still."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.training._parts import own_part, own_rows
from medvlp.training.averaging import ITERATE

_ROWS = re.compile(r"(.*)\[(\d*):(\d*)\]")


def chosen_rows(named: Mapping[str, Tensor], patterns: Sequence[str], *, where: str) -> dict[str, bool | Tensor]:
    """Resolve patterns, later ones over earlier, to what trains of each parameter.

    A pattern is one over names, ``!`` in front takes out again, and ``[first:last]`` at its end limits it to rows, the
    indices of a parameter's first axis: ``model.towers.text.position[20:]``.

    Args:
        named: parameters by name.
        patterns: see above.
        where: path in the configuration, for error sentences.

    Returns:
        Name -> whether it trains, or bool (rows,) where some of its rows do.

    Raises:
        ConfigError: if a pattern matches no parameter, or no row of one.

    Example:
        >>> chosen_rows({"word": torch.zeros(3, 2)}, ["*", "!word[:1]"], where="phases[0]")
        {'word': tensor([False,  True,  True])}
    """
    chosen: dict[str, bool | Tensor] = dict.fromkeys(named, False)
    for pattern in patterns:
        cut = _ROWS.fullmatch(pattern)
        body, on = (cut[1] if cut else pattern).removeprefix("!"), not pattern.startswith("!")
        matches = [name for name in named if fnmatch(name, body)]
        if not matches:
            raise ConfigError(matches_nothing(where, pattern, body, named))
        for name in matches:
            limited = None if cut is None else _limited(chosen[name], cut, on, named[name], f"{where} has {pattern!r}")
            chosen[name] = on if limited is None else limited
    return chosen


def _limited(before: bool | Tensor, cut: re.Match[str], on: bool, parameter: Tensor, what: str) -> bool | Tensor:
    size = parameter.shape[0] if parameter.dim() else 0
    rows = torch.full((size,), before) if isinstance(before, bool) else before.clone()
    picked = slice(int(cut[2]) if cut[2] else None, int(cut[3]) if cut[3] else None)
    if not len(rows[picked]):
        raise ConfigError(f"{what}, and the parameter has {size} rows: name some of them.")
    rows[picked] = on
    return bool(rows[0]) if bool(rows.all()) or not bool(rows.any()) else rows


def matches_nothing(where: str, pattern: str, body: str, names: Iterable[str]) -> str:
    """Return the sentence on a pattern that matches none of the names, `body` being what of it is compared with them.

    Example:
        >>> matches_nothing("phases[0].trainable", "!1.*", "1.*", ["0.weight"])
        "phases[0].trainable has '!1.*', which matches no parameter: allowed is 0.weight.*."
    """
    groups = sorted({".".join(name.split(".")[:3]) + ".*" for name in names})
    return f"{where} has {pattern!r}, which matches no parameter: {did_you_mean(body, groups)}."


class HeldRows:
    """Rows that stand still in parameters whose other rows train: no gradient, no step and no decay reaches them.

    Args:
        named: parameters by name.
        chosen: as `chosen_rows` gives it.

    Example:
        >>> net = torch.nn.Linear(2, 3)
        >>> held = HeldRows(dict(net.named_parameters()), {"weight": torch.tensor([False, True, True])})
        >>> before = net.weight.detach().clone()
        >>> with held.still(torch.optim.SGD(net.parameters())), torch.no_grad():
        ...     _ = net.weight.mul_(0.5)
        >>> torch.equal(net.weight[0], before[0]), torch.equal(net.weight[1:], before[1:] / 2)
        (True, True)
    """

    def __init__(self, named: Mapping[str, Tensor], chosen: Mapping[str, bool | Tensor]) -> None:
        some = {name: rows for name, rows in chosen.items() if isinstance(rows, Tensor)}
        self._held = [(named[name], own_rows(~rows.to(named[name].device), named[name])) for name, rows in some.items()]

    def mask_gradients(self) -> None:
        """Set their gradients to 0: they count in no gradient norm, and an optimiser keeps no moments of them."""
        for parameter, held in self._held:
            if parameter.grad is not None:
                own_part(parameter.grad)[held] = 0

    @contextmanager
    def still(self, optimiser: torch.optim.Optimizer) -> Iterator[None]:
        """Context manager: restores the held rows bit for bit at the end of the block, an optimiser's `ITERATE` too."""
        before = [own_part(parameter.detach())[held] for parameter, held in self._held]
        yield
        with torch.no_grad():
            for (parameter, held), rows in zip(self._held, before, strict=True):
                for tensor in (parameter.detach(), optimiser.state.get(parameter, {}).get(ITERATE)):
                    if tensor is not None:
                        own_part(tensor)[held] = rows

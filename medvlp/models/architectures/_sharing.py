"""Modules that several heads or patches have together: one codebook for both towers, one prompt for two.

A component asks by a parameter ``share: Annotated[Share, FromModel("share")]``, by convention under the name in its
option ``shared``: ``share(shared, lambda: Codebook(codes, width))``. The first to ask has it made, the others are given
the same; the model registers and saves it, so a component holds it in a tuple, hidden from its own state dict.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.models._draws import seeded

# (name, how to make it) -> the module of that name
Share = Callable[[str, Callable[[], nn.Module]], nn.Module]


class SharedModules(nn.ModuleDict):
    """Modules shared by name, and which heads and patches use each.

    First weights depend on `seed` and the module's name, whoever asks first.
    """

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._sharers: dict[str, dict[str, bool]] = {}  # name -> who -> whether it runs inside the towers

    def asking(self, who: str, *, like: Tensor, where: str) -> Share:
        """Return what a head or a patch `who` asks with; `like` has the device and dtype of the model."""

        def ask(name: str, make: Callable[[], nn.Module]) -> nn.Module:
            if not name or "." in name:
                raise ConfigError(f"{where}.shared is {name!r}: use a name without dots.")
            with seeded(self._seed, f"shared {name}"):
                made = make()
            if name in self:
                _refuse_other(self[name], made, name=name, where=where)
            else:
                self[name] = made.to(device=like.device, dtype=like.dtype)
            self._sharers.setdefault(name, {})[who] = True
            return self[name]

        return ask

    def settle(self, who: str, *, inside: bool, where: str) -> None:
        """Take in whether somebody runs inside the towers; sharers inside and after them are refused (ConfigError)."""
        for name, sharers in self._sharers.items():
            if who not in sharers:
                continue
            sharers[who] = inside
            other = next((other for other in sorted(sharers) if sharers[other] != inside), None)
            if other is not None:
                raise ConfigError(
                    f"{where}: it shares {name!r} with {other!r}, and one of the two runs inside the towers, the other "
                    f"after them: give one of them a module of its own."
                )

    def forget(self, who: str) -> None:
        """Take one who shares away; what nobody shares any more is gone."""
        for name, sharers in list(self._sharers.items()):
            sharers.pop(who, None)
            if not sharers:
                del self[name], self._sharers[name]

    def only_of(self, some: Set[str]) -> list[str]:
        """Return the names of the modules that nobody else shares."""
        return sorted(name for name, sharers in self._sharers.items() if sharers.keys() <= some)


def _refuse_other(standing: nn.Module, made: nn.Module, *, name: str, where: str) -> None:
    """Refuse to give one module to two who mean different ones."""
    first, second = ({n: tuple(t.shape) for n, t in m.state_dict().items()} for m in (standing, made))
    if type(standing) is not type(made) or first != second:
        raise ConfigError(
            f"{where}: the shared module {name!r} is a {type(standing).__name__} with {first} already, and a "
            f"{type(made).__name__} with {second} is asked for: give both the same options, or another name."
        )

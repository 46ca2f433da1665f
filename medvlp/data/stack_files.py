"""Stack files: slices of one volume, or what a frozen tower made of them, in a safetensors file.

``pixels (S, C, H, W)`` or ``features (S, D)``, and ``position (S, 3)`` in mm. Features computed once let a pooler over
slices train in minutes; in a sample they are a stack of (S, D, 1, 1), which `models/encoders/slices.py` passes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.files import written_whole
from medvlp.data.stacks import LazyStack


class FileStack(LazyStack):
    """The slices of a stack file; those that nobody takes are not read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened() as file:
            names = set(file.keys())
            if len(names & {"pixels", "features"}) != 1 or "position" not in names:
                raise self._no_stack(f"it holds {', '.join(sorted(names)) or 'nothing'}")
            (self._name,) = names & {"pixels", "features"}
            sizes = tuple(file.get_slice(self._name).get_shape())
            position = file.get_tensor("position")
            self.meta: dict[str, str] = dict(file.metadata() or {})
        if len(sizes) != (4 if self._name == "pixels" else 2) or 0 in sizes or position.shape != (sizes[0], 3):
            raise self._no_stack(f"{self._name} of shape {sizes} do not go with positions {tuple(position.shape)}")
        self.position = position.float()
        self.shape = (*sizes[1:], 1, 1)[:3]

    def pixels(self, index: Sequence[int]) -> Tensor:
        """See `LazyStack`; features stand in the place of channels."""
        with self._opened() as file:
            rows = file.get_slice(self._name)
            parts = [rows[number : number + 1] for number in index]
        values = torch.cat(parts).float() if parts else torch.zeros(0, *self.shape)
        if not bool(values.isfinite().all()):
            raise self._no_stack(f"its {self._name} are not all finite")
        return values.reshape(len(parts), *self.shape)

    def _opened(self) -> Any:  # noqa: ANN401 (safetensors has no type for it)
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self._path, framework="pt")
        except FileNotFoundError:
            raise DataError(f"The stack file {self._path} does not exist: write it with `medvlp embed`.") from None
        except (SafetensorError, OSError) as error:
            raise self._no_stack(str(error).splitlines()[0]) from None

    def _no_stack(self, reason: str) -> DataError:
        return DataError(
            f"{self._path} is no stack file ({reason}): it holds features (S, D) or pixels (S, C, H, W), and position "
            "(S, 3); write it again with `medvlp embed`."
        )


def write_stack_file(path: Path, *, position: Tensor, features: Tensor, meta: Mapping[str, str] | None = None) -> None:
    """Write a stack file of features whole."""
    from safetensors.torch import save_file

    if features.dim() != 2 or position.shape != (len(features), 3):
        raise DataError(f"{path} cannot be written: it would hold features (S, D), and position (S, 3) of as many.")
    with written_whole(path) as temporary:
        tensors = {"features": features.contiguous(), "position": position.float().contiguous()}
        save_file(tensors, temporary, metadata=dict(meta or {}))

"""Two ONNX graphs, of any number of rows: pixels -> unit embedding, and token ids with their mask -> unit embedding."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from medvlp.core.encoded import unit
from medvlp.core.errors import UserError
from medvlp.core.files import write_json
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo.exports._export import not_held

__all__ = ["onnx"]


class _Image(nn.Module):
    def __init__(self, model: Any, kind: str) -> None:  # noqa: ANN401
        super().__init__()
        self.tower, self.head = model.towers[kind], model.heads[f"{kind}/raw"]

    def forward(self, pixels: Tensor) -> Tensor:
        return unit(self.head(self.tower(pixels, parts=frozenset(self.head.reads)), "raw")["raw"])


class _Text(_Image):
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:  # pyrefly: ignore
        return unit(self.head(self.tower(ids, parts=frozenset(self.head.reads), mask=mask), "raw")["raw"])


def onnx(*, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]) -> list[str]:
    """Write ``image.onnx`` and ``text.onnx``, with tokenizer and ``embedding.json`` (sizes, scale, parity).

    What the form cannot hold is returned, a phrase each.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"The form needs {', '.join(missing)}: run `pip install {' '.join(missing)}`.")
    model: Any = bundle.model
    if model.vision_kind != "image" or model.spec.get("patches"):
        raise UserError("The form holds a plain model of images: one of volumes, or with patches, has no place there.")
    tower = model.towers["image"]
    rows, side = torch.export.Dim("rows", min=1), tower.image_size
    pixels = torch.rand(2, tower.channels, side, side, generator=torch.Generator().manual_seed(0))
    graphs: dict[str, tuple[nn.Module, tuple[Tensor, ...], list[str], tuple[dict[int, Any], ...]]] = {
        "image": (_Image(model, "image").eval(), (pixels,), ["pixels"], ({0: rows},))
    }
    facts: dict[str, Any] = {"pixels": [tower.channels, side, side], "scale": model.logit_scale.value.item()}
    if model.reads_text:
        ids = torch.randint(0, bundle.tokenizer.vocab_size, (2, 12))  # pyrefly: ignore
        mask = torch.arange(12)[None] < torch.tensor([[12], [7]])
        length = torch.export.Dim("length", min=2, max=bundle.tokenizer.max_length)  # pyrefly: ignore
        names, sizes = ["ids", "mask"], ({0: rows, 1: length}, {0: rows, 1: length})
        graphs["text"] = (_Text(model, "text").eval(), (ids, mask), names, sizes)
        bundle.tokenizer.save(folder / "tokenizer")  # pyrefly: ignore
    for name, (module, inputs, names, sizes) in graphs.items():
        path = folder / f"{name}.onnx"
        with torch.inference_mode(False), torch.no_grad():
            torch.onnx.export(
                module, inputs, path, input_names=names, output_names=["unit_embedding"], dynamic_shapes=sizes,
                dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
            facts[f"{name}_parity"] = _parity(path, module, names, inputs)
    write_json(folder / "embedding.json", facts)
    return not_held(bundle)


def _parity(path: Path, module: nn.Module, names: list[str], inputs: tuple[Tensor, ...]) -> float:
    """Return the largest difference between graph and model, on three times as many rows as it was made with."""
    import onnxruntime

    more = tuple(torch.cat([each, each.flip(0), each]) for each in inputs)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: each.numpy() for name, each in zip(names, more, strict=True)})[0]
    return float((torch.from_numpy(found) - module(*more)).abs().max())

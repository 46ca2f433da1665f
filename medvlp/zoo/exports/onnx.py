"""Two ONNX graphs, of any number of rows: pixels -> unit embedding, and token ids with their mask -> unit embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from medvlp.core.installed import needs
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle
from medvlp.zoo.exports._embedders import Embedder, Run, write_graphs
from medvlp.zoo.exports._export import not_held

__all__ = ["onnx"]


def onnx(*, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]) -> list[str]:
    """Write ``image.onnx`` and ``text.onnx``, with tokenizer and ``embedding.json`` (sizes, scale, parity).

    What the form cannot hold is returned, a phrase each.
    """
    needs("onnx", "onnxscript", "onnxruntime")
    import onnxruntime

    def write(graph: Embedder) -> Run:
        path = folder / f"{graph.name}.onnx"
        torch.onnx.export(
            graph.module, graph.inputs, path, input_names=graph.names, output_names=["unit_embedding"],
            dynamic_shapes=graph.sizes, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(inputs: tuple[Tensor, ...]) -> Tensor:
            named = {name: each.numpy() for name, each in zip(graph.names, inputs, strict=True)}
            return torch.from_numpy(session.run(None, named)[0])

        return run

    write_graphs(bundle, folder, write)
    return not_held(bundle)

"""Two graphs of OpenVINO, of any number of rows: pixels -> unit embedding; token ids with their mask -> the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch

from medvlp.core.registry import FromModel
from medvlp.models.backends.engines import exported, openvino_core, without_warnings
from medvlp.models.bundle import Bundle
from medvlp.zoo.exports._embedders import Embedder, Run, write_graphs
from medvlp.zoo.exports._export import not_held


def openvino(
    *, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]
) -> list[str]:
    """Write ``image.xml`` and ``text.xml`` with their weights beside them, tokenizer and ``embedding.json``.

    Weights stay float32; parity is measured with float32 arithmetic, and whoever runs the graphs chooses another. What
    the form cannot hold is returned, a phrase each.
    """
    core = openvino_core()
    import openvino as ov

    def write(graph: Embedder) -> Run:
        with without_warnings():
            made = ov.convert_model(exported(graph.module, graph.inputs, graph.sizes))
        for name, given in zip(graph.names, made.inputs, strict=True):
            given.get_tensor().set_names({name})
        made.outputs[0].get_tensor().set_names({"unit_embedding"})
        path = folder / f"{graph.name}.xml"
        ov.save_model(made, path, compress_to_fp16=False)
        compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda inputs: torch.from_numpy(compiled([each.contiguous().numpy() for each in inputs])[0])

    write_graphs(bundle, folder, write)
    return not_held(bundle)

"""Two ONNX graphs, of any number of rows: pixels -> unit embedding, and token ids with their mask -> unit embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from medvlp.core.installed import needs
from medvlp.core.registry import FromModel
from medvlp.models.backends.engines import as_onnx, exported, onnx_session, session_graph
from medvlp.models.bundle import Bundle
from medvlp.zoo.exports._embedders import Embedder, Run, write_graphs
from medvlp.zoo.exports._export import not_held


def onnx(*, bundle: Annotated[Bundle, FromModel("bundle")], folder: Annotated[Path, FromModel("folder")]) -> list[str]:
    """Write ``image.onnx`` and ``text.onnx``, with tokenizer and ``embedding.json`` (sizes, scale, parity).

    What the form cannot hold is returned, a phrase each.
    """
    needs("serve", "onnx", "onnxscript", "onnxruntime")

    def write(graph: Embedder) -> Run:
        traced = exported(graph.module, graph.inputs, graph.sizes)
        whole = as_onnx(traced, inputs=graph.names, outputs=["unit_embedding"]).SerializeToString()
        (folder / f"{graph.name}.onnx").write_bytes(whole)
        run = session_graph(onnx_session(whole))
        return lambda inputs: run(inputs)[0]

    write_graphs(bundle, folder, write)
    return not_held(bundle)

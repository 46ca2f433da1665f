"""The engines: each makes a module into a graph of tensors, for any number of rows."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from medvlp.core.encoded import Encoded
from medvlp.core.errors import UserError
from medvlp.core.installed import needs

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession, SessionOptions
    from openvino import Core

Engine = Literal["openvino", "onnxruntime"]
Graph = Callable[[tuple[Tensor, ...]], list[Tensor]]
Sizes = tuple[Mapping[int, Any], ...]


class Outputs(nn.Module):
    """A tower as a function of tensors to tensors: the parts `wanted`, in turn."""

    def __init__(self, tower: nn.Module, forward: Callable[..., Encoded], wanted: Sequence[str]) -> None:
        super().__init__()
        self.tower = tower  # so that its weights are the module's
        self._forward, self.wanted = forward, tuple(wanted)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the parts of `values` (R, ...)."""
        options: Mapping[str, Any] = {} if mask is None else {"mask": mask}
        rows = self._forward(values, parts=frozenset(self.wanted), **options)
        return tuple(getattr(rows, name) for name in self.wanted)


def openvino() -> Callable[[nn.Module, tuple[Tensor, ...], Sizes], Graph]:
    """Return what makes graphs of OpenVINO, in bfloat16 where the processor computes with it.

    Raises:
        UserError: if it is not installed.
    """
    core = openvino_core()
    import openvino as ov

    def make(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes) -> Graph:
        with as_a_sentence("openvino"), without_warnings():
            compiled = core.compile_model(ov.convert_model(exported(module, inputs, sizes)), "CPU")

        def run(given: tuple[Tensor, ...]) -> list[Tensor]:
            found = compiled([each.contiguous().numpy() for each in given])
            return [torch.from_numpy(found[i]) for i in range(len(compiled.outputs))]

        return run

    return make


def onnxruntime() -> Callable[[nn.Module, tuple[Tensor, ...], Sizes], Graph]:
    """Return what makes graphs of ONNX Runtime, in float32.

    Raises:
        UserError: if it, or what writes ONNX, is not installed.
    """
    needs("serve", "onnxruntime", "onnx", "onnxscript")

    def make(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes) -> Graph:
        with as_a_sentence("onnxruntime"):
            return session_graph(onnx_session(as_onnx(exported(module, inputs, sizes)).SerializeToString()))

    return make


@cache
def openvino_core() -> Core:
    """Return the one core of OpenVINO that a process may have.

    Each core gives the thread a stack for signals and gives back the former when it goes, which may be that of a core
    that went before: the next signal would then end the process. OpenVINO's own reports of usage are off.

    Raises:
        UserError: if it is not installed.
    """
    needs("serve", "openvino")
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))  # what sends them counts as not installed
    import openvino as ov

    return ov.Core()


@contextmanager
def without_warnings() -> Generator[None]:
    """Leave out what torch's exporter, and what decomposes what it made, warn of torch's own code."""
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        yield


@contextmanager
def as_a_sentence(name: str, *, mend: str = "use the backend torch") -> Iterator[None]:
    """Say in a sentence that an engine cannot do it: what it and the exporter raise is of any kind, and long."""
    try:
        yield
    except (UserError, OSError):  # of the disk its own reader tells
        raise
    except Exception as error:
        why = str(error).strip().partition("\n")[0]
        raise UserError(f"{name} has no graph for this tower ({why}): {mend}.") from error


def exported(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Sizes) -> torch.export.ExportedProgram:
    """Trace a module; of the sizes that are named it takes any."""
    with torch.inference_mode(False), torch.no_grad(), without_warnings():
        given = tuple(each.clone() for each in inputs)  # tensors of inference mode cannot be traced
        return torch.export.export(module.eval(), given, dynamic_shapes=sizes)


def as_onnx(
    traced: torch.export.ExportedProgram, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> ModelProto:
    """Write a traced module as an ONNX model, its inputs and outputs by these names, or the module's own."""
    with without_warnings():
        program = torch.onnx.export(traced, dynamo=True, verbose=False, input_names=inputs, output_names=outputs)
    assert program is not None
    made = program.model_proto
    for node in [*made.graph.node, *(each for function in made.functions for each in function.node)]:
        del node.metadata_props[:]  # lines of code that made it, by their paths on this machine
    return made


def onnx_session(model: bytes, options: SessionOptions | None = None) -> InferenceSession:
    """Return what runs an ONNX model on the processor."""
    import onnxruntime as ort

    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def session_graph(session: InferenceSession, outputs: Sequence[str] | None = None) -> Graph:
    """Return a session as a function of tensors: its inputs in turn, and the outputs that are named, or all."""
    names = [each.name for each in session.get_inputs()]

    def run(given: tuple[Tensor, ...]) -> list[Tensor]:
        named = {name: each.contiguous().numpy() for name, each in zip(names, given, strict=True)}
        return [torch.from_numpy(found) for found in session.run(outputs, named)]

    return run


ENGINES = {"openvino": openvino, "onnxruntime": onnxruntime}

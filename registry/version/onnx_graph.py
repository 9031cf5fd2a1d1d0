"""A module -> an ONNX graph without its weights, and back to something that answers like the module, by ONNX Runtime.

The graph names the weights as the module's state_dict does, and they are handed over when it is opened. So it takes a
few hundred KB whatever the model's size, a model's weights stand in one place, and adapters need no merged copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as refusals
from torch import Tensor, nn

from core.errors import HeadraceError

if TYPE_CHECKING:
    from core.tables.task import Interface

# The operators' version: what torch 2.14 writes by itself; said here, so that an upgrade of torch moves nothing.
OPSET = 20
_PREFERRED = ("CUDAExecutionProvider", "ROCMExecutionProvider", "CPUExecutionProvider")
_WEIGHTS = "model.safetensors"  # where the graph says that its weights are
_REFUSED = (
    refusals.Fail, refusals.InvalidArgument, refusals.InvalidGraph, refusals.InvalidProtobuf, refusals.NoModel,
    refusals.NotImplemented, refusals.RuntimeException,
)  # fmt: skip


def export(module: nn.Module, interface: Interface) -> bytes:
    """The module's graph. Raises torch.onnx.OnnxExporterError for a module that ONNX cannot say."""
    import onnx_ir

    wrapped = _InOrder(module, interface.outputs).eval()
    program = torch.onnx.export(
        wrapped, kwargs=dict(interface.inputs), dynamo=True, opset_version=OPSET, verbose=False,
        input_names=list(interface.inputs), output_names=list(interface.outputs),
        dynamic_shapes={
            name: {at: axis for at, axis in enumerate(axes) if axis is not None}
            for name, axes in interface.axes.items()
        },
        optimize=False,  # it would rename and transpose weights; the runtime does as much when it opens the graph
    )  # fmt: skip
    assert program is not None
    known = wrapped.state_dict()
    for name, value in program.model.graph.initializers.items():
        if name in known and (weight := value.const_value) is not None:
            shape = onnx_ir.Shape(known[name].shape)
            value.const_value = onnx_ir.ExternalTensor(_WEIGHTS, None, None, weight.dtype, shape=shape, name=name)
    graph: bytes = _bare(onnx_ir.to_proto(program.model)).SerializeToString(deterministic=True)
    return graph


def opened(graph: bytes, weights: Mapping[str, Tensor], outputs: Sequence[str]) -> Session:
    """What answers in the module's place. weights: its state_dict.

    Raises HeadraceError for a graph that does not fit them, or that this version of the runtime does not take.
    """
    try:
        wanted = [
            each.name.removeprefix(f"{_INNER}.")
            for each in onnx.load_from_string(graph).graph.initializer
            if each.data_location == onnx.TensorProto.EXTERNAL
        ]
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(_array(weights[name])) for name in wanted}
        options = _options()
        options.add_external_initializers([f"{_INNER}.{name}" for name in values], list(values.values()))
        session = onnxruntime.InferenceSession(graph, options, providers=providers())
    except KeyError as missing:
        raise HeadraceError(f"the ONNX graph wants {missing.args[0]!r}, which the model has not") from None
    except _REFUSED as error:
        raise HeadraceError(f"ONNX Runtime does not open the graph: {' '.join(str(error).split())[:200]}") from None
    return Session(session, values, outputs)


class Session(nn.Module):
    """A graph that is open; called by keyword as the module was, it gives what has the module's outputs."""

    def __init__(self, session: Any, values: Mapping[str, Any], outputs: Sequence[str]) -> None:
        super().__init__()
        self._session, self._outputs = session, outputs
        self._values = values  # ONNX Runtime reads them where they lie

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        said = self._session.run(list(self._outputs), {name: _array(value) for name, value in inputs.items()})
        return SimpleNamespace(**{name: torch.from_numpy(one) for name, one in zip(self._outputs, said, strict=True)})


def providers() -> list[str]:
    """What runs a graph here, the fastest first: a GPU where onnxruntime was installed for one, else the CPU."""
    available = onnxruntime.get_available_providers()
    return [name for name in _PREFERRED if name in available]


def place() -> dict[str, Any]:
    """What decides how fast the two engines are on this machine, as far as libraries say it."""
    return {"device": "cuda" if torch.cuda.is_available() else "cpu", "providers": providers()}


_INNER = "inner"


class _InOrder(nn.Module):
    """The module, its outputs as a tuple in a known order."""

    def __init__(self, module: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.inner, self._outputs = module, outputs

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        said = self.inner(**inputs)
        return tuple(getattr(said, name) for name in self._outputs)


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1  # as many as torch takes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # several requests share the cores
    options.log_severity_level = 3  # errors
    return options


def _array(value: Tensor) -> Any:
    return value.detach().cpu().contiguous().numpy()


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes beside: stack traces with this machine's paths, most of a graph's bytes."""
    graph = model.graph
    noted = [model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output]
    for each in noted:
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    del model.graph.value_info[:]
    return model

"""A Draft: the graph of an ONNX file while it is rewritten; thrown away once the file is written."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.onnx_file import save_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from windtunnel.variant import Variant

DOMAIN = "com.microsoft"
"""Where ONNX Runtime keeps operators of its own; other runtimes do not know them."""


class Draft:
    """An ONNX graph with the questions that a rewriting asks: who makes this value, who takes it, what constant is it?

    Names of new values and nodes are drawn from counters, so that the same rewriting of the same file gives the same
    bytes. Values that an inner graph (of an `If` or a `Loop`) takes count as taken by its node.

    Args:
        parent: whose file is read; it is never written to.
        path: another file to read in its place, which a step has written so far.

    Example:
        >>> import onnx.parser, pathlib, tempfile
        >>> from windtunnel.variant import Variant
        >>> text = '<ir_version: 10, opset_import: ["": 18]> g (float[n] x) => (float[n] y) {h = Neg (x) y = Neg (h)}'
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "m.onnx"
        >>> onnx.save(onnx.parser.parse_model(text), str(path))
        >>> draft = Draft(Variant.from_file(path))
        >>> draft.maker("y").input, [node.output[0] for node in draft.takers("h")]
        (['h'], ['y'])
    """

    def __init__(self, parent: Variant, path: Path | None = None) -> None:
        import onnx

        self.parent = parent
        self.adopt(onnx.load(str(path or parent.path)))

    def adopt(self, model: onnx.ModelProto) -> None:
        """Go on with another graph in the place of this one."""
        self.model, self.graph = model, model.graph
        self._constants = {each.name: each for each in self.graph.initializer}
        self._values: dict[str, NDArray[Any]] = {}
        self._taken = set(self._constants) | {each.name for each in (*self.graph.input, *self.graph.output)}
        self._taken |= {name for node in self.graph.node for name in (*node.output, node.name)}
        self._counts: dict[str, int] = {}
        self.index()

    def index(self) -> None:
        """Look anew at who makes and who takes each value, after nodes came or went."""
        self._makers = {name: node for node in self.graph.node for name in node.output if name}
        self._takers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(inputs_of(node)):
                self._takers.setdefault(name, []).append(node)

    @property
    def inputs(self) -> list[str]:
        """What the model takes, constants that stand among its inputs left out."""
        return [each.name for each in self.graph.input if each.name not in self._constants]

    @property
    def weight_bytes(self) -> int:
        """The bytes of all constants, as they are written."""
        return sum(each.ByteSize() for each in self.graph.initializer)

    @property
    def outputs(self) -> list[str]:
        """What the model gives."""
        return [each.name for each in self.graph.output]

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and constants."""
        return self._makers.get(name)

    def takers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that take a value, in the order of the graph."""
        return self._takers.get(name, [])

    def only_taker(self, name: str) -> onnx.NodeProto | None:
        """The node that takes a value, where it is the only one and the value is not an output."""
        takers = self.takers(name)
        return takers[0] if len(takers) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """The array of an initializer or of a `Constant`; None for what is computed."""
        from onnx import numpy_helper

        if name not in self._values:
            made = self._makers.get(name)
            if name in self._constants:
                self._values[name] = numpy_helper.to_array(self._constants[name])
            elif made is not None and made.op_type == "Constant" and attribute(made, "value") is not None:
                self._values[name] = numpy_helper.to_array(attribute(made, "value"))
            else:
                return None
        return self._values[name]

    def fresh(self, stem: str) -> str:
        """A name that nothing has yet."""
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}_{self._counts[stem]}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def weight(self, array: NDArray[Any], stem: str) -> str:
        """Keep an array in the file; its name."""
        from onnx import numpy_helper

        name = self.fresh(stem)
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        self._constants[name] = self.graph.initializer[-1]
        return name

    def node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str] = (), domain: str = "", **attributes: Any
    ) -> str:
        """Add a node at the end (`save` puts all in order); its first output, named where none was."""
        from onnx import helper

        made = list(outputs) or [self.fresh(kind.lower())]
        self.graph.node.append(helper.make_node(kind, inputs, made, self.fresh(kind), domain=domain, **attributes))
        if domain and domain not in {each.domain for each in self.model.opset_import}:
            self.model.opset_import.append(helper.make_opsetid(domain, 1))
        return made[0]

    def drop(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Take nodes out; who makes and takes what is as it was until `index`."""
        gone = {node.output[0] for node in nodes}
        kept = [node for node in self.graph.node if not gone.intersection(node.output)]
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def sweep(self) -> int:
        """Drop every node and constant that no output needs; the number of nodes that went."""
        self.index()
        needed, stack = set(), list(self.outputs)
        while stack:
            name = stack.pop()
            node = self.maker(name)
            if name in needed:
                continue
            needed.add(name)
            stack += inputs_of(node) if node is not None else ()
        before = len(self.graph.node)
        nodes = [node for node in self.graph.node if needed.intersection(node.output)]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        weights = [each for each in self.graph.initializer if each.name in needed]
        del self.graph.initializer[:]
        self.graph.initializer.extend(weights)
        known = needed | set(self.inputs)
        kept = [each for each in self.graph.value_info if each.name in known]
        del self.graph.value_info[:]
        self.graph.value_info.extend(kept)
        self._constants = {each.name: each for each in self.graph.initializer}
        self.index()
        return before - len(nodes)

    def note(self, key: str, value: str) -> None:
        """Say something of the model in its file."""
        self.model.metadata_props.add(key=key, value=value)

    def save(self, path: Path) -> None:
        """Drop what is not needed, put the nodes in order and write the file; weights too large for it lie beside it."""
        self.sweep()
        ordered = _in_order(list(self.graph.node))
        del self.graph.node[:]
        self.graph.node.extend(ordered)
        self._forget_domains()
        save_model(self.model, path)

    def _forget_domains(self) -> None:
        """Claim no domain that no operator is of."""
        functions = [node for function in self.model.functions for node in function.node]
        used = {node.domain for node in (*_all_nodes(self.graph), *functions)} | {"", "ai.onnx"}
        kept = [each for each in self.model.opset_import if each.domain in used]
        del self.model.opset_import[:]
        self.model.opset_import.extend(kept)


def inputs_of(node: onnx.NodeProto) -> list[str]:
    """The values that a node takes, those of its inner graphs included."""
    names = [name for name in node.input if name]
    for graph in _inner(node):
        within = {each.name for each in (*graph.input, *graph.initializer)}
        within |= {name for each in graph.node for name in each.output}
        taken = [name for each in graph.node for name in inputs_of(each)] + [each.name for each in graph.output]
        names += [name for name in taken if name not in within]
    return names


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for each in node.attribute:
        if each.HasField("g"):
            yield each.g
        yield from each.graphs


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs within."""
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from _all_nodes(inner)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default` where the node has none of that name."""
    from onnx import helper

    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _in_order(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes so that each comes after what it takes; as they stood, where that leaves a choice."""
    home = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    needs = [{home[name] for name in inputs_of(node) if name in home} for node in nodes]
    after: list[list[int]] = [[] for _ in nodes]
    for place, earlier in enumerate(needs):
        for each in earlier:
            after[each].append(place)
    waits = [len(earlier) for earlier in needs]
    ready = [place for place, count in enumerate(waits) if count == 0]
    ordered = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(nodes[place])
        for later in after[place]:
            waits[later] -= 1
            if waits[later] == 0:
                heapq.heappush(ready, later)
    return ordered

"""What is used of Keras beyond its public interface, in one place. It holds for Keras 3.15.

Each function says what Keras changed or could change; the contract test over all networks fails when it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any


def forget_compiled(model: Any) -> None:
    """Drop the compiled functions of a model: attributes of its layers are constants in their graphs.

    Keras compiles anew when these attributes of its TensorFlow trainer are None, as they are after ``compile``.
    """
    for compiled in ("train_function", "test_function", "predict_function"):
        if hasattr(model, compiled):
            setattr(model, compiled, None)


def producer(tensor: Any) -> Any:
    """The operation or layer that a symbolic tensor comes from (``_keras_history``)."""
    return tensor._keras_history.operation


def calls(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every operation of a functional model, inputs left out, with the node of its call in this model's graph.

    A node (``_inbound_nodes``) knows ``input_tensors`` and, in ``arguments``, how the operation was called.
    """
    inputs = {id(tensor) for tensor in model.inputs}
    for operation in model.operations:
        if id(operation.output) in inputs:
            continue
        yield operation, next(node for node in operation._inbound_nodes if node.output_tensors[0] is operation.output)


def called_again(operation: Any, node: Any, tensors: dict[int, Any]) -> Any:
    """The result of an operation called as in ``node``, on the tensors that stand for the ones there."""
    arguments, options = node.arguments.fill_in(tensors)
    return operation(*arguments, **options)


def number_in(node: Any) -> float:
    """The number in a call such as ``x + 3.0``."""
    return float(next(argument for argument in node.arguments.args if isinstance(argument, (int, float))))


def run_through(model: Any, inputs: list[Any], visit: Any) -> list[Any]:
    """The outputs of a functional model for other inputs, where ``visit(operation, *arguments, **options)`` does each step.

    The order of the steps is always the same, and an operation that is used twice is visited twice
    (``_run_through_graph``).
    """
    import keras

    found = model._run_through_graph(inputs, operation_fn=lambda operation: partial(visit, operation))
    return list(keras.tree.flatten(found))


def graph_of(operation: Any) -> Any:
    """The graph inside a model that is used as a layer; None for layers, and for models written as a class.

    A ``Sequential`` keeps its own as ``_functional``.
    """
    inside = getattr(operation, "_functional", operation)
    return inside if hasattr(inside, "_run_through_graph") else None


def takes_training(operation: Any) -> bool:
    """Whether an operation does something else in training (``_call_has_training_arg``)."""
    return bool(getattr(operation, "_call_has_training_arg", False))

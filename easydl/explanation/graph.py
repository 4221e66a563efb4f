"""A Keras model as the list of its steps from image to logits, models inside models unfolded. It computes no gradient.

Nothing in the user's model is copied or changed: the steps are walked anew, with other tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import keras

from easydl.errors import ModelError
from easydl.networks.keras_internals import graph_of, run_through, takes_training
from easydl.networks.metadata import image_input

LOGITS = "logits"
PASSED_THROUGH = {"Reshape", "Flatten", "Dropout", "Identity"}
UNDONE = {"softmax", "sigmoid"}


@dataclass(frozen=True)
class Step:
    """One call of one operation.

    Attributes:
        operation: The layer, or the operation that a sum or product of tensors stands for.
        name: Its name, after those of the models it lies in: ``"mobilenetv2/out_relu"``.
        parents: Which steps it takes; steps count from 0, the model's inputs first.
        shape: Of its result, for one image.
    """

    operation: Any
    name: str
    parents: tuple[int, ...]
    shape: tuple[int, ...]


class Graph:
    """The steps of a model, and which of them gives the logits.

    Args:
        model: A functional or sequential Keras model; models inside it are unfolded.
        size: Spatial size of the image.
        logits: The layer whose output is explained. Where there is none of this name, the softmax or sigmoid that the
            model ends in is undone.

    Attributes:
        steps: All steps; the inputs first.
        inputs: How many inputs the model has.
        image: Which step is the image.
        logits: Which step gives the logits.
        wanted: The steps that lead to the logits, in order, with themselves.
        operations: The operations of those steps, each once.
    """

    def __init__(self, model: Any, size: tuple[int, ...], logits: str = LOGITS) -> None:
        inside = graph_of(model)
        if inside is None:
            raise ModelError(
                f"{type(model).__name__} is a model written as a class: its layers cannot be followed.",
                "a functional or sequential Keras model.",
                "Build it as keras.Model(inputs, outputs) or keras.Sequential([...]).",
            )
        # A function of its own holds the layers, not the model: what is kept of a model must not keep the model.
        self._function = keras.Function(list(inside.inputs), list(inside.outputs))
        symbolic = image_input(model)
        self.image = next(number for number, one in enumerate(inside.inputs) if one is symbolic)
        self.inputs = len(self._function.inputs)
        self.steps, last = self._walk(size)
        named = [number for number, step in enumerate(self.steps) if step.operation.name == logits]
        self._linear: dict[int, Any] = {}
        self.logits = named[-1] if named else self._before_probabilities(last, logits)
        self.wanted = self._leading_to(self.logits)
        self.operations = list({id(self.steps[n].operation): self.steps[n].operation for n in self.wanted}.values())
        #: Pairs of a variable and the one of the linear twin that takes its value.
        self.twins = [
            pair
            for number, twin in self._linear.items()
            for pair in zip(self.steps[number].operation.variables, twin.variables, strict=True)
        ]

    def run(self, inputs: list[Any], keep: Callable[[int, Any], Any]) -> Any:
        """The logits for tensors in the order of the model's inputs; ``keep(number, result)`` sees every step's result.

        What it gives back goes on in the place of the result.
        """
        count, found = len(inputs) - 1, {}

        def step(operation: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal count
            inside = graph_of(operation)
            if inside is not None:
                return _packed(run_through(inside, keras.tree.flatten(arguments), step))
            count += 1
            number = count
            if takes_training(operation):
                options["training"] = False
            result = keep(number, self._linear.get(number, operation)(*arguments, **options))
            found[number] = result
            return result

        run_through(self._function, inputs, step)
        return found[self.logits]

    def steps_for(self, size: tuple[int, ...]) -> list[Step]:
        """The steps as they are for images of another size."""
        return self.steps if self.steps[self.image].shape[1:-1] == size else self._walk(size)[0]

    def _walk(self, size: tuple[int, ...]) -> tuple[list[Step], int]:
        """All steps, and which of them is the last."""
        steps: list[Step] = []
        inputs, made = [], {}
        for number, one in enumerate(self._function.inputs):
            shape = (1, *size, one.shape[-1]) if number == self.image else (1, *one.shape[1:])
            inputs.append(keras.KerasTensor(shape, one.dtype))
            made[id(inputs[-1])] = number
            steps.append(Step(one._keras_history.operation, one.name, (), shape))
        kept = list(inputs)  # an id is that of one tensor for as long as it lives
        path: list[str] = []

        def step(operation: Any, *arguments: Any, **options: Any) -> Any:
            inside = graph_of(operation)
            given = [one for one in keras.tree.flatten((arguments, options)) if isinstance(one, keras.KerasTensor)]
            if inside is not None:
                path.append(operation.name)
                results = run_through(inside, keras.tree.flatten(arguments), step)
                path.pop()
                return _packed(results)
            result = operation.compute_output_spec(*arguments, **options)
            parents = tuple(made[id(one)] for one in given)
            for one in keras.tree.flatten(result):
                made[id(one)] = len(steps)
                kept.append(one)
            first = keras.tree.flatten(result)[0]
            steps.append(Step(operation, "/".join([*path, operation.name]), parents, tuple(first.shape)))
            return result

        results = run_through(self._function, inputs, step)
        return steps, made[id(results[0])]

    def _before_probabilities(self, last: int, logits: str) -> int:
        """The step before a softmax or sigmoid; one that is part of a layer is replaced by a twin of the layer without it."""
        if len(self._function.outputs) > 1:
            names = [step.operation.name for step in self.steps]
            raise ModelError(
                f"The model has no layer called {logits}; its last layer is {names[-1]}.",
                "a layer of this name before the softmax or sigmoid, because a heatmap is the gradient of a logit.",
                "Build the model with easydl.classifier(...), unet(...) or unet3d(...).",
            )
        found, number = last, last
        while True:
            operation, kind = self.steps[number].operation, type(self.steps[number].operation).__name__
            activation = getattr(getattr(operation, "activation", None), "__name__", "")
            if kind in ("Softmax", "Sigmoid") or (kind == "Activation" and activation in UNDONE):
                return self.steps[number].parents[0]
            if kind not in PASSED_THROUGH and not (kind == "Activation" and activation == "linear"):
                break
            number = self.steps[number].parents[0]
        if activation in UNDONE:
            twin = type(operation).from_config({**operation.get_config(), "activation": "linear"})
            twin.build(self.steps[self.steps[number].parents[0]].shape)
            self._linear[number] = twin
        return found

    def _leading_to(self, logits: int) -> list[int]:
        wanted, waiting = set(), [logits]
        while waiting:
            number = waiting.pop()
            if number not in wanted:
                wanted.add(number)
                waiting += self.steps[number].parents
        return sorted(wanted)


def is_map(step: Step, dimension: int) -> bool:
    """Whether a step's result shows places: a point for every part of the image, and more than one."""
    return len(step.shape) == dimension + 2 and prod(step.shape[1:-1]) > 1


def _packed(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else results

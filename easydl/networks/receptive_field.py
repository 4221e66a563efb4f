"""How much of the image one point of each feature map sees, and how far its points are apart. It runs no network."""

from __future__ import annotations

from typing import Any, NamedTuple

from easydl.networks.ensembles import members_of
from easydl.networks.keras_internals import calls
from easydl.networks.metadata import image_input, metadata_of


class Reach(NamedTuple):
    """Of a feature map, along each spatial axis.

    Attributes:
        stride: Pixels of the image from one point to the next.
        sees: Pixels of the image that one point depends on, the padded ones with them; None after a pooling over the whole image.
    """

    stride: tuple[int, ...]
    sees: tuple[int, ...] | None


def each_axis(value: Any, count: int) -> tuple[int, ...]:
    """Of a number for all axes, or of one for each, the latter."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def window_of(operation: Any, count: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The width and the stride of a convolution's or pooling's window along each of ``count`` axes; None of all others."""
    window = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if window is None or "Transpose" in type(operation).__name__:
        return None
    dilation = each_axis(getattr(operation, "dilation_rate", 1), count)
    width = tuple((side - 1) * by + 1 for side, by in zip(each_axis(window, count), dilation, strict=True))
    return width, each_axis(operation.strides, count)


def reaches(model: Any) -> dict[str, Reach]:
    """What every layer's map sees, by the layer's name, in the order of the network; layers that no image passes through are left out.

    Where branches meet, the one that sees most counts. The average of a whole map that weighs the channels of the same map
    (squeeze and excitation) is left out: it says how strongly, not where.

    Args:
        model: A flat Keras model with one image input, such as `easydl.classifier` builds.

    Example:
        >>> import easydl
        >>> reaches(easydl.classifier("tiny", size=32))["features"].sees is None
        True

    References:
        Araujo et al. 2019, Computing Receptive Fields of Convolutional Neural Networks, doi:10.23915/distill.00021.
    """
    image = image_input(model)
    count = len(image.shape) - 2
    known = {id(image): Reach((1,) * count, (1,) * count)}
    found: dict[str, Reach] = {}
    for operation, node in calls(model):
        before = [known[id(one)] for one in node.input_tensors if id(one) in known]
        if not before:
            continue
        reach = _after(operation, len(node.output_tensors[0].shape) == count + 2, before, count)
        for tensor in node.output_tensors:
            known[id(tensor)] = reach
        found[operation.name] = reach
    return found


def _after(operation: Any, is_map: bool, before: list[Reach], count: int) -> Reach:
    places = [one.sees for one in before if one.sees is not None]
    stride = tuple(max(axis) for axis in zip(*(one.stride for one in before), strict=True))
    sees = tuple(max(axis) for axis in zip(*places, strict=True)) if places else None
    if type(operation).__name__.startswith("Global") or not is_map:
        return Reach(stride, None)
    window = window_of(operation, count)
    if window is None:
        return Reach(stride, sees)
    wider = None if sees is None else tuple(
        seen + (width - 1) * step for seen, width, step in zip(sees, window[0], stride, strict=True)
    )  # fmt: skip
    return Reach(tuple(step * by for step, by in zip(stride, window[1], strict=True)), wider)


def receptive_field_sentence(model: Any) -> str:
    """What the last feature map of a classifier does not see of an image of the model's size; empty where it sees all of it.

    A map that has shrunk to one point is said, too. The field is the widest possible one: its middle counts most.

    Example:
        >>> import easydl
        >>> receptive_field_sentence(easydl.classifier("tiny", size=512))[:36]
        'One point of the last feature map se'

    References:
        Luo et al. 2016, Understanding the Effective Receptive Field, arXiv:1701.04128.
    """
    model = members_of(model)[0]
    size = metadata_of(model).size
    if metadata_of(model).builder == "keras" or not size or None in size:  # of somebody else: it may hold models inside
        return ""
    maps = {name: one for name, one in reaches(model).items() if one.sees is not None}
    if not maps:
        return ""
    name, last = list(maps.items())[-1]
    sides, points = [int(side) for side in size if side is not None], model.get_layer(name).output.shape[1:-1]
    unit = "pixels" if len(sides) == 2 else "voxels"
    if all(side == 1 for side in points):
        enough = _by([2 * step for step in last.stride])
        return (
            f"The last feature map is a single point for images of {_by(sides)} {unit}: where something lies is lost before "
            f"the end of the network. From {enough} {unit} on (size=) it has several."
        )
    if all(seen >= side for seen, side in zip(last.sees or (), sides, strict=True)):
        return ""
    return (
        f"One point of the last feature map sees {_by(last.sees or ())} of the image's {_by(sides)} {unit}: what is larger "
        "is seen in parts."
    )


def _by(sides: Any) -> str:
    return " x ".join(map(str, sides))

"""The networks of ``keras.applications`` by name, without Keras: sizes, and what they are fed.

`ARCHITECTURES` is written out, so that a command line names them before TensorFlow is loaded; a
test compares it with what Keras has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ArgumentError

#: The network that the project is about; its weights are found in more ways (`weights.py`).
VGG16 = "vgg16"

#: The layer that stands for a whole network without its classifier, averaged over rows and columns.
LAST = "last"


@dataclass(frozen=True)
class Architecture:
    """A network of Keras.

    Attributes:
        name: as the command line has it.
        builder: the function of ``keras.applications`` that builds it.
        size: side of the square pictures that it was made for, pixels.
        prepares: what becomes of pixels before it, a name in ``arguments.PREPROCESS``.
        layer, pool: where its features are taken when nobody says.
    """

    name: str
    builder: str
    size: int
    prepares: str
    layer: str = LAST
    pool: str = "avg"


def _all() -> dict[str, Architecture]:
    found = [
        Architecture(VGG16, "VGG16", 224, "vgg", "fc1", ""),
        Architecture("vgg19", "VGG19", 224, "vgg", "fc1", ""),
    ]
    for depth in (50, 101, 152):
        found.append(Architecture(f"resnet{depth}", f"ResNet{depth}", 224, "vgg"))
        found.append(Architecture(f"resnet{depth}-v2", f"ResNet{depth}V2", 224, "tf"))
    found += [
        Architecture(f"densenet{depth}", f"DenseNet{depth}", 224, "torch")
        for depth in (121, 169, 201)
    ]
    found += [
        Architecture(f"efficientnet-b{variant}", f"EfficientNetB{variant}", size, "inside")
        for variant, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    ]
    second = {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480}
    found += [
        Architecture(f"efficientnetv2-{each.lower()}", f"EfficientNetV2{each}", size, "inside")
        for each, size in second.items()
    ]
    found += [
        Architecture(f"convnext-{each.lower()}", f"ConvNeXt{each}", 224, "inside")
        for each in ("Tiny", "Small", "Base", "Large", "XLarge")
    ]
    found += [
        Architecture("mobilenet", "MobileNet", 224, "tf"),
        Architecture("mobilenet-v2", "MobileNetV2", 224, "tf"),
        Architecture("mobilenet-v3-small", "MobileNetV3Small", 224, "inside"),
        Architecture("mobilenet-v3-large", "MobileNetV3Large", 224, "inside"),
        Architecture("nasnet-mobile", "NASNetMobile", 224, "tf"),
        Architecture("nasnet-large", "NASNetLarge", 331, "tf"),
        Architecture("inception-v3", "InceptionV3", 299, "tf"),
        Architecture("inception-resnet-v2", "InceptionResNetV2", 299, "tf"),
        Architecture("xception", "Xception", 299, "tf"),
    ]
    return {each.name: each for each in found}


#: All of ``keras.applications``, by name.
ARCHITECTURES = _all()


def find(name: str) -> Architecture:
    """The architecture of this name, also as Keras writes it; raises ArgumentError."""
    for each in ARCHITECTURES.values():
        if _plain(name) == _plain(each.builder):
            return each
    raise ArgumentError(
        f"There is no architecture {name}",
        "Nothing was exported",
        f"Choose one of: {', '.join(ARCHITECTURES)}",
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def chosen(name: str, layer: str | None, pool: str) -> tuple[Architecture, str, str]:
    """The architecture, and the layer and pooling that these choices of an export mean.

    ``last`` is pooled, by average where nothing is said. Raises ArgumentError.
    """
    found = find(name)
    if layer is None:
        return found, found.layer, pool or found.pool
    if layer == LAST and found.name != VGG16:
        return found, LAST, pool or "avg"
    return found, layer, pool

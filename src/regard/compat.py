"""What must be set right before an optional package is imported; the one gate for such imports."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from regard.errors import MissingDependencyError

logger = logging.getLogger("regard")

_OPERATOR_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_optional(module: str, extra: str) -> ModuleType:
    """Import `module`, which the extra `extra` of regard brings, after what it needs is set right.

    Raises:
        MissingDependencyError: the package is not installed; the message says what to install.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingDependencyError(
            f"the package {module.partition('.')[0]!r} is needed for this and is not installed",
            remedy=f'pip install "regard[{extra}]"',
        )
    declare_torchvision_operators()
    return importlib.import_module(module)


@functools.cache
def declare_torchvision_operators() -> Any:
    """Declare the operator schemas that torchvision registers kernels for, where its own extension cannot load.

    A CPU-only torch beside the package index's torchvision (a CUDA build) cannot load torchvision's
    compiled extension, and importing torchvision, or anything that imports it, then fails with
    "operator torchvision::nms does not exist". Classification needs none of those operators: with
    their names declared, all of it works, and calling one of them still fails as it should.

    Returns the library object, which must stay alive, or None where nothing was to be done.
    """
    specification = importlib.util.find_spec("torchvision")
    if specification is None or specification.origin is None:
        return None
    import torch

    if hasattr(torch.ops.torchvision, "nms"):
        return None
    extension = next(iter(Path(specification.origin).parent.glob("_C*.so")), None)
    if extension is None:
        return None
    try:
        torch.ops.load_library(str(extension))
        return None
    except OSError:
        logger.info("torchvision's compiled operators do not fit this torch; classification needs none of them")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _OPERATOR_SCHEMAS:
        library.define(schema)
    return library

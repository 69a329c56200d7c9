"""Models of transformers: which class a configuration means, and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from regard.compat import import_optional
from regard.errors import ClassifierError
from regard.models.offers import unbuilt


def configuration(name: str, arguments: Mapping[str, Any]) -> Any:
    """The configuration of a folder or of a name of the hub, with some of its values changed.

    Raises:
        ClassifierError: it cannot be read, needs code of its own, or has no such values.
    """
    transformers = import_optional("transformers", "transformers")
    try:
        found, unused = transformers.AutoConfig.from_pretrained(
            name, trust_remote_code=False, return_unused_kwargs=True, **arguments
        )
    except Exception as reason:  # hubs raise errors of many libraries; all mean the same to a person
        raise ClassifierError(
            f"cannot read the configuration of transformers:{name}",
            came=f"{type(reason).__name__}: {str(reason).partition(chr(10))[0][:200]}",
            remedy="a folder made by save_pretrained needs no network",
        ) from reason
    surplus = sorted(set(unused) - {"trust_remote_code"})
    if surplus:
        raise ClassifierError(f"the configuration of transformers:{name} has no such value", came=", ".join(surplus))
    return found


def model_class(config: Any) -> Any:
    """The class of a configuration: the one it was saved with where that classifies or embeds, else its backbone.

    Raises:
        ClassifierError: transformers has no such class, or it takes no pictures.
    """
    transformers = import_optional("transformers", "transformers")
    saved = next(iter(getattr(config, "architectures", None) or ()), "")
    kind = getattr(transformers, saved, None) if "ForImageClassification" in saved or "For" not in saved else None
    if kind is None:
        mapped = transformers.AutoModel._model_mapping.get(type(config), None)
        kind = mapped[0] if isinstance(mapped, (tuple, list)) else mapped
    if kind is None or not takes_pictures(kind):
        raise ClassifierError(
            f"a {getattr(config, 'model_type', '?')!r} model is no classifier of pictures", came=saved or "no class"
        )
    if getattr(config, "mask_ratio", 0):
        raise ClassifierError(
            f"a {kind.__name__} hides patches at random, so its answer to a picture is never the same",
            came=f"mask_ratio={config.mask_ratio}",
            remedy="wrap its encoder as a plain transformer: regard.Classifier(network, preparation)",
        )
    return kind


def takes_pictures(kind: type) -> bool:
    """Whether a class is fed with pictures, alone or beside texts."""
    return getattr(kind, "main_input_name", "") == "pixel_values" or takes_texts(kind)


def takes_texts(kind: type) -> bool:
    """Whether a class embeds pictures and texts in one space, as CLIP does."""
    return hasattr(kind, "get_image_features") and hasattr(kind, "get_text_features")


def model(name: str, config: Any, fetch: bool) -> nn.Module:
    """The model of a configuration, with the weights of its folder or name, or with random ones.

    Raises:
        ClassifierError: the weights cannot be read, or some are missing, so that they would stay random.
    """
    kind = model_class(config)
    try:
        if not fetch:
            random: nn.Module = kind(config)
            return random
        loaded: nn.Module
        loaded, report = kind.from_pretrained(
            name, config=config, trust_remote_code=False, output_loading_info=True, dtype=torch.float32
        )
    except Exception as reason:  # hubs raise errors of many libraries; all mean the same to a person
        raise unbuilt(f"transformers:{name}", fetch, reason) from reason
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ClassifierError(
            f"the weights of transformers:{name} are not those of a {kind.__name__}",
            came=f"{len(missing)} missing ({missing[0]}, …)",
            remedy="load it in Python and wrap it: regard.Classifier(network, preparation)",
        )
    return loaded


def renamed(network: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a saved model names them → as the network does: the two differ since transformers 5.

    Weights that are no model's of that class are left as they are.
    """
    if weights.keys() == network.state_dict().keys():
        return weights
    loaded, report = type(network).from_pretrained(
        None,
        config=network.config,
        state_dict=weights,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
    )
    wrong = any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return weights if wrong else dict(loaded.state_dict())


def built(class_name: str, values: Mapping[str, Any]) -> nn.Module:
    """A model of that class with random weights, from the values of its configuration; no network is needed."""
    kind = getattr(import_optional("transformers", "transformers"), class_name, None)
    if kind is None or not hasattr(kind, "config_class"):
        raise ClassifierError(
            f"transformers has no model {class_name!r}", remedy="install the version it was made with"
        )
    try:
        network: nn.Module = kind(kind.config_class.from_dict(dict(values)))
    except Exception as reason:  # configurations are checked nowhere before
        raise unbuilt(f"transformers:{class_name}", False, reason) from reason
    return network


def values_of(config: Any) -> dict[str, Any]:
    """What differs from the defaults of a configuration's class, as JSON values, without the place it was read from."""
    values: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return values

"""regard shows what an image classifier looks at, and examines whether that is really why it decides.

    import regard

    explanation = regard.explain("photo.jpg")
    explanation.figure().savefig("photo-explained.png")

The public names are loaded when they are first used: `import regard` itself imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.concepts import Concept as Concept
    from regard.concepts import Similarity as Similarity
    from regard.explainers.ablation import LastBlockAblation as LastBlockAblation
    from regard.explainers.ablation import TokenAblation as TokenAblation
    from regard.explainers.ablation_cam import AblationCAM as AblationCAM
    from regard.explainers.attention import AttentionMap as AttentionMap
    from regard.explainers.averaged_cdam import IntegratedCDAM as IntegratedCDAM
    from regard.explainers.averaged_cdam import PaperIntegratedCDAM as PaperIntegratedCDAM
    from regard.explainers.averaged_cdam import SmoothCDAM as SmoothCDAM
    from regard.explainers.averaged_gradients import IntegratedGradients as IntegratedGradients
    from regard.explainers.averaged_gradients import SmoothGrad as SmoothGrad
    from regard.explainers.brnpa import BRNPA as BRNPA
    from regard.explainers.cdam import CDAM as CDAM
    from regard.explainers.class_activation import GradCAMPlusPlus as GradCAMPlusPlus
    from regard.explainers.class_activation import HiResCAM as HiResCAM
    from regard.explainers.class_activation import LayerCAM as LayerCAM
    from regard.explainers.class_activation import XGradCAM as XGradCAM
    from regard.explainers.controls import Centre as Centre
    from regard.explainers.controls import Edges as Edges
    from regard.explainers.controls import Ones as Ones
    from regard.explainers.controls import Random as Random
    from regard.explainers.eigen_cam import EigenCAM as EigenCAM
    from regard.explainers.eigen_cam import EigenGradCAM as EigenGradCAM
    from regard.explainers.explainer import Explainer as Explainer
    from regard.explainers.gradcam import GradCAM as GradCAM
    from regard.explainers.inputs import InputGradient as InputGradient
    from regard.explainers.inputs import TokenGradient as TokenGradient
    from regard.explainers.occlusion import Occlusion as Occlusion
    from regard.explainers.oneline import explain as explain
    from regard.explainers.partial_relevance import PartialRelevance as PartialRelevance
    from regard.explainers.propagation import AttentionGradCAM as AttentionGradCAM
    from regard.explainers.propagation import RelevancePropagation as RelevancePropagation
    from regard.explainers.propagation import Rollout as Rollout
    from regard.explainers.registry import methods as methods
    from regard.explainers.rise import RISE as RISE
    from regard.explainers.score_cam import ScoreCAM as ScoreCAM
    from regard.explainers.tame import TAME as TAME
    from regard.explanation import Explanation as Explanation
    from regard.models.brnpa import BRNPAClassifier as BRNPAClassifier
    from regard.models.catalog import load as load
    from regard.models.classifier import Classifier as Classifier
    from regard.models.preparation import Preparation as Preparation
    from regard.targets import Class as Class
    from regard.targets import Difference as Difference
    from regard.targets import LogProbability as LogProbability
    from regard.targets import PerImage as PerImage
    from regard.targets import Predicted as Predicted
    from regard.targets import Probability as Probability
    from regard.targets import Score as Score
    from regard.targets import top as top

_PUBLIC = {
    "AblationCAM": "explainers.ablation_cam",
    "AttentionGradCAM": "explainers.propagation",
    "AttentionMap": "explainers.attention",
    "BRNPA": "explainers.brnpa",
    "BRNPAClassifier": "models.brnpa",
    "CDAM": "explainers.cdam",
    "Centre": "explainers.controls",
    "Class": "targets",
    "Classifier": "models.classifier",
    "Concept": "concepts",
    "Difference": "targets",
    "Edges": "explainers.controls",
    "EigenCAM": "explainers.eigen_cam",
    "EigenGradCAM": "explainers.eigen_cam",
    "Explainer": "explainers.explainer",
    "Explanation": "explanation",
    "GradCAM": "explainers.gradcam",
    "GradCAMPlusPlus": "explainers.class_activation",
    "HiResCAM": "explainers.class_activation",
    "InputGradient": "explainers.inputs",
    "IntegratedGradients": "explainers.averaged_gradients",
    "IntegratedCDAM": "explainers.averaged_cdam",
    "LastBlockAblation": "explainers.ablation",
    "LayerCAM": "explainers.class_activation",
    "LogProbability": "targets",
    "Occlusion": "explainers.occlusion",
    "Ones": "explainers.controls",
    "PartialRelevance": "explainers.partial_relevance",
    "PaperIntegratedCDAM": "explainers.averaged_cdam",
    "PerImage": "targets",
    "Predicted": "targets",
    "Preparation": "models.preparation",
    "Probability": "targets",
    "Random": "explainers.controls",
    "RelevancePropagation": "explainers.propagation",
    "RISE": "explainers.rise",
    "Rollout": "explainers.propagation",
    "Score": "targets",
    "ScoreCAM": "explainers.score_cam",
    "Similarity": "concepts",
    "SmoothGrad": "explainers.averaged_gradients",
    "SmoothCDAM": "explainers.averaged_cdam",
    "TAME": "explainers.tame",
    "TokenAblation": "explainers.ablation",
    "TokenGradient": "explainers.inputs",
    "XGradCAM": "explainers.class_activation",
    "explain": "explainers.oneline",
    "load": "models.catalog",
    "methods": "explainers.registry",
    "top": "targets",
}
_MODULES = frozenset(
    {
        "attention",
        "compat",
        "concepts",
        "drawing",
        "errors",
        "evaluate",
        "exams",
        "explainers",
        "fills",
        "images",
        "metrics",
        "models",
        "question",
        "runs",
        "targets",
        "training",
    }
)

__all__ = [*sorted(_PUBLIC), *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"regard.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"regard.{name}")
    raise AttributeError(f"regard has no {name!r}; its public names are {', '.join(sorted(_PUBLIC))}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

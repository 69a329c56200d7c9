"""What the ranks of a trained network carry: linear heads fitted afterwards, each on the vectors of some ranks alone.

The heads that learn beside a network are trained as long as it is: a student's for its few epochs only. These are
fitted to the end, of all networks alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from study_brnpa_cases import Study
from torch import Tensor

from regard.images import Photo
from regard.models.brnpa import BRNPAClassifier
from regard.models.head import HeadForm
from regard.training.brnpa.classification import called
from regard.training.brnpa.recipe import PAPER_HEADS
from regard.training.embeddings import fingerprint
from regard.training.head.fitting import Examples, fit
from regard.training.head.scaling import Scaling
from regard.training.parts import parted
from regard.training.targets import answers_of

SUBSETS = (*PAPER_HEADS, (1, 2, 3))
CHOOSING = 0.2
"""Share of the photos to learn from that chooses the penalty: the photos by which `fit_brnpa` chose the epoch."""


def fitted_heads(study: Study, case: str, of: str, seed: int) -> dict[str, Any]:
    """Logits of the examined photos by the head of each set of ranks, and the true classes, as in a training's row."""
    network, photos = study.network(case, of, seed), study.photos(of)
    answers = answers_of(photos.names, "softmax")
    marks = [fingerprint(file) for file in photos.files]
    parts = parted(
        photos.files, marks, answers, network.preparation, photos.held, CHOOSING, seed, lambda _, listed: listed
    )
    learnt, chosen, examined = (
        _vectors(network, part.photos) for part in (parts.learnt, parts.chosen_by, parts.examined)
    )
    vectors = torch.cat([learnt, chosen])
    classes = torch.tensor([*parts.learnt.classes, *parts.chosen_by.classes])
    inner = torch.arange(len(vectors)) >= len(learnt)
    heads = {}
    for ranks in SUBSETS:
        read, asked = (part[:, [rank - 1 for rank in ranks]].flatten(1) for part in (vectors, examined))
        scaling = Scaling.of(read)
        form = HeadForm("linear", read.shape[1], len(answers.names))
        head, _ = fit(form, Examples(scaling(read), classes, "softmax"), inner, seed)
        heads[called(ranks)] = head(scaling(asked)).detach().tolist()
    return {
        "photos": [str(Path(str(photo)).relative_to(study.data)) for photo in parts.examined.photos],
        "truth": parts.examined.classes,
        "heads": heads,
    }


def _vectors(network: BRNPAClassifier, photos: Sequence[Photo]) -> Tensor:
    """(n, K, C), without augmentation."""
    found: Tensor = network.embed(network.prepare(photos)).unflatten(1, (network.network.pooling.count, -1))
    return found

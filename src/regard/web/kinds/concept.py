"""Something shown by a few photos, kept for its visitor to be looked for in others."""

from __future__ import annotations

import torch
from torch.nn import functional

from regard.concepts import Concept
from regard.targets import no_embedding
from regard.web import schema, told
from regard.web.desk import Desk
from regard.web.jobs import Result, Work
from regard.web.kinds.asked import numbers
from regard.web.python_lines import concept_lines
from regard.web.visitors import KeptConcept, Visitor, new_id


def concept(asked: schema.ShowConcept, visitor: Visitor, desk: Desk) -> Work:
    """The work of a request: a pass a photo."""
    served = desk.classifiers[asked.classifier]
    classifier = served.classifier
    examples, against = ([desk.photo(name, visitor) for name in names] for names in (asked.photos, asked.against))
    if classifier.width is None:
        raise no_embedding()

    def run(_: object) -> Result:
        embedded = torch.cat([classifier.embed(served.pixels(photo)) for photo in (*examples, *against)])
        own, others = embedded[: len(examples)], embedded[len(examples) :]
        if against:
            found = Concept.from_embeddings(classifier, own, asked.name, "contrast", others)
        else:
            found = Concept.from_embeddings(classifier, own, asked.name)
        likeness = functional.cosine_similarity(own.float().cpu(), found.direction[None])
        name = new_id()
        kept = KeptConcept(found, lines)
        answer = told.ConceptFacts(
            concept=name, name=asked.name, dimension=len(found.direction), similarity=numbers(likeness)
        )
        return Result(answer, concepts={name: kept})

    passes, lines = len(examples) + len(against), concept_lines(asked.name, examples, against)
    return served.work("concept", run, passes, quick=True, alike=(passes,), photos=[*examples, *against])

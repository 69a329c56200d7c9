"""What a query finds in a gallery, as a figure of the photos and of the places by which they were found."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from regard.concepts import Similarity
from regard.drawing_matches import draw_matches
from regard.errors import UnsupportedError
from regard.explainers.brnpa import BRNPA
from regard.metrics.retrieval import ranking
from regard.models.brnpa import BRNPAClassifier
from regard.training.reid.figures import embedded
from regard.training.reid.sightings import Sighting, of_use


def draw_found(classifier: BRNPAClassifier, sightings: Sequence[Sighting], query: int = 0, count: int = 5) -> Figure:
    """A query and its best matches, with the maps of the first three ranks; see `draw_matches`.

    Photos of the query's person by the query's own camera are left out, as in all figures of retrieval. What ranks add
    is of the cosine with the query.

    Args:
        classifier: as `fit_reid` trains it.
        sightings: queries and gallery; those to train on are passed over.
        query: which one, counted from 0.
        count: how many matches; all where the gallery has fewer.

    Raises:
        UnsupportedError: there is no such query, or no matches are asked for.
        PhotoError: nothing of the gallery is left, or a photo that cannot be read.

    Cost: a forward of the query and of each gallery photo, and one more of each that is drawn.
    """
    queries, gallery = of_use(sightings, "query"), of_use(sightings, "gallery")
    if type(query) is not int or not 0 <= query < len(queries) or type(count) is not int or count < 1:
        raise UnsupportedError(
            "no such query, or no matches",
            came=f"query={query!r}, count={count!r}",
            expected=f"a query from 0 to {len(queries) - 1}, matches counted from 1",
        )
    asked = embedded(classifier, queries[query : query + 1])
    found = ranking(asked, embedded(classifier, gallery))
    places = found.order[found.counted][:count].tolist()
    shown = [queries[query], *(gallery[place] for place in places)]
    photos = [each.photo for each in shown]
    explanation = BRNPA(classifier)(photos, Similarity(asked.embeddings[0], name="likeness to the query"))
    right = found.right[found.counted][:count].tolist()
    return draw_matches(explanation, right, photos, [f"camera {each.camera}" for each in shown])


def answerable(sightings: Sequence[Sighting]) -> list[int]:
    """Which queries, counted from 0, have a right match by another camera in the gallery."""
    seen = {(each.identity, each.camera) for each in of_use(sightings, "gallery")}
    return [
        place
        for place, each in enumerate(of_use(sightings, "query"))
        if any(identity == each.identity and camera != each.camera for identity, camera in seen)
    ]

"""What a run keeps of an explanation: its picture, its maps, and a row a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.naming import photo_facts, printable

if TYPE_CHECKING:
    from torch import Tensor

    from regard.explanation import Explanation
    from regard.runs import Run


def write_explanation(results: Run, explanation: Explanation, path: Path, name: str, ending: str = "png") -> None:
    """Write picture, maps and rows of one photo into a run."""
    from regard.figure_file import save

    files = {"picture": f"pictures/{name}.{ending}", "maps": f"maps/{name}.safetensors"}
    for file in files.values():
        (results.folder / file).parent.mkdir(exist_ok=True)
    explanation.save(results.folder / files["maps"])
    draw = explanation.figure if explanation.ranks is None else explanation.rank_figure
    save(draw([path]), results.folder / files["picture"])
    results.write_rows(_rows(explanation, path, files))


def _rows(explanation: Explanation, path: Path, files: dict[str, str]) -> list[dict[str, Any]]:
    photo = photo_facts(path)
    return [
        {
            **photo,
            "method": explanation.method,
            "target": answer.name,
            "place": place,
            "class_index": answer.index,
            "score": answer.score,
            "probability": answer.probability,
            **_drawn(explanation, place),
            **files,
        }
        for place, answer in enumerate(explanation.targets[0])
    ]


def _drawn(explanation: Explanation, place: int) -> dict[str, Any]:
    """What a row says of its map; the notes say why a method gives none."""
    values = explanation.maps[0, place]
    if bool(values.isnan().all()):
        return {"strongest": None, "status": "no map", "error": printable("\n".join(explanation.notes))}
    return {"strongest": strongest_place(values), "status": "explained", "error": None}


def strongest_place(values: Tensor) -> str:
    """Where a map (h, w) has its largest value, in words; "nowhere" if all are equal.

    A map of evidence can be below zero everywhere, where all speaks against the target, and so can one whose method
    sets zero by something else. Either has a largest value; the words add that it is not above zero.
    """
    height, width = values.shape
    if bool((values == values[0, 0]).all()):
        return "nowhere"
    row, column = divmod(int(values.argmax()), width)
    down = ("upper", "middle", "lower")[min(2, 3 * row // height)]
    across = ("left", "centre", "right")[min(2, 3 * column // width)]
    place = "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"
    return place if bool((values > 0).any()) else f"{place}, not above zero"

"""Train the attentions that are shipped with the embedded classifiers; run once, by a maintainer, kept for the record.

    python embedded/train.py SHARED_DATA

By the project's own command and its default recipe, seed 0. None of the photos is one that attentions are judged by
(nips17-ccby and nips17-imagenette, which the sample photos are of, ecssd-200, Imagenette's validation photos).
Minutes on two cores; a training that was stopped goes on. Epochs and figures stand in the files' headers.
"""

import csv
import subprocess
import sys
from pathlib import Path

ATTENTIONS = Path(__file__).parent / "src" / "regard_embedded" / "attentions"
RUNS = Path("regard-runs")
WITHOUT_LISTS = ("birds10-sample", "cars196-crops-sample", "clothing10-sample", "coco-88")


def imagenette(data: Path) -> list[Path]:
    return [data / "imagenette-224" / row["file"] for row in listed(data / "imagenette-224") if row["split"] == "train"]


def of_all_kinds(data: Path) -> list[Path]:
    """A photo of each ImageNet class, those of Imagenette, and birds, cars, clothes and whole scenes."""
    samples = [data / "imagenet-1k-samples" / row["file"] for row in listed(data / "imagenet-1k-samples")]
    others = [file for folder in WITHOUT_LISTS for file in sorted((data / folder).rglob("*.jpg"))]
    return [*samples, *imagenette(data), *others]


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def train(name: str, photos: list[Path]) -> None:
    RUNS.mkdir(exist_ok=True)
    learnt = RUNS / f"learnt-{name}.csv"
    learnt.write_text("\n".join(["file", *(str(photo.resolve()) for photo in photos), ""]), encoding="utf-8")
    out = ATTENTIONS / f"{name}.safetensors"
    command = ["regard", "train", "tame", str(learnt), "--classifier", f"regard:{name}", "--out", str(out), "--force"]
    subprocess.run([*command, "--run", str(RUNS / f"attention-{name}")], check=True)


if __name__ == "__main__":
    ATTENTIONS.mkdir(exist_ok=True)
    train("efficientnet-lite0", of_all_kinds(Path(sys.argv[1])))
    train("vit-small", imagenette(Path(sys.argv[1])))

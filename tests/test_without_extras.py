"""With torch and the other packages that regard always brings, and no more: on a machine without a GPU."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .test_compat import MODULES

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
ALWAYS = {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]}

ALONE = """
import importlib.metadata, importlib.util, json, pkgutil, sys

missing, distributions = ({*each.split(",")} for each in sys.argv[1:3])
found, installed = importlib.util.find_spec, importlib.metadata.Distribution.from_name.__func__

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def from_name(kind, name):
    if name in distributions:
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(kind, name)

sys.meta_path.insert(0, Missing())
importlib.util.find_spec = lambda name, *more: None if name.partition(".")[0] in missing else found(name, *more)
importlib.metadata.Distribution.from_name = classmethod(from_name)
"""

EVERY_MODULE = """
import importlib, torch, regard
from regard.errors import MissingDependencyError
for module in pkgutil.walk_packages(regard.__path__, "regard."):
    try:
        importlib.import_module(module.name)
    except MissingDependencyError as reason:
        assert (module.name, reason.remedy) == ("regard.web", 'pip install "regard[web]"')
for name in regard.__all__:
    getattr(regard, name)
assert not torch.cuda.is_available()
assert not missing & {name.partition(".")[0] for name in sys.modules}
"""

ONE_MAP = """
import torch, regard
from torch import nn
from regard.explainers.trained_attention import Card, TrainedAttention
from regard.models.stages import stages_of

torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
classifier = regard.Classifier(network, regard.Preparation(size=224, mean=(0.5,) * 3, std=(0.5,) * 3))
stages = stages_of(classifier, 2)
card = Card(classifier=classifier.name, classifier_hash=classifier.hash,
            layers=tuple((stage.place.layer, stage.place.at) for stage in stages), gated=False, variant="tame",
            channels=(6, 8), classes=5, photos_of_class=(50,) * 5, training={}, figures={}, versions={})
attention = regard.attention.FusionAttention((6, 8), 5).eval()
found = regard.TAME(classifier, TrainedAttention(attention, stages, card))(sys.argv[3], [0, 4])
found.save("map.safetensors")
found.figure().savefig("map.png")
print(json.dumps([tuple(found.maps.shape), tuple(found.to_pixels((224, 224)).shape)]))
"""


def program(script, folder, *arguments):
    """In a process in which what the extras bring is not there, and no GPU is."""
    distributions = sorted(MODULES.keys() - ALWAYS)
    modules = sorted({MODULES[name].partition(".")[0] for name in distributions})
    asked = [sys.executable, "-c", ALONE + script, ",".join(modules), ",".join(distributions), *map(str, arguments)]
    surroundings = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(asked, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)


@pytest.fixture
def photo(tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (224, 224, 3), np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_every_module_can_be_imported(tmp_path):
    done = program(EVERY_MODULE, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_photo_has_its_maps_and_its_picture(photo, tmp_path):
    done = program(ONE_MAP, tmp_path, photo)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, 2, 56, 56], [1, 2, 224, 224]]
    assert (tmp_path / "map.safetensors").stat().st_size > 2 * 56 * 56 * 4
    assert min(Image.open(tmp_path / "map.png").size) > 200

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import regard
from regard import compat
from regard.compat import import_optional
from regard.errors import MissingDependencyError, RegardError

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
PROGRAMS = {"pytest", "pytest-xdist", "ruff", "mypy", "pre-commit", "mkdocs-material", "mkdocstrings"}
"""What is run and not imported."""
MODULES = {
    "open_clip_torch": "open_clip",
    "accelerate": "accelerate",
    "captum": "captum.attr",
    "fastapi": "fastapi",
    "grad-cam": "pytorch_grad_cam",
    "httpx": "httpx",
    "hypothesis": "hypothesis",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "playwright": "playwright.sync_api",
    "psutil": "psutil",
    "python-multipart": "python_multipart",
    "pytorch-metric-learning": "pytorch_metric_learning.losses",
    "ray": "ray.data",
    "regard-embedded": "regard_embedded",
    "scipy": "scipy.sparse.linalg",
    "timm": "timm",
    "torchvision": "torchvision.models",
    "transformers": "transformers.models.vit.modeling_vit",
    "uvicorn": "uvicorn",
}
"""Distribution → the module of it that is used."""

ONE_PROCESS_EACH = """
import os, sys, torch
from regard.compat import import_optional

for line in sys.stdin:
    if os.fork() == 0:
        os.dup2(2, 1)
        import_optional(*line.split())
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""

WITHOUT_ITS_EXTENSION = """
import logging, torch

def not_loaded(path):
    raise OSError("libtorch_cuda.so: cannot open shared object file")

torch.ops.load_library = not_loaded
said = []
logging.getLogger("regard").addFilter(lambda record: said.append(record.getMessage()))
logging.getLogger("regard").setLevel(logging.INFO)
"""


def run(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def brought():
    """(distribution, extra) of everything that the extras bring to be imported."""
    listed = [(re.match(r"[\w-]+", line)[0], extra) for extra, lines in EXTRAS.items() for line in lines]
    return [(name, extra) for name, extra in listed if name not in PROGRAMS]


@pytest.fixture(scope="module")
def alone():
    """Imports a module through the gate in a new process, in which only torch is loaded; gives the exit code."""
    command = [sys.executable, "-c", ONE_PROCESS_EACH]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def import_alone(module, extra):
            print(module, extra, file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        yield import_alone
        process.stdin.close()


@pytest.mark.parametrize(("distribution", "extra"), brought())
def test_every_optional_package_can_be_imported_first_and_alone(distribution, extra, alone):
    assert alone(MODULES[distribution], extra) == "0"


def test_an_import_that_fails_is_noticed_and_does_not_touch_the_next(alone):
    assert alone("scipy.no_such_part", "evaluate") == "1"
    assert alone("scipy", "evaluate") == "0"


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_package_says_what_to_install(module):
    with pytest.raises(MissingDependencyError, match="'no_such_package' is needed") as refusal:
        import_optional(module, "evaluate")
    assert refusal.value.remedy == 'pip install "regard[evaluate]"'
    assert isinstance(refusal.value, ImportError)
    assert isinstance(refusal.value, RegardError)


def test_a_package_that_is_there_but_lacks_the_module_fails_as_an_import_does():
    with pytest.raises(ModuleNotFoundError, match="no_such_part") as refusal:
        import_optional("scipy.no_such_part", "evaluate")
    assert not isinstance(refusal.value, MissingDependencyError)


def test_importing_regard_imports_nothing_heavy():
    heavy = {"torch", "numpy", "PIL", "matplotlib", "pyarrow", "timm", "torchvision", "transformers"}
    done = run(f"import sys, regard; dir(regard); print({heavy} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize("name", regard.__all__)
def test_every_public_name_can_be_used_first(name):
    assert getattr(regard, name).__name__.rpartition(".")[2] == name
    assert name in dir(regard)


def test_what_regard_does_not_have_it_says_it_has_not():
    with pytest.raises(AttributeError, match=r"has no 'Explainator'.*Explainer"):
        _ = regard.Explainator


def test_the_names_that_type_checkers_see_are_the_public_ones():
    tree = ast.parse(Path(regard.__file__).read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: f"regard.{regard._PUBLIC[alias.name]}" for node in imports for alias in node.names}
    assert seen == {alias.name: node.module for node in imports for alias in node.names}
    assert {*seen, *regard._MODULES} == set(regard.__all__)


def test_torchvision_has_its_operators_and_builds_and_runs_a_network():
    models = import_optional("torchvision.models", "torchvision")
    assert hasattr(torch.ops.torchvision, "nms")
    with torch.no_grad():
        assert models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


def test_without_its_compiled_extension_torchvision_alone_fails():
    done = run(WITHOUT_ITS_EXTENSION + "import torchvision")
    assert "operator torchvision::nms does not exist" in done.stderr


def test_without_its_compiled_extension_torchvision_works_through_the_gate_with_one_line_in_the_log():
    script = """
from regard.compat import import_optional
models = import_optional("torchvision.models", "torchvision")
import_optional("timm", "timm")
assert hasattr(torch.ops.torchvision, "nms")
assert len(said) == 1 and "torchvision" in said[0], said
assert models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
try:
    torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError:
    print("refused")
"""
    done = run(WITHOUT_ITS_EXTENSION + script)
    assert done.stdout == "refused\n", done.stderr


def test_without_torchvision_nothing_is_declared(monkeypatch):
    monkeypatch.setattr(compat.importlib.util, "find_spec", lambda name: None)
    assert compat.declare_torchvision_operators.__wrapped__() is None

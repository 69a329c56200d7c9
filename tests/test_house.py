"""The house as ARCHITECTURE.md describes it. Every check is a function of a folder, so that it can be shown a fault."""

import ast
import importlib
import re
import shutil
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 420
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def floors_of(text):
    """Room → floor, from the table of ARCHITECTURE.md; a room that is not built yet stands in brackets."""
    rows = re.findall(r"^\| (\d) \| (.*?) \|", text, re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms.partition(";")[0])}


def modules_of(package):
    """Dotted name below the package → file; the package itself is ''."""
    files = sorted(package.rglob("*.py"))
    parts = {file: file.relative_to(package).with_suffix("").parts for file in files}
    return {".".join(part for part in parts[file] if part != "__init__"): file for file in files}


def for_types_alone(node):
    test = getattr(node, "test", None)
    return isinstance(node, ast.If) and "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def nodes_at_run_time(node):
    yield node
    children = node.orelse if for_types_alone(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from nodes_at_run_time(child)


@cache
def statements(text):
    """The import statements of a file that are reached when it runs."""
    return [node for node in nodes_at_run_time(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports_of(file, package, modules):
    """(module below the package, line) of everything that a file imports from its own package when it runs."""
    own = file.relative_to(package.parent).with_suffix("").parts
    for node in statements(file.read_text("utf-8")):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = ".".join([*own[: -node.level], *filter(None, [node.module])]) if node.level else node.module
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, below = name.partition(".")
            if first == package.name:
                yield (below if below in modules else below.rpartition(".")[0]), node.lineno


def wrong_floors(package, floors):
    """Imports from a floor above one's own, and rooms that stand on none."""
    found, modules = [], modules_of(package)
    for module, file in modules.items():
        room = module.partition(".")[0]
        if not room:  # the package itself names what is in it
            continue
        if room not in floors:
            found.append(f"{module}: {room} stands on no floor of ARCHITECTURE.md")
            continue
        for name, line in imports_of(file, package, modules):
            other = name.partition(".")[0]
            if floors.get(other, 99) > floors[room]:
                found.append(f"{module}:{line} imports {name or package.name} from above")
    return found


def circle(package):
    """Modules that import each other in a circle, when they run; empty where there is none."""
    modules = modules_of(package)
    graph = {
        module: {name for name, _ in imports_of(file, package, modules)} - {module} for module, file in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def long_files(folder):
    """Python files of more than `MOST_LINES` lines."""
    files = [file for name in ("src", "tests", "benchmarks", "examples") for file in (folder / name).rglob("*.py")]
    return [file.name for file in files if len(file.read_text("utf-8").splitlines()) > MOST_LINES]


def machine_paths(folder):
    """Lines that name a place of one machine."""
    homes = re.compile(r"(?<![\w.:/~-])/(" + "|".join(("work", "tmp", "root", "home", "Users")) + r")\b")
    suffixes = {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".csv", ".json", ".cff", ""}
    rooms = ("src", "tests", "benchmarks", "examples", "docs", "embedded", ".ci", ".github")
    files = [*folder.glob("[!.]*"), *(file for room in rooms for file in (folder / room).rglob("*"))]
    return [
        f"{file.name}:{number}"
        for file in sorted(files)
        if file.suffix in suffixes and file.is_file()
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1)
        if homes.search(line)
    ]


def resolved(name):
    """The object of a dotted name, or None where there is none such."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


def names_in_code(text):
    """Dotted names of regard in the Python blocks of a document, and the ones that mkdocs shows."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "regard":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Attribute) and re.fullmatch(r"regard(\.\w+)+", ast.unparse(node)):
                yield ast.unparse(node)
    yield from re.findall(r"^::: (\S+)", text, re.MULTILINE)


def unknown_names(folder):
    """Names that a document uses and regard does not have."""
    documents = [*folder.glob("*.md"), *sorted((folder / "docs").rglob("*.md"))]
    return [
        f"{file.name}: {name}"
        for file in documents
        for name in names_in_code(file.read_text("utf-8"))
        if resolved(name) is None
    ]


FLOORS = floors_of((ROOT / "ARCHITECTURE.md").read_text("utf-8"))
PACKAGE = ROOT / "src" / "regard"


def test_the_floors_are_those_of_architecture():
    assert (FLOORS["errors"], FLOORS["models"], FLOORS["explainers"], FLOORS["cli"]) == (0, 1, 2, 8)
    assert sorted({*FLOORS.values()}) == list(range(9))


def test_a_file_imports_only_from_its_own_floor_and_those_below():
    assert wrong_floors(PACKAGE, FLOORS) == []


def test_no_files_import_each_other_in_a_circle():
    assert circle(PACKAGE) == []


def test_no_file_is_longer_than_one_idea():
    assert long_files(ROOT) == []


def test_no_file_names_a_place_of_one_machine():
    assert machine_paths(ROOT) == []


def test_the_documents_use_only_what_regard_has():
    assert unknown_names(ROOT) == []


def test_the_checks_read_what_they_should():
    assert len(modules_of(PACKAGE)) > 30
    assert "explanation" in {
        name for name, _ in imports_of(PACKAGE / "explainers" / "explainer.py", PACKAGE, modules_of(PACKAGE))
    }
    used = {name for file in DOCUMENTS for name in names_in_code(file.read_text("utf-8"))}
    assert {"regard.CDAM", "regard.Concept.from_images", "regard.fills.Blur", "regard.models.taps"} <= used


@pytest.fixture
def house(tmp_path):
    """A copy of the house, in which a fault can be made."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "regard", ignore=shutil.ignore_patterns("__pycache__"))

    def add(place, text):
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(text)
        return tmp_path

    return add


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("runs.py", "import regard.cli.output"),
        ("images.py", "from regard.models import taps"),
        ("fills.py", "def later():\n    from regard.explainers.cdam import CDAM"),
        ("models/taps.py", "from ..explainers import registry"),
        ("models/taps.py", "try:\n    from regard.cli.app import main\nexcept ImportError:\n    pass"),
        ("models/taps.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import regard.cli.app"),
        ("labels.py", "from regard import explainers"),
        ("labels.py", "from regard import CDAM"),
        ("cli/models.py", "import regard"),
        ("cellar.py", ""),
        ("attic/beam.py", "import torch"),
    ],
)
def test_an_import_from_above_and_a_room_without_a_floor_are_noticed(place, fault, house):
    folder = house(f"src/regard/{place}", f"\n{fault}\n")
    (found,) = wrong_floors(folder / "src" / "regard", FLOORS)
    assert found.startswith(place.removesuffix(".py").replace("/", "."))


@pytest.mark.parametrize(
    "allowed",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from regard.models.classifier import Classifier",
        "import typing\nif typing.TYPE_CHECKING:\n    from regard.models.classifier import Classifier",
        "from regard.errors import RunError",
        "import torch.models",
    ],
)
def test_imports_for_types_alone_from_below_and_from_others_are_no_fault(allowed, house):
    folder = house("src/regard/runs.py", f"\n{allowed}\n")
    assert wrong_floors(folder / "src" / "regard", FLOORS) == []
    assert circle(folder / "src" / "regard") == []


@pytest.mark.parametrize("fault", ["from regard import question", "def later():\n    from .question import ask"])
def test_a_circle_is_noticed(fault, house):
    folder = house("src/regard/labels.py", f"\n{fault}\n")
    assert {"labels", "question"} <= set(circle(folder / "src" / "regard"))


def test_a_long_file_a_machine_s_path_and_an_unknown_name_are_noticed(house):
    house("tests/test_long.py", "\n" * (MOST_LINES + 1))
    house("benchmarks/short.py", "\n" * MOST_LINES)
    house("docs/a.md", "\n".join(f"see /{name}/x" for name in ("work", "tmp", "root")))
    house("examples/b.py", 'open("' + "/" + 'tmp")\nopen("../tmp/x")\n# https://a.org/' + "work/x\n# /workflows\n")
    house("docs/c.md", "```python\nregard.CDAM(regard.Clasifier)\nfrom regard.fills import Blurr\n```\n")
    folder = house("README.md", "::: regard.imagos\n\n```python\nimport regard\nregard.targets.top(3)\n```\n")
    assert long_files(folder) == ["test_long.py"]
    assert machine_paths(folder) == ["a.md:1", "a.md:2", "a.md:3", "b.py:1"]
    assert unknown_names(folder) == ["README.md: regard.imagos"] + [
        f"c.md: regard.{name}" for name in ("fills.Blurr", "Clasifier")
    ]

import json
import subprocess
import sys

import pytest

from regard.cli.app import main


def ask(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["regard", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "explain"),
        ("train head", "Example: regard train head"),
        ("train tame", "Example: regard train tame"),
        ("export", "Example: regard export"),
    ],
)
def test_help_imports_nothing_heavy(command, said):
    script = (
        f"import sys; sys.argv = ['regard', *{command.split()!r}, '--help']\n"
        "from regard.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'PIL', 'pyarrow'} & set(sys.modules), 'too much'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.parametrize("command", ["explain", "models", "methods"])
def test_every_command_has_help_with_an_example(monkeypatch, capsys, command):
    code, printed = ask(monkeypatch, capsys, command, "--help")
    assert code == 0
    assert f"Example: regard {command}" in printed.out


def test_methods_says_which_targets_each_answers(monkeypatch, capsys):
    code, printed = ask(monkeypatch, capsys, "methods", "--json")
    listed = {method["name"]: method for method in json.loads(printed.out)}
    assert code == 0
    assert {"cdam", "grad-cam", "attention", "random", "centre"} <= listed.keys()
    assert "concept" in listed["cdam"]["answers"]
    assert listed["attention"]["per_target"] is False


def test_version_and_no_arguments(monkeypatch, capsys):
    code, printed = ask(monkeypatch, capsys, "--version")
    assert code == 0
    assert printed.out.startswith("regard 0.")
    code, printed = ask(monkeypatch, capsys)
    assert code == 2
    assert "Usage" in printed.out + printed.err


def test_an_unknown_option_is_wrong_use(monkeypatch, capsys):
    code, printed = ask(monkeypatch, capsys, "explain", "--nothing")
    assert code == 2
    assert "--nothing" in printed.err


def test_the_package_runs_as_the_program():
    done = subprocess.run([sys.executable, "-m", "regard", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "explain" in done.stdout
    assert "Usage: python -m regard" in done.stdout

import os
import re
import socket
import subprocess
import sys

import httpx
import pytest

from regard.errors import RegardError
from regard.web.listening import address_of, bound, token_for

from ..explainers.networks import classifier_of, cnn
from ..test_without_extras import program as alone


@pytest.fixture
def served(monkeypatch):
    """What `regard serve` would serve, without serving it."""
    import uvicorn

    kept = {}
    monkeypatch.setattr("regard.models.catalog.load", lambda name, **_: classifier_of(cnn(), name="cnn"))
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: kept.update(app=self.config.app, at=sockets[0]))
    yield kept
    if "at" in kept:
        kept["at"].close()


def test_without_its_packages_it_says_what_to_install(tmp_path):
    script = "from regard.cli.app import main\nsys.argv[:] = ['regard', 'serve']\nmain()"
    done = alone(script, tmp_path)
    assert done.returncode == 2
    assert 'pip install "regard[web]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_it_listens_on_this_machine_alone_and_asks_for_no_token(program, served):
    code, _, err = program("serve", "--no-open", "--port", "0", "--model", "one", "--model", "two")
    assert code == 0
    port = served["at"].getsockname()[1]
    assert served["at"].getsockname()[0] == "127.0.0.1"
    assert f"http://127.0.0.1:{port}/ (" in err
    assert served["app"].token is None


def test_beyond_this_machine_a_token_is_drawn_and_told(program, served):
    code, _, err = program("serve", "--no-open", "--port", "0", "--host", "0.0.0.0", "--model", "one")
    assert code == 0
    assert re.search(r"/\?token=([\w-]{32}) ", err)[1] == served["app"].token


def test_samples_are_those_of_the_folder(program, served, tmp_path):
    from ..web.conftest import picture

    picture().save(tmp_path / "cat.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert program("serve", "--no-open", "--port", "0", "--model", "one", "--photos", tmp_path)[0] == 0
    assert [*served["app"].app.state.room.desk.samples] == ["sample:cat"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--token", "short"), "this is no token"),
        (("--model", "one", "--model", "one"), "the same name"),
        (("--photos", "nowhere"), "nowhere"),
        (("--host", "256.0.0.1"), "cannot listen"),
    ],
    ids=range(4),
)
def test_what_cannot_be_is_said_in_a_sentence(program, served, arguments, said):
    given = arguments if "--model" in arguments else ("--model", "one", *arguments)
    code, _, err = program("serve", "--no-open", "--port", "0", *given)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RegardError, match=f"port {taken.getsockname()[1]}"):
            bound("127.0.0.1", taken.getsockname()[1])


def test_who_connects_before_the_server_runs_waits_for_it():
    own = bound("127.0.0.1", 0)
    with own, socket.create_connection(own.getsockname(), 10) as early:
        assert early.getpeername() == own.getsockname()


def test_the_address_is_one_that_can_be_opened():
    assert address_of("127.0.0.1") == "127.0.0.1"
    assert address_of("::1") == "[::1]"
    for everywhere in ("0.0.0.0", "::"):
        assert address_of(everywhere) not in ("0.0.0.0", "[::]")


def test_tokens_that_are_drawn_differ():
    assert token_for("0.0.0.0", None) != token_for("0.0.0.0", None)
    assert token_for("::1", None) is None


def test_a_server_answers_and_ends_when_it_is_told(tmp_path):
    """The program itself, over a socket, with the networks of the tests in place of embedded ones."""
    script = """
import sys
import regard.models.catalog as catalog
from torch import nn
from regard import Classifier, Preparation
network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
catalog.load = lambda *_, **__: Classifier(network, Preparation(size=16), name="tiny")
from regard.cli.app import main
sys.argv[:] = ["regard", "serve", "--no-open", "--port", "0", "--model", "tiny"]
main()
"""
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            address = next(line for line in server.stderr if "http" in line).split()[3]
            with httpx.Client(base_url=address, headers={"X-Regard": "1"}, timeout=60) as client:
                assert client.get("/api/v1/about").json()["classifiers"][0]["name"] == "tiny"
                assert "server" not in client.get("/").headers
        finally:
            server.terminate()
            server.wait(30)
        rest = server.stderr.read()
    assert "Traceback" not in rest

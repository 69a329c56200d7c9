"""A small server: a transformer of 4×4 patches, a CNN, and a few methods, in this process."""

import io

import numpy as np
import pytest
from PIL import Image

from regard.compat import import_optional
from regard.web.settings import Limits

from ..explainers.networks import classifier_of, cnn, vit

import_optional("fastapi", "web")
METHODS = ("cdam", "grad-cam", "rise", "br-npa", "input-gradient", "random")
HOST = "http://127.0.0.1:8000"


def picture(seed=0, size=(40, 32)):
    """A photo of noise, (width, height)."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def file_of(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def classifiers():
    return {
        "vit": classifier_of(vit(), labels=["tench", "church", "organ", "churn", "ball"], name="vit"),
        "cnn": classifier_of(cnn(), name="cnn"),
    }


@pytest.fixture
def few_methods(monkeypatch):
    monkeypatch.setattr("regard.web.classifiers.names", lambda: list(METHODS))
    monkeypatch.setattr("regard.web.classifiers.pass_seconds", lambda _: 0.001)


@pytest.fixture
def serving(classifiers, few_methods, tmp_path):
    """Make clients of one server: `serving(limits)` gives a function that makes them, each a visitor."""
    from contextlib import ExitStack

    from fastapi.testclient import TestClient

    from regard.web.app import create_app
    from regard.web.desk import Desk
    from regard.web.photos import samples_of

    folder = tmp_path / "samples"
    folder.mkdir()
    picture(7).save(folder / "noise.png")
    with ExitStack() as stack:

        def serve(limits=None, **settings):
            desk = Desk(classifiers, samples_of([folder / "noise.png"]))
            app = create_app(desk, limits or Limits(), **settings)
            first = stack.enter_context(TestClient(app, HOST, raise_server_exceptions=False))

            def visitor(**headers):
                client = TestClient(app, HOST, raise_server_exceptions=False, headers={"X-Regard": "1", **headers})
                client.portal = first.portal
                return client

            visitor.room = app.app.state.room
            return visitor

        yield serve


@pytest.fixture
def client(serving):
    return serving()()


def give(client, image=None, name="photo.png"):
    """A photo's id."""
    answer = client.post("/api/v1/photos", files={"photo": (name, file_of(image or picture()), "image/png")})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def ask(client, **body):
    """A job that has been waited for."""
    answer = client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return waited(client, answer.json())


def waited(client, job):
    while job["state"] in ("waiting", "running"):
        job = client.get(f"/api/v1/jobs/{job['id']}", params={"wait": 5}).json()
    return job


def result(client, **body):
    job = ask(client, **body)
    assert job["state"] == "done", job["error"]
    return job["result"]

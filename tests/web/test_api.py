import base64
from dataclasses import replace

import numpy as np
import pytest
import torch

import regard
from regard.concepts import Concept
from regard.drawing import scale_of
from regard.explanation import Explanation
from regard.fills import Mean
from regard.metrics.curves import curves, token_curves
from regard.models.dropping import dropped
from regard.web.classifiers import Served
from regard.web.kinds.curve import in_random_order
from regard.web.settings import Limits

from .conftest import ask, file_of, give, picture, result, waited

SAMPLE = "sample:noise"


def unpacked(text, shape, kind="<f4"):
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), kind).reshape(shape).copy())


def test_about_says_what_there_is(client, classifiers):
    about = client.get("/api/v1/about").json()
    assert [each["name"] for each in about["classifiers"]] == ["vit", "cnn"]
    vit, cnn = about["classifiers"]
    assert (vit["transformer"], vit["can_drop_tokens"], vit["classes"], vit["side"]) == (True, True, 5, [32, 32])
    assert (cnn["transformer"], cnn["can_drop_tokens"]) == (False, False)
    assert [each["name"] for each in vit["methods"] if each["best"]] == ["cdam"]
    assert {each["name"]: each["passes"] for each in cnn["methods"]}["rise"] == 1001
    assert "cdam" not in [each["name"] for each in cnn["methods"]]
    assert [len(about["colours"][name]) for name in ("signed", "unsigned", "ranks")] == [256, 256, 8]
    assert about["colours"]["signed"][0] == [8, 48, 107]  # #08306b
    assert about["samples"][0] | {"id": SAMPLE, "width": 40, "height": 32} == about["samples"][0]
    assert (about["limits"]["photos"], type(about["limits"]["photos"])) == (24, int)
    assert {each["name"] for each in about["exams"]} == {"d1", "boxes-1", "boxes-2", "boxes-4"}


def test_classes_are_found_by_label_and_by_index_beginnings_first(client):
    found = client.get("/api/v1/classifiers/vit/classes", params={"search": "CH"}).json()
    assert [each["label"] for each in found] == ["church", "churn", "tench"]
    assert client.get("/api/v1/classifiers/vit/classes", params={"search": "4"}).json() == [
        {"index": 4, "label": "ball"}
    ]
    assert len(client.get("/api/v1/classifiers/vit/classes", params={"limit": 2}).json()) == 2


def test_classes_are_those_of_the_library(client, classifiers):
    image = picture()
    found = result(client, kind="classify", classifier="vit", photo=give(client, image), count=3)
    pixels = classifiers["vit"].prepare(image)
    chances = classifiers["vit"](pixels).softmax(dim=1)[0]
    assert [each["index"] for each in found["classes"]] == chances.topk(3).indices.tolist()
    assert [each["probability"] for each in found["classes"]] == pytest.approx(chances.topk(3).values.tolist())
    assert found["frame"] == {"box": list(pixels.geometries[0].box), "photo": [32, 40], "size": [32, 32]}


TARGETS = {
    "class": ({"kind": "class", "index": 2}, regard.Class(2)),
    "predicted": ({"kind": "predicted", "rank": 2}, regard.Predicted(2)),
    "difference": ({"kind": "difference", "first": 0, "second": 3}, regard.Difference(0, 3)),
    "probability": ({"kind": "probability", "index": 1}, regard.Probability(1)),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_map_is_that_of_the_library(client, classifiers, name):
    asked, target = TARGETS[name]
    image = picture(3)
    found = result(client, kind="explain", classifier="vit", photo=give(client, image), method="cdam", target=asked)
    own = regard.CDAM(classifiers["vit"])(image, target)
    assert torch.equal(unpacked(found["values"], found["grid"]), own.maps[0, 0])
    assert found["scale"] == [scale_of(own.maps, True).vmin, scale_of(own.maps, True).vmax]
    assert found["target"]["name"] == own.targets[0][0].name
    assert found["target"]["score"] == pytest.approx(own.targets[0][0].score)
    assert (found["signed"], found["drawn"], found["forwards"]) == (True, False, own.forwards)
    assert found["prefix_mass"] == pytest.approx(float(own.prefix_mass))


def test_settings_reach_the_method_and_are_counted(client, classifiers):
    image = picture(3)
    body = {
        "classifier": "cnn",
        "photo": give(client, image),
        "method": "rise",
        "target": {"kind": "class", "index": 1},
    }
    job = ask(client, kind="explain", settings={"samples": 30, "seed": 5}, **body)
    own = regard.RISE(classifiers["cnn"], samples=30, seed=5)(image, regard.Class(1))
    assert torch.equal(unpacked(job["result"]["values"], job["result"]["grid"]), own.maps[0, 0])
    assert job["passes_done"] >= 30


@pytest.mark.filterwarnings("ignore:all places are about equally active", "ignore:norms vary by less")
def test_ranks_come_with_the_map(client, classifiers):
    image = picture(3)
    found = result(client, kind="explain", classifier="cnn", photo=give(client, image), method="br-npa")
    own = regard.BRNPA(classifiers["cnn"])(image, regard.Predicted())
    assert torch.equal(unpacked(found["ranks"]["maps"], (3, *found["grid"])), own.ranks.maps[0])
    assert found["ranks"]["valid"] == own.ranks.valid[0].tolist()
    assert found["ranks"]["shares"] is None


@pytest.mark.parametrize(("removal", "classifier"), [("mean", "cnn"), ("tokens", "vit")])
def test_curves_are_those_of_the_library(client, classifiers, removal, classifier):
    image, subject = picture(3), classifiers[classifier]
    body = {"classifier": classifier, "photo": give(client, image), "method": "grad-cam", "steps": 4}
    target = {"kind": "class", "index": 1}
    found = result(client, kind="curve", removal=removal, target=target, **body)
    pixels, own = subject.prepare(image), regard.GradCAM(subject)(image, 1)
    if removal == "tokens":
        expected = token_curves(subject, pixels, own, steps=4, targets=1)
    else:
        expected = curves(subject, pixels, own, fill=Mean(), steps=4, level="grid", targets=1)
    assert found["counts"] == expected.counts.tolist()
    assert found["removed"] == [expected.places - count for count in reversed(found["counts"])]
    assert found["deletion"] == pytest.approx(expected.deletion[0, 0].tolist(), abs=1e-6)
    assert found["insertion"] == pytest.approx(expected.insertion[0, 0].tolist(), abs=1e-6)
    assert found["least_first"] == list(reversed(found["insertion"]))
    assert found["area"]["deletion"] == pytest.approx(float(expected.area("deletion")), abs=1e-6)
    order = unpacked(found["rank"], -1, "<i4")
    assert sorted(order.tolist()) == list(range(found["places"]))
    assert int(order.argmin()) == int(own.maps[0, 0].argmax())
    shuffled = unpacked(found["random_rank"], -1, "<i4")
    assert sorted(shuffled.tolist()) == list(range(found["places"]))
    assert not torch.equal(order, shuffled)
    assert found["random_deletion"][0] == pytest.approx(found["clean"])


@pytest.mark.parametrize("removal", ["mean", "tokens"])
def test_random_curves_are_those_of_several_orders(client, classifiers, removal):
    """Each order and the same from its end, of which the latter are found here by maps of the opposite sign."""
    image, subject = picture(3), classifiers["vit"]
    body = {"kind": "curve", "classifier": "vit", "photo": give(client, image), "method": "cdam", "steps": 4}
    found = result(client, removal=removal, target={"kind": "class", "index": 1}, **body)
    pixels, own = subject.prepare(image), regard.CDAM(subject)(image, 1)
    orders = []
    for seed in range(3):
        noise = in_random_order(own, pixels, seed)
        for each in (noise, replace(noise, maps=-noise.maps)):
            if removal == "tokens":
                orders.append(token_curves(subject, pixels, each, steps=4, targets=1))
            else:
                orders.append(curves(subject, pixels, each, fill=Mean(), steps=4, level="grid", targets=1))
    assert found["random_orders"] == len(orders) == 6
    for name in ("deletion", "insertion"):
        values = torch.stack([getattr(each, name)[0, 0] for each in orders])
        assert found[f"random_{name}"] == pytest.approx(values.mean(dim=0).tolist(), abs=1e-6)
        lowest, highest = zip(*found[f"random_{name}_band"], strict=True)
        assert lowest == pytest.approx(values.amin(dim=0).tolist(), abs=1e-6)
        assert highest == pytest.approx(values.amax(dim=0).tolist(), abs=1e-6)
        areas = [float(each.area(name)) for each in orders]
        assert found["area"][f"random_{name}"] == pytest.approx(sum(areas) / 6, abs=1e-6)
        assert found["area"][f"random_{name}_band"] == pytest.approx([min(areas), max(areas)], abs=1e-6)
    assert max(found["random_deletion_band"][2]) > min(found["random_deletion_band"][2])


def test_an_estimate_says_what_would_take_too_long(serving):
    client = serving(Limits(job_seconds=0.5))()
    body = {"kind": "explain", "classifier": "cnn", "photo": SAMPLE, "method": "rise"}
    known = client.post("/api/v1/estimate", json=body).json()
    assert (known["too_long"], known["most_seconds"]) == (True, 0.5)
    assert not client.post("/api/v1/estimate", json={**body, "method": "grad-cam"}).json()["too_long"]


def test_seconds_of_a_pass_are_learned_from_jobs(client, classifiers):
    served = Served("cnn", classifiers["cnn"], pass_seconds=0.2)
    served.learn(1000, 30.0)
    assert served.pass_seconds == pytest.approx((20 * 0.2 + 30) / 1020)
    served = Served("cnn", classifiers["cnn"], pass_seconds=0.2)
    served.learn(1, 5.0)
    assert served.pass_seconds == pytest.approx((20 * 0.2 + 5) / 21)
    before = client.get("/api/v1/about").json()["classifiers"][1]
    ask(client, kind="explain", classifier="cnn", photo=SAMPLE, method="rise")
    after = client.get("/api/v1/about").json()["classifiers"][1]
    assert after["pass_seconds"] != before["pass_seconds"] == 0.001
    rise = next(each for each in after["methods"] if each["name"] == "rise")
    assert rise["seconds"] == pytest.approx(1001 * after["pass_seconds"])


def test_the_seconds_of_a_curve_are_counted_in_its_own_passes(client):
    body = {"kind": "curve", "classifier": "vit", "photo": SAMPLE, "method": "cdam", "steps": 8, "removal": "tokens"}
    expected = client.post("/api/v1/estimate", json=body).json()["passes"]
    assert ask(client, **body)["passes_done"] <= expected


def test_cells_that_are_removed_as_on_the_curve_give_its_value(client):
    photo = give(client, picture(3))
    body = {"classifier": "vit", "photo": photo}
    for removal in ("black", "blur", "tokens"):
        found = result(
            client, kind="curve", method="cdam", removal=removal, steps=4, target={"kind": "class", "index": 1}, **body
        )
        order = unpacked(found["rank"], -1, "<i4")
        removed = (order < found["removed"][2]).nonzero()[:, 0].tolist()
        job = {"kind": "without", "grid": found["grid"], "removed": removed, "removal": removal, "indices": [1]}
        without = result(client, **job, **body)["classes"][0]
        assert without["index"] == 1
        assert without["probability"] == pytest.approx(found["deletion"][2], abs=1e-6)
        assert without["change"] == pytest.approx(found["deletion"][2] - found["clean"], abs=1e-6)


def test_dropped_patches_are_dropped(client, classifiers):
    image = picture(3)
    body = {"kind": "without", "classifier": "vit", "photo": give(client, image), "grid": [4, 4], "removal": "tokens"}
    found = result(client, removed=[0, 5], indices=[0, 1, 2, 3, 4], **body)["classes"]
    kept = torch.tensor([cell for cell in range(16) if cell not in (0, 5)])
    own = dropped(classifiers["vit"], classifiers["vit"].prepare(image), torch.tensor([0]), [kept])[0]
    assert [each["score"] for each in found[:5]] == pytest.approx(own.tolist(), abs=1e-5)


def test_concepts_are_shown_looked_for_and_told_apart(client, classifiers):
    subject, images = classifiers["vit"], [picture(seed) for seed in range(4)]
    photos = [give(client, image) for image in images]
    one = result(client, kind="concept", classifier="vit", name="one", photos=photos[:2])
    other = result(client, kind="concept", classifier="vit", name="other", photos=photos[2:3], against=photos[:1])
    own = Concept.from_images(subject, images[:2], "one")
    assert one["dimension"] == subject.width
    assert len(one["similarity"]) == 2
    body = {"kind": "explain", "classifier": "vit", "photo": photos[3], "method": "cdam"}
    found = result(client, target={"kind": "concept", "concept": one["concept"]}, **body)
    expected = regard.CDAM(subject)(images[3], own).maps[0, 0]
    assert torch.allclose(unpacked(found["values"], found["grid"]), expected, atol=1e-6)
    contrast = Concept.from_images(subject, images[2:3], "other", "contrast", images[:1])
    target = {"kind": "concept difference", "first": one["concept"], "second": other["concept"]}
    found = result(client, target=target, **body)
    expected = regard.CDAM(subject)(images[3], regard.Difference(own, contrast)).maps[0, 0]
    assert torch.allclose(unpacked(found["values"], found["grid"]), expected, atol=1e-6)
    body["classifier"], body["method"] = "cnn", "grad-cam"
    refused = client.post("/api/v1/jobs", json={**body, "target": {"kind": "concept", "concept": one["concept"]}})
    assert refused.status_code == 422
    assert "another classifier" in refused.json()["error"]["problem"]


def test_a_model_is_trained_and_examined(client, monkeypatch):
    monkeypatch.setattr("regard.web.kinds.mosaic.MOSAICS", 200)
    job = ask(client, kind="mosaic", exam="boxes-2", paradigm="hard")
    found = job["result"]
    assert sum(found["outcomes"].values()) == pytest.approx(100)
    assert found["accuracy"] == pytest.approx(found["outcomes"]["FTPT"] + found["outcomes"]["FFPT"])
    assert len(found["curves"]["accuracy"]) == job["passes_done"] + 1 == job["passes_expected"] + 1
    drawn = found["mosaics"][0]
    assert (len(drawn["segments"]), len(drawn["segments"][0]), len(drawn["weights"])) == (2, 2, 2)
    assert drawn["classes"][drawn["position"]] == drawn["label"]
    assert found["diagnosis"]["mode"]
    assert found["diagnosis"]["sentence"]


def test_what_is_downloaded_is_what_was_found(client, tmp_path):
    image = picture(3)
    job = ask(client, kind="explain", classifier="vit", photo=give(client, image, "my photo.png"), method="cdam")
    address = f"/api/v1/jobs/{job['id']}"
    shown = client.get(f"{address}/picture.png")
    assert shown.content.startswith(b"\x89PNG")
    assert shown.headers["content-disposition"] == 'attachment; filename="cdam-picture.png"'
    (tmp_path / "maps").write_bytes(client.get(f"{address}/maps.safetensors").content)
    loaded = Explanation.load(tmp_path / "maps")
    assert torch.equal(unpacked(job["result"]["values"], (4, 4)), loaded.maps[0, 0])
    report = client.get(f"{address}/report.html")
    assert report.status_code == 200
    assert "my photo" in report.text
    assert "/dev/shm" not in report.text
    assert client.get(f"{address}/manifest.json").status_code == 422
    other = ask(client, kind="classify", classifier="vit", photo="sample:noise")
    assert client.get(f"/api/v1/jobs/{other['id']}/picture.png").status_code == 409


def test_an_estimate_is_given_before(client):
    body = {"kind": "explain", "classifier": "cnn", "photo": SAMPLE, "method": "rise", "target": {"kind": "predicted"}}
    known = client.post("/api/v1/estimate", json=body).json()
    assert known == {"passes": 1001, "seconds": pytest.approx(1.001), "too_long": False, "most_seconds": 120}
    unknown = client.post("/api/v1/estimate", json=body | {"settings": {"samples": 7}}).json()
    assert unknown == {"passes": None, "seconds": None, "too_long": False, "most_seconds": 120}
    ask(client, **body | {"settings": {"samples": 7}})
    assert client.post("/api/v1/estimate", json=body | {"settings": {"samples": 7}}).json()["passes"] == 8


def test_a_photo_is_shown_upright_and_scaled_and_can_be_forgotten(client):
    turned = picture(size=(40, 32))
    exif = turned.getexif()
    exif[0x0112] = 6
    import io

    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif)
    photo = client.post("/api/v1/photos", files={"photo": ("a.jpg", file.getvalue())}).json()
    assert (photo["width"], photo["height"], photo["name"]) == (32, 40, "a.jpg")
    shown = client.get(f"/api/v1/photos/{photo['id']}", params={"longest": 20})
    assert shown.headers["content-type"] == "image/webp"
    from PIL import Image

    assert Image.open(io.BytesIO(shown.content)).size == (16, 20)
    assert client.get(f"/api/v1/photos/{SAMPLE}").status_code == 200
    assert client.delete(f"/api/v1/photos/{photo['id']}").status_code == 204
    assert client.get(f"/api/v1/photos/{photo['id']}").status_code == 404
    assert client.delete(f"/api/v1/photos/{SAMPLE}").status_code == 404


def test_a_map_does_not_depend_on_other_visitors(serving):
    visitor = serving()
    one, other, image = visitor(), visitor(), picture(3)
    body = {"kind": "explain", "classifier": "vit", "method": "cdam", "target": {"kind": "class", "index": 1}}
    first = result(one, photo=give(one, image), **body)
    for seed in range(3):
        result(other, photo=give(other, picture(seed + 10)), **body)
    assert result(other, photo=give(other, image), **body)["values"] == first["values"]


def test_every_address_is_described_and_the_page_is_there(client):
    described = client.get("/api/v1/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/v1/about",
        "/api/v1/classifiers/{name}/classes",
        "/api/v1/photos",
        "/api/v1/photos/{name}",
        "/api/v1/estimate",
        "/api/v1/jobs",
        "/api/v1/jobs/{name}",
        "/api/v1/jobs/{name}/{file}",
    }
    assert client.get("/docs").status_code == 404
    for address in ("/", "/api", "/static/js/main.js"):
        assert client.get(address, follow_redirects=False).status_code == 200


def test_a_job_that_is_over_may_be_cancelled_again(client):
    job = ask(client, kind="classify", classifier="cnn", photo=SAMPLE)
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
    assert waited(client, client.get(f"/api/v1/jobs/{job['id']}").json())["state"] == "done"


def test_a_file_is_known_by_its_content(client):
    answer = client.post("/api/v1/photos", files={"photo": ("a.txt", file_of(picture(), "BMP"), "text/plain")})
    assert answer.status_code == 201

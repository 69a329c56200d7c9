"""`fit_few_shot` from photos to a network: its figures, its run, what it refuses."""

import json
from dataclasses import asdict

import pytest
import torch
from PIL import Image
from torch.nn import functional

import regard
from regard.errors import ClassifierError, RunError, UnsupportedError
from regard.models.conv_4 import conv_4
from regard.runs import read_run
from regard.seeds import seed_for
from regard.training.brnpa.figures import AGREEMENT
from regard.training.brnpa.recipe import BRNPARecipe
from regard.training.few_shot.episodes import Episodes
from regard.training.few_shot.figures import Asked, FewShotWorth
from regard.training.few_shot.fit import fit_few_shot
from regard.training.few_shot.recipe import FEW_SHOT_RECIPES

from ..explainers.networks import classifier_of, cnn
from .fewshot_trainings import HELD_OUT, LABELS, NAMES, PHOTOS, classifier_with, part_of, recipe_of, start
from .tasks import bits
from .test_fit_brnpa import Killed, never, stopping


def fit(recipe=None, **changed):
    usual = {"recipe": recipe or recipe_of(), "held_out": HELD_OUT, "choosing": 0.4}
    return fit_few_shot(start(), PHOTOS, LABELS, **usual | changed)


def accuracies_by_hand(classifier, names, recipe, seed):
    """Photo by photo and query by query."""
    part = part_of([NAMES.index(name) for name in names])
    drawn = Episodes(part.classes, recipe.ways, recipe.shots, recipe.queries, seed_for(seed, "examined"))
    with classifier.untouched(), torch.no_grad():
        vectors = [
            functional.normalize(classifier.represent(classifier.prepare(photo))[0].vectors[0], dim=1)
            for photo in part.photos
        ]
    found = []
    for number in range(recipe.examined):
        episode, right = drawn.numbered(number), 0
        means = [torch.stack([vectors[photo] for photo in row]).mean(dim=0) for row in episode.support]
        for label, row in enumerate(episode.queries):
            for photo in row:
                near = [float(functional.cosine_similarity(vectors[photo], mean, dim=1).mean()) for mean in means]
                right += near.index(max(near)) == label
        found.append(right / (recipe.ways * recipe.queries))
    return found


def test_it_gives_a_network_for_new_classes_and_says_what_it_is_worth(tmp_path):
    subject, heard = start(), []
    before = subject.hash
    recipe = recipe_of(shots=2, auxiliary=((1,), (2, 3)))
    trained = fit_few_shot(
        subject,
        PHOTOS,
        LABELS,
        recipe=recipe,
        held_out=HELD_OUT,
        choosing=0.4,
        seed=3,
        run=tmp_path / "run",
        heard=lambda *told: heard.append(told),
    )
    assert subject.hash == before
    classifier, worth = trained.classifier, trained.worth
    assert trained.training["classes_held_out"] == NAMES[7:]
    assert not {*classifier.labels}.intersection(NAMES[7:])
    assert [trained.training[f"classes_{name}"] for name in ("trained_on", "chosen_by")] == [4, 3]
    assert worth.accuracies == pytest.approx(accuracies_by_hand(classifier, NAMES[7:], recipe, 3))
    assert worth.examined.value == pytest.approx(sum(worth.accuracies) / 12)
    assert (worth.examined.episodes, worth.examined.chance) == (12, 1 / 3)
    low, high = worth.examined.interval
    assert min(worth.accuracies) <= low <= worth.examined.value <= high <= max(worth.accuracies)
    assert [figure.name for figure in worth.beside] == ["ranks 1", "ranks 2+3"]
    assert [dict(figures) for _, figures in heard] == [dict(epoch) for epoch in trained.epochs]
    assert trained.training["epoch_chosen"] == min((1, 2), key=lambda epoch: trained.epochs[epoch]["cross_entropy"])
    rows = read_run(tmp_path / "run").rows
    assert [row["accuracy"] for row in rows if row["image"] == "examined"] == list(worth.accuracies)
    assert not (tmp_path / "run" / "checkpoints").exists()
    trained.save(tmp_path / "mine.safetensors")
    loaded = regard.load(tmp_path / "mine.safetensors", network=cnn())
    assert loaded.hash == classifier.hash
    assert FewShotWorth.of_words(json.loads(json.dumps(asdict(worth)))) == worth
    assert "12 episodes of 3 new classes by 2 photos of each" in trained.summary


def test_the_same_asked_again_is_read_back_and_another_is_refused(tmp_path):
    asked = {"run": tmp_path / "run"}
    trained = fit(**asked)
    again = fit_few_shot(
        start(),
        PHOTOS[::-1],
        LABELS[::-1],
        recipe=recipe_of(),
        held_out=HELD_OUT[::-1],
        choosing=0.4,
        **asked,
        tracked=never,
    )
    assert again.classifier.hash == trained.classifier.hash
    assert (again.worth, again.epochs, dict(again.training)) == (trained.worth, trained.epochs, dict(trained.training))
    for changed in ({"seed": 1}, {"choosing": 0.0}, {"recipe": recipe_of(scale=4.0)}):
        with pytest.raises(RunError, match="finished run"):
            fit(**asked | changed, tracked=never)


@pytest.mark.parametrize("pooling", ["bilinear", "branch", "mean"])
def test_what_it_is_compared_with_decides_by_its_own_vectors_and_opens_again(pooling, tmp_path):
    recipe = recipe_of(pooling=pooling, count=2 if pooling == "bilinear" else 3, epochs=1)
    trained = fit(recipe)
    names = trained.training["classes_held_out"]
    assert trained.worth.accuracies == pytest.approx(accuracies_by_hand(trained.classifier, names, recipe, 0))
    trained.save(tmp_path / "trained.safetensors")
    again = regard.load(tmp_path / "trained.safetensors", network=start().network)
    pixels = again.prepare(PHOTOS[:2])
    assert torch.equal(again.embed(pixels), trained.classifier.embed(pixels))


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        (KeyboardInterrupt, {"strides": (1,), "dropout": 0.3}),
        (Killed, {"pooling": "mean", "comparison": "cross-attention"}),
    ],
    ids=["interrupted", "killed"],
)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(reason, how, tmp_path):
    asked = {"recipe": recipe_of(**how)}
    asked["teacher"] = fit(recipe_of()).classifier if "strides" in how else None
    whole = fit(**asked)
    for after in (1, 3):
        with pytest.raises(reason):
            fit(**asked, run=tmp_path / "run", tracked=stopping(after, reason))
    again = fit(**asked, run=tmp_path / "run")
    assert bits(again.classifier.network) == bits(whole.classifier.network)
    assert bits(again.classifier.head) == bits(whole.classifier.head)
    assert (again.worth, again.epochs) == (whole.worth, whole.epochs)


def test_neither_order_nor_names_of_photos_change_a_bit(tmp_path):
    found = []
    for name, order in (("one", range(50)), ("other", reversed(range(50)))):
        folder = tmp_path / name
        folder.mkdir()
        labels = []
        for place, number in enumerate(order):
            Image.fromarray(PHOTOS[number]).save(folder / f"{place:02d}.png")
            labels.append(LABELS[number])
        found.append(
            fit_few_shot(start(), sorted(folder.iterdir()), labels, recipe=recipe_of(), held_out=0.3, choosing=0)
        )
    assert bits(found[0].classifier.network) == bits(found[1].classifier.network)
    assert found[0].worth == found[1].worth


def test_a_teacher_is_examined_on_the_same_episodes_and_left_as_it_was():
    taught = fit()
    teacher, before = taught.classifier, taught.classifier.hash_anew()
    trained = fit(recipe_of(strides=(1,), share=0.7), teacher=teacher)
    assert teacher.hash_anew() == before
    named = {figure.name: figure for figure in trained.worth.beside}
    assert list(named) == ["teacher", AGREEMENT]
    assert named["teacher"].value == taught.worth.examined.value
    assert all("agreement" in epoch for epoch in trained.epochs)


def test_an_episode_s_answers_do_not_hang_on_the_others():
    recipe, subject = recipe_of(), classifier_with()
    from regard.training.few_shot.task import Learner

    learner = Learner(subject.network, subject.head, recipe)
    many, few = (Asked(subject, learner, None, part_of(), count, 5).student() for count in (20, 3))
    assert torch.allclose(many[:3], few, atol=1e-6)


def test_conv_4_ends_in_the_grids_that_are_said_and_learns_drawings():
    grey = regard.Preparation(size=28, mean=(0.5,), std=(0.5,))
    backbone = regard.Classifier(conv_4(width=8, seed=2), grey, name="conv-4")
    assert sum(weight.numel() for weight in conv_4().parameters()) == 9 * 64 * (1 + 3 * 64) + 4 * 128
    assert torch.equal(conv_4(seed=2)[0][0].weight, conv_4(seed=2)[0][0].weight)
    assert not torch.equal(conv_4(seed=2)[0][0].weight, conv_4(seed=3)[0][0].weight)
    trained = fit_few_shot(
        backbone, PHOTOS, LABELS, recipe=recipe_of(strides=(1, 1), epochs=1), held_out=HELD_OUT, choosing=0
    )
    network = trained.classifier.network
    assert network.read(trained.classifier.picture()).shape == (1, 8, 7, 7)
    assert trained.epochs == ()
    for wrong in ({"channels": 0}, {"width": 0}, {"seed": "a"}):
        with pytest.raises(UnsupportedError):
            conv_4(**wrong)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"held_out": HELD_OUT[1:]}, "every photo is held out or not"),
        ({"held_out": 1.5}, "share of the photos"),
        ({"choosing": 1.0}, "share of the classes"),
        ({"recipe": recipe_of(ways=4)}, "too few classes to choose by for episodes of 4"),
        ({"recipe": recipe_of(shots=4)}, "too few photos"),
        ({"choosing": 0.0, "recipe": recipe_of(ways=4)}, "too few classes to examine for episodes of 4"),
    ],
)
def test_what_no_episode_can_be_made_of_is_refused_before_anything_is_written(changed, problem, tmp_path):
    with pytest.raises(ClassifierError, match=problem):
        fit(**changed, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_or_without_vectors_is_refused():
    for teacher in (classifier_of(cnn(), size=16), "teacher.safetensors"):
        with pytest.raises(ClassifierError, match="the teacher of this training is no BRNPAClassifier"):
            fit(teacher=teacher)
    with pytest.raises(ClassifierError, match="does not answer about these classes"):
        fit(teacher=classifier_with())


@pytest.mark.parametrize(
    ("wrong", "named", "came", "expected"),
    [
        ({"ways": 1}, "ways", "1", "2 or more"),
        ({"shots": 0}, "shots", "0", "1 or more"),
        ({"queries": True}, "queries", "True", "1 or more"),
        ({"episodes": 0}, "episodes", "0", "a whole number above 0"),
        ({"chosen_by": -1}, "chosen_by", "-1", "a whole number above 0"),
        ({"examined": 1.5}, "examined", "1.5", "a whole number above 0"),
        ({"scale": 0}, "scale", "0", "a number above 0"),
        ({"scale": float("inf")}, "scale", "inf", "a number above 0"),
        ({"scale": "8"}, "scale", "'8'", "a number above 0"),
        ({"comparison": "distance"}, "comparison", "'distance'", "prototypes, cross-attention"),
        ({"comparison": "cross-attention"}, "pooling", "'representative'", "cross attention reads single places"),
        (
            {"comparison": "cross-attention", "pooling": "mean", "auxiliary": ((1,),)},
            "auxiliary",
            "((1,),)",
            "none: cross attention has no ranks",
        ),
        ({"auxiliary": ((4,),)}, "auxiliary", "((4,),)", "sets of ranks from 1 to 3"),
        ({"temperature": 0.0}, "temperature", "0.0", "above 0"),
    ],
    ids=str,
)
def test_recipes_that_cannot_be_are_refused_by_what_is_wrong(wrong, named, came, expected):
    with pytest.raises(UnsupportedError, match=named) as refused:
        recipe_of(**wrong)
    assert refused.value.came == came
    assert expected in refused.value.expected


def test_a_recipe_of_another_training_is_refused():
    with pytest.raises(UnsupportedError, match="another recipe") as told:
        fit(recipe=BRNPARecipe())
    assert told.value.expected == "a FewShotRecipe"


def test_a_student_of_another_pooling_says_that_it_begins_anew():
    taught = fit().classifier
    usual = {"held_out": HELD_OUT, "choosing": 0.4, "teacher": taught}
    with pytest.warns(UserWarning, match="begin anew: .*pooling name 'bilinear', not 'representative'"):
        fit_few_shot(taught, PHOTOS, LABELS, recipe=recipe_of(pooling="bilinear"), **usual)


def test_the_paper_s_recipe_is_what_is_known_of_it():
    paper = FEW_SHOT_RECIPES["paper"]
    assert (paper.ways, paper.shots, paper.temperature, paper.share, paper.epochs) == (5, 5, 8.0, 0.5, 50)

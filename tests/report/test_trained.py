"""Reports of trainings whose runs name no photos: masks, few shots, re-identification."""

import pytest

from regard.report.page import page_of
from regard.runs import see_run
from regard.training.few_shot.fit import fit_few_shot
from regard.training.reid.fit import fit_reid
from regard.training.tame.fit import fit_tame

from ..training import fewshot_trainings as few
from ..training import mask_trainings as masks
from ..training import persons
from .reports import Page, rows_in


def shown(folder):
    """A run and its page, whose rows are the run's; a chart a figure, by epoch and by step, in words."""
    run = see_run(folder)
    page = Page(page_of(run))
    assert page.wrong == []
    assert rows_in(page.data) == run.rows
    assert {attributes["id"] for attributes in page.all("section")} == {"about", "outcome", "curves"}
    steps = {name for event in run.log if event["event"] == "step" for name in event["means"]}
    assert steps
    assert all(f"{name} by step: {name} from " in page.text for name in steps)
    return run, page, len([one for one in page.all("svg") if one.get("role") == "img"]) - len(steps)


def by_epoch(page, name, rows, column, digits):
    """A curve begins and ends where the run's rows do."""
    first, *_, last = sorted(rows, key=lambda row: row["epoch"])
    ends = f"{first[column]:.{digits}g} at 0 to {last[column]:.{digits}g} at {last['epoch']}."
    return f"{column.replace('_', ' ')} by epoch: {name} from {ends}" in page.text


def test_masks_have_a_chart_of_every_figure_by_epoch(tmp_path):
    recipe = masks.recipe_of(variant="tied")
    fit_tame(masks.tiny(), masks.photos_of(20), recipe=recipe, held_out=0.2, run=tmp_path / "run")
    run, page, charts = shown(tmp_path / "run")
    figures = [f"{name}_{share}" for name in ("average_drop", "increase_in_confidence") for share in (50, 15)]
    assert charts == len(["own mask", *figures])
    assert all(by_epoch(page, "tame, held out", run.rows, column, 4) for column in ["own_mask", *figures])
    assert "photos 16 photos held out 4 photos unreadable 0 steps 8 epoch chosen" in page.text


def test_few_shots_have_accuracies_on_new_classes_and_a_chart_of_every_figure_by_epoch(tmp_path):
    settings = {"recipe": few.recipe_of(), "held_out": few.HELD_OUT, "choosing": 0.4, "run": tmp_path / "run"}
    trained = fit_few_shot(few.start(), few.PHOTOS, few.LABELS, **settings)
    run, page, charts = shown(tmp_path / "run")
    epochs = [row for row in run.rows if row["epoch"] is not None]
    assert charts == 2
    assert all(by_epoch(page, "few-shot, chosen by", epochs, name, 4) for name in ("accuracy", "cross_entropy"))
    assert f"classes held out {', '.join(few.NAMES[7:])}" in page.text
    assert f"accuracies {', '.join(f'{each:.4g}' for each in trained.worth.accuracies)}" in page.text


def test_persons_have_figures_found_and_before(tmp_path):
    trained = fit_reid(persons.start(), persons.sightings(), recipe=persons.recipe_of(), run=tmp_path / "run")
    _, page, charts = shown(tmp_path / "run")
    assert charts == 0
    for when, found in (("found", trained.found), ("before", trained.before)):
        part = page.text.partition(f"{when}: figures")[2]
        assert all(f"{each.name} {each.photos} {each.value:.4g} " in part for each in found.figures)
        assert len(found.figures) == 4


@pytest.mark.parametrize("lost", ["manifest", "log"])
def test_a_training_that_has_only_begun_is_reported(lost, tmp_path):
    fit_reid(persons.start(), persons.sightings(), recipe=persons.recipe_of(), run=tmp_path / "run")
    run = see_run(tmp_path / "run")
    manifest, log = (None, run.log) if lost == "manifest" else (run.manifest, [])
    page = Page(page_of(type(run)(run.folder, run.command, run.configuration, manifest, run.rows, log)))
    assert page.wrong == []
    assert ("This run is not finished" in page.text) == (lost == "manifest")
    assert ("curves" in {each["id"] for each in page.all("section")}) == (lost != "log")

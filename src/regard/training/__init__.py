"""What is trained on a frozen classifier."""

from regard.training.head import TrainedHead as TrainedHead
from regard.training.head import fit_head as fit_head
from regard.training.labelled import Labelled as Labelled
from regard.training.labelled import read_labelled as read_labelled
from regard.training.rate_test import RateTest as RateTest
from regard.training.tame import fit_tame as fit_tame
from regard.training.tame import rates_of_tame as rates_of_tame
from regard.training.tame_presets import RECIPES as RECIPES
from regard.training.tame_presets import preset as preset
from regard.training.tame_recipe import Recipe as Recipe

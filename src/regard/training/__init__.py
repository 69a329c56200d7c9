"""What is trained: heads and attentions on frozen classifiers, and networks that pool by representatives."""

from regard.training.augmentation import Augmentation as Augmentation
from regard.training.brnpa import TrainedBRNPA as TrainedBRNPA
from regard.training.brnpa import fit_brnpa as fit_brnpa
from regard.training.brnpa_recipe import BRNPA_RECIPES as BRNPA_RECIPES
from regard.training.brnpa_recipe import BRNPARecipe as BRNPARecipe
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

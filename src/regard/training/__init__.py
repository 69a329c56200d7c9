"""What is trained: heads and attentions on frozen classifiers, and networks that pool by representatives."""

from regard.training.brnpa.augmentation import Augmentation as Augmentation
from regard.training.brnpa.fit import TrainedBRNPA as TrainedBRNPA
from regard.training.brnpa.fit import fit_brnpa as fit_brnpa
from regard.training.brnpa.recipe import BRNPA_RECIPES as BRNPA_RECIPES
from regard.training.brnpa.recipe import BRNPARecipe as BRNPARecipe
from regard.training.few_shot.fit import TrainedFewShot as TrainedFewShot
from regard.training.few_shot.fit import fit_few_shot as fit_few_shot
from regard.training.few_shot.recipe import FEW_SHOT_RECIPES as FEW_SHOT_RECIPES
from regard.training.few_shot.recipe import FewShotRecipe as FewShotRecipe
from regard.training.head.fit import TrainedHead as TrainedHead
from regard.training.head.fit import fit_head as fit_head
from regard.training.labelled import Labelled as Labelled
from regard.training.labelled import read_labelled as read_labelled
from regard.training.rate_test import RateTest as RateTest
from regard.training.reid.fit import TrainedReid as TrainedReid
from regard.training.reid.fit import fit_reid as fit_reid
from regard.training.reid.recipe import REID_RECIPES as REID_RECIPES
from regard.training.reid.recipe import ReidRecipe as ReidRecipe
from regard.training.reid.sightings import Sighting as Sighting
from regard.training.reid.sightings import read_sightings as read_sightings
from regard.training.tame.fit import fit_tame as fit_tame
from regard.training.tame.fit import rates_of_tame as rates_of_tame
from regard.training.tame.presets import RECIPES as RECIPES
from regard.training.tame.presets import preset as preset
from regard.training.tame.recipe import Recipe as Recipe

"""What is trained on a frozen classifier."""

from regard.training.head import TrainedHead as TrainedHead
from regard.training.head import fit_head as fit_head
from regard.training.labelled import Labelled as Labelled
from regard.training.labelled import read_labelled as read_labelled

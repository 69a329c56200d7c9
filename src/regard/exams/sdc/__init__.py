"""Selective dependence classification: one segment decides, and it is known which."""

from regard.exams.sdc.arrangement import Arrangement as Arrangement
from regard.exams.sdc.arrangement import arranged as arranged
from regard.exams.sdc.diagnosis import diagnose as diagnose
from regard.exams.sdc.error_modes import Diagnosis as Diagnosis
from regard.exams.sdc.examine import Examination as Examination
from regard.exams.sdc.examine import examine as examine
from regard.exams.sdc.items import Items as Items
from regard.exams.sdc.outcomes import OUTCOMES as OUTCOMES
from regard.exams.sdc.outcomes import Ties as Ties
from regard.exams.sdc.outcomes import by_class as by_class
from regard.exams.sdc.outcomes import in_per_cent as in_per_cent
from regard.exams.sdc.outcomes import outcomes as outcomes
from regard.exams.sdc.registry import task_called as task_called
from regard.exams.sdc.registry import task_names as task_names
from regard.exams.sdc.task import Examples as Examples
from regard.exams.sdc.task import Mosaics as Mosaics
from regard.exams.sdc.task import SelectiveTask as SelectiveTask

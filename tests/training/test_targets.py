"""Labels that a head can learn."""

import pytest

from regard.errors import ClassifierError
from regard.training.targets import answers_of


@pytest.mark.parametrize(("labels", "outputs"), [(["a b", "A  b", "c"], "softmax"), ([["a b"], ["A  b"]], "sigmoid")])
def test_classes_that_differ_by_case_or_spaces_alone_are_refused(labels, outputs):
    with pytest.raises(ClassifierError, match="same name but for case or spaces") as refusal:
        answers_of(labels, outputs)
    assert refusal.value.came == "'A  b' and 'a b'"

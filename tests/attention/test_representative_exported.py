"""Pooling leaves torch: exported, traced."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch

from regard.attention.representative import RepresentativePooling, representative_pooling
from regard.compat import import_optional

from .pooled_features import drawn, mask_of


def test_it_is_exported_to_onnx_with_batches_of_any_size_and_gives_the_same(tmp_path):
    onnxruntime = import_optional("onnxruntime", "export")

    class Parts(torch.nn.Module):
        def forward(self, features):
            found = RepresentativePooling(3)(features)
            return found.vectors, found.maps, found.indices, found.scores, found.valid, found.norms

    file = tmp_path / "pooling.onnx"
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Parts(),
            (drawn(3, 6, 4, 5).float(),),
            opset_version=18,
            dynamo=True,
            dynamic_shapes={"features": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
        program.save(file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for features in (
        drawn(1, 6, 4, 5, seed=2),
        drawn(5, 6, 4, 5, seed=3),
        torch.zeros(2, 6, 4, 5),
        torch.ones(2, 6, 4, 5),
    ):
        found = session.run(None, {session.get_inputs()[0].name: features.float().numpy()})
        for came, expected in zip(map(torch.from_numpy, found), Parts()(features.float()), strict=True):
            assert came.dtype is expected.dtype
            torch.testing.assert_close(came, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore:Converting a tensor")
@pytest.mark.parametrize("on_nan", ["error", "propagate"])
def test_it_is_traced_for_torchscript_with_batches_and_grids_of_any_size(on_nan):
    class Parts(torch.nn.Module):
        def forward(self, features):
            return RepresentativePooling(3)(features, on_nan=on_nan).vectors

    traced = torch.jit.trace(Parts(), drawn(2, 6, 4, 5))
    for features in (drawn(1, 6, 4, 5, seed=2), drawn(3, 6, 2, 7, seed=3), torch.zeros(2, 6, 4, 5).double()):
        torch.testing.assert_close(traced(features), Parts()(features), rtol=1e-12, atol=1e-12)


def test_it_is_traced_whole_with_tokens_a_mask_and_a_function():
    class Parts(torch.nn.Module):
        def forward(self, features, mask):
            found = representative_pooling(features, 2, mask=mask, negative="signed", select=lambda _, left, __: -left)
            return found.vectors, found.maps, found.indices

    batch = {0: torch.export.Dim("batch")}
    example = drawn(3, 7, 5, signed=True), mask_of(3, 7)
    traced = torch.export.export(Parts(), example, dynamic_shapes=(batch, batch)).module()
    for pictures in (1, 4):
        features, mask = drawn(pictures, 7, 5, seed=8, signed=True), mask_of(pictures, 7, seed=9)
        for came, expected in zip(traced(features, mask), Parts()(features, mask), strict=True):
            torch.testing.assert_close(came, expected, rtol=1e-12, atol=1e-12)

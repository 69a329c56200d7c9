"""Pooling leaves torch: exported, traced, compiled."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch

from regard.attention.representative import RepresentativePooling, representative_pooling
from regard.compat import import_optional

from .pooled_features import drawn, mask_of, ways


def exported(module, example, file):
    """A session of a module that takes batches of any size."""
    batch = {0: torch.export.Dim("batch")}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            example,
            opset_version=18,
            dynamo=True,
            dynamic_shapes=(batch,) * len(example),
            verbose=False,
        )
        program.save(file)
    return import_optional("onnxruntime", "export").InferenceSession(str(file), providers=["CPUExecutionProvider"])


def answered(session, *given):
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {name: values.numpy() for name, values in zip(names, given, strict=True)})
    return [torch.from_numpy(each) for each in found]


def test_it_is_exported_to_onnx_with_batches_of_any_size_and_gives_the_same(tmp_path):
    class Parts(torch.nn.Module):
        def forward(self, features):
            found = RepresentativePooling(3)(features)
            return found.vectors, found.maps, found.indices, found.scores, found.valid, found.norms

    session = exported(Parts(), (drawn(3, 6, 4, 5).float(),), tmp_path / "pooling.onnx")
    for features in (
        drawn(1, 6, 4, 5, seed=2),
        drawn(5, 6, 4, 5, seed=3),
        torch.zeros(2, 6, 4, 5),
        torch.ones(2, 6, 4, 5),
    ):
        for came, expected in zip(answered(session, features.float()), Parts()(features.float()), strict=True):
            assert came.dtype is expected.dtype
            torch.testing.assert_close(came, expected, rtol=1e-5, atol=1e-5)


@ways
def test_tokens_with_a_mask_are_exported_whatever_the_way(way, tmp_path):
    class Parts(torch.nn.Module):
        def forward(self, tokens, mask):
            found = representative_pooling(tokens, 2, mask=mask, **way)
            return found.vectors, found.maps, found.indices

    session = exported(Parts(), (drawn(3, 7, 5).float(), mask_of(3, 7)), tmp_path / "pooling.onnx")
    for pictures in (1, 4):
        given = drawn(pictures, 7, 5, seed=pictures).float(), mask_of(pictures, 7, seed=pictures)
        for came, expected in zip(answered(session, *given), Parts()(*given), strict=True):
            torch.testing.assert_close(came, expected, rtol=1e-5, atol=1e-5)


@ways
def test_it_is_compiled_without_a_break_and_has_the_same_gradients(way):
    pooling = RepresentativePooling(3, **way)
    compiled = torch.compile(pooling, backend="aot_eager", fullgraph=True)
    features = drawn(2, 6, 4, 5).requires_grad_()
    expected, found = pooling(features), compiled(features)
    torch.testing.assert_close(found.vectors, expected.vectors, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-12, atol=1e-12)
    moved = [torch.autograd.grad(each.vectors.square().sum(), features)[0] for each in (found, expected)]
    torch.testing.assert_close(*moved, rtol=1e-12, atol=1e-12)


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

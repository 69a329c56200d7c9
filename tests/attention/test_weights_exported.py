"""Weights leave torch: compiled, exported."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

import torch

from regard.attention.entmax import entmax, sparsemax
from regard.attention.weights import softmax, spherical_softmax, top_k
from regard.compat import import_optional

from .test_weights import close, mask_of, scores_of

EXPORTED = [softmax, entmax, spherical_softmax, partial(top_k, k=3)]


class Weights(torch.nn.Module):
    def forward(self, scores, mask):
        return tuple(weigh(scores, mask=mask) for weigh in EXPORTED)


def test_they_are_exported_to_onnx_with_batches_of_any_size_and_give_the_same(tmp_path):
    onnxruntime = import_optional("onnxruntime", "export")
    file = tmp_path / "weights.onnx"
    batch = {0: torch.export.Dim("batch")}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = scores_of(3, 6).float(), mask_of(3, 6)
        program = torch.onnx.export(
            Weights(), example, opset_version=18, dynamo=True, dynamic_shapes=(batch, batch), verbose=False
        )
        program.save(file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    for scores in (scores_of(1, 6, seed=1), scores_of(5, 6, seed=2, spread=4), torch.zeros(2, 6)):
        given = scores.float(), mask_of(*scores.shape, seed=3)
        found = session.run(None, dict(zip(names, (each.numpy() for each in given), strict=True)))
        for came, expected in zip(found, Weights()(*given), strict=True):
            close(torch.from_numpy(came), expected, 1e-6)


def test_they_are_compiled_whole_with_their_gradient():
    scores, other = scores_of(3, 6).requires_grad_(), scores_of(3, 6).requires_grad_()
    compiled = torch.compile(sparsemax, fullgraph=True, backend="aot_eager")(scores)
    compiled.square().sum().backward()
    expected = sparsemax(other)
    expected.square().sum().backward()
    close(compiled.detach(), expected.detach())
    close(scores.grad, other.grad)

"""Many passes in one queue: full chunks across images, halved where memory runs out, equal to a plain loop."""

import gc
import weakref

import pytest
import torch
from torch import nn

import regard
from regard.errors import PixelsError
from regard.fills import Blur, Inpaint, Mean, Noise
from regard.models import passes
from regard.models.taps import Place, read

from ..explainers.networks import classifier_of, cnn, pixels_of, same, vit

OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Limited(nn.Module):
    """A network that notes the size of every pass and runs out of memory above a limit."""

    def __init__(self, limit=10**6, problem=OUT_OF_MEMORY):
        super().__init__()
        self.network, self.limit, self.problem, self.sizes = cnn(), limit, problem, []

    def forward(self, pixels):
        self.sizes.append(len(pixels))
        if len(pixels) > self.limit:
            raise self.problem
        return self.network(pixels)


def in_chunks_of(network, size):
    """A classifier whose chunk size is known already, so that no pass measures it."""
    classifier = classifier_of(network)
    passes.remember_chunk(classifier, pixels_of(1), size)
    if isinstance(network, Limited):
        network.sizes.clear()
    return classifier


def jobs_of_three_images(count=11):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(3, (count,), generator=generator)
    masks = torch.rand(count, 1, 32, 32, generator=generator)
    return pixels_of(3), images, masks


def count_and_fail():
    passes.count(forwards=4, backwards=1)
    raise ZeroDivisionError


def test_passes_are_counted_in_images_also_by_enclosing_blocks():
    classifier = in_chunks_of(cnn(), 2)
    with passes.counted() as outer:
        classifier(pixels_of(2))
        with passes.counted() as inner:
            classifier.embed(pixels_of(5))
            passes.count(backwards=3)
        with pytest.raises(ZeroDivisionError), passes.counted():
            count_and_fail()
        read(classifier.module, [Place("0")], lambda: classifier.forward(pixels_of(6)), stop=True)
    classifier(pixels_of(1))
    assert (inner.forwards, inner.backwards) == (5, 3)
    assert (outer.forwards, outer.backwards) == (2 + 5 + 4 + 6, 3 + 1)


def test_measuring_a_chunk_is_not_counted():
    classifier = classifier_of(cnn())
    with passes.counted() as counter:
        passes.run(classifier, 3, lambda numbers: pixels_of(3)[numbers], pixels_of(1))
    assert counter.forwards == 3


def test_every_pass_but_the_last_is_full_whatever_image_its_jobs_belong_to():
    network = Limited()
    classifier = in_chunks_of(network, 4)
    pixels, images, masks = jobs_of_three_images()
    passes.masked(classifier, pixels, images, masks, Mean())
    assert network.sizes == [4, 4, 3]


def test_inputs_are_made_only_when_their_chunk_comes():
    network, asked = Limited(), []
    passes.run(
        in_chunks_of(network, 3),
        7,
        lambda numbers: asked.append(numbers.tolist()) or pixels_of(len(numbers)),
        pixels_of(1),
    )
    assert asked == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("make", [cnn, vit, lambda: vit(num_classes=0)])
def test_jobs_in_chunks_are_the_loop_over_jobs(make, size):
    network, pixels = make(), pixels_of(7)
    answers = passes.run(in_chunks_of(network.train(), size), 7, lambda numbers: pixels[numbers].flip(3), pixels[:1])
    expected = torch.cat([network.eval()(picture.flip(2)[None]).detach() for picture in pixels])
    same(answers, expected)
    assert answers.dtype is torch.float32
    assert not answers.requires_grad


@pytest.mark.parametrize("fill", [Mean(), Blur(2.0)], ids=lambda fill: fill.name)
@pytest.mark.parametrize("as_function", [True, False])
def test_masked_is_the_loop_over_jobs(fill, as_function):
    network = cnn()
    pixels, images, masks = jobs_of_three_images()
    given = (lambda numbers: masks[numbers]) if as_function else masks
    answers = passes.masked(in_chunks_of(network, 4), pixels, images, given, fill)
    expected = []
    for image, mask in zip(images.tolist(), masks, strict=True):
        background = fill.background(pixels[image : image + 1])
        expected.append(network(mask * pixels[image : image + 1] + (1 - mask) * background).detach())
    same(answers, torch.cat(expected))


def test_what_removed_pixels_become_is_made_once_a_picture_whatever_the_number_of_its_masks():
    pixels, images, masks = jobs_of_three_images(20)
    made = []

    class Counted(Blur):
        def background(self, pixels):
            made.append(len(pixels))
            return super().background(pixels)

    answers = passes.masked(in_chunks_of(cnn(), 3), pixels, images, masks, Counted(2.0))
    assert sum(made) == len(pixels)
    same(answers, passes.masked(in_chunks_of(cnn(), 100), pixels, images, masks, Blur(2.0)))


@pytest.mark.parametrize("fill", [Noise(), Blur(2.0), Mean(), Inpaint()], ids=lambda fill: fill.name)
def test_each_job_is_filled_with_the_background_of_its_own_picture(fill):
    """Jobs of images 2, 0 and 2 alone, in chunks that hold several images, among images of no job."""
    pixels = pixels_of(4)
    images, masks = torch.tensor([2, 0, 2, 3]), (torch.rand(4, 1, 32, 32, generator=torch.manual_seed(5)) > 0.5).float()
    network = cnn()
    answers = passes.masked(in_chunks_of(network, 3), pixels, images, masks, fill)
    expected = [network(fill(pixels[[n]], mask[None])).detach() for n, mask in zip(images.tolist(), masks, strict=True)]
    same(answers, torch.cat(expected))


@pytest.mark.parametrize("size", [1, 4, 100])
def test_values_of_jobs_are_kept_in_their_order_whatever_the_chunks(size):
    """What `values` sees is the answer of exactly the jobs whose numbers it is given."""
    network = vit()
    classifier = in_chunks_of(network, size)
    pixels, images, masks = jobs_of_three_images()
    seen = []

    def values(output, numbers):
        seen.extend(numbers.tolist())
        assert len(output.logits) == len(output.embedding) == len(numbers)
        return torch.cat([output.logits[:, [1]], output.embedding[:, :2], numbers[:, None].float()], dim=1)

    found = passes.masked(classifier, pixels, images, masks, Mean(), values)
    filled = [Mean()(pixels[[n]], mask[None]) for n, mask in zip(images.tolist(), masks, strict=True)]
    logits = torch.cat([network(picture).detach() for picture in filled])
    embeddings = torch.cat(
        [network.forward_head(network.forward_features(x), pre_logits=True).detach() for x in filled]
    )
    same(found[:, :1], logits[:, [1]])
    same(found[:, 1:3], embeddings[:, :2])
    assert found[:, 3].tolist() == seen == list(range(11))


def test_values_are_counted_as_passes_and_halved_where_memory_runs_out():
    network = Limited(5)
    classifier = in_chunks_of(network, 16)
    pixels, images, masks = jobs_of_three_images()
    found = passes.masked(classifier, pixels, images, masks, Mean(), lambda output, numbers: output.logits[:, 0])
    same(found, passes.masked(in_chunks_of(cnn(), 100), pixels, images, masks, Mean())[:, 0])
    with passes.counted() as spent:
        passes.masked(classifier, pixels, images, masks, Mean(), lambda output, numbers: output.logits)
    assert spent.forwards == 11


def test_an_error_in_values_leaves_the_network_as_it_was():
    network = cnn().train()

    def broken(output, numbers):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        passes.masked(in_chunks_of(network, 4), *jobs_of_three_images(), Mean(), broken)
    assert all(module.training and not module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("images", [[0, 3], [-1, 0], [[0, 1]], [0.0, 1.0], []], ids=str)
def test_images_that_are_not_there_are_refused(images):
    with pytest.raises(PixelsError, match="image"):
        passes.masked(classifier_of(cnn()), pixels_of(3), torch.tensor(images), torch.ones(2, 1, 32, 32), Mean())


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 32, 32), (2, 1, 16, 16), (2, 3, 32, 32)], ids=str)
def test_masks_that_do_not_fit_the_jobs_are_refused(shape):
    with pytest.raises(PixelsError):
        passes.masked(classifier_of(cnn()), pixels_of(3), torch.tensor([0, 2]), torch.ones(shape), Mean())


def test_no_jobs_are_refused():
    with pytest.raises(PixelsError, match="no jobs"):
        passes.run(classifier_of(cnn()), 0, lambda numbers: pixels_of(0), pixels_of(1))


@pytest.mark.parametrize(
    "problem",
    [
        OUT_OF_MEMORY,
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    ],
    ids=lambda problem: str(problem)[:12],
)
def test_chunks_are_halved_where_memory_runs_out_and_the_size_is_remembered(problem):
    network = Limited(5, problem)
    classifier = in_chunks_of(network, 16)
    pixels, images, masks = jobs_of_three_images()
    answers = passes.masked(classifier, pixels, images, masks, Mean())
    assert network.sizes == [11, 8, 4, 4, 3]
    same(answers, passes.masked(in_chunks_of(cnn(), 100), pixels, images, masks, Mean()))
    network.sizes.clear()
    passes.masked(classifier, pixels, images, masks, Mean())
    assert network.sizes == [4, 4, 3]


def test_memory_that_runs_out_at_one_picture_is_an_error():
    network = Limited()
    classifier = in_chunks_of(network, 8)
    network.limit = 0
    with pytest.raises(torch.OutOfMemoryError):
        classifier.embed(pixels_of(8))
    assert network.sizes == [8, 4, 2, 1]


@pytest.mark.parametrize(
    "problem", [RuntimeError("shapes cannot be multiplied"), ValueError("no"), KeyboardInterrupt()], ids=repr
)
def test_other_errors_are_no_question_of_memory(problem):
    network = Limited(2, problem)
    with pytest.raises(type(problem)):
        in_chunks_of(network, 4).embed(pixels_of(6))
    assert network.sizes == [4]


def test_the_largest_tensor_of_a_chunk_has_at_most_so_many_bytes(monkeypatch):
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    largest_of_a_picture = 5 * 32 * 32 * 4
    monkeypatch.setattr(passes, "CPU_TENSOR", 10 * largest_of_a_picture + 1)
    assert passes.chunk_size(classifier_of(network), pixels_of(1)) == 10
    assert passes.chunk_size(classifier_of(network), pixels_of(1, (64, 64))) == 2
    assert passes.chunk_size(classifier_of(nn.Sequential(*network)), pixels_of(1, (128, 128))) == 1
    monkeypatch.setattr(passes, "CPU_TENSOR", 10**12)
    assert passes.chunk_size(classifier_of(nn.Sequential(*network)), pixels_of(1)) == passes.LARGEST_CHUNK
    assert all(not layer._forward_hooks for layer in network)


def test_a_chunk_that_keeps_all_is_the_budget_over_all_outputs_twice_or_the_largest_layer_four_times(monkeypatch):
    deep = nn.Sequential(
        *[nn.Conv2d(3, 3, 1) for _ in range(9)], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    outputs = 9 * 3 * 32 * 32 + 3 + 3 + 2
    monkeypatch.setattr(passes, "CPU_KEPT", 10 * 2 * outputs * 4)
    assert passes.chunk_size(classifier_of(deep), pixels_of(1), keeps_all=True) == 10
    flat = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    monkeypatch.setattr(passes, "CPU_KEPT", 10 * 4 * (3 + 5) * 32 * 32 * 4)
    assert passes.chunk_size(classifier_of(flat), pixels_of(1), keeps_all=True) == 10


def test_chunk_sizes_belong_to_a_network_a_frame_and_a_precision_and_die_with_the_network():
    network, others = cnn(), classifier_of(cnn())
    classifier, fast = classifier_of(network), classifier_of(network, precision="bfloat16")
    plain = passes.chunk_size(classifier, pixels_of(1))
    passes.remember_chunk(classifier, pixels_of(1), 3)
    assert passes.chunk_size(classifier, pixels_of(7)) == 3
    assert passes.chunk_size(classifier_of(network, name="again"), pixels_of(1)) == 3
    assert {passes.chunk_size(c, pixels_of(1)) for c in (fast, others)} == {plain}
    assert passes.chunk_size(classifier, pixels_of(1, (16, 32))) != 3
    gone = weakref.ref(network)
    del network, classifier, fast
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("explainer", [regard.GradCAM, regard.Random])
def test_chunks_of_explainers_are_halved_too(explainer):
    network = Limited()
    classifier = in_chunks_of(network, 8)
    method, pixels = explainer(classifier), pixels_of(7)
    whole = method(pixels, [0, 1])
    network.limit, network.sizes = 3, []
    passes.remember_chunk(classifier, pixels[:1], 7)
    same(method(pixels, [0, 1]).maps, whole.maps, 1e-6)
    assert network.sizes == [7, 3, 3, 1]


def test_passes_that_keep_all_layers_hold_fewer_pictures(monkeypatch):
    network = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(20)], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    monkeypatch.setattr(passes, "CPU_TENSOR", 20 * 3 * 32 * 32 * 4)
    monkeypatch.setattr(passes, "CPU_KEPT", 80 * 2 * 3 * 32 * 32 * 4)
    classifier = classifier_of(network, outputs="embedding")
    assert passes.chunk_size(classifier, pixels_of(1)) == 20
    assert passes.chunk_size(classifier, pixels_of(1), keeps_all=True) == 3
    assert regard.GradCAM(classifier, layer="3").keeps_all
    assert not regard.GradCAM(classifier).keeps_all

"""The same contract on transformers of every author, with every kind of head: see test_matrix.py."""

import pytest

from ..models.test_transformer import ANATOMY, hugging_face, open_clip, tiny
from . import test_matrix as matrix
from .networks import TOKENS_ALIKE, classifier_of, mlp_head, vit

pytestmark = TOKENS_ALIKE

CLASSIFIERS = {
    "no class token, averaged": lambda: classifier_of(vit(class_token=False, global_pool="avg")),
    "attention pool": lambda: classifier_of(vit(class_token=False, global_pool="map"), labels=list("abcde")),
    "distilled": lambda: classifier_of(tiny("deit_tiny_distilled_patch16_224"), labels=list("abcde")),
    "rotary": lambda: classifier_of(tiny("vit_small_patch16_dinov3", global_pool="token")),
    "rotary, averaged": lambda: classifier_of(tiny("vit_small_patch16_dinov3")),
    "post-norm": lambda: classifier_of(ANATOMY["post-norm"][0](), outputs="sigmoid"),
    "frame that is not square": lambda: classifier_of(vit(patch_size=(8, 4)), labels=list("abcde")),
    "torchvision": lambda: classifier_of(ANATOMY["torchvision"][0](), labels=list("abcde")),
    "transformers ViT": lambda: classifier_of(hugging_face("ViT", "ViTForImageClassification", num_labels=5)),
    "transformers DeiT": lambda: classifier_of(
        hugging_face("DeiT", "DeiTForImageClassificationWithTeacher", num_labels=5), labels=list("abcde")
    ),
    "transformers DINOv2 with registers": lambda: classifier_of(
        hugging_face("Dinov2WithRegisters", "Dinov2WithRegistersModel"), head=mlp_head()
    ),
    "transformers DINOv2, class token beside patches": lambda: classifier_of(
        hugging_face("Dinov2", "Dinov2ForImageClassification", num_labels=5)
    ),
    "transformers CLIP": lambda: classifier_of(
        hugging_face("CLIPVision", "CLIPVisionModelWithProjection", hidden_act="gelu")
    ),
    "transformers SigLIP": lambda: classifier_of(hugging_face("SiglipVision", "SiglipVisionModel")),
    "open_clip": lambda: classifier_of(open_clip(), outputs="embedding"),
    "open_clip, attention pool": lambda: classifier_of(
        ANATOMY["open_clip, attention pooling"][0](), outputs="embedding"
    ),
    "facebookresearch": lambda: classifier_of(ANATOMY["lists"][0](), head=mlp_head()),
    "blocks in tuples": lambda: classifier_of(ANATOMY["tuples"][0](), head=mlp_head()),
}
OF_A_POOL = matrix.OF_THE_CLASS_TOKEN - {"partial-relevance"}
EXPLAINED_BY = {
    **dict.fromkeys(["attention pool", "transformers CLIP", "transformers SigLIP"], matrix.OF_TOKENS | OF_A_POOL),
    "open_clip": matrix.OF_TOKENS | OF_A_POOL,
    "open_clip, attention pool": matrix.OF_TOKENS | OF_A_POOL - {"last-block-ablation"},
    **dict.fromkeys(["no class token, averaged", "rotary, averaged"], matrix.OF_TOKENS),
    "transformers DINOv2, class token beside patches": matrix.OF_TOKENS,
    "rotary": matrix.OF_TOKENS | matrix.OF_THE_CLASS_TOKEN - {"last-block-ablation"},
    "facebookresearch": matrix.OF_TOKENS | matrix.OF_THE_CLASS_TOKEN - {"last-block-ablation"},
}


@pytest.fixture(params=CLASSIFIERS, scope="module")
def make(request):
    return CLASSIFIERS[request.param]


@pytest.fixture(scope="module")
def classifier(make):
    return make()


@pytest.fixture(scope="module")
def able(classifier):
    return matrix.explainers(classifier)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_networks_that_each_method_explains(name):
    classifier = CLASSIFIERS[name]()
    able = {explainer.name for explainer in matrix.explainers(classifier)}
    of_classes = set() if classifier.class_count is None else {"tame"}
    assert able == EXPLAINED_BY.get(name, matrix.OF_TOKENS | matrix.OF_THE_CLASS_TOKEN) | matrix.OF_ANY | of_classes


test_targets = matrix.test_every_method_answers_every_target_that_fits_and_refuses_the_others_before_any_pass
test_batches = matrix.test_every_method_gives_an_image_the_same_map_alone_and_among_others
test_training = matrix.test_nothing_is_left_in_a_network_that_is_being_trained
test_failures = matrix.test_nothing_is_left_after_a_failure_inside_the_network

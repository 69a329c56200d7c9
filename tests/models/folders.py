"""Folders of tiny models of transformers, as save_pretrained makes them: model, image processor, tokenizer."""

from regard.compat import import_optional

from ..explainers.networks import WIDTH, loud

transformers = import_optional("transformers", "transformers")
tokenizers = import_optional("tokenizers", "transformers")

SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
PICTURES = SIZES | {"image_size": 32, "patch_size": 8}
WORDS = ["<pad>", "<unk>", "<end>", "a", "photo", "of", "cat", "dog", "owl", "church", "horn", "french"]
TEXTS = SIZES | {"vocab_size": len(WORDS), "max_position_embeddings": 9, "eos_token_id": 2, "bos_token_id": 2}
SQUARE, SHORTER = {"height": 32, "width": 32}, {"shortest_edge": 36}


def save(folder, network, processor, **settings):
    """The folder, with the model and an image processor of that class."""
    network.save_pretrained(folder)
    getattr(transformers, processor)(**settings).save_pretrained(folder)
    return folder


def model(kind, name, **changes):
    """A tiny model with loud weights."""
    config = getattr(transformers, f"{kind}Config")(**PICTURES | changes)
    return loud(getattr(transformers, name)(config))


def two_towers(kind, seed=0, **changes):
    """A tiny CLIP or SigLIP: two towers of transformers, texts of nine tokens at most."""
    pictures, texts = dict(PICTURES), dict(TEXTS)
    joint = {"projection_dim": 10} if kind == "CLIP" else {}
    texts |= {"projection_size": WIDTH} if kind == "Siglip" else {}
    config = getattr(transformers, f"{kind}Config")(text_config=texts, vision_config=pictures, **joint | changes)
    return loud(getattr(transformers, f"{kind}Model")(config), seed)


def tokenizer():
    """One token a word, and an end."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.normalizer = tokenizers.normalizers.Lowercase()
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing("$A <end>", special_tokens=[("<end>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="<end>", model_input_names=["input_ids"]
    )


def clip(folder, kind="CLIP", with_tokenizer=True):
    """The folder of a tiny CLIP or SigLIP."""
    if with_tokenizer:
        tokenizer().save_pretrained(folder)
    settings = {"size": {"shortest_edge": 32}, "crop_size": SQUARE} if kind == "CLIP" else {"size": SQUARE}
    return save(folder, two_towers(kind), f"{kind}ImageProcessor", **settings)

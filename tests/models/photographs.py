"""Real photos, whole and cut to sides of many remainders."""

import importlib

from PIL import Image

_FILES = sorted(photo.path for photo in importlib.import_module("regard_embedded").photos())


def _photo(number, width, height):
    return Image.open(_FILES[number]).convert("RGB").crop((0, 0, width, height))


PHOTOS = [_photo(0, 299, 299), _photo(3, 299, 201), _photo(5, 187, 290), _photo(7, 61, 44), _photo(9, 133, 298)]

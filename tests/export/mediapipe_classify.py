"""Run by mediapipe's own interpreter; `python mediapipe_classify.py PICTURES.npy FILE.tflite ...` prints JSON.

PICTURES.npy holds uint8 [n, H, W, 3]; printed is file -> for each picture [[label, score], ...], best first.
"""

import json
import sys

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions


def classify(file: str, pictures: np.ndarray) -> list[list[tuple[str, float]]]:
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=file))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        return [answer(classifier, picture) for picture in pictures]


def answer(classifier: vision.ImageClassifier, picture: np.ndarray) -> list[tuple[str, float]]:
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
    categories = classifier.classify(image).classifications[0].categories
    return [(category.category_name, category.score) for category in categories]


if __name__ == "__main__":
    pictures_file, *files = sys.argv[1:]
    print(json.dumps({file: classify(file, np.load(pictures_file)) for file in files}))

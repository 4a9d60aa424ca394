"""The model by itself; what holds for every model is checked by the harness."""

import numpy as np
import pytest
from harness_gru.train import train

import harness


@pytest.fixture(scope="module")
def session() -> harness.Session:
    return harness.open(device="cpu")


def test_a_text_is_its_bytes(session):
    (tokens,) = session.open_model("gru").model.tokenize(["é!"])
    assert tokens.ids.tolist() == [256, *"é!".encode()]
    assert tokens.content.tolist() == [False, True, True, True]


def test_it_read_its_texts(session):
    """Sentences of one language are nearer than their translations."""
    texts = [
        "Where is the station?",
        "When does the train leave?",
        "Wo ist der Bahnhof?",
        "Wann fährt der Zug?",
    ]
    read = session.features(texts, model="gru", site="resid_post.1", pooling="mean")
    read = read / np.linalg.norm(read, axis=1, keepdims=True)
    likeness = read @ read.T
    assert likeness[0, 1] > likeness[0, 2] and likeness[2, 3] > likeness[1, 3]


def test_training_lowers_the_loss():
    _, losses = train(["an apple a day", "a pear a day"], steps=15)
    assert losses[-1] < losses[0] / 1.2

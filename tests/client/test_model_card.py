"""The model card, for the eye and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from client import model_card
from client.evaluation import Scored
from client.model_card import Comparison
from client.provenance import Channel, Training

if TYPE_CHECKING:
    from pathlib import Path

SCORED = Scored.of(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.8, 0.9]))
TEST = Comparison("The endpoint moons", "test.csv", features=2)
TRAINING = Training(
    job="moons-1",
    image="simplenet@sha256:0",
    model="s3://bucket/model.tar.gz",
    machines="2 x ml.c4.xlarge",
    hyperparameters={"epochs": "20", "positive_weight": "4"},
    channels=[Channel("train", "s3://bucket/a|b", 1450), Channel("test", "s3://bucket/test")],
    history={"train_loss": [0.5, 0.25]},
)


def test_a_card_says_what_was_trained_on_what_and_how_well_it_does(tmp_path: Path) -> None:
    """Both files say the same; a bar in an address breaks no table."""
    paths = model_card.write(model_card.card(SCORED, TEST, TRAINING), tmp_path / "sub" / "card.md")

    text, found = paths[0].read_text("utf-8"), json.loads(paths[1].read_text("utf-8"))
    assert [tmp_path / "sub" / "card.md", tmp_path / "sub" / "card.json"] == paths
    for line in (
        "| job | moons-1 |",
        "| epochs | 2 |",
        "| train | s3://bucket/a\\|b | 1,450 |",
        "| test | s3://bucket/test | not counted |",
        "| epochs | 20 | given |",
        "| lr | 0.2 | default |",
        "| 0 | 1 | 1 |",
        "| Accuracy | 0.750 |",
        "| 0.8 to 0.9 | 1 | 0.800 | 1.000 |",
    ):
        assert line in text.splitlines()
    assert 0.75 == found["evaluation"]["figures"]["Accuracy"]
    assert "epochs" not in found["training"]["hyperparameters"]["default"]
    assert 2 == found["training"]["epochs"]


def test_a_card_says_what_it_must_not_be_used_for() -> None:
    """In words that follow from what is known: the rows, the features, the weight of class 1."""
    limits = "\n".join(model_card.card(SCORED, TEST, TRAINING)["limits"])

    assert "It expects 2 finite numbers a row" in limits
    assert "The figures are of 4 rows" in limits
    assert "Class 1 weighed 4 times as much in training, so a score is no probability." in limits
    assert "What it was trained on is not known" not in limits


def test_what_is_undefined_or_not_known_is_no_number() -> None:
    """JSON has null for it, not NaN, which no other reader takes."""
    one_class = Scored.of(np.zeros(3), np.array([0.1, 0.2, 0.3]))
    found = model_card.card(one_class, TEST)

    assert json.dumps(found, allow_nan=False)
    assert found["evaluation"]["figures"]["AUC"] is None
    assert "| ROC AUC | undefined |" in model_card.markdown(found)
    assert "Nothing is known of it here." in model_card.markdown(found)

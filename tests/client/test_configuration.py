"""Defaults that a user writes down once: in simplenet.toml, or in the environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from client import configuration
from client.configuration import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client.aws import Aws

COMMANDS = ("train", "deploy", "delete")


def read(path: Path, text: str | bytes) -> dict[str, object]:
    """Return the defaults of `train`."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return configuration.read(path, "train", ("role", "spot", "instance_type"), COMMANDS)


def test_a_command_takes_its_table_and_what_stands_above_all(tmp_path: Path) -> None:
    """Its own table wins; what another command has is not its business; no file is no error."""
    path = tmp_path / "simplenet.toml"
    text = 'role = "A"\nbucket = "b"\n[train]\nspot = true\nrole = "B"\n[deploy]\nendpoint = "e"\n'

    assert {} == configuration.read(path, "train", ("role",), COMMANDS)
    assert {"role": "B", "spot": True} == read(path, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("role = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        ('rolle = "A"', "above the first table, has 'rolle'; did you mean 'role'?"),
        ("[trian]", "in brackets, has 'trian'; did you mean 'train'?"),
        ("[train]\nspott = true", "table [train], has 'spott'; did you mean 'spot'?"),
        ("[train]\ncolour = 1", "expected ['instance_type', 'role', 'spot']"),
    ],
)
def test_what_means_nothing_gets_a_sentence(
    tmp_path: Path, text: str | bytes, sentence: str
) -> None:
    """That says where it stands, and what was probably meant."""
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path / "simplenet.toml", text)

    assert sentence in str(refused.value)


def test_every_option_has_the_name_that_the_command_line_has(stored: Aws, tmp_path: Path) -> None:
    """In the file and in the environment, also where it may be given several times."""
    file = tmp_path / "simplenet.toml"
    file.write_text('[train]\nrole = "SageMakerRole"\nhyperparameter = ["epochs=3"]\njson = true\n')
    named = {"SIMPLENET_TRAIN_HYPERPARAMETER": "epochs=4 lr=0.1"}

    for environment, expected in (({}, {"epochs": "3"}), (named, {"epochs": "4", "lr": "0.1"})):
        done = stored.run("train", "--dry-run", directory=tmp_path, **environment)

        assert 0 == done.returncode, done.stderr
        assert expected == json.loads(done.stdout)["hyperparameters"]


def test_the_words_of_the_command_win_over_environment_and_file(
    stored: Aws, tmp_path: Path
) -> None:
    """In this order: words, environment, file; a file that is wrong stops the command."""
    file = tmp_path / "simplenet.toml"
    file.write_text('role = "SageMakerRole"\n[train]\ninstance_type = "ml.m5.large"\n')
    dry = ("train", "--dry-run", "--json")

    def instance(*words: str, **environment: str) -> object:
        done = stored.run(*dry, *words, directory=tmp_path, **environment)
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)["instance_type"]

    named = {"SIMPLENET_TRAIN_INSTANCE_TYPE": "ml.c5.large"}
    assert "ml.m5.large" == instance()
    assert "ml.c5.large" == instance(**named)
    assert "ml.c5.xlarge" == instance("--instance-type", "ml.c5.xlarge", **named)
    assert [] == stored.asked("CreateTrainingJob")

    file.write_text("[train]\ninstance = 1\n")
    done = stored.run(*dry, directory=tmp_path)
    assert 1 == done.returncode
    assert "simplenet.toml, table [train], has 'instance'; did you mean" in done.stderr

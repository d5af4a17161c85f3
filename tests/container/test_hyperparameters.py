"""The strings of a job to its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simplenet.hyperparameters import HyperparameterError, Hyperparameters

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "value",
    ["40", '"40"', 40, "40.0", " 40 ", "40.", "+40", "040", "4e1"],
)
def test_a_value_may_come_in_any_of_sagemakers_spellings(value: object) -> None:
    """Strings, JSON-quoted strings (an Estimator with source code) and numbers (T15, T17, X18)."""
    settings, given = Hyperparameters.parse({"epochs": value})

    assert settings.epochs == 40
    assert frozenset({"epochs"}) == given


def test_the_notebooks_hyperparameters_all_work() -> None:
    """The seed's dictionary, and the classroom script's option names, mean what they say."""
    seed, _ = Hyperparameters.parse(
        {"input_dim": "2", "hidden_dim": "20", "output_dim": "1", "epochs": "80"}
    )
    script, _ = Hyperparameters.parse(
        {"batch-size": "64", "lr": "1e-3", "seed": "1", "weight_decay": ".1"}
    )

    assert (seed.input_dim, seed.hidden_dim, seed.output_dim, seed.epochs) == (2, 20, 1, 80)
    assert (script.batch_size, script.lr, script.seed) == (64, 0.001, 1)
    assert script.weight_decay == 0.1
    assert Hyperparameters.parse({"seed": str(2**63 - 1)})[0].seed == 2**63 - 1


@pytest.mark.parametrize(
    "name",
    [
        "sagemaker_program",
        "sagemaker_region",
        "_tuning_objective_metric",
        "default_user_module_name",
    ],
)
def test_what_sagemakers_tools_add_is_ignored(name: str) -> None:
    """Tuning jobs and the SDK add keys of their own, which say nothing about the network (T18)."""
    assert (Hyperparameters(), frozenset()) == Hyperparameters.parse({name: "whatever"})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"epoch": "80"}, "Hyperparameter 'epoch' is not known. Did you mean epochs? Known are: "),
        ({"Learning-Rate": "1"}, "'Learning-Rate' is not known. Did you mean lr? Known are: "),
        ({"frobnicate": "1"}, "Hyperparameter 'frobnicate' is not known. Known are: input_dim, "),
        ({"epochs": "many"}, "epochs is 'many'; expected a whole number from 1 to 1,000,000 (pass"),
        ({"epochs": "0"}, "epochs is '0'; expected a whole number from 1 to"),
        ({"epochs": "1_0"}, "epochs is '1_0'; expected a whole number"),
        ({"epochs": "9" * 5000}, "epochs is '99999"),
        ({"lr": "."}, "lr is '.'; expected a number"),
        ({"epochs": "1.5"}, "epochs is '1.5'; expected a whole number"),
        ({"epochs": "true"}, "epochs is 'true'; expected a whole number"),
        ({"epochs": "True"}, "epochs is 'True'; expected a whole number"),
        ({"epochs": ""}, "epochs is ''; expected a whole number"),
        ({"epochs": None}, "epochs is None; expected a whole number"),
        ({"epochs": "[80]"}, "epochs is '[80]'; expected a whole number"),
        ({"epochs": {"a": 1}}, 'epochs is {"a": 1}; expected a whole number'),
        ({"epochs": "x" * 38}, f"epochs is '{'x' * 38}'; expected a whole number"),
        ({"epochs": "x" * 39}, f"epochs is '{'x' * 39}...; expected a whole number"),
        ({"lr": "NaN"}, "lr is 'NaN'; expected a number from 1e-08 to 10 (learning rate"),
        ({"lr": "1e999"}, "lr is '1e999'; expected a number"),
        ({"lr": "-0.1"}, "lr is '-0.1'; expected a number"),
        ({"output_dim": "2"}, "output_dim is '2'; expected a whole number: 1 (class scores a row"),
        ({"batch-size": "8", "batch_size": "9"}, "batch_size is given twice, as 'batch-size' and "),
    ],
)
def test_a_value_that_cannot_be_used_gets_a_sentence(
    given: dict[str, object], sentence: str
) -> None:
    """The message names the hyperparameter, what was found and what was expected."""
    with pytest.raises(HyperparameterError) as refused:
        Hyperparameters.parse(given)

    assert sentence in str(refused.value)


def test_a_job_without_hyperparameters_has_the_defaults(tmp_path: Path) -> None:
    """Whether the file is missing or empty when none were given is not documented (T19)."""
    empty = tmp_path / "empty.json"
    empty.write_text("")

    assert (Hyperparameters(), frozenset()) == Hyperparameters.load(tmp_path / "missing.json")
    assert (Hyperparameters(), frozenset()) == Hyperparameters.load(empty)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "is not JSON"),
        (b"[1]", 'list; expected an object of strings, such as {"epochs": "80"}.'),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_file_that_is_no_object_gets_a_sentence(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    """The message names the file."""
    path = tmp_path / "hyperparameters.json"
    path.write_bytes(content)
    with pytest.raises(HyperparameterError) as refused:
        Hyperparameters.load(path)

    assert str(path) in str(refused.value)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("digits", [400, 4_000, 40_000])
def test_a_number_of_any_length_is_only_out_of_range(digits: int) -> None:
    """The message stays short enough to be read where SageMaker cuts it off (T12)."""
    with pytest.raises(HyperparameterError, match="expected a whole number from 1 to") as refused:
        Hyperparameters.parse({"epochs": "9" * digits})

    assert 300 > len(str(refused.value))

"""The `/opt/ml` tree."""

from pathlib import Path

from simplenet.paths import Paths


def test_every_path_is_where_sagemaker_documents_it() -> None:
    """The spelling is SageMaker's own, down to the lower-case config files."""
    paths = Paths()

    assert Path("/opt/ml/input/config/hyperparameters.json") == paths.hyperparameters
    assert Path("/opt/ml/input/config/inputdataconfig.json") == paths.input_data_config
    assert Path("/opt/ml/input/config/resourceconfig.json") == paths.resource_config
    assert Path("/opt/ml/input/data") == paths.channels
    assert Path("/opt/ml/model") == paths.model
    assert Path("/opt/ml/checkpoints") == paths.checkpoints
    assert Path("/opt/ml/output/data") == paths.output_data
    assert Path("/opt/ml/output/failure") == paths.failure


def test_the_environment_moves_the_whole_tree() -> None:
    """`SAGEMAKER_BASE_DIR` names another root; unset or empty, it is `/opt/ml`."""
    moved = Paths.from_environment({"SAGEMAKER_BASE_DIR": "/elsewhere"})

    assert Path("/elsewhere/model/model.safetensors") == moved.model_file
    assert Paths() == Paths.from_environment({})
    assert Paths() == Paths.from_environment({"SAGEMAKER_BASE_DIR": ""})

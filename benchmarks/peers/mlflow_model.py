"""This model as one of MLflow's, which runs this file to load it, and scores with what it sets.

python -m benchmarks.peers.mlflow_model DIRECTORY    # saves it there
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import mlflow
from simplenet.model import SimpleNet
from simplenet.paths import Paths

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_NET = SimpleNet.load(Paths.from_environment().model_file)


def score(model_input: pd.DataFrame) -> np.ndarray:
    """Return the scores of rows: (rows,)."""
    return _NET.score(model_input.to_numpy("float32"))


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=__file__, pip_requirements=[])
else:
    mlflow.models.set_model(score)

"""SimpleNet: a small binary classifier, trained and served by Amazon SageMaker.

Reading order: `paths`, `hyperparameters`, `table`, `model`, then either `channel` and `training`
(the program `train`) or `formats` and `app` (the program `serve`).
"""

__version__ = "1.0.0"

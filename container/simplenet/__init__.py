"""SimpleNet: a small binary classifier, trained and served by Amazon SageMaker.

Reading order: `paths`, `hyperparameters`, `table`, `model`; then for the program `train` `channel`,
`fitting`, `job` and `training`, or for the program `serve` `formats`, `invocation` and `app`.
"""

__version__ = "1.0.0"

"""SageMaker on the laptop: runs any image as SageMaker would, and judges it rule by rule."""

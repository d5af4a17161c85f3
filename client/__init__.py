"""The cloud side of SimpleNet on SageMaker: what runs on your machine and asks others to work."""

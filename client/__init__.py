"""The side of SimpleNet on SageMaker that asks: it knows an image, addresses and media types.

Reading order: `data`, `endpoint`, `evaluation`, `pictures`; then `artefact`, `runtime` and `demo`,
which tell the whole story on one machine. `python -m client` is the command line.
"""

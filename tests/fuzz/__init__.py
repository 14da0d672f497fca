"""The five decoders under bytes that nobody would think of.

`corpus/` holds what earlier campaigns found worth keeping, one folder a platform; every test run
reads all of it. `make test-long` looks for more (`campaign.py`).
"""

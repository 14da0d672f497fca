"""Other people's parsers beside ours: `make test-long` installs them, nothing else needs them."""

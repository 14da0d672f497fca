"""What `make bench` measures: our figures and our peers', in the same run on the same server."""

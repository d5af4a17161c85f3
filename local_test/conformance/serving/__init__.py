"""Rules for `docker run IMAGE serve`."""

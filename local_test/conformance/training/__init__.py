"""Rules for `docker run IMAGE train`."""

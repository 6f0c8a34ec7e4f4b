"""Stage `collect`."""

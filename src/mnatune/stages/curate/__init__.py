"""Stage `curate`."""

"""Stage `judge`."""

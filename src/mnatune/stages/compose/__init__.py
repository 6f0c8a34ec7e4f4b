"""Stage `compose`."""

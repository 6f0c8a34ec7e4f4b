"""Stage `synthesize`."""

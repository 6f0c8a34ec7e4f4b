"""Models: rendering of prompts, loading and generation in process, and OpenAI-compatible endpoints."""

import logging

# At its import it warns that an optional CPU kernel is not installed.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

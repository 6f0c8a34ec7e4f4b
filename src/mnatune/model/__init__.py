"""Models: rendering of prompts, loading and generation in process, and OpenAI-compatible endpoints."""

import logging

logging.getLogger("bitsandbytes").setLevel(
    logging.ERROR
)  # it warns at its import that an optional CPU kernel is not installed

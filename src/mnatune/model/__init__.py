"""Models: rendering of prompts, loading and generation in process, and OpenAI-compatible endpoints."""

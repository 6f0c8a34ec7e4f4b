"""The stages of the journey, one sub-package each. A stage never imports another; they meet only on disk."""

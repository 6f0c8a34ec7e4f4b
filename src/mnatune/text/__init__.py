"""Facts about Korean text that several stages share: normal form, shingles, personal data, citations, language."""

"""`python -m mnatune`."""

from .cli import main

main()

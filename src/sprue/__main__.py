"""`python -m sprue`."""

from sprue.cli import main

main()

"""`python -m pipeline` is `karman`."""

from pipeline.cli.main import main

main()

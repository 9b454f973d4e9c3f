"""The command line, `karman`."""

"""The command line: arguments come in, results on standard output and an exit status go out."""

from fewframes.cli.main import main

__all__ = ["main"]

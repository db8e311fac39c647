"""`python -m fewframes`: the command line's arguments come in, an exit status goes out."""

from fewframes.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

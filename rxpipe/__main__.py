"""`python -m rxpipe`, the same as `rxpipe`."""

from rxpipe.cli import main

if __name__ == "__main__":
    main()

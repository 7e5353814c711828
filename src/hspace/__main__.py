"""`python -m hspace`, for where the command is not on the path."""

from hspace.cli import main

if __name__ == "__main__":
    main()

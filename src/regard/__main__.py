"""`python -m regard`: the command line, where the script `regard` is not on the path."""

from regard.cli.app import main

if __name__ == "__main__":
    main()

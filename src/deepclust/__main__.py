"""``python -m deepclust`` is the command line."""

from deepclust.cli.main import main

if __name__ == "__main__":
    main()

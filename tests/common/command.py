"""The command line without UMAP, whose compilation takes longer than everything else: python -m tests.common.command."""

import sys

sys.modules["umap"] = None

from deepclust.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()

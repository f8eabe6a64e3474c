"""`python -m bnbench`."""

import sys

from bnbench.cli import main

if __name__ == "__main__":
    sys.exit(main())

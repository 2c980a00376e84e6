"""`python -m vswitch` is `vswitch`."""

import sys

from vswitch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

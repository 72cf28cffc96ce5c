"""`python -m stagedml`: the command line."""

import sys

from stagedml.cli.main import main

sys.exit(main())

"""`python -m openklear` is the command `openklear`."""

import sys

from openklear.cli.main import main

sys.exit(main())

"""`python -m openklear` is the command `openklear`."""

import sys

from openklear.cli import main

sys.exit(main())

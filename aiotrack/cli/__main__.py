"""`python -m aiotrack.cli`."""

import sys

from . import main

sys.exit(main())

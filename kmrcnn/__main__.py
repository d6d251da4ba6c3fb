"""`python -m kmrcnn` is `kmrcnn`."""

import sys

from kmrcnn.cli.__main__ import main

sys.exit(main())

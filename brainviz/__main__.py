"""``python -m brainviz``: the command line."""

import sys

from brainviz.cli import main

sys.exit(main())

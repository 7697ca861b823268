"""`python -m hybrid_attention`, for when the command `hybrid-attention` is not installed (an unpacked archive)."""

import sys

from hybrid_attention.cli import main

sys.exit(main())

"""Writes bytes that are no text, and exits with 0."""

import sys

with open(sys.argv[2], "wb") as out:
    out.write(bytes(range(256)) * 40)

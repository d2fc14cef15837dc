"""OpenKlear trains reasoning models end to end, and says honestly what helped."""

__version__ = "0.1.0"

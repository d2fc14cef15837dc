"""The table of stages: one file each, with `run(context)` and nothing else public."""

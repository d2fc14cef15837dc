"""A local page over evaluations and RL runs: what lies on disk, while it grows too."""

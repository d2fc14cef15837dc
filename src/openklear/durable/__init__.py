"""What outlives a kill: whole files, and journals that only grow."""

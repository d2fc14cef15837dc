"""What turns a recipe into a run: its plan, and running, reusing and refusing stages."""

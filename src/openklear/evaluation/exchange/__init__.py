"""Evaluations of other tools as ours, and ours as theirs: a module for each tool."""

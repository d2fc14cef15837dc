"""What runs inside worker processes. Started under another package name, so nothing of `openklear` is imported there.

wire            messages over a pipe (also used by the pool outside)
equivalence     the mathematics worker: math-verify behind an alarm
box             the program worker: forks a process for each test and watches it
child           what that process does before and after the program's own code
kernel          Linux calls the standard library lacks
"""

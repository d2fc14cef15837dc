"""What runs inside worker processes. Started under another package name, so nothing of `openklear` is imported there.

wire            messages over a pipe (also used by the pool outside)
equivalence     the mathematics worker: math-verify behind an alarm
zygote          the program worker: forks a process for each test and watches it
test_process    what that process does before and after the program's own code
session         what it runs where the program is called: a list of calls, or one end of a talk with a test's code
official        what it runs where LiveCodeBench's own harness is asked for
talk            the two ends of such a talk; testing is the test's
values          plain values as JSON: all that crosses
graphs          nodes of lists, trees and graphs as they cross in a talk
prelude         names that functions are written with and data sets take for granted
nodes           LeetCode's nodes, and what builds and compares them
signatures      which arguments of a call are nodes
packages        what may be imported beside the standard library
stacks          limits on memory and on stacks
outlive         how the first process of a worker waits for its second
kernel          Linux calls the standard library lacks
"""

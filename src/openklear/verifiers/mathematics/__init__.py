"""Is an answer equal to the reference? Decided here where that can be exact, by math-verify in a worker elsewhere.

grader    the way of a question: spelling, limits, the exact path, math-verify
limits    what is not parsed at all
characters  one spelling of Unicode
text      one spelling for what only looks different; parts of lists
commands, notation, sets, numerals   the forms that text brings together: LaTeX, plain ASCII, sets, English
respelling   one spelling for two answers, as far as one asks for it, by the five below
systems, sequences, options, qualifiers, inequalities   cases, ellipses, labels, "for all x", chains and stretches
rules     corrections of our own, one function each
quantities  rules about units, words, marks and signs beside a value; `words` reads the words
digits    rules about bases, digits side by side and decimal commas
clocks    rules about times of day, ratios, dates and codes
unknowns  which unknown has which value
exact     what can be said exactly and at once, by the four below
lists     tuples, intervals, sets, unions, matrices, by their members
relations, expressions   equations and names; expressions by their values
numbers   numerals as fractions
parser, values   formulas as exact or bounded values, within a fixed budget
"""

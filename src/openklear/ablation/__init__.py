"""Studies: one recipe, changed in named ways, run with several seeds, and what the differences are worth.

    study (TOML) -> design: arms x seeds -> stages, each once -> work: processes -> scores -> findings -> page

definition  what a study says: recipe, arms, seeds, measures, comparisons, the report's own figures
design      its runs, and the stages that they share
work        runs the stages in processes of their own, as many at once as asked for; a failed one does not stop the rest
scores      what a finished run leaves: results by problem, curves, seconds
findings    comparisons with two-way intervals, what could have been seen, and a sentence made from the test
page        one HTML page and one Markdown file
"""

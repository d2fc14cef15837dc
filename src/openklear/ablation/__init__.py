"""Studies: one recipe, changed in named ways, run with several seeds, and what the differences are worth.

    study (TOML) -> design: arms x seeds -> stages, each once -> work: processes -> scores -> findings -> page

definition  what a study says: recipe, arms, seeds, measures, comparisons, the report's own figures
design      its runs, and the stages that they share
work        runs the stages in processes of their own, as many at once as asked for; a failed one does not stop the rest
losses      stages of measures that are losses: held-out rows, and a model's loss on their responses
scores      what a finished run leaves: results by problem, curves, seconds
budget      what a study will take before it runs: runs, shared stages, hours, memory, by settings alone
units       what the numbers of a measure are counted in, and how they are written
pairing     which results are held against which: a side's results by seed, equal problems asserted
findings    comparisons with two-way intervals, what could have been seen; sentences: the same in words
looks       how a page writes numbers and tells arms apart
figures     differences and scores by seed; curves: those of the training, with bands
page        one HTML page and one Markdown file
reports     both on disk with all that they were made of, and the index of all studies
"""

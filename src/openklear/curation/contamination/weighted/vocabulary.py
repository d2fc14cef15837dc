"""Words that the weighted rule treats alike, leaves out or lets pass, with blanks between."""

LAYOUT = (
    "left right displaystyle limits quad qquad big bigl bigr text textbf textit mathrm mathbf mathit mbox operatorname "
    "dots ldots cdots begin end hspace vspace frac dfrac tfrac cfrac"
)
"""LaTeX commands that only say how something looks: copies differ in them, and a fraction may be written 1/2."""

SYNONYMS = {"leq": "le", "geq": "ge", "neq": "not", "ne": "not", "to": "rightarrow"}
"""LaTeX commands that say what another one does."""

FUNCTION = (
    "a an the of in on at to for from with by into and or as is are was were be been has have had do does did can will "
    "would that this these those which who whose where when if then than there it its his her their he she they we you "
    "i us let such all any each some also so what how"
)
"""English words of closed classes: one of them more, less or changed does not make another problem."""

"""What prose answers: a text that marks its answer by no box, read in words."""

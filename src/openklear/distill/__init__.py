"""Responses of a teacher to problems, graded while they arrive: `openklear distill`."""

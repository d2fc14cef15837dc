"""What an iteration of RL takes on 1 to 1,024 GPUs: a simulation of its completions, event by event.

`lengths` draws completions, `decoding` and `training` say how long the work takes, `engine` decodes, `flow` lets
samplers and trainers work together, `sweep` looks for the best placement. Nothing here computes a token.
"""

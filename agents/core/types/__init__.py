"""What passes between the rooms.

Shape letters: N environments, B samples of a minibatch, T steps of a window or rollout, L steps of
a sequence, K parts of an action, S numbers of a memory (or frames of a stack), A actions, F
features, U updates.
"""

"""The types that the rooms of `agents.core` exchange.

The last letters of a tensor's name tell its dimensions, such as `reward_TN`.

Shape letters: N environments, B samples of a minibatch, T steps of a window or rollout, L steps of
a sequence, K parts of an action, S numbers of a memory (or frames of a stack), A actions, F
features, U updates.
"""

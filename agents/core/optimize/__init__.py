"""Updates networks from losses: learners, optimizers and weights from other runs."""

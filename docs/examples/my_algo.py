"""Policy gradient with an entropy bonus: an algorithm of your own.

joystick my_algo --env CartPole-v1 --plugin my_algo.py

It has the name of its file. A package adds one by an entry point of the group
`joystick.algorithms`: my_algo = "my_algo".
"""

from dataclasses import dataclass

from torch import Tensor

from agents import reinforce
from agents.core.data.rollouts import Rollout
from agents.core.math import losses
from agents.core.nets.networks import ActorCritic
from agents.core.optimize.learner import Learner, LossOutput
from agents.core.policies.stochastic import ActorCriticPolicy
from agents.core.training.on_policy import OnPolicyAlgorithm
from agents.core.types.batches import Sequences


@dataclass(frozen=True, kw_only=True)
class Config(reinforce.Config):
    entropy_coefficient: float = 0.01  # The weight of the policy's entropy.


TRAINER = "online"
PRESETS = {"control": Config(env_id="CartPole-v1", learning_rate=1e-2, hidden=64)}
make_policy = reinforce.make_policy


def make_algorithm(config: Config, policy: ActorCriticPolicy) -> OnPolicyAlgorithm:
    return OnPolicyAlgorithm(config, policy, Method)


class Method:
    def __init__(self, config: Config, network: ActorCritic, learner: Learner):
        self.config = config
        self.network = network
        self.learner = learner

    def improve(self, rollout: Rollout, progress: float) -> dict[str, Tensor]:
        (batch,) = rollout.minibatches(rollout.size)
        return self.learner.update(self.loss, batch).metrics

    def loss(self, batch: Sequences) -> LossOutput:
        policy, value_LB, _ = self.network(*batch.inputs)
        log_prob_LB = policy.log_prob(batch.action_LBK)
        policy_LB = losses.policy_gradient(log_prob_LB, batch.advantage_LB)
        value_loss_LB = losses.squared(batch.return_LB - value_LB)
        bonus_LB = self.config.entropy_coefficient * policy.entropy()
        loss_LB = policy_LB + self.config.value_coefficient * value_loss_LB - bonus_LB
        return LossOutput(loss_LB, {"losses/policy_loss": policy_LB})

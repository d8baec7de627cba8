"""TD3: a deterministic policy that follows the lesser of two critics, from replayed experience.

Addressing Function Approximation Error in Actor-Critic Methods, Fujimoto et al. 2018,
https://arxiv.org/abs/1802.09477, algorithm 1:
  a' = π⁻(s_{t+n}) + clip(ε, -c, c),   ε ~ N(0, σ̃)
  L(Q_e) = E[ (Q_e(s_t, a_t) - R_n - γⁿ min_e Q⁻_e(s_{t+n}, a'))² ]
  L(π) = -E[ Q_1(s_t, π(s_t)) ],   θ⁻ ← θ⁻ + τ (θ - θ⁻) for policy and critics
The policy learns, and the targets move, once in d updates of the critics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.core.math import targets
from agents.core.nets.critics import ActionCritics, Actor
from agents.core.nets.deterministic import DeterministicHead
from agents.core.optimize.learner import LossOutput, Update
from agents.core.policies.soft import OffPolicyActor
from agents.core.system.compute import Compute
from agents.core.training.config import OffPolicyActorConfig
from agents.core.training.launch import main
from agents.core.training.off_policy_actor import NoisyBatch, OffPolicyActorCritic
from agents.core.types.settings import Updates
from agents.core.types.spaces import Spaces


@dataclass(frozen=True, kw_only=True)
class Config(OffPolicyActorConfig):
    title = "TD3"
    exploration_noise: float = 0.1  # Training adds noise of this deviation to actions in [-1, 1].
    target_noise: float = 0.2  # Targets add noise of this deviation to the next action, σ̃.
    target_noise_clip: float = 0.5  # The targets' noise is at most this number, c.
    target_every_updates: Updates = 2  # The policy learns and targets move once in these, d.

    def validate(self) -> None:
        super().validate()
        self.above_zero("exploration_noise")
        self.at_least(0, "target_noise", "target_noise_clip")


TRAINER = "online"

PRESETS = {
    "control": Config(env_id="Pendulum-v1", total_steps=20_000, num_envs=1, eval_every_steps=5_000),
}
PRESETS["continuous"] = PRESETS["control"]


def make_policy(config: Config, spaces: Spaces, device: torch.device) -> OffPolicyActor:
    spaces.require_continuous()
    head = DeterministicHead(config.hidden, spaces, config.exploration_noise)
    network = Actor(config, spaces, head)
    compute = Compute.of(network, config, device)
    return OffPolicyActor(network, spaces, compute, config.eval_temperature)


def make_algorithm(config: Config, policy: OffPolicyActor) -> TD3:
    return TD3(config, policy, ActionCritics(config, policy.spaces))


class TD3(OffPolicyActorCritic):
    """Learns values of actions, and now and then a policy that maximizes the first critic."""

    def __init__(self, config: Config, policy: OffPolicyActor, critic: ActionCritics):
        leading = nn.ModuleDict({"actor": policy.network, "critic": critic})
        super().__init__(config, policy, critic, leading)

    def improve(self, batch: NoisyBatch) -> Update:
        return self.learner.update(self.critic_loss, batch, ("critic",))

    def renew(self) -> dict[str, Tensor]:
        metrics = self.policy.compute.graphed(self._improve_actor, *self.draw(1))
        return {**metrics, **super().renew()}

    def _improve_actor(self, *random: Tensor) -> dict[str, Tensor]:
        """Takes an update of the policy on a minibatch of its own; returns its loss."""
        batch = self.minibatch(*(each[0] for each in random))
        update = self.learner.update(self.actor_loss, batch, ("policy",))
        return {"losses/actor_loss": update.metrics["losses/actor_loss"]}

    def critic_loss(self, batch: NoisyBatch) -> LossOutput:
        with torch.no_grad():
            target_B = targets.bootstrapped(
                batch.reward_B, batch.discount_B, self.next_value(batch)
            )
        q_EB = self.critic(batch.obs, batch.action_B, batch.previous_BP)
        error_EB = q_EB - target_B
        loss_B = error_EB.square().sum(dim=0)
        metrics = {"losses/critic_loss": loss_B, "losses/q_values": q_EB.mean(dim=0)}
        return LossOutput(loss_B, metrics, priority_B=error_EB.abs().mean(dim=0))

    def next_value(self, batch: NoisyBatch) -> Tensor:
        """The lesser value (B,) of a noisy action in s', from the targets."""
        config = self.config
        target: Any = self.target
        previous_BP = batch.next_previous_BP
        distribution = target["actor"](batch.next_obs, previous_BP)
        action_BK = distribution.smoothed(
            batch.next_normal_BK, config.target_noise, config.target_noise_clip
        )
        return target["critic"](batch.next_obs, action_BK, previous_BP).amin(dim=0)

    def actor_loss(self, batch: NoisyBatch) -> LossOutput:
        action_BK = self.actor(batch.obs, batch.previous_BP).mode()
        q_EB = self.critic(batch.obs, action_BK, batch.previous_BP)
        return LossOutput(-q_EB[0], {"losses/actor_loss": -q_EB[0]})


if __name__ == "__main__":
    main("td3")

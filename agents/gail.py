"""GAIL: a soft actor-critic on rewards of a discriminator, which tells the expert from the agent.

Generative Adversarial Imitation Learning, Ho and Ermon 2016, https://arxiv.org/abs/1606.03476, from
a replay as in Discriminator-Actor-Critic, Kostrikov et al. 2019, https://arxiv.org/abs/1809.02925.
With D = σ(f(s, a)):
  L(φ) = -E_expert[log D] - E_agent[log (1 - D)] + λ E[½ |∇f|²]
  r = log D - log (1 - D),   or with `--reward gail`   r = -log (1 - D)
  L(Q_e) = E[ ½ (Q_e(s, a) - r - γ V(s'; Q⁻))² ]
It differs from SAC by the rewards and by the demonstrations in each minibatch. The environment's
rewards are never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agents.core.data.augmentation import shifted
from agents.core.data.replay_store import ChunkStore
from agents.core.math import adversarial, targets
from agents.core.math import soft_actor_critic as losses
from agents.core.math.schedules import constant
from agents.core.nets.discriminator import Discriminator
from agents.core.optimize.learner import LossOutput, Part, Update
from agents.core.policies.soft import OffPolicyActor
from agents.core.system.codec import like
from agents.core.training import presets
from agents.core.training.config import require
from agents.core.training.imitation import ImitatingActorCritic, SoftImitationConfig
from agents.core.training.launch import main
from agents.core.training.off_policy_actor import NoisyBatch
from agents.core.training.soft_actor_critic import States, make_soft_actor
from agents.core.types.settings import Pixels


@dataclass(frozen=True, kw_only=True)
class Config(SoftImitationConfig):
    title = "GAIL"
    reward: Literal["airl", "gail"] = "airl"  # Rewards are log D - log(1 - D), or -log(1 - D).
    reward_scale: float = 1.0  # Rewards are multiplied by this.
    encoder: Literal["shared", "own"] = "shared"
    """In images, the discriminator sees the critics' features, or has a torso of its own."""
    gradient_penalty: float = 0.01  # The discriminator's gradient has this penalty, λ.
    most_accuracy: float = 1.0  # Above this share of right answers, the discriminator pauses.
    shift_pixels: Pixels = 0  # The discriminator sees images shifted by up to this many pixels.
    hidden_rows: Pixels = 0  # The discriminator does not see this many rows at the top of images.

    def validate(self) -> None:
        super().validate()
        seen = self.previous_inputs
        require(not seen, "previous_inputs", seen, "False, because they tell the reward")
        one = self.n_step == constant(1)
        require(one, "n_step", self.n_step, "1, because rewards are known for one step")
        self.at_least(0, "gradient_penalty", "shift_pixels", "hidden_rows")
        self.above_zero("reward_scale")
        self.within_unit("most_accuracy")


TRAINER = "online"

PRESETS = {
    "atari": Config(**presets.SOFT_ATARI | presets.ONE_STEP, total_steps=300_000),
    "atari-gpu": Config(**presets.SOFT_ATARI_GPU | presets.ONE_STEP, total_steps=1_000_000),
    "control": Config(**presets.SOFT_CONTROL | presets.ONE_STEP),
    "continuous": Config(**presets.SOFT_CONTINUOUS),
}


make_policy = make_soft_actor


def make_algorithm(config: Config, policy: OffPolicyActor) -> GAIL:
    return GAIL(config, policy)


class GAIL(ImitatingActorCritic):
    """Trains a discriminator, and a soft actor-critic on its rewards.

    Attributes:
        accuracy: the share of the last minibatch that the discriminator told right.
    """

    def __init__(self, config: Config, policy: OffPolicyActor):
        super().__init__(config, policy, num_uniform=2)
        images = len(policy.spaces.obs_shape) == 3
        torso = self.critic.torso if images and config.encoder == "shared" else None
        self.discriminator = Discriminator(config, policy.spaces, torso).to(policy.device)
        self.learner.parts["discriminator"] = Part(self.discriminator, config, in_policy=False)
        self.accuracy = torch.zeros((), device=policy.device)

    def improve(self, batch: NoisyBatch) -> Update:
        judged = self.learner.update(self.discriminator_loss, batch, ("discriminator",))
        self.accuracy.copy_(judged.metrics["losses/accuracy"])
        learned = super().improve(batch)
        return Update({**judged.metrics, **learned.metrics}, learned.priority_B)

    def discriminator_loss(self, batch: NoisyBatch) -> LossOutput:
        config = self.config
        seen = self.seen(batch).requires_grad_()
        logit_B = self.discriminator(seen, batch.action_B)
        weight_B = adversarial.balance(batch.is_demo_B, config.demo_share)
        loss_B = weight_B * adversarial.discriminator(logit_B, batch.is_demo_B)
        penalty_B = adversarial.gradient_penalty(logit_B, seen)
        metrics = {
            "losses/discriminator_loss": loss_B,
            "losses/gradient_penalty": penalty_B,
            "losses/accuracy": weight_B * adversarial.is_right(logit_B, batch.is_demo_B),
        }
        learns = (self.accuracy <= config.most_accuracy).float()
        return LossOutput(learns * (loss_B + config.gradient_penalty * penalty_B), metrics)

    def critic_loss(self, batch: NoisyBatch) -> LossOutput:
        with torch.no_grad():
            reward_B = self.reward(batch)
            value_B = self.soft.value(self.target, States.after(batch), self.alpha)
            target_B = targets.bootstrapped(reward_B, batch.discount_B, value_B)
        q_EB = self.soft.taken(self.critic, batch)
        loss_B = losses.critic(q_EB, target_B)
        metrics = {
            "losses/critic_loss": loss_B,
            "losses/q_values": q_EB.mean(dim=0),
            "losses/rewards": reward_B,
        }
        return LossOutput(loss_B, metrics, priority_B=(q_EB - target_B).abs().mean(dim=0))

    def reward(self, batch: NoisyBatch) -> Tensor:
        """The rewards (B,) of the steps of a minibatch."""
        logit_B = self.discriminator(self.seen(batch), batch.action_B)
        return self.config.reward_scale * adversarial.REWARDS[self.config.reward](logit_B)

    def state_dict(self, store: ChunkStore) -> dict[str, Any]:
        return {**super().state_dict(store), "accuracy": self.accuracy.clone()}

    def load_state_dict(self, state: dict[str, Any], store: ChunkStore) -> None:
        accuracy = like(state["accuracy"].to(self.accuracy.device), self.accuracy, "accuracy")
        super().load_state_dict(state, store)
        self.accuracy.copy_(accuracy)

    def seen(self, batch: NoisyBatch) -> Tensor:
        """What the discriminator sees of the observations."""
        obs = batch.obs
        if obs.ndim == 4:
            obs = shifted(obs, batch.uniform_BU, self.config.shift_pixels)
            obs = without_top(obs, self.config.hidden_rows)
        return self.discriminator.seen(obs)


def without_top(images: Tensor, rows: int) -> Tensor:
    """Images (B, C, H, W) whose first rows are zeros; most games show the score there."""
    if rows == 0:
        return images
    images = images.clone()
    images[:, :, :rows] = 0
    return images


if __name__ == "__main__":
    main("gail")

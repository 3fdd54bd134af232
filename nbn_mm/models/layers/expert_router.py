"""The expert assignment module of RIDE: after each expert, whether to ask one more.

Wang et al., Long-tailed Recognition by Routing Diverse Distribution-Aware Experts, ICLR 2021, arXiv:2010.01809,
section 3.3.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ExpertRouter(nn.Module):
    """From an expert's features and the highest mean logits so far to the logit of "one more expert helps".

    The features are scaled to length 1 and go through a linear layer of the expert's own and ReLU; one linear layer for
    all experts takes the result and the highest logits.

    Args:
        in_features (int): Channels D of the features.
        num_experts (int): E; after the last one there is nothing to decide.
        top_choices (int): How many of the highest logits are looked at.
        hidden_features (int): Channels of the hidden layer. Defaults to 16.

    Raises:
        ValueError: If there are fewer than 2 experts, or a number is below 1.
    """

    def __init__(self, in_features: int, num_experts: int, top_choices: int, hidden_features: int = 16) -> None:
        super().__init__()
        if num_experts < 2:
            raise ValueError(f'head.num_experts={num_experts} must be at least 2: between fewer experts there is '
                             'nothing to route.')
        for name, value in (('top_choices', top_choices), ('hidden_features', hidden_features)):
            if type(value) is not int or value < 1:
                raise ValueError(f'head.routing.{name}={value!r} must be an integer of at least 1.')
        self.top_choices = top_choices
        self.hidden = nn.ModuleList(nn.Linear(in_features, hidden_features) for _ in range(num_experts - 1))
        self.decision = nn.Linear(hidden_features + top_choices, 1)

    def forward(self, features: Tensor, logits: Tensor, expert: int) -> Tensor:
        """The logit of "one more expert helps".

        Args:
            features (Tensor): Of this expert, shape ``(N, D)``.
            logits (Tensor): Mean logits of the experts asked so far, shape ``(N, C)``.
            expert (int): Its number, from 0 to E - 2.

        Returns:
            Tensor: Shape ``(N, )``.
        """
        hidden = F.relu(self.hidden[expert](F.normalize(features, dim=1)))
        highest = logits.topk(self.top_choices, dim=1).values
        return self.decision(torch.cat([highest, hidden], dim=1)).squeeze(1)


def routing_targets(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether one more expert helps after the first k + 1.

    It does if the mean of these is wrong, and the mean of some larger number of experts is right.

    Args:
        logits (Tensor): Of E experts, shape ``(N, E, C)``.
        labels (Tensor): Shape ``(N, )``.

    Returns:
        Tensor: Bool, shape ``(N, E - 1)``.
    """
    right = logits.cumsum(1).argmax(2) == labels[:, None]
    later = right.flip(1).cummax(1).values.flip(1)  # right with this number of experts or a larger one
    return ~right[:, :-1] & later[:, 1:]

"""The small network between features and a contrastive loss."""
from mmengine.model import BaseModule
from torch import Tensor, nn


class ProjectionMLP(BaseModule):
    """Linear, batch norm, ReLU, linear (Zhu et al., CVPR 2022, arXiv:2207.09052, in the sizes 2048, 2048, 1024).

    Its weights start as PyTorch starts them, whatever the initialisation of the module that holds it.

    Args:
        in_channels (int): Channels of the features.
        hidden_channels (int): Channels between the two linear layers.
        out_channels (int): Channels of the result.

    Raises:
        ValueError: If a number of channels is below 1.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        for name, value in (('hidden_channels', hidden_channels), ('out_channels', out_channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f'ProjectionMLP: {name}={value!r} must be a positive integer.')
        self.fc1 = nn.Linear(in_channels, hidden_channels)
        self.bn = nn.BatchNorm1d(hidden_channels)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(hidden_channels, out_channels)

    def init_weights(self) -> None:
        """PyTorch's own start."""
        for layer in (self.fc1, self.bn, self.fc2):
            layer.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Project.

        Args:
            x (Tensor): Shape ``(N, in_channels)``; N of at least 2 in training.

        Returns:
            Tensor: Shape ``(N, out_channels)``, of any length.
        """
        return self.fc2(self.relu(self.bn(self.fc1(x))))

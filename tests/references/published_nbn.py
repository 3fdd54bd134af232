"""The published networks, derived from the paper's equations on a state dict of the published names.

A residual network is its convolutions, batch norms at test, and the mean over space before a linear map; NBN replaces a
norm's w and b by g w / (|w| + 1e-6) and g b / (|b| + 1e-6), eq. 4 and 5 of the paper.
"""
import torch
import torch.nn.functional as F

BLOCKS = (3, 4, 6, 3)


def norm(state, name, x, magnitude=None):
    weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
    if magnitude is not None:
        weight = magnitude * weight / (weight.square().sum().sqrt() + 1e-6)
        bias = magnitude * bias / (bias.square().sum().sqrt() + 1e-6)
    mean, var = (state[f'{name}.running_{part}'][None, :, None, None] for part in ('mean', 'var'))
    return (x - mean) / (var + 1e-5).sqrt() * weight[None, :, None, None] + bias[None, :, None, None]


def stage(state, name, x, stride, groups, inner=None, outer=None):
    """Bottleneck blocks; magnitudes: ``inner`` of the first two norms, ``outer`` of the last and the shortcut."""
    index = 0
    while f'{name}.{index}.conv1.weight' in state:
        block, step = f'{name}.{index}', stride if index == 0 else 1
        y = F.relu(norm(state, f'{block}.bn1', F.conv2d(x, state[f'{block}.conv1.weight']), inner))
        y = F.conv2d(y, state[f'{block}.conv2.weight'], stride=step, padding=1, groups=groups)
        y = F.relu(norm(state, f'{block}.bn2', y, inner))
        y = norm(state, f'{block}.bn3', F.conv2d(y, state[f'{block}.conv3.weight']), outer)
        if f'{block}.downsample.0.weight' in state:
            shortcut = F.conv2d(x, state[f'{block}.downsample.0.weight'], stride=step)
            x = norm(state, f'{block}.downsample.1', shortcut, outer)
        x, index = F.relu(x + y), index + 1
    return x


def classify(state, name, features):
    logits = features @ state[f'{name}.weight'].T + state[f'{name}.bias']
    if f'{name}.bn.running_mean' in state:
        logits = (logits - state[f'{name}.bn.running_mean']) / (state[f'{name}.bn.running_var'] + 1e-5).sqrt()
        if f'{name}.bn.weight' in state:
            logits = logits * state[f'{name}.bn.weight'] + state[f'{name}.bn.bias']
    return logits


def logits(state, images, groups=1):
    """Logits of a published network.

    Args:
        state (dict): Published names, without ``module.``.
        images (Tensor): Shape ``(N, 3, H, W)``.
        groups (int): Of the 3 x 3 convolutions: 1 in ResNet-50, 32 in ResNeXt-50.
    """
    state = {name: value.double() for name, value in state.items()}
    x = F.relu(norm(state, 'bn1', F.conv2d(images.double(), state['conv1.weight'], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, 1)
    x = stage(state, 'layer2', stage(state, 'layer1', x, 1, groups), 2, groups)
    factor = state.get('scale_factor')
    if 'layer3s.0.0.conv1.weight' not in state:
        magnitude = None if factor is None else factor[0]
        x = stage(state, 'layer4', stage(state, 'layer3', x, 2, groups), 2, groups, outer=magnitude)
        return classify(state, 'fc', x.mean(dim=(2, 3)))
    found, k = [], 0
    while f'linears.{k}.weight' in state:
        magnitude = None if factor is None else factor[k]
        y = stage(state, f'layer4s.{k}', stage(state, f'layer3s.{k}', x, 2, groups), 2, groups, magnitude, magnitude)
        found, k = [*found, classify(state, f'linears.{k}', y.mean(dim=(2, 3)))], k + 1
    return torch.stack(found).mean(0)


def random_state(seed=0, width=8, group_width=None, groups=1, experts=0, nbn=True, head='rectified', classes=5,
                 reduced=False):
    """A network of random numbers under published names; ``head``: 'linear', 'rectified' or 'affine'."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    def add_conv(name, inputs, outputs, size, parts=1):
        state[f'{name}.weight'] = draw(outputs, inputs // parts, size, size) * (2 * parts / (inputs * size * size))**.5

    def add_norm(name, channels, affine=True):
        if affine:
            state[f'{name}.weight'], state[f'{name}.bias'] = draw(channels) + 1, draw(channels)
        state[f'{name}.running_mean'], state[f'{name}.running_var'] = draw(channels), draw(channels).square() + .5
        state[f'{name}.num_batches_tracked'] = torch.tensor(7)

    def add_stage(name, inputs, channels, blocks):
        middle = channels if group_width is None else channels // width * group_width * groups
        for index in range(blocks):
            block = f'{name}.{index}'
            add_conv(f'{block}.conv1', inputs, middle, 1)
            add_norm(f'{block}.bn1', middle)
            add_conv(f'{block}.conv2', middle, middle, 3, groups)
            add_norm(f'{block}.bn2', middle)
            add_conv(f'{block}.conv3', middle, 4 * channels, 1)
            add_norm(f'{block}.bn3', 4 * channels)
            if index == 0:
                add_conv(f'{block}.downsample.0', inputs, 4 * channels, 1)
                add_norm(f'{block}.downsample.1', 4 * channels)
            inputs = 4 * channels

    def add_head(name, features):
        state[f'{name}.weight'], state[f'{name}.bias'] = draw(classes, features), draw(classes)
        if head != 'linear':
            add_norm(f'{name}.bn', classes, affine=head == 'affine')

    add_conv('conv1', 3, width, 7)
    add_norm('bn1', width)
    add_stage('layer1', width, width, BLOCKS[0])
    add_stage('layer2', 4 * width, 2 * width, BLOCKS[1])
    if experts:
        own = width * 3 // 4 if reduced else width
        for k in range(experts):
            add_stage(f'layer3s.{k}', 8 * width, 4 * own, BLOCKS[2])
            add_stage(f'layer4s.{k}', 16 * own, 8 * own, BLOCKS[3])
            add_head(f'linears.{k}', 32 * own)
    else:
        add_stage('layer3', 8 * width, 4 * width, BLOCKS[2])
        add_stage('layer4', 16 * width, 8 * width, BLOCKS[3])
        add_head('fc', 32 * width)
    if nbn:
        state['scale_factor'] = draw(20).abs() * 3 + 1
    return state

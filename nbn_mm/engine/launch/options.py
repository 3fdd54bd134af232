"""The options of tools/train.py and tools/test.py, and which host has which.

The hosts' own tools differ: mmpretrain's ``train.py`` knows ``--no-validate``, mmdet's does not. An option that the
host of the config lacks is refused by name, because it would otherwise do nothing.
"""
from typing import Any

from .errors import LaunchError

COMMON_OPTIONS = {
    'train': {'work_dir', 'resume', 'amp', 'auto_scale_lr', 'cfg_options', 'launcher'},
    'test': {'work_dir', 'out', 'show', 'show_dir', 'wait_time', 'tta', 'cfg_options', 'launcher'},
}
# what a host's tool has beyond the common options
HOST_OPTIONS = {
    'mmpretrain': {
        'train': {'no_validate', 'no_pin_memory', 'no_persistent_workers'},
        'test': {'out_item', 'amp', 'interval', 'no_pin_memory'},
    },
    'mmdet': {
        'train': set(),
        'test': set(),
    },
}


def check_options(tool: str, default_scope: str | None, options: dict[str, Any], config: str) -> None:
    """Refuse the options that the host of the config lacks.

    Args:
        tool (str): ``'train'`` or ``'test'``.
        default_scope (str, optional): ``default_scope`` of the config.
        options (dict): The options that were given, by name (``no_validate``).
        config (str): Path of the config, for the message.

    Raises:
        LaunchError: If ``default_scope`` names no host, or an option is not one of the host's.
    """
    if default_scope not in HOST_OPTIONS:
        raise LaunchError(f"default_scope={default_scope!r} of {config} names no host: set "
                          "`default_scope = 'mmpretrain'` or `default_scope = 'mmdet'` in the config.")
    known = COMMON_OPTIONS[tool] | HOST_OPTIONS[default_scope][tool]
    for name in options:
        if name not in known:
            flag = '--' + name.replace('_', '-')
            owners = [host for host, tools in HOST_OPTIONS.items() if name in tools[tool]]
            belongs = f' (it is an option of {", ".join(owners)})' if owners else ''
            raise LaunchError(f'{flag} is no option of {default_scope}\'s {tool} tool{belongs}, and '
                              f'default_scope={default_scope!r} in {config}. Leave {flag} out.')

"""A hook that times a training from inside and writes what it saw to a JSON file, for cifar_training.py."""
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from harness import peak_bytes
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner


def now() -> float:
    """Seconds, once the device has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@HOOKS.register_module()
class TrainingClockHook(Hook):
    """Warm up, wait for the other processes, time a stretch of iterations as they come, then data and step by turns.

    Args:
        out (str): The JSON file.
        warmup (int): Iterations before the timed ones.
        timed (int): Timed iterations; the device is waited for before and after them.
        turns (int): Iterations after these, in which the device is waited for after each batch and each step.
        together (int): Processes that start their timed stretch at one moment. Defaults to 1.
        weights (str, optional): File for the weights after training.
    """
    # After all other hooks of an iteration.
    priority = 'LOWEST'

    def __init__(self, out: str, warmup: int, timed: int, turns: int, together: int = 1,
                 weights: str | None = None) -> None:
        self.out = Path(out)
        self.warmup, self.timed, self.turns, self.together = warmup, timed, turns, together
        self.weights = weights
        self.times: dict[str, Any] = dict(evaluation=[], data=0., step=0.)
        self._mark = 0.

    def before_train(self, runner: Runner) -> None:
        """Start of the first iteration."""
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self._before = peak_bytes(True, self.device)
        self.times['begin'] = now()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """End of reading a batch."""
        if runner.iter >= self.warmup + self.timed:
            self.times['data'] += now() - self._mark
            self._mark = now()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """End of a step."""
        done = runner.iter + 1
        if done == 1:
            self.times['first'] = now() - self.times['begin']
        if done == self.warmup:
            self._wait_for_all()
            self.times['start'] = now()
        elif done == self.warmup + self.timed:
            self.times['end'] = now()
        elif done > self.warmup + self.timed:
            self.times['step'] += now() - self._mark
        self._mark = now() if done >= self.warmup + self.timed else 0.

    def before_val(self, runner: Runner) -> None:
        """Start of an evaluation."""
        self.times['evaluation'].append(now())

    def after_val(self, runner: Runner) -> None:
        """End of an evaluation."""
        self.times['evaluation'][-1] = now() - self.times['evaluation'][-1]

    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        self.times['whole'] = now() - self.times['begin']
        self.times['peak'] = max(peak_bytes(False, self.device) - self._before, 0)
        if self.weights is not None:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            torch.save({key: value.cpu() for key, value in model.state_dict().items()}, self.weights)
        self.out.write_text(json.dumps(self.times))

    def _wait_for_all(self) -> None:
        now()
        if self.together > 1:
            self.out.with_suffix('.ready').touch()
            while len(list(self.out.parent.glob('*.ready'))) < self.together:
                if os.getppid() == 1:
                    raise SystemExit('the benchmark that started this process has ended')
                time.sleep(0.01)

"""Several runs at a time: on one machine as ordinary processes packed by memory, on a cluster through submitit."""
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from .execute import RunError, ask_accelerator, execute, sees_accelerator
from .runs import Run

Tell = Callable[[str], None]
RESERVE_MB = 1500  # what is left free on an accelerator


def free_memory_mb() -> int | None:
    """Free memory of the first visible accelerator by nvidia-smi, None where there is none."""
    answer = ask_accelerator('memory.free')
    return int(answer) if answer and answer.isdigit() else None


def needed_memory_mb(run: Run) -> int:
    """Memory that a run takes: measured in a finished run of its row (with the CUDA context), else its estimate."""
    for seed in run.row.seeds:
        other = Run(run.table, run.row, seed, run.work_root, run.log_root)
        if other.log.is_file() and other.scalars()[0].get('memory_mb'):
            return int(other.scalars()[0]['memory_mb'] * 1.1) + 600
    return run.row.memory_mb


class Packer:
    """Which of the waiting runs may start now.

    Args:
        jobs (int): Runs at a time, at most.
        free (Callable, optional): Free memory of the accelerator in MB; it returns None where that is not known.
        accelerated (bool, optional): Whether there is an accelerator, on which nothing starts beside another run while
            the free memory is not known. Defaults to what the system says.
        settle (float): Seconds after which a started run shows in the free memory. Defaults to 60.
    """

    def __init__(self, jobs: int, free: Callable[[], int | None] = free_memory_mb, accelerated: bool | None = None,
                 settle: float = 60.0) -> None:
        self.jobs = jobs
        self.free = free
        self.accelerated = sees_accelerator() if accelerated is None else accelerated
        self.settle = settle
        self._started: dict[str, tuple[float, int]] = {}

    def fits(self, run: Run, running: int) -> bool:
        """Whether a run fits beside those that run.

        Args:
            run (Run): A waiting run.
            running (int): Number of runs at work.

        Returns:
            bool: True if a place is free and the memory suffices, or nothing runs.
        """
        if running >= self.jobs:
            return False
        free = self.free()
        if not running or free is None:
            return not running or not self.accelerated
        now = time.monotonic()
        reserved = sum(need for start, need in self._started.values() if now - start < self.settle)
        return free - reserved - RESERVE_MB >= needed_memory_mb(run)

    def start(self, run: Run) -> None:
        """Remember that a run has been started."""
        self._started[run.title] = (time.monotonic(), needed_memory_mb(run))

    def end(self, run: Run) -> None:
        """Remember that it has ended."""
        self._started.pop(run.title, None)


def run_local(runs: list[Run], project: Path, jobs: int, environment: dict[str, str], tell: Tell = print,
              packer: Packer | None = None, poll: float = 5.0) -> list[str]:
    """Run or resume what is not finished, in order, several at a time; a run that fails does not end the others.

    Args:
        runs (list[Run]): The runs.
        project (Path): The project's folder.
        jobs (int): Runs at a time, at most.
        environment (dict): Variables to set for each.
        tell (Callable): Takes a line about each start and end. Defaults to print.
        packer (Packer, optional): Defaults to one of the machine's accelerator.
        poll (float): Seconds between looks at the free memory. Defaults to 5.

    Returns:
        list[str]: One message a run that failed or could not start.
    """
    packer = Packer(jobs) if packer is None else packer
    waiting = [run for run in runs if run.state() != 'finished']
    working: dict[Future, Run] = {}
    errors: list[str] = []
    stop = threading.Event()

    def work(run: Run) -> str:
        return 'interrupted' if stop.is_set() else execute(run, project, environment)

    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        try:
            while waiting or working:
                for run in list(waiting):
                    ahead = {other.title for other in (*waiting, *working.values())}
                    before = None if run.row.after is None else f'{run.table.name}/{run.row.after}/seed{run.seed}'
                    if before not in ahead and packer.fits(run, len(working)):
                        waiting.remove(run)
                        packer.start(run)
                        working[pool.submit(work, run)] = run
                        tell(f'{run.title}: starts')
                done, _ = wait(working, timeout=poll, return_when=FIRST_COMPLETED)
                for future in done:
                    run = working.pop(future)
                    packer.end(run)
                    try:
                        tell(f'{run.title}: {future.result()}')
                    except (RunError, OSError) as error:
                        errors.append(str(error) if isinstance(error, RunError) else f'{run.title}: {error}')
                        tell(f'{run.title}: failed')
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return errors


def run_cluster(runs: list[Run], project: Path, jobs: int, environment: dict[str, str], cluster: str | None,
                folder: Path, parameters: dict[str, str | int], tell: Tell = print) -> list[str]:
    """Hand what is not finished to Slurm through submitit, one job a run, and wait for all.

    Args:
        runs (list[Run]): The runs.
        project (Path): The project's folder, on a file system that the nodes share.
        jobs (int): Jobs at a time, at most (of Slurm's array).
        environment (dict): Variables to set for each.
        cluster (str, optional): submitit's executor; ``'local'`` for processes of this machine, None to detect Slurm.
        folder (Path): Where submitit keeps its files.
        parameters (dict): Further parameters of the executor, such as ``slurm_partition``.
        tell (Callable): Takes a line about each job. Defaults to print.

    Returns:
        list[str]: One message a run that failed.

    Raises:
        RunError: If submitit is not installed or refuses a parameter.
    """
    try:
        import submitit
    except ImportError as error:
        raise RunError(f'--slurm needs submitit, which does not import ({error}): pip install submitit') from error
    waiting = [run for run in runs if run.state() != 'finished']
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    limit = {} if executor.cluster == 'local' else dict(slurm_array_parallelism=jobs)
    try:
        executor.update_parameters(**limit, **parameters)
    except (NameError, TypeError, ValueError) as error:
        raise RunError(f'--slurm {" ".join(f"{key}={value}" for key, value in parameters.items())}: {error}') from error
    errors = []
    while waiting:
        names = {(run.row.name, run.seed) for run in waiting}
        wave = [run for run in waiting if (run.row.after, run.seed) not in names]
        waiting = [run for run in waiting if run not in wave]
        submitted = executor.map_array(execute, wave, [project] * len(wave), [environment] * len(wave))
        for run, job in zip(wave, submitted, strict=True):
            tell(f'{run.title}: job {job.job_id}')
        for run, job in zip(wave, submitted, strict=True):
            error = job.exception()
            tell(f'{run.title}: {"failed" if error else job.result()}')
            if error:
                errors.append(f'{run.title}: {error}')
    return errors

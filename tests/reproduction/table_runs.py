"""Rows of a table and its runs, for the tests of the queue."""
from nbn_mm.reproduction.runs import runs_of

ROWS = [dict(name='plain', config='configs/a.py'), dict(name='second', config='configs/b.py', after='plain')]


def runs(table, tmp_path, **kwargs):
    return runs_of(table, tmp_path / 'work', tmp_path / 'results', **kwargs)

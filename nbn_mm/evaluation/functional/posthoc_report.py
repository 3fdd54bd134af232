"""Tables of post-hoc calibration as files."""
import csv
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .posthoc_methods import COLUMNS, posthoc_markdown

ENDINGS = ('.md', '.csv', '.json')


def check_report_path(path: str | PathLike) -> None:
    """Raise unless a name ends in .md, .csv or .json."""
    if not str(path).endswith(ENDINGS):
        raise ValueError(f'the table {str(path)!r} must end in one of {ENDINGS}.')


def write_report(rows: Sequence[Mapping[str, Any]], path: str | PathLike) -> None:
    """Write the rows of ``posthoc_table``; the ending says how. Folders on the way are made.

    Args:
        rows (Sequence[Mapping]): The rows.
        path (str | PathLike): ``.md``, ``.csv`` (four decimals, empty for an absent group) or ``.json``.

    Raises:
        ValueError: If the ending is another.
    """
    check_report_path(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.md':
        path.write_text(posthoc_markdown(rows) + '\n', encoding='utf-8')
    elif path.suffix == '.json':
        path.write_text(json.dumps(list(rows), indent=1) + '\n', encoding='utf-8')
    else:
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(('method', *COLUMNS))
            for row in rows:
                values = (row[group] for group in COLUMNS)
                writer.writerow((row['method'], *('' if value is None else f'{value:.4f}' for value in values)))

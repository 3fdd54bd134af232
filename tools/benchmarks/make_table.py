"""The JSON files of the benchmarks as one Markdown table.

    python tools/benchmarks/make_table.py results/speed/*.json
"""
import argparse
import json
from pathlib import Path

from harness import Record

HEADER = '| setting | ours | baseline | unit | ratio | equal | peak MiB |\n|---|---:|---:|---|---:|---|---:|'
EQUAL = {True: 'yes', False: '**no**', None: '–'}


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    if value is None:
        return '–'
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def ratio(record: Record) -> str:
    """Two digits after the point where the ratio is near 1, as costs are."""
    if record.ratio is None:
        return '–'
    return f'{record.ratio:.3f}' if 0.8 < record.ratio < 1.25 else f'{record.ratio:.3g}'


def markdown(records: list[Record]) -> str:
    """A table for each place and hardware, in the order of the records.

    Args:
        records (list[Record]): Of any benchmarks.

    Returns:
        str: Markdown.
    """
    parts: dict[tuple[str, str], list[str]] = {}
    for record in records:
        peak = None if record.peak_bytes is None else record.peak_bytes / 2**20
        cells = (record.setting, number(record.ours), number(record.baseline), record.unit, ratio(record),
                 EQUAL[record.equal], number(peak))
        parts.setdefault((record.place, record.hardware), []).append(f'| {" | ".join(cells)} |')
    return '\n\n'.join('\n'.join([f'**{place}** ({hardware})', '', HEADER, *lines])
                       for (place, hardware), lines in parts.items())


def read(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        ValueError: If the file holds no list of records.
    """
    try:
        return [Record(**entry) for entry in json.loads(path.read_text())]
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f'{path} holds no records of a benchmark ({error}); make it with --json.') from error


def main() -> None:
    """Parse the arguments and print."""
    parser = argparse.ArgumentParser(description='JSON files of the benchmarks as a Markdown table.')
    parser.add_argument('files', nargs='+', type=Path, metavar='FILE', help='what a benchmark wrote with --json')
    args = parser.parse_args()
    missing = [str(path) for path in args.files if not path.is_file()]
    if missing:
        parser.exit(1, f'error: no such file: {", ".join(missing)}\n')
    try:
        print(markdown([record for path in args.files for record in read(path)]))
    except ValueError as error:
        parser.exit(1, f'error: {error}\n')


if __name__ == '__main__':
    main()

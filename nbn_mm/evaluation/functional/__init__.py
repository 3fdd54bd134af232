"""Evaluation maths on arrays, callable without a Runner."""
from .calibration import calibration_bins, expected_calibration_error, shot_group_calibration_error
from .class_table import (
    class_group_report,
    format_class_group_report,
    group_of_class,
    per_class_table,
    read_class_csv,
    write_class_csv,
)
from .lvis_accumulate import LVISAccumulator, LVISResult
from .lvis_ground_truth import LVISGroundTruth
from .lvis_matching import LVISMatcher
from .lvis_records import LVISRecords
from .lvis_summary import frequency_by_size, per_class, summarize
from .run_summary import (
    check_summary_path,
    parse_named_paths,
    read_last_evaluation,
    summarize_runs,
    summary_csv,
    summary_markdown,
    write_summary,
)
from .shot_accuracy import (
    check_topk,
    class_hits,
    group_accuracy_from_hits,
    harmonic_mean,
    per_class_accuracy,
    shot_group_accuracy,
    true_class_rank,
)

__all__ = [
    'LVISAccumulator', 'LVISGroundTruth', 'LVISMatcher', 'LVISRecords', 'LVISResult', 'calibration_bins',
    'check_summary_path', 'check_topk', 'class_group_report', 'class_hits', 'expected_calibration_error',
    'format_class_group_report', 'frequency_by_size', 'group_accuracy_from_hits', 'group_of_class',
    'harmonic_mean', 'parse_named_paths', 'per_class', 'per_class_accuracy', 'per_class_table', 'read_class_csv',
    'read_last_evaluation', 'shot_group_accuracy', 'shot_group_calibration_error', 'summarize', 'summarize_runs',
    'summary_csv', 'summary_markdown', 'true_class_rank', 'write_class_csv', 'write_summary'
]

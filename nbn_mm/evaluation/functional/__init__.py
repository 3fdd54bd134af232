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
from .posthoc import (
    AffineMap,
    LogitMoments,
    logit_adjustment,
    logit_normalization,
    logit_weighting,
    tau_normalization,
)
from .posthoc_methods import PosthocFacts, posthoc_map, posthoc_markdown, posthoc_table
from .run_summary import (
    check_summary_path,
    parse_named_paths,
    read_last_evaluation,
    summarize_runs,
    summary_csv,
    summary_markdown,
    write_summary,
)
from .saved_logits import SavedLogits, read_logits, write_logits
from .shot_accuracy import (
    check_topk,
    class_hits,
    group_accuracy_from_hits,
    harmonic_mean,
    per_class_accuracy,
    shot_group_accuracy,
    true_class_rank,
)
from .test_priors import adapt_scores, named_prior, prior_accuracy

__all__ = [
    'AffineMap', 'LVISAccumulator', 'LVISGroundTruth', 'LVISMatcher', 'LVISRecords', 'LVISResult', 'LogitMoments',
    'PosthocFacts', 'SavedLogits', 'adapt_scores', 'calibration_bins', 'check_summary_path', 'check_topk',
    'class_group_report', 'class_hits', 'expected_calibration_error', 'format_class_group_report',
    'frequency_by_size', 'group_accuracy_from_hits', 'group_of_class', 'harmonic_mean', 'logit_adjustment',
    'logit_normalization', 'logit_weighting', 'named_prior', 'parse_named_paths', 'per_class', 'per_class_accuracy',
    'per_class_table', 'posthoc_map', 'posthoc_markdown', 'posthoc_table', 'prior_accuracy', 'read_class_csv',
    'read_last_evaluation', 'read_logits', 'shot_group_accuracy', 'shot_group_calibration_error', 'summarize',
    'summarize_runs', 'summary_csv', 'summary_markdown', 'tau_normalization', 'true_class_rank', 'write_class_csv',
    'write_logits', 'write_summary'
]

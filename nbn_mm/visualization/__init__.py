"""Figures: data in, matplotlib figure out. Imported on demand, since matplotlib is slow to load."""
from .accuracy_by_frequency import plot_accuracy_by_frequency
from .ap_by_frequency import plot_ap_by_frequency
from .class_csv import read_accuracies, read_ap
from .differences import plot_differences
from .sorted_weights import plot_sorted_weights
from .style import check_figure_path, save_figure

__all__ = [
    'check_figure_path', 'plot_accuracy_by_frequency', 'plot_ap_by_frequency', 'plot_differences',
    'plot_sorted_weights', 'read_accuracies', 'read_ap', 'save_figure'
]
